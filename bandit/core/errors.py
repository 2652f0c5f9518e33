"""What can be wrong with a call, as domain errors with a reason.

This module knows nothing of gRPC: the serving edge maps each `Reason` to a status code in one place.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a call was refused. The names are part of the API contract (google.rpc.ErrorInfo.reason)."""

    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    MISSING_ID = "MISSING_ID"
    INVALID_ID = "INVALID_ID"
    NO_VARIANTS = "NO_VARIANTS"
    DUPLICATE_VARIANT_ID = "DUPLICATE_VARIANT_ID"
    UNDECLARED_SIGNAL = "UNDECLARED_SIGNAL"
    WRONG_TYPE = "WRONG_TYPE"
    MISSING_VALUE = "MISSING_VALUE"
    NON_FINITE_VALUE = "NON_FINITE_VALUE"
    SIGNAL_OUT_OF_RANGE = "SIGNAL_OUT_OF_RANGE"
    UNKNOWN_METRIC = "UNKNOWN_METRIC"
    REWARD_OUT_OF_RANGE = "REWARD_OUT_OF_RANGE"
    UNKNOWN_EXPERIMENT = "UNKNOWN_EXPERIMENT"
    DECISION_ID_CONFLICT = "DECISION_ID_CONFLICT"
    REWARD_ID_CONFLICT = "REWARD_ID_CONFLICT"
    # These two are reserved by the contract; nothing raises them yet.
    SNAPSHOT_INCOMPATIBLE = "SNAPSHOT_INCOMPATIBLE"
    STAGE_TRANSITION_REFUSED = "STAGE_TRANSITION_REFUSED"
    OVERLOADED = "OVERLOADED"
    STARTING = "STARTING"
    DRAINING = "DRAINING"
    LOG_UNWRITABLE = "LOG_UNWRITABLE"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong: its path in the request, and what would be right."""

    field: str
    description: str


class Refused(Exception):
    """A call, or one item of a batch, that is refused.

    `message` says what is wrong and what to do. `metadata` holds every variable of the message under its
    field's own name; its values are short texts without personal data. `violations` name the wrong fields.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: dict[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata or {}
        self.violations = violations


def refused_field(reason: Reason, field: str, message: str, **metadata: str) -> Refused:
    """A refusal that names one field; `metadata` are the message's variables, `field` among them."""
    return Refused(
        reason, message, metadata={"field": field, **metadata}, violations=(Violation(field, message),)
    )


def limit_exceeded(field: str, limit: int, value: int, unit: str) -> Refused:
    """LIMIT_EXCEEDED for `field`, whose measured size `value` is over `limit` (both in `unit`)."""
    message = f"{field} has {value} {unit}; at most {limit} are allowed. Send less."
    return refused_field(Reason.LIMIT_EXCEEDED, field, message, limit=str(limit), value=str(value))
