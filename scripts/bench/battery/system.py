"""What the battery asks of a system: choose, then learn what the choice brought."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bandit.core.records import Variant
from battery.world import Context


class System(Protocol):
    """A bandit in a world. `learn` is about the last choice, and left out if nobody knows what it brought."""

    def choose(self, context: Context, variants: tuple[Variant, ...]) -> int:
        """The index of the variant to show."""
        ...

    def learn(self, reward: float) -> None:
        """Takes the reward of the last choice, on the world's own scale."""
        ...

    def close(self) -> None:
        """Frees what is to be freed."""
        ...


class Uniform:
    """Draws evenly and learns nothing."""

    def __init__(self, seed: int) -> None:
        """Its own random numbers."""
        self._rng = np.random.default_rng(seed)

    def choose(self, context: Context, variants: tuple[Variant, ...]) -> int:
        """Any of them."""
        return int(self._rng.integers(len(variants)))

    def learn(self, reward: float) -> None:
        """It never does."""

    def close(self) -> None:
        """Nothing to free."""


def highest(values: Sequence[float], rng: np.random.Generator) -> int:
    """The index of the highest value; one at random of several, so that order is no hint."""
    array = np.asarray(values)
    ties = np.flatnonzero(array == array.max())
    return int(ties[0] if len(ties) == 1 else rng.choice(ties))
