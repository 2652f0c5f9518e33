"""A context as the vector that a careful user of a vector library would make of it."""

from collections.abc import Iterable

import numpy as np

from battery.world import Context, Numbers, Round


class Vectors:
    """One-hot categories, standardised numbers, flags of 0 and 1, and a constant 1.

    Vocabulary, means and spreads are those of the very rounds to come: more than any user knows, and so no
    handicap.
    """

    def __init__(self, rounds: Iterable[Round]) -> None:
        """Looks at all rounds once."""
        seen: dict[str, list[str | float | bool]] = {}
        for each in rounds:
            for name, value in each.context.items():
                seen.setdefault(name, []).append(value)
        self._at: dict[tuple[str, str], int] = {}
        self._numbers: dict[str, tuple[int, float, float]] = {}
        size = 1
        for name, values in seen.items():
            if isinstance(values[0], str):
                for value in sorted({str(value) for value in values}):
                    self._at[name, value] = size
                    size += 1
            else:
                column = np.array(values, dtype=np.float64)
                flag = isinstance(values[0], bool)
                mean, spread = (0.0, 1.0) if flag else (float(column.mean()), float(column.std()))
                self._numbers[name] = size, mean, spread or 1.0
                size += 1
        self.size = size

    def __call__(self, context: Context) -> Numbers:
        """The vector of a context."""
        vector = np.zeros(self.size)
        vector[0] = 1.0
        for name, value in context.items():
            if isinstance(value, str):
                vector[self._at[name, value]] = 1.0
            else:
                index, mean, spread = self._numbers[name]
                vector[index] = (value - mean) / spread
        return vector

    def scaled(self, context: Context) -> Context:
        """The context with its numbers standardised and all else as it was."""
        found: Context = {}
        for name, value in context.items():
            if isinstance(value, float):
                _, mean, spread = self._numbers[name]
                found[name] = (value - mean) / spread
            else:
                found[name] = value
        return found
