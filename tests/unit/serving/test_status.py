"""Refusals as gRPC tells them: what a process isn't needed for."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from bandit.core.choose import View
from bandit.core.errors import Reason, Refused, Violation
from bandit.serving.interceptors import Gate, Handle, Phase, endpoint
from bandit.serving.loading import NotLoaded
from bandit.serving.metrics import Metrics
from bandit.serving.status import DETAILS_KEY, call_error, code_of, details_of

CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: (
        "MALFORMED_MESSAGE LIMIT_EXCEEDED MISSING_ID INVALID_ID NO_VARIANTS DUPLICATE_VARIANT_ID "
        "UNDECLARED_SIGNAL WRONG_TYPE MISSING_VALUE NON_FINITE_VALUE SIGNAL_OUT_OF_RANGE "
        "UNKNOWN_METRIC REWARD_OUT_OF_RANGE"
    ),
    grpc.StatusCode.NOT_FOUND: "UNKNOWN_EXPERIMENT",
    grpc.StatusCode.ALREADY_EXISTS: "DECISION_ID_CONFLICT REWARD_ID_CONFLICT",
    grpc.StatusCode.FAILED_PRECONDITION: "STAGE_TRANSITION_REFUSED SNAPSHOT_INCOMPATIBLE",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "OVERLOADED",
    grpc.StatusCode.UNAVAILABLE: "STARTING DRAINING LOG_UNWRITABLE",
    grpc.StatusCode.INTERNAL: "INTERNAL",
}
TABLE = {name: code for code, names in CODES.items() for name in names.split()}


class Aborted(Exception):
    """What gRPC raises to end a call."""


class Rpc:
    """A call that keeps how it was ended."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status

    async def abort(self, code: grpc.StatusCode, message: str, trailing: Any) -> None:
        self.code, self.message = code, message
        self.status = status_pb2.Status.FromString(dict(trailing)[DETAILS_KEY])
        raise Aborted


def unpacked(status: status_pb2.Status, kind: type) -> list[Any]:
    found = []
    for detail in status.details:
        message: Any = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def ended(handle: Handle, gate: Gate) -> Rpc:
    ending = Rpc()
    rpc: Any = ending
    call = endpoint("Choose", handle, gate, Metrics(lambda _: frozenset()))
    with pytest.raises(Aborted):
        asyncio.run(_awaited(call(b"", rpc)))
    return ending


def open_gate(calls_in_flight_max: int = 10) -> Gate:
    gate = Gate(calls_in_flight_max)
    gate.phase = Phase.SERVING
    return gate


async def echo(body: bytes) -> bytes:
    return body


def test_the_table_has_every_reason() -> None:
    assert set(TABLE) == {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_code_and_says_whether_a_retry_helps(reason: Reason) -> None:
    refusal = Refused(reason, "what is wrong", metadata={"field": "x"}, violations=(Violation("x", "wrong"),))
    status = status_pb2.Status.FromString(details_of(refusal))
    assert code_of(refusal) is TABLE[reason.value]
    assert (status.code, status.message) == (TABLE[reason.value].value[0], "what is wrong")
    (info,) = unpacked(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.value, "bandit.v1", {"field": "x"})
    (bad,) = unpacked(status, error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [("x", "wrong")]
    helps = reason.value in {"OVERLOADED", "STARTING", "DRAINING", "LOG_UNWRITABLE"}
    retries = unpacked(status, error_details_pb2.RetryInfo)
    assert [retry.retry_delay.ToMilliseconds() > 0 for retry in retries] == [True] * helps
    item = call_error(refusal)
    assert (item.code, item.reason, item.message) == (status.code, reason.value, "what is wrong")
    assert dict(item.metadata) == {"field": "x"}
    assert [(v.field, v.description) for v in item.violations] == [("x", "wrong")]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DRAINING])
def test_calls_are_unavailable_before_and_after_serving(phase: Phase) -> None:
    gate = open_gate()
    gate.phase = phase
    rpc = ended(echo, gate)
    (info,) = unpacked(rpc.status, error_details_pb2.ErrorInfo)
    assert (rpc.code, info.reason) == (grpc.StatusCode.UNAVAILABLE, phase.name)


def test_a_bug_is_told_with_a_fixed_text_and_an_id_that_stands_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def broken(body: bytes) -> bytes:
        raise ValueError("secret-of-the-exception")

    gate = open_gate()
    rpc = ended(broken, gate)
    (info,) = unpacked(rpc.status, error_details_pb2.ErrorInfo)
    assert (rpc.code, info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret-of-the-exception" not in rpc.message + str(rpc.status)
    logged = capsys.readouterr()
    assert info.metadata["request_id"] in logged.out + logged.err
    assert gate.in_flight == 0


def test_a_call_gives_its_place_back_however_it_ends() -> None:
    async def refuse(body: bytes) -> bytes:
        raise Refused(Reason.MISSING_ID, "x")

    async def given_up(body: bytes) -> bytes:
        raise asyncio.CancelledError

    rpc: Any = Rpc()
    gate = open_gate(1)
    metrics = Metrics(lambda _: frozenset())
    for _ in range(3):
        assert ended(refuse, gate).code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(_awaited(endpoint("Choose", given_up, gate, metrics)(b"", rpc)))
        reply = endpoint("Choose", echo, gate, metrics)(b"x", rpc)
        assert asyncio.run(_awaited(reply)) == b"x"
    gate.in_flight = 1
    assert ended(echo, gate).code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_is_asked_again_each_time_its_policy_was_loaded(shop: Any) -> None:
    view = View.of(shop(), 1, b"salt")
    went: list[str] = []

    async def load(asked: View) -> None:
        assert asked is view
        went.append("loaded")

    async def away_twice(body: bytes) -> bytes:
        went.append("asked")
        if len(went) < 4:
            raise NotLoaded(view, load)
        return body

    rpc: Any = Rpc()
    gate = open_gate()
    reply = endpoint("Choose", away_twice, gate, Metrics(lambda _: frozenset()))(b"x", rpc)
    assert asyncio.run(_awaited(reply)) == b"x"
    assert went == ["asked", "loaded", "asked", "loaded", "asked"]
    assert gate.in_flight == 0


def test_a_policy_that_can_not_be_loaded_is_an_internal_error(shop: Any) -> None:
    async def fails(asked: View) -> None:
        raise OSError("no such luck")

    async def away(body: bytes) -> bytes:
        raise NotLoaded(View.of(shop(), 1, b"salt"), fails)

    gate = open_gate()
    assert ended(away, gate).code is grpc.StatusCode.INTERNAL
    assert gate.in_flight == 0


async def _awaited(reply: Any) -> bytes:
    answer: bytes = await reply
    return answer
