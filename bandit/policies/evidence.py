"""Which of several oracles is to be served: the one that lately predicted best what was served.

Progressive validation (Blum, Kalai and Langford, Beating the Hold-Out, COLT 1999): each oracle predicts the
reward of the served variant before it learns it. That happens on the very decisions that the experiment
serves, whoever made them, so it is off-policy evidence for each oracle, and a lower squared error bounds the
regret of a policy on top (Foster and Rakhlin 2020). The differences of two oracles' squared errors on the
same events are summed, with the past discounted; a challenger takes over once its advantage is SWITCH
standard errors.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

DISCOUNT: Final = 0.998
"""An event of 350 events ago counts half."""

SWITCH: Final = 1.5
"""Hysteresis: so many standard errors better must a challenger be than what is served."""

SHAKEN: Final = 0.3
"""So much of the comparisons is left after an alarm: what predicted well before may not any more."""

_LEAST: Final = 1e-15
_NOISE_EVENTS: Final = 2_000
_NOISE_PRIOR = (2.0, 0.1)
"""As if two events with a squared error of 0.05 had been seen: where rewards are rare, the first ones are all
alike, and less would take that for certainty.
"""


NOISE_LEAST: Final = 1e-6
"""Of the reward's range. Where all rewards are alike, as of a metric that nobody reports, it would fall to 0,
and a gap means nothing in units of that.
"""


class OraclesStanding(NamedTuple):
    """Which of several oracles is `serving`, after how many `switches` and `alarms` of a world that changed;
    and by how many standard errors each lately predicted better than it, below 0 for worse.
    """

    serving: str
    switches: int
    alarms: int
    leads: Mapping[str, float]


class Evidence:
    """Discounted pairwise comparisons, the choice that follows from them, and each oracle's noise."""

    def __init__(self, names: Sequence[str], state: Mapping[str, Any] | None = None) -> None:
        """The first of the `names` is served until another proves better. Raises ValueError, KeyError or
        TypeError for a `state` that is none.
        """
        self._names = tuple(names)
        size = len(names)
        self._pairs = [(a, b) for a in range(size) for b in range(a)]
        self._advantage = [0.0] * len(self._pairs)
        self._squares = [0.0] * len(self._pairs)
        self._seen, self._error = [_NOISE_PRIOR[0]] * size, [_NOISE_PRIOR[1]] * size
        self.serving = 0
        self.switches = 0
        if state is not None:
            self.serving = self._names.index(state["serving"])
            self.switches = int(state["switches"])
            for name in ("advantage", "squares", "seen", "error"):
                numbers = [float(number) for number in state[name]]
                if len(numbers) != len(getattr(self, f"_{name}")):
                    raise ValueError(f"{name} is of another length")
                setattr(self, f"_{name}", numbers)

    def take(self, errors: Sequence[float]) -> None:
        """Takes each oracle's error on one event, and settles which is served from now on."""
        losses = [error * error for error in errors]
        advantage, squares = self._advantage, self._squares
        best, most = self.serving, SWITCH
        for index, (a, b) in enumerate(self._pairs):
            # Above 0 where b is better than a.
            difference = losses[a] - losses[b]
            advantage[index] = DISCOUNT * advantage[index] + difference
            squares[index] = DISCOUNT * squares[index] + difference * difference
            if self.serving in (a, b):
                other, sign = (b, 1.0) if self.serving == a else (a, -1.0)
                lead = sign * advantage[index] / math.sqrt(squares[index] + _LEAST)
                if lead > most:
                    best, most = other, lead
        if best != self.serving:
            self.serving = best
            self.switches += 1

    def shake(self) -> None:
        """Lets the past count for little: the world has changed."""
        self._advantage = [SHAKEN * advantage for advantage in self._advantage]
        self._squares = [SHAKEN * square for square in self._squares]

    def leads(self) -> dict[str, float]:
        """By how many standard errors each oracle lately predicted better than the served one, itself 0."""
        leads = dict.fromkeys(self._names, 0.0)
        for index, (a, b) in enumerate(self._pairs):
            lead = self._advantage[index] / math.sqrt(self._squares[index] + _LEAST)
            if self.serving == a:
                leads[self._names[b]] = lead
            elif self.serving == b:
                leads[self._names[a]] = -lead
        return leads

    def take_noise(self, deviations: Sequence[float]) -> None:
        """Takes each oracle's squared error, less what its own doubt explains of it."""
        seen, error = self._seen, self._error
        for index, deviation in enumerate(deviations):
            seen[index] += 1.0
            error[index] += deviation
            if seen[index] > _NOISE_EVENTS:
                seen[index] *= 0.5
                error[index] *= 0.5

    @property
    def noise(self) -> float:
        """The standard deviation of a reward around what the served oracle expects, NOISE_LEAST at least."""
        return max(math.sqrt(self._error[self.serving] / self._seen[self.serving]), NOISE_LEAST)

    @property
    def name(self) -> str:
        """The served oracle's."""
        return self._names[self.serving]

    def state(self) -> dict[str, Any]:
        """JSON keeps it exactly."""
        return {
            "serving": self.name,
            "switches": self.switches,
            "advantage": list(self._advantage),
            "squares": list(self._squares),
            "seen": list(self._seen),
            "error": list(self._error),
        }
