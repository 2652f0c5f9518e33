"""What is read of a context -> a vector: a constant, the standardised numbers, a 1 for each token."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bandit.policies.reading import Reading

F32 = NDArray[np.float32]

STEP: Final = 8
"""Vectors grow by so many dimensions."""

DIMENSIONS_MAX: Final = 64
"""Features beyond share dimensions with earlier ones, by their hash: an event costs the square of this."""

MEMO: Final = 8_192
"""So many features are remembered by their text."""


class Dimensions:
    """Feature -> dimension, in the order in which features were first learned. Knows them by a sum of 64
    bits, so that what is kept of a context in a snapshot is no text.
    """

    def __init__(self, known: Sequence[int] = (), *, closed: bool = False) -> None:
        """`known` are the sums of the features of dimensions 1, 2, …; dimension 0 is the constant. `closed`:
        no feature gets a dimension of its own any more.
        """
        self.known = list(known)
        self.closed = closed
        self._at = {number: index + 1 for index, number in enumerate(self.known)}
        self._memo: dict[str, int] = {}

    @property
    def size(self) -> int:
        """How long vectors are: all dimensions in use, rounded up."""
        return -(-(len(self.known) + 1) // STEP) * STEP

    def new(self, reading: Reading) -> list[str]:
        """The features that have no dimension yet. A number gets one when it is first not 0: one that never
        varies needs none.
        """
        at = self._dimension
        found = [name for name, value in reading.numbers if value and not at(name)]
        found += [token for token in reading.tokens if not at(token)]
        return found

    def add(self, feature: str) -> None:
        """Gives a feature the next dimension."""
        self.known.append(_sum(feature))
        self._at[self.known[-1]] = len(self.known)
        self._memo.clear()

    def close(self) -> None:
        """From now on every new feature shares the dimension that its hash picks."""
        self.closed = True
        self._memo.clear()

    def vector(self, reading: Reading) -> F32:
        """Shape (size,). A feature that is not known yet is left out."""
        # Every decision and every event comes by here: through a memoryview, single numbers are set fastest.
        vector = np.zeros(self.size, np.float32)
        values: Any = vector.data
        values[0] = 1.0
        memo = self._memo
        for name, value in reading.numbers:
            index = memo.get(name)
            if index is None:
                index = self._dimension(name)
            if index:
                values[index] += value
        for token in reading.tokens:
            index = memo.get(token)
            if index is None:
                index = self._dimension(token)
            if index:
                values[index] += 1.0
        return vector

    def _dimension(self, feature: str) -> int:
        """A feature's dimension; 0 for one that has none."""
        index = self._memo.get(feature)
        if index is None:
            number = _sum(feature)
            index = self._at.get(number, 0)
            if not index and self.closed and self.known:
                index = 1 + number % len(self.known)
            if len(self._memo) >= MEMO:
                self._memo.clear()
            self._memo[feature] = index
        return index


def _sum(feature: str) -> int:
    return int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "big")
