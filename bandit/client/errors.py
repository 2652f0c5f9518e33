"""What a refused or broken call raises in the client."""

from collections.abc import Mapping

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from bandit.core.errors import Violation
from bandit.v1 import bandit_pb2 as pb

_DETAILS_KEY = "grpc-status-details-bin"
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

UNREACHABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        # Of a server or a proxy that ends while a call arrives; the client itself gives up no call.
        grpc.StatusCode.CANCELLED,
    }
)
"""The codes that say "not now" rather than "not like this": a fallback variant answers them."""


class BanditError(Exception):
    """A call, or one item of a batch, that the service refused or that did not reach it.

    `reason` is the service's UPPER_SNAKE reason (`WRONG_TYPE`, `UNKNOWN_EXPERIMENT`, ...); empty where the
    transport failed before the service could say one. `code` is the gRPC status. `metadata` holds every
    variable of the message under its field's own name; `violations` name the fields that are wrong.
    `retry_after_s` is how long the service asks to wait before the call is sent again; None if it didn't.
    """

    def __init__(
        self,
        reason: str,
        code: grpc.StatusCode,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.reason = reason
        self.code = code
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.retry_after_s = retry_after_s

    @classmethod
    def from_rpc(cls, error: grpc.RpcError) -> "BanditError":
        """The error of a failed call, with the google.rpc details of its trailing metadata, if any."""
        # Both of grpc's errors, the sync call and AioRpcError, are a grpc.Call; the stubs know only the base.
        call: grpc.Call = error  # type: ignore[assignment]
        info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
        for key, value in call.trailing_metadata() or ():
            if key == _DETAILS_KEY and isinstance(value, bytes):
                for detail in Status.FromString(value).details:
                    # Unpack leaves a message of another type alone and says so.
                    _ = detail.Unpack(info) or detail.Unpack(bad_request) or detail.Unpack(retry)
        delay_s = retry.retry_delay.ToTimedelta().total_seconds()
        return cls(
            info.reason,
            call.code(),
            call.details() or "",
            metadata=info.metadata,
            violations=tuple(Violation(v.field, v.description) for v in bad_request.field_violations),
            retry_after_s=delay_s if retry.HasField("retry_delay") else None,
        )

    @classmethod
    def from_item(cls, error: pb.CallError) -> "BanditError":
        """The error of one item of a batch."""
        return cls(
            error.reason,
            _CODES.get(error.code, grpc.StatusCode.UNKNOWN),
            error.message,
            metadata=error.metadata,
            violations=tuple(Violation(v.field, v.description) for v in error.violations),
        )
