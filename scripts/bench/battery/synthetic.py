"""What all made-up worlds share: a setting made from random numbers, then played round by round."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bandit.core.records import Variant
from battery.world import Context, Numbers, Round, Signals, World, generator

ROUNDS = 4_000


@dataclass(frozen=True, slots=True)
class Setting:
    """One draw of a made-up world.

    `context(t)` draws the context of round t, `means(t, context, variants)` says what each variant brings on
    average, `reward(means)` draws what each brings this time, and `variants(t)` are the eligible ones.
    """

    context: Callable[[int], Context]
    means: Callable[[int, Context, tuple[Variant, ...]], Numbers]
    reward: Callable[[Numbers], Numbers]
    variants: Callable[[int], tuple[Variant, ...]]


Make = Callable[[np.random.Generator], Setting]


def made_up(
    name: str,
    kind: str,
    make: Make,
    signals: Signals,
    variants: tuple[Variant, ...] = (),
    *,
    rounds: int = ROUNDS,
    reward_range: tuple[float, float] = (0.0, 1.0),
    held_out: bool = False,
    shifts: tuple[int, ...] = (),
    revision: int = 1,
) -> World:
    """The world of a setting. Its weights differ from seed to seed, as its contexts do."""

    def play(seed: int) -> Iterator[Round]:
        setting = make(generator(name, seed))
        for t in range(rounds):
            context = setting.context(t)
            eligible = setting.variants(t)
            means = setting.means(t, context, eligible)
            rewards = setting.reward(means)
            yield Round(
                context, eligible, rewards.tolist(), means.tolist(), float(means.max()), float(means.mean())
            )

    return World(
        name=name,
        kind=kind,
        rounds=play,
        signals=signals,
        variants=variants,
        reward_range=reward_range,
        held_out=held_out,
        shifts=shifts,
        revision=revision,
    )


def always(variants: tuple[Variant, ...]) -> Callable[[int], tuple[Variant, ...]]:
    """The same variants in every round."""
    return lambda t: variants


def clicks(rng: np.random.Generator) -> Callable[[Numbers], Numbers]:
    """Rewards of 0 and 1, the mean being the chance of a 1."""
    return lambda means: (rng.random(len(means)) < means).astype(np.float64)


def sigmoid(values: Numbers) -> Numbers:
    """Scores as chances."""
    return 1.0 / (1.0 + np.exp(-values))


def numbers(names: list[str], values: Numbers) -> Context:
    """Numbers by name."""
    return dict(zip(names, values.tolist(), strict=True))
