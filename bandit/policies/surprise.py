"""Notices that what was learned has suddenly stopped holding: what is served brings less than was expected.

Errors of each oracle are summed with the past discounted, and so are their squares. The sum over the root of
the squares (a self-normalised sum; de la Peña, Lai and Shao, Self-Normalized Processes, 2009) is about
standard normal while predictions are unbiased, and no few events, however bad, bring it far. Where rewards
are rare, a quiet stretch would make the squares too small: they count as at least those of the noise, which
is known from many more events. Slow changes do not get there: the tracking regression follows them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

DISCOUNT: Final = 0.98
"""An event of 35 events ago counts half."""

ALARM: Final = 4.0
"""So many standard errors below what was expected."""


class Surprise:
    """Sums of each oracle's errors."""

    def __init__(self, size: int, state: Mapping[str, Any] | None = None) -> None:
        """Of `size` oracles. Raises ValueError, KeyError or TypeError for a `state` that is none."""
        self.alarms = 0
        self._sums, self._squares, self._seen = [0.0] * size, [0.0] * size, 0.0
        if state is not None:
            self.alarms = int(state["alarms"])
            self._sums = [float(number) for number in state["sums"]]
            self._squares = [float(number) for number in state["squares"]]
            self._seen = float(state["seen"])
            if not len(self._sums) == len(self._squares) == size:
                raise ValueError("sums are of another number of oracles")

    def take(self, errors: Sequence[float], watched: Iterable[int], noise: float) -> bool:
        """Takes each oracle's error on one event: reward less what was expected. Whether all that are
        `watched` have been disappointed of late; if so, it starts anew. `noise` is the standard deviation of
        such an error in the long run.
        """
        sums, squares = self._sums, self._squares
        self._seen = DISCOUNT * DISCOUNT * self._seen + 1.0
        least = noise * noise * self._seen
        for index, error in enumerate(errors):
            sums[index] = DISCOUNT * sums[index] + error
            squares[index] = DISCOUNT * DISCOUNT * squares[index] + error * error
        for index in watched:
            if sums[index] >= -ALARM * math.sqrt(max(squares[index], least)):
                return False
        self._sums, self._squares, self._seen = [0.0] * len(sums), [0.0] * len(sums), 0.0
        self.alarms += 1
        return True

    def state(self) -> dict[str, Any]:
        """JSON keeps it exactly."""
        return {
            "alarms": self.alarms,
            "sums": list(self._sums),
            "squares": list(self._squares),
            "seen": self._seen,
        }
