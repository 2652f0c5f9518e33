"""What surrounds every call: the gate, policies to load, refusals, unknown errors, counts, a log line."""

import secrets
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from time import perf_counter

import grpc
import structlog

from bandit.core.errors import Reason, Refused
from bandit.serving.loading import NotLoaded
from bandit.serving.metrics import Metrics
from bandit.serving.status import DETAILS_KEY, RETRY_AFTER_MS, code_of, details_of

Handle = Callable[[bytes], Awaitable[bytes]]
Endpoint = Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]


class Phase(Enum):
    """The life of a serving process."""

    STARTING = auto()
    SERVING = auto()
    DRAINING = auto()


class Gate:
    """Lets calls in: while SERVING, and at most `calls_in_flight_max` at once."""

    def __init__(self, calls_in_flight_max: int) -> None:
        """Starts closed, in STARTING."""
        self.phase = Phase.STARTING
        self.in_flight = 0
        self._max = calls_in_flight_max

    def refusal(self) -> Refused | None:
        """Why a call may not come in now, or None."""
        if self.phase is Phase.SERVING:
            if self.in_flight < self._max:
                return None
            return Refused(
                Reason.OVERLOADED,
                f"{self.in_flight} calls are in flight; at most {self._max} are taken. Retry after "
                f"{RETRY_AFTER_MS} ms, or run more workers.",
                metadata={"calls_in_flight": str(self.in_flight), "limit": str(self._max)},
            )
        if self.phase is Phase.STARTING:
            return Refused(Reason.STARTING, "The server is starting. Retry in a moment.")
        return Refused(Reason.DRAINING, "The server is stopping. Retry; another process takes over.")


def endpoint(method: str, handle: Handle, gate: Gate, metrics: Metrics) -> Endpoint:
    """`handle` with everything around it, as a gRPC method on bytes. `method` names it in metrics.

    Where a policy was not in memory, it is asked again once that is loaded.
    """
    logger = structlog.get_logger("calls").bind()

    async def call(body: bytes, rpc: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        start = perf_counter()
        refusal = gate.refusal()
        if refusal is None:
            gate.in_flight += 1
            try:
                try:
                    reply = await handle(body)
                except NotLoaded as error:
                    reply = await _once_loaded(error, handle, body)
                seconds = perf_counter() - start
                metrics.called(method, "OK", seconds)
                logger.debug("call", method=method, code="OK", seconds=seconds)
                return reply
            except Refused as error:
                refusal = error
            except Exception as error:
                refusal = internal(method, error)
            finally:
                gate.in_flight -= 1
        code = code_of(refusal)
        metrics.called(method, code.name, perf_counter() - start)
        metrics.refused(method, refusal.reason)
        logger.debug("call", method=method, code=code.name, reason=refusal.reason.value)
        # Not raised from inside an except block, so that no exception's text can ride along.
        await rpc.abort(code, refusal.message, ((DETAILS_KEY, details_of(refusal)),))
        raise RuntimeError("abort returned")

    return call


async def _once_loaded(missing: NotLoaded, handle: Handle, body: bytes) -> bytes:
    while True:
        await missing.loaded()
        try:
            return await handle(body)
        except NotLoaded as error:
            missing = error


def internal(method: str, error: Exception) -> Refused:
    """Fixed text, and an id that finds the error's traceback in the server's log."""
    request_id = secrets.token_hex(8)
    logger = structlog.get_logger("calls")
    logger.error("internal error", method=method, request_id=request_id, exc_info=error)
    return Refused(
        Reason.INTERNAL,
        "An internal error happened. Please report it with the request id.",
        metadata={"request_id": request_id},
    )
