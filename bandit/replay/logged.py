"""Joined events -> the columns that are judged.

Which rows are judged: those of the treatment arm, with the propensity that they were drawn with (`own`); or
the rows of both arms with the propensity over both, rho pi(a) + (1 - rho) 1[a is the baseline] (`marginal`).
A log without a single treatment row always served its baseline: those rows are gathered then, and judge
nothing but the baseline.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import numpy as np

from bandit.core.choose import baseline_index
from bandit.core.records import Arm, JoinedEvent, Outcome, Variant
from bandit.replay.calibration import Calibration
from bandit.replay.chunks import CHUNK_ROWS, Columns
from bandit.replay.columns import Logged
from bandit.replay.errors import BadLog

Propensity = Literal["own", "marginal"]


class LoggedColumns:
    """A log's judged rows as they come. `take` each event; `logged` in the end."""

    def __init__(
        self, reward_range: tuple[float, float], baseline: str, mode: Propensity, metric: str = ""
    ) -> None:
        """`metric` names a secondary metric that is judged instead of the reward."""
        self._low, self._high = reward_range
        self._baseline = baseline
        self._own = mode == "own"
        self._metric = metric
        self._columns = Columns(
            *(np.float64, np.float64, np.float64, np.int32, np.int32, np.bool_, np.float64),
            *(np.int64, np.int64, np.bool_),
        )
        self._pending = self._columns.pending
        self._calibration = Calibration()
        self._codes: dict[str, int] = {}
        self._variants: Sequence[Variant] | None = None
        self._variant_codes: list[int] = []
        self._without_subject = 0
        self.treated = False
        """Whether the treatment arm has begun; whoever sees its first event says so by `begin`."""
        self.distribution: Sequence[float] = ()
        """What the last event that was taken was drawn from: over both arms if that is judged."""
        # Of the rows that are not gathered:
        self._unrewarded = 0
        self._unrewarded_control = 0
        self._passed_over = 0
        self._passed_over_defaulted = 0
        self._passed_over_drawn = 0
        self.counts = {"clamped": 0, "out_of_range": 0, "too_recent": 0}

    def begin(self) -> bool:
        """Notes that the treatment arm begins. True if what was gathered until now is dropped: it was the
        baseline's, and is beside the judged rows from now on.
        """
        self.treated = True
        if not self._own:
            return False
        columns = self._columns.arrays()
        share, defaulted = columns[6], columns[9]
        self._passed_over = len(share)
        self._passed_over_defaulted = int(defaulted.sum())
        self._passed_over_drawn = int((share > 0.0).sum())
        self._calibration = Calibration()
        self.counts["out_of_range"] = 0
        return True

    def take(self, event: JoinedEvent) -> bool:
        """Counts an event, and gathers it if it is judged: `distribution` is then its own."""
        # Millions of rows come by here: what is ordinary is counted in the end, from the columns.
        decision = event.decision
        treatment = decision.arm is Arm.TREATMENT
        value = event.reward if not self._metric else event.metrics.get(self._metric)
        if event.clamped:
            self.counts["clamped"] += 1
        if value is None:
            self._unrewarded += 1
            self._unrewarded_control += not treatment
            return False
        if not self._own:
            distribution: Sequence[float] = self._marginal(event)
        elif treatment or not self.treated:
            distribution = decision.distribution
        else:
            self._pass_over(event)
            return False
        if not self._low <= value <= self._high:
            self.counts["out_of_range"] += 1
            value = min(max(value, self._low), self._high)
        self.distribution = distribution
        chosen = decision.chosen
        if decision.variants is not self._variants:
            self._learn_codes(decision.variants)
        codes = self._variant_codes
        pdrop = decision.pdrop
        if decision.subject:
            cluster = _number(decision.subject)
        else:
            cluster = self._without_subject = self._without_subject + 1
        self._pending.append(
            (
                value,
                distribution[chosen],
                1.0 / (1.0 - pdrop) if pdrop else 1.0,
                codes[chosen],
                len(codes),
                treatment,
                decision.treatment_share,
                cluster,
                event.at_us,
                event.outcome is Outcome.DEFAULTED,
            )
        )
        self._calibration.append((codes, distribution, chosen))
        if len(self._pending) >= CHUNK_ROWS:
            self._columns.put_away()
            self._calibration.put_away()
        return True

    def logged(self, trouble: Mapping[str, int]) -> Logged:
        """The columns, with the counts of `trouble` beside this object's own. Nothing can be taken after."""
        reward, propensity, weight, chosen, eligible, treatment, share, cluster, at_us, defaulted = (
            self._columns.arrays()
        )
        if self._metric:
            defaulted = np.zeros_like(defaulted)
        expected, variance, served = self._calibration.sums(len(self._codes))
        joined = len(reward) + self._unrewarded + self._passed_over
        control = int((~treatment).sum()) + self._unrewarded_control + self._passed_over
        counts = {
            "joined": joined,
            "treatment": joined - control,
            "control": control,
            "unrewarded": self._unrewarded,
            "defaulted": int(defaulted.sum()) + (0 if self._metric else self._passed_over_defaulted),
            "no_propensity": int(np.isnan(propensity).sum()),
            **self.counts,
        }
        if self.treated and self._own and not self._unrewarded:
            # Beside the judged rows, for the check of the arms' sizes. Where rewards are missing, they may be
            # missing in one arm more than in the other, as what is served there earns more of them.
            counts["control_drawn"] = self._passed_over_drawn
        for name, count in trouble.items():
            counts[name] = counts.get(name, 0) + count
        return Logged(
            reward=reward,
            propensity=propensity,
            weight=weight,
            chosen=chosen,
            eligible=eligible,
            treatment=treatment,
            share=share,
            cluster=cluster,
            at_us=at_us,
            defaulted=defaulted,
            variant_ids=tuple(self._codes),
            reward_range=(self._low, self._high),
            expected=expected,
            variance=variance,
            served=served,
            counts=counts,
        )

    def _pass_over(self, event: JoinedEvent) -> None:
        self._passed_over += 1
        self._passed_over_defaulted += event.outcome is Outcome.DEFAULTED
        self._passed_over_drawn += event.decision.treatment_share > 0.0

    def _marginal(self, event: JoinedEvent) -> list[float]:
        decision = event.decision
        baseline = baseline_index(self._baseline, decision.variants)
        if decision.arm is Arm.CONTROL and decision.chosen != baseline:
            raise BadLog(
                f"The baseline was not {self._baseline!r} all along, so there is no one propensity over both "
                "arms. Judge a time with one baseline (--since, --until), or use --propensity own."
            )
        share = decision.treatment_share
        distribution = [share * p for p in decision.policy_distribution]
        distribution[baseline] += 1.0 - share
        return distribution

    def _learn_codes(self, variants: Sequence[Variant]) -> None:
        codes = self._codes
        self._variant_codes = [codes.setdefault(variant.id, len(codes)) for variant in variants]
        # A list may change, or be another one's memory, by the time that it is compared.
        self._variants = variants if isinstance(variants, tuple) else None


def _number(subject: str) -> int:
    """64 bits that are the same for the same subject in every process."""
    return int.from_bytes(blake2b(subject.encode(), digest_size=8).digest(), "big", signed=True)
