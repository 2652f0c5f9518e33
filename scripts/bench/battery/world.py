"""A world: rounds that any system can be run live in, and what the best known policy would earn in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandit.core.records import Variant

Context = dict[str, str | float | bool]
Numbers = NDArray[np.float64]
Signals = Mapping[str, Mapping[str, Any]]
"""As the `signals` of an experiment: name to its declaration."""

NUMBER: Mapping[str, Any] = {"type": "number"}
CATEGORY: Mapping[str, Any] = {"type": "category"}
FLAG: Mapping[str, Any] = {"type": "flag"}


@dataclass(frozen=True, slots=True)
class Round:
    """One call and all that could come of it.

    `rewards` are what each of `variants` would bring now, None where nobody knows (a real log knows of the
    variant that was shown alone). `means` are what they bring on average, which is what a choice is scored
    by: luck in the draw of a reward is then no part of a score. `best` and `uniform` are what the best known
    policy and an even draw earn on average here.
    """

    context: Context
    variants: tuple[Variant, ...]
    rewards: Sequence[float | None]
    means: Sequence[float | None]
    best: float
    uniform: float


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One world. `held_out` ones are not to be used to choose settings by.

    `variants` is the catalogue; empty if every call brings its own, the same tuple for as long as they do not
    change. `shifts` are the rounds at which what is good changes at once. A change to a world raises
    `revision`, so that results of the earlier one are not taken for results of this one.
    """

    name: str
    kind: str
    rounds: Callable[[int], Iterator[Round]] = field(repr=False)
    signals: Signals = field(repr=False)
    variants: tuple[Variant, ...] = field(default=(), repr=False)
    reward_range: tuple[float, float] = (0.0, 1.0)
    held_out: bool = False
    shifts: tuple[int, ...] = ()
    revision: int = 1


def generator(name: str, seed: int) -> np.random.Generator:
    """The random numbers of one world and seed; the same on every machine."""
    digest = blake2b(f"{name}/{seed}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def plain_variants(count: int) -> tuple[Variant, ...]:
    """Variants that are known by their ids alone."""
    return tuple(Variant(f"v{index}") for index in range(count))
