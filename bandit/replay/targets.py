"""What a policy thinks of each judged row, gathered as columns."""

import math
from collections.abc import Sequence

import numpy as np

from bandit.core.records import JoinedEvent
from bandit.replay.chunks import CHUNK_ROWS, Columns
from bandit.replay.columns import Target
from bandit.replay.errors import BadLog


class TargetColumns:
    """One policy's columns, row by row."""

    def __init__(self, name: str, *, modelled: bool) -> None:
        """`modelled`: whether predicted rewards come with each row."""
        self._name = name
        self._modelled = modelled
        self._columns = Columns(*[np.float64] * (4 if modelled else 2))
        self._pending = self._columns.pending

    def take(
        self,
        distribution: Sequence[float],
        logged: Sequence[float],
        chosen: int,
        predicted: Sequence[float] | None,
        unsupported: float | None,
    ) -> None:
        """Takes one row: the policy's distribution, the one that was drawn from, and what was served.

        `predicted` are the model's rewards, one a variant. `unsupported` is as `unsupported_by` gives it.
        """
        if unsupported is None:
            unsupported = sum(p for p, served in zip(distribution, logged, strict=True) if served == 0.0)
        if predicted is None:
            self._pending.append((distribution[chosen], unsupported))
        else:
            value_hat = math.fsum([p * reward for p, reward in zip(distribution, predicted, strict=True)])
            self._pending.append((distribution[chosen], unsupported, predicted[chosen], value_hat))
        if len(self._pending) >= CHUNK_ROWS:
            self._columns.put_away()

    def take_probability(
        self,
        probability: float,
        logged: Sequence[float],
        chosen: int,
        predicted: Sequence[float] | None,
        unsupported: float | None,
    ) -> None:
        """Takes one row of which only the served variant's probability is known: what needs the others, the
        support and DM and DR, stays unknown.
        """
        if predicted is None:
            self._pending.append((probability, math.nan))
        else:
            self._pending.append((probability, math.nan, predicted[chosen], math.nan))
        if len(self._pending) >= CHUNK_ROWS:
            self._columns.put_away()

    def clear(self) -> None:
        """Forgets all rows."""
        self._columns.clear()

    def target(self) -> Target:
        """The columns; no row can be taken afterwards."""
        found = self._columns.arrays()
        if not self._modelled or np.isnan(found[3]).any():
            return Target(self._name, found[0], found[1])
        return Target(self._name, *found)


def unsupported_by(logged: Sequence[float]) -> float | None:
    """How much of any policy's mass a logged distribution can't support: 0 where it has all variants, NaN
    where it is not known but for the served one, None where it depends on the policy.
    """
    if 0.0 in logged:
        return None
    # Where anything is unknown, all is but for one.
    return 0.0 if logged[0] == logged[0] and logged[-1] == logged[-1] else math.nan


def probabilities_of(event: JoinedEvent, value: object, column: str) -> float | list[float]:
    """A column's value as the served variant's probability, or as a list over the variants. Raises BadLog."""
    size = len(event.decision.variants)
    where = f"column {column!r} of decision {event.decision.decision_id!r}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0.0 <= value <= 1.0:
            raise BadLog(f"{where} is {value}; a probability lies in [0, 1]")
        return float(value)
    numbers = numbers_of(value, size, where, "the served variant's probability, or a list with one a variant")
    total = math.fsum(numbers)
    if min(numbers) < 0.0 or not abs(total - 1.0) <= 1e-6:
        raise BadLog(f"{where} sums to {total:g}; probabilities are at least 0 and sum to 1")
    return numbers


def numbers_of(value: object, size: int, where: str, wanted: str) -> list[float]:
    """A list of finite numbers, one a variant. Raises BadLog."""
    if value is None:
        raise BadLog(f"{where} is missing; it must hold {wanted}")
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != size:
        raise BadLog(f"{where} is not {wanted} (there are {size} variants)")
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError):
        raise BadLog(f"{where} holds what is not a number") from None
    if not all(map(math.isfinite, numbers)):
        raise BadLog(f"{where} holds a number that is not finite")
    return numbers
