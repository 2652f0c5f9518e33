"""The linear regressions of an experiment: contexts and variants in, rewards with their errors out."""

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from bandit.core.records import Variant
from bandit.policies.errors import IncompatibleModel
from bandit.policies.linear.dimensions import DIMENSIONS_MAX, STEP, Dimensions
from bandit.policies.linear.ridge import Ridges, rows_of
from bandit.policies.reading import Reading

MODEL: Final = "linear.npy"
UNKNOWN: Final = -1

TOGETHER_MAX: Final = 32
"""The variants of calls of up to so many get their rows together."""


class LinearOracle:
    """Two regressions side by side, steady and tracking (see `ridge`), over the same features."""

    def __init__(self, folder: Path | None = None, state: dict[str, Any] | None = None) -> None:
        """A new one, or the one that `save` and `state` left. Raises IncompatibleModel, OSError."""
        if folder is None:
            self._dimensions = Dimensions()
            self._ridges = Ridges(STEP)
            self._row_of: dict[str, int] = {}
        else:
            try:
                recorded = state or {}
                self._dimensions = Dimensions(
                    [int(number) for number in recorded["features"]], closed=bool(recorded["closed"])
                )
                self._row_of = {str(name): index + 1 for index, name in enumerate(recorded["variants"])}
                self._ridges = Ridges.restored(np.load(folder / MODEL, allow_pickle=False))
                if (self._ridges.size, self._ridges.rows) != (self._dimensions.size, len(self._row_of) + 1):
                    raise ValueError("its file is not its state's")
            except OSError:
                raise
            except Exception as error:  # NumPy raises many kinds for a file that is none of its own
                raise IncompatibleModel(f"the linear model can't be read: {error!r}") from error
        self._rows: Any = None
        self._rows_for: Sequence[Variant] | None = None
        self._rows_unknown: list[int] = []

    def predict(
        self, readings: Sequence[Reading], variants: Sequence[Variant], way: int
    ) -> list[tuple[list[float], list[float]]]:
        """For each reading the expected rewards, and their standard errors in units of the noise."""
        if variants is not self._rows_for:
            self._look_up(variants)
        ridges, rows, unknown = self._ridges, self._rows, self._rows_unknown
        predicted = []
        # Step by step for all instead of one by one: what a step needs stays in the caches.
        for x in [self._dimensions.vector(reading) for reading in readings]:
            rewards, variances = ridges.predict(x, rows, way)
            errors = list(map(math.sqrt, variances))
            if unknown:
                mean, error = ridges.means[way], ridges.prior_variance(x, way) ** 0.5
                for index in unknown:
                    rewards[index], errors[index] = mean, error
            predicted.append((rewards, errors))
        return predicted

    def _look_up(self, variants: Sequence[Variant]) -> None:
        numbers = [self._row_of.get(variant.id, UNKNOWN) for variant in variants]
        full = not self._room_for_rows(1)
        self._rows_unknown = [] if full else [i for i, number in enumerate(numbers) if number == UNKNOWN]
        self._rows = rows_of([max(number, 0) for number in numbers])
        # A list may change, or be another one's memory, by the time that it is compared.
        self._rows_for = variants if type(variants) is tuple else None

    def learn(
        self, reading: Reading, variants: Sequence[Variant], chosen: int, reward: float
    ) -> tuple[list[float], list[float]]:
        """Learns a reward in both ways; (what each expected, and 1 + its variance)."""
        self._make_room(reading)
        name = variants[chosen].id
        row = self._row_of.get(name)
        if row is None:
            row = self._new_row(name, variants)
        return self._ridges.learn(self._dimensions.vector(reading), row, reward)

    def _new_row(self, name: str, variants: Sequence[Variant]) -> int:
        """A row for a variant that is learned of for the first time; 0 if there is no room."""
        if not self._room_for_rows(1):
            return 0
        names = [variant.id for variant in variants]
        # A whole catalogue at once, in its order: what lies together is predicted for in one go.
        if len(names) > TOGETHER_MAX or not self._room_for_rows(len(names)):
            names = [name]
        for each in names:
            if each not in self._row_of:
                self._row_of[each] = self._ridges.add_row()
        self._rows_for = None
        return self._row_of[name]

    def forget(self) -> None:
        """Lets the tracking way know nothing again."""
        self._ridges.forget()

    def _room_for_rows(self, count: int) -> bool:
        return self._ridges.has_room(self._ridges.rows + count, self._ridges.size)

    def _make_room(self, reading: Reading) -> None:
        dimensions, ridges = self._dimensions, self._ridges
        if dimensions.closed:
            return
        for feature in dimensions.new(reading):
            size = -(-(len(dimensions.known) + 2) // STEP) * STEP
            if size > DIMENSIONS_MAX or not ridges.has_room(ridges.rows + 1, size):
                dimensions.close()
                return
            # Longer vectors may leave no room for another row, and who has none is looked up anew.
            self._rows_for = None
            if size > ridges.size:
                ridges.grow(size)
            dimensions.add(feature)

    def state(self) -> dict[str, Any]:
        """What must be kept beside the file; JSON keeps it exactly."""
        return {
            "features": list(self._dimensions.known),
            "closed": self._dimensions.closed,
            "variants": list(self._row_of),
        }

    def save(self, folder: Path) -> None:
        """Writes the file. Raises OSError."""
        np.save(folder / MODEL, self._ridges.array(), allow_pickle=False)

    def digest(self) -> bytes:
        """A sum over all that was learned."""
        return sha256(self._ridges.array().tobytes()).digest()
