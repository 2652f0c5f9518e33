"""The records that flow through the system: frozen, slotted, free of behaviour.

`at_us` is log time: microseconds since the Unix epoch as stamped by the event log, never decreasing along
`seq`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

FeatureValue = str | float | bool | tuple[str, ...]
Features = Mapping[str, FeatureValue]
"""Feature or signal name to its value: a category (str), number (finite float), flag (bool) or categories."""


class Arm(IntEnum):
    """The side of the comparison with the baseline."""

    CONTROL = 1
    TREATMENT = 2


class Source(IntEnum):
    """Where a served variant came from."""

    LEARNED = 1
    UNTRAINED = 2
    BASELINE = 3
    FALLBACK = 4


class Stage(IntEnum):
    """A stage of a rollout. Only RAMP and FULL serve the policy."""

    DRAFT = 1
    SHADOW = 2
    RAMP = 3
    FULL = 4
    PAUSED = 5
    STOPPED = 6


class RewardStatus(IntEnum):
    """What became of a reward."""

    RECORDED = 1
    DUPLICATE = 2
    LATE = 3
    UNKNOWN_DECISION = 4


class Outcome(IntEnum):
    """How a closed decision got its reward."""

    REWARDED = 1
    DEFAULTED = 2
    UNREWARDED = 3


@dataclass(frozen=True, slots=True)
class Variant:
    """Something that may be shown. `payload_json` is empty when there is none; the model never sees it."""

    id: str
    features: Features = field(default_factory=dict)
    payload_json: str = ""


class Decision(NamedTuple):
    """What was chosen, and everything needed to learn from it and to judge it later.

    `variants` are the eligible ones in catalogue (or request) order; `distribution` (what was drawn from) and
    `policy_distribution` are parallel to it and each sums to 1. `subject` is a pseudonym or empty. `context`
    holds the signals as sent, less those whose consent was missing. `treatment_share` is in [0, 1].
    `call_variants` tells whether the variants came with the call instead of from the catalogue.

    In a log that came from elsewhere, `distribution` may hold NaN for what that log did not say: everywhere,
    or everywhere but at `chosen`. `pdrop`, in [0, 1), is the share of such events that were dropped before
    they reached the log; each that was kept stands for 1 / (1 - pdrop).
    """

    experiment_id: str
    version: int
    decision_id: str
    subject: str
    context: Features
    variants: Sequence[Variant]
    call_variants: bool
    distribution: Sequence[float]
    policy_distribution: Sequence[float]
    chosen: int
    arm: Arm
    source: Source
    stage: Stage
    treatment_share: float
    snapshot_id: str
    pdrop: float = 0.0

    @property
    def variant(self) -> Variant:
        """The served variant."""
        return self.variants[self.chosen]

    @property
    def propensity(self) -> float:
        """The probability with which the served variant was drawn, in (0, 1]; NaN if the log did not say."""
        return self.distribution[self.chosen]


@dataclass(frozen=True, slots=True)
class Reward:
    """One reward of a known decision, as the log stored it. `metric` is never empty."""

    seq: int
    at_us: int
    metric: str
    value: float


class Position(NamedTuple):
    """How far a fold has come in the joined order: the last JoinedEvent's closing time and decision seq."""

    closing_us: int
    seq: int


ORIGIN = Position(0, 0)
"""The position before the first joined event."""


class JoinedEvent(NamedTuple):
    """A closed decision with its reward.

    `reward` is the aggregated primary reward within its declared range, or the default; None iff the outcome
    is UNREWARDED. `clamped` tells that aggregation left the range and was brought back. `metrics` are the
    aggregated secondary metrics that were reported in time.
    """

    position: Position
    at_us: int
    decision: Decision
    outcome: Outcome
    reward: float | None
    clamped: bool
    metrics: Mapping[str, float]
