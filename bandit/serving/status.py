"""Domain refusals -> gRPC status: the only place that knows both."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from bandit.core.errors import Reason, Refused
from bandit.v1 import bandit_pb2 as pb

DOMAIN: Final = "bandit.v1"
DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_AFTER_MS: Final = 100

_CODES: Final[Mapping[Reason, grpc.StatusCode]] = MappingProxyType(
    {
        Reason.MALFORMED_MESSAGE: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.LIMIT_EXCEEDED: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.MISSING_ID: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_ID: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.NO_VARIANTS: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.DUPLICATE_VARIANT_ID: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.UNDECLARED_SIGNAL: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.WRONG_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.MISSING_VALUE: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.NON_FINITE_VALUE: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.SIGNAL_OUT_OF_RANGE: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.UNKNOWN_METRIC: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.REWARD_OUT_OF_RANGE: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.UNKNOWN_EXPERIMENT: grpc.StatusCode.NOT_FOUND,
        Reason.DECISION_ID_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
        Reason.REWARD_ID_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
        Reason.STAGE_TRANSITION_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.SNAPSHOT_INCOMPATIBLE: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.STARTING: grpc.StatusCode.UNAVAILABLE,
        Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
        Reason.LOG_UNWRITABLE: grpc.StatusCode.UNAVAILABLE,
        Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    }
)
_RETRY_HELPS: Final = frozenset({Reason.OVERLOADED, Reason.STARTING, Reason.DRAINING, Reason.LOG_UNWRITABLE})


def code_of(refusal: Refused) -> grpc.StatusCode:
    """The status code of a refusal."""
    return _CODES[refusal.reason]


def details_of(refusal: Refused) -> bytes:
    """The serialised google.rpc.Status that belongs under DETAILS_KEY in the trailing metadata."""
    details = [
        error_details_pb2.ErrorInfo(reason=refusal.reason.value, domain=DOMAIN, metadata=refusal.metadata)
    ]
    packed = [_packed(details[0])]
    if refusal.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in refusal.violations
        ]
        packed.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    if refusal.reason in _RETRY_HELPS:
        delay = Duration()
        delay.FromMilliseconds(RETRY_AFTER_MS)
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    code: int = code_of(refusal).value[0]
    status: bytes = status_pb2.Status(code=code, message=refusal.message, details=packed).SerializeToString()
    return status


def call_error(refusal: Refused) -> pb.CallError:
    """The refusal of one item of a batch."""
    code: int = code_of(refusal).value[0]
    return pb.CallError(
        code=code,
        reason=refusal.reason.value,
        message=refusal.message,
        metadata=refusal.metadata,
        violations=[pb.FieldViolation(field=v.field, description=v.description) for v in refusal.violations],
    )


def _packed(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]  # the googleapis stubs don't know Message
    return packed
