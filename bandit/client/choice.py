"""What a call answers: plain, frozen values with enums that read and serialise as their names.

UNSPECIFIED in an enum is a value of a newer service that this client doesn't know yet: it must not cost a
page its content.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bandit.v1 import bandit_pb2 as pb


class Source(StrEnum):
    """Where a served variant came from. Equal to its own name: `choice.source == "LEARNED"`."""

    LEARNED = "LEARNED"
    UNTRAINED = "UNTRAINED"
    BASELINE = "BASELINE"
    FALLBACK = "FALLBACK"
    UNSPECIFIED = "UNSPECIFIED"


class Arm(StrEnum):
    """The side of the comparison with the baseline."""

    CONTROL = "CONTROL"
    TREATMENT = "TREATMENT"
    UNSPECIFIED = "UNSPECIFIED"


class RewardStatus(StrEnum):
    """What became of a reward. NOT_SENT is the client's own: a fallback choice has nothing to reward."""

    RECORDED = "RECORDED"
    DUPLICATE = "DUPLICATE"
    LATE = "LATE"
    UNKNOWN_DECISION = "UNKNOWN_DECISION"
    NOT_SENT = "NOT_SENT"
    UNSPECIFIED = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class Choice:
    """What to show, and how it came about.

    `decision_id` goes to `reward`; it is empty iff `source` is FALLBACK. `propensity` is the exact
    probability with which `variant_id` was drawn, in (0, 1]; `distribution` has one entry an eligible
    variant, in catalogue (or request) order, and sums to 1. `snapshot_id` is empty unless `source` is
    LEARNED. `payload` is the variant's payload as a Python value, None if it has none.
    """

    decision_id: str
    variant_id: str
    propensity: float
    distribution: Mapping[str, float]
    snapshot_id: str
    source: Source
    payload: Any
    arm: Arm

    @classmethod
    def from_response(cls, response: pb.ChooseResponse) -> "Choice":
        """The choice of a response.

        The service's own fallback (it served the baseline because its log is down) loses its decision id like
        the client's: nothing was logged that a reward could belong to.
        """
        source = _SOURCES.get(response.source, Source.UNSPECIFIED)
        return cls(
            decision_id="" if source is Source.FALLBACK else response.decision_id,
            variant_id=response.variant_id,
            propensity=response.propensity,
            distribution={entry.variant_id: entry.probability for entry in response.distribution},
            snapshot_id=response.snapshot_id,
            source=source,
            payload=_payload(response.payload_json),
            arm=_ARMS.get(response.arm, Arm.UNSPECIFIED),
        )

    @classmethod
    def fallback(cls, variant_id: str, request: pb.ChooseRequest) -> "Choice | None":
        """`variant_id` with certainty, without the service; None if `request` does not allow that variant.

        Its payload is known only if the variant came with the call.
        """
        given = {variant.id: variant.payload_json for variant in request.variants}
        if variant_id in request.excluded_variant_ids or (given and variant_id not in given):
            return None
        return cls(
            decision_id="",
            variant_id=variant_id,
            propensity=1.0,
            distribution={variant_id: 1.0},
            snapshot_id="",
            source=Source.FALLBACK,
            payload=_payload(given.get(variant_id, "")),
            arm=Arm.CONTROL,
        )


def reward_status(response: pb.RewardResponse) -> RewardStatus:
    """The status of a response."""
    return _STATUSES.get(response.status, RewardStatus.UNSPECIFIED)


_SOURCES: Mapping[int, Source] = {
    pb.DECISION_SOURCE_LEARNED: Source.LEARNED,
    pb.DECISION_SOURCE_UNTRAINED: Source.UNTRAINED,
    pb.DECISION_SOURCE_BASELINE: Source.BASELINE,
    pb.DECISION_SOURCE_FALLBACK: Source.FALLBACK,
}
_ARMS: Mapping[int, Arm] = {pb.ARM_CONTROL: Arm.CONTROL, pb.ARM_TREATMENT: Arm.TREATMENT}
_STATUSES: Mapping[int, RewardStatus] = {
    pb.REWARD_STATUS_RECORDED: RewardStatus.RECORDED,
    pb.REWARD_STATUS_DUPLICATE: RewardStatus.DUPLICATE,
    pb.REWARD_STATUS_LATE: RewardStatus.LATE,
    pb.REWARD_STATUS_UNKNOWN_DECISION: RewardStatus.UNKNOWN_DECISION,
}


def _payload(payload_json: str) -> Any:
    return json.loads(payload_json) if payload_json else None
