"""Whether the context has the same distribution in both arms, as the marginal propensity takes for granted.

Arms are drawn by subject, whatever the context; so for any feature f, sum of (T - rho) f(x) over subjects has
mean 0 and variance sum of rho (1 - rho) f(x)^2, T being the arm and rho the treatment share in force (a score
test, Cox and Hinkley, Theoretical Statistics, 1974). It holds through changes of the share. Where it is
broken, something decides who gets into an arm (a client that retries, an exclusion after the draw), and what
was seen in one arm says nothing about the other.
"""

import math
from typing import Final

from bandit.core.records import Arm, JoinedEvent
from bandit.replay.errors import BadLog

ALPHA: Final = 1e-3
"""The chance that a sound log is refused, over all features together."""

FEATURES_MAX: Final = 1_000
SUBJECTS_MAX: Final = 1_000_000
"""Subjects are told apart, so that one who comes often counts once; past so many, new ones are left out."""


class ArmCheck:
    """Takes the events of a log, and raises if their contexts differ by arm."""

    def __init__(self) -> None:
        """Nothing was taken."""
        self._subjects: set[int] = set()
        self._sums: dict[str, list[float]] = {}

    def take(self, event: JoinedEvent) -> None:
        """Takes one event; of a subject the first alone."""
        decision = event.decision
        share = decision.treatment_share
        if not 0.0 < share < 1.0:
            return
        if decision.subject:
            subject = hash(decision.subject)
            if subject in self._subjects or len(self._subjects) >= SUBJECTS_MAX:
                return
            self._subjects.add(subject)
        score = (decision.arm is Arm.TREATMENT) - share
        variance = share * (1.0 - share)
        for name, value in decision.context.items():
            if isinstance(value, bool | str):
                self._add(f"{name} = {value}", 1.0, score, variance)
            elif isinstance(value, float):
                self._add_number(name, value, score, variance)
            else:
                for text in set(value):
                    self._add(f"{name} has {text}", 1.0, score, variance)

    def verdict(self) -> None:
        """Raises BadLog, naming the feature that differs most."""
        if not self._sums:
            return
        worst, z = max(
            ((name, abs(s) / math.sqrt(v)) for name, (s, v, *_) in self._sums.items() if v > 0.0),
            key=lambda found: found[1],
            default=("", 0.0),
        )
        if math.erfc(z / math.sqrt(2.0)) * len(self._sums) < ALPHA:
            raise BadLog(
                f"The context differs between the arms ({worst}: {z:.1f} standard errors from what chance "
                "gives), so control and treatment rows can't be judged as one. Use --propensity own, which "
                "judges the treatment rows, and find out what decides who gets into an arm."
            )

    def _add(self, feature: str, value: float, score: float, variance: float) -> None:
        sums = self._sums.get(feature)
        if sums is None:
            if len(self._sums) >= FEATURES_MAX:
                return
            sums = self._sums[feature] = [0.0, 0.0, 0.0, 0.0]
        sums[0] += score * value
        sums[1] += variance * value * value

    def _add_number(self, name: str, value: float, score: float, variance: float) -> None:
        # Distance from the mean so far, within ±1e3: it depends on what came before alone, so the test holds.
        sums = self._sums.get(name)
        count, mean = (sums[2], sums[3]) if sums is not None else (0.0, 0.0)
        self._add(name, min(max(value - mean, -1e3), 1e3) if count else 0.0, score, variance)
        sums = self._sums.get(name)
        if sums is not None and math.isfinite(value):
            sums[2] = count + 1.0
            sums[3] = mean + (value - mean) / sums[2]
