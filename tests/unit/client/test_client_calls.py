"""The sync and the asyncio client over real gRPC, against a service that a test scripts."""

import asyncio
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

import bandit.client
import bandit.client.aio
from bandit.client import Arm, BanditError, Choice, ChooseCall, RewardCall, RewardStatus, Source
from bandit.core.errors import Violation
from bandit.v1 import bandit_pb2 as pb
from bandit.v1.bandit_pb2_grpc import BanditServiceServicer, add_BanditServiceServicer_to_server

Answer = Callable[[Any, grpc.ServicerContext], Message]


def packed(*details: Message) -> list[AnyMessage]:
    boxes = [AnyMessage() for _ in details]
    for box, detail in zip(boxes, details, strict=True):
        box.Pack(detail)
    return boxes


def refuse(code: grpc.StatusCode, reason: str = "", *, retry_after_s: int = 0) -> Answer:
    """An answer that refuses as the service does: with google.rpc details, if there is a reason."""

    def answer(request: Any, rpc: grpc.ServicerContext) -> Message:
        if not reason:
            rpc.abort(code, "not now")
        details: list[Message] = [
            ErrorInfo(reason=reason, domain="bandit.v1", metadata={"signal": "recency"}),
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(field="context[recency]", description="Send a number.")
                ]
            ),
        ]
        if retry_after_s:
            details.append(RetryInfo(retry_delay=Duration(seconds=retry_after_s)))
        status = Status(code=code.value[0], message="What to do.", details=packed(*details))
        rpc.abort_with_status(rpc_status.to_status(status))
        raise RuntimeError("abort raises")

    return answer


def choose_one(request: pb.ChooseRequest, rpc: grpc.ServicerContext | None = None) -> pb.ChooseResponse:
    """The answer of a learned policy that likes variant a."""
    return pb.ChooseResponse(
        decision_id=request.decision_id,
        variant_id="a",
        propensity=0.75,
        distribution=[
            pb.VariantProbability(variant_id="b", probability=0.25),
            pb.VariantProbability(variant_id="a", probability=0.75),
        ],
        snapshot_id="s1",
        source=pb.DECISION_SOURCE_LEARNED,
        payload_json='{"template": "mens-spring"}',
        arm=pb.ARM_TREATMENT,
    )


def record(request: pb.RewardRequest, rpc: grpc.ServicerContext | None = None) -> pb.RewardResponse:
    """The answer to a reward that counts."""
    return pb.RewardResponse(status=pb.REWARD_STATUS_RECORDED)


@dataclass
class ScriptedService(BanditServiceServicer):
    """Answers with the next of `answers`; the last one stays. `seen` are the requests, attempts included."""

    answers: list[Answer] = field(default_factory=lambda: [choose_one])
    seen: list[Any] = field(default_factory=list)
    target: str = ""

    def _answer(self, request: Any, rpc: grpc.ServicerContext) -> Any:
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request, rpc)

    Choose = ChooseBatch = Reward = RewardBatch = _answer


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    scripted = ScriptedService()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    add_BanditServiceServicer_to_server(scripted, server)
    scripted.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield scripted
    server.stop(None).wait()


TIMEOUT_S = 10.0
"""Far more than any call needs: no test of this file depends on speed."""

Call = Callable[[Any], Any]


def with_sync(
    target: str, fallback: str | None, call: Call, timeout_s: float = TIMEOUT_S, **more: Any
) -> Any:
    with bandit.client.BanditClient(target, timeout_s=timeout_s, fallback=fallback, **more) as client:
        return call(client)


def with_aio(target: str, fallback: str | None, call: Call, timeout_s: float = TIMEOUT_S, **more: Any) -> Any:
    # Made outside of any loop on purpose: that must work.
    client = bandit.client.aio.BanditClient(target, timeout_s=timeout_s, fallback=fallback, **more)

    async def run() -> Any:
        async with client:
            return await call(client)

    return asyncio.run(run())


both = pytest.mark.parametrize("use", [with_sync, with_aio], ids=["sync", "aio"])


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def choose(client: Any) -> Any:
    return client.choose("e", {"recency": 3})


@both
def test_a_choice_carries_everything_of_the_response(service: ScriptedService, use: Any) -> None:
    choice = use(service.target, None, choose)
    assert choice == Choice(
        decision_id=service.seen[0].decision_id,
        variant_id="a",
        propensity=0.75,
        distribution={"b": 0.25, "a": 0.75},
        snapshot_id="s1",
        source=Source.LEARNED,
        payload={"template": "mens-spring"},
        arm=Arm.TREATMENT,
    )
    assert list(choice.distribution) == ["b", "a"]
    assert (choice.source, choice.arm) == ("LEARNED", "TREATMENT")
    with pytest.raises(FrozenInstanceError):
        choice.variant_id = "b"


@both
def test_a_value_of_a_newer_service_does_not_cost_the_choice(service: ScriptedService, use: Any) -> None:
    service.answers = [lambda request, rpc: pb.ChooseResponse(variant_id="a", source=99, arm=99)]  # type: ignore[arg-type]
    choice = use(service.target, None, choose)
    assert (choice.variant_id, choice.source, choice.arm) == ("a", Source.UNSPECIFIED, Arm.UNSPECIFIED)


@both
def test_a_call_that_the_service_could_not_take_is_sent_again_with_the_same_id(
    service: ScriptedService, use: Any
) -> None:
    service.answers = [refuse(grpc.StatusCode.UNAVAILABLE, "STARTING"), choose_one]
    choice = use(service.target, "b", choose)
    assert choice.source is Source.LEARNED
    first, second = service.seen
    assert first.decision_id == second.decision_id == choice.decision_id != ""


@both
def test_each_decision_has_an_id_of_its_own_that_grows_with_time(service: ScriptedService, use: Any) -> None:
    use(service.target, None, choose)
    use(service.target, None, choose)
    first, second = (uuid.UUID(request.decision_id) for request in service.seen)
    assert (first.version, second.version) == (7, 7)
    assert first != second
    assert first.int >> 80 <= second.int >> 80


@both
def test_a_reward_that_the_service_could_not_take_is_sent_again(service: ScriptedService, use: Any) -> None:
    service.answers = [refuse(grpc.StatusCode.UNAVAILABLE, "DRAINING"), record]
    status = use(service.target, None, lambda client: client.reward("d1", 1.0, reward_id="r1"))
    assert status is RewardStatus.RECORDED
    assert service.seen[0] == service.seen[1]


@both
def test_an_overloaded_service_is_not_asked_again(service: ScriptedService, use: Any) -> None:
    service.answers = [refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after_s=2)]
    with pytest.raises(BanditError) as raised:
        use(service.target, None, choose)
    assert (raised.value.reason, raised.value.retry_after_s) == ("OVERLOADED", 2.0)
    assert len(service.seen) == 1


@both
@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    ],
)
def test_a_service_that_can_not_answer_now_is_replaced_by_the_fallback(
    service: ScriptedService, use: Any, code: grpc.StatusCode
) -> None:
    service.answers = [refuse(code)]
    choice = use(service.target, "b", choose)
    assert choice == Choice("", "b", 1.0, {"b": 1.0}, "", Source.FALLBACK, None, Arm.CONTROL)


@both
def test_a_service_that_is_not_there_is_replaced_by_the_fallback(use: Any) -> None:
    choice = use(closed_port(), "b", choose)
    assert (choice.variant_id, choice.decision_id, choice.source) == ("b", "", "FALLBACK")


@both
def test_a_service_that_does_not_answer_in_time_is_replaced_by_the_fallback(
    service: ScriptedService, use: Any
) -> None:
    def hang(request: Any, rpc: grpc.ServicerContext) -> pb.ChooseResponse:
        while rpc.is_active():
            pass
        return pb.ChooseResponse()

    service.answers = [hang]
    choice = use(service.target, "b", choose, timeout_s=0.05)
    assert choice.source is Source.FALLBACK


@both
def test_without_a_fallback_the_failure_is_raised(use: Any) -> None:
    with pytest.raises(BanditError) as raised:
        use(closed_port(), None, choose)
    assert (raised.value.reason, raised.value.code) == ("", grpc.StatusCode.UNAVAILABLE)


@both
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "WRONG_TYPE"),
        (grpc.StatusCode.NOT_FOUND, "UNKNOWN_EXPERIMENT"),
        (grpc.StatusCode.ALREADY_EXISTS, "DECISION_ID_CONFLICT"),
        (grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_a_refusal_is_raised_with_its_details_whatever_the_fallback(
    service: ScriptedService, use: Any, code: grpc.StatusCode, reason: str
) -> None:
    service.answers = [refuse(code, reason)]
    with pytest.raises(BanditError, match=reason) as raised:
        use(service.target, "b", choose)
    error = raised.value
    assert (error.reason, error.code, error.message) == (reason, code, "What to do.")
    assert error.metadata == {"signal": "recency"}
    assert error.violations == (Violation("context[recency]", "Send a number."),)
    assert error.retry_after_s is None
    assert len(service.seen) == 1


@both
def test_a_message_over_the_limit_is_a_bug_and_not_a_reason_to_fall_back(
    service: ScriptedService, use: Any
) -> None:
    context = {f"s{i}": "x" * 1_024 for i in range(5_000)}
    with pytest.raises(BanditError) as raised:
        use(service.target, "b", lambda client: client.choose("e", context))
    assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@both
def test_a_fallback_that_the_call_excludes_is_not_served(use: Any) -> None:
    with pytest.raises(BanditError):
        use(closed_port(), "b", lambda client: client.choose("e", {}, excluded=["b"]))


@both
def test_a_fallback_that_is_not_among_the_variants_of_the_call_is_not_served(use: Any) -> None:
    with pytest.raises(BanditError):
        use(closed_port(), "b", lambda client: client.choose("e", {}, variants=["a", "c"]))


@both
def test_a_fallback_that_came_with_the_call_brings_its_payload(use: Any) -> None:
    variants = ["a", {"id": "b", "payload": {"template": "plain"}}]
    choice = use(closed_port(), "b", lambda client: client.choose("e", {}, variants=variants))
    assert (choice.source, choice.payload) == ("FALLBACK", {"template": "plain"})


@both
def test_the_reward_of_a_fallback_choice_is_not_sent(service: ScriptedService, use: Any) -> None:
    status = use(service.target, "b", lambda client: client.reward("", 1.0))
    assert status is RewardStatus.NOT_SENT
    assert service.seen == []


@both
def test_a_fallback_of_the_service_has_no_decision_to_reward_either(
    service: ScriptedService, use: Any
) -> None:
    def fallback(request: pb.ChooseRequest, rpc: grpc.ServicerContext) -> pb.ChooseResponse:
        return pb.ChooseResponse(
            decision_id=request.decision_id,
            variant_id="no_email",
            propensity=1.0,
            source=pb.DECISION_SOURCE_FALLBACK,
            arm=pb.ARM_CONTROL,
        )

    service.answers = [fallback]
    choice = use(service.target, "b", choose)
    assert (choice.variant_id, choice.source, choice.decision_id) == ("no_email", "FALLBACK", "")


@both
def test_a_reward_that_could_not_be_sent_is_raised_even_with_a_fallback(use: Any) -> None:
    with pytest.raises(BanditError) as raised:
        use(closed_port(), "b", lambda client: client.reward("d1", 1.0))
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE


@both
@pytest.mark.parametrize("status", list(RewardStatus)[:4])
def test_each_reward_status_has_its_name(service: ScriptedService, use: Any, status: RewardStatus) -> None:
    number = pb.RewardStatus.Value(f"REWARD_STATUS_{status}")
    service.answers = [lambda request, rpc: pb.RewardResponse(status=number)]
    assert use(service.target, None, lambda client: client.reward("d1", 1.0)) == status.name


@both
def test_a_bad_item_of_a_batch_stands_at_its_place(service: ScriptedService, use: Any) -> None:
    def batch(request: pb.ChooseBatchRequest, rpc: grpc.ServicerContext) -> pb.ChooseBatchResponse:
        wrong = pb.CallError(
            code=3,
            reason="WRONG_TYPE",
            message="Send a number.",
            metadata={"signal": "recency"},
            violations=[pb.FieldViolation(field="context[recency]", description="Send a number.")],
        )
        return pb.ChooseBatchResponse(
            results=[
                pb.ChooseResult(response=choose_one(request.requests[0])),
                pb.ChooseResult(error=wrong),
                pb.ChooseResult(error=pb.CallError(code=14, reason="LOG_UNWRITABLE")),
            ]
        )

    service.answers = [batch]
    calls = [ChooseCall("e", {}), ChooseCall("e", {"recency": "3"}), ChooseCall("e", {})]
    good, bad, away = use(service.target, "b", lambda client: client.choose_batch(calls))
    assert good.decision_id == service.seen[0].requests[0].decision_id
    assert (bad.reason, bad.code) == ("WRONG_TYPE", grpc.StatusCode.INVALID_ARGUMENT)
    assert bad.violations == (Violation("context[recency]", "Send a number."),)
    assert bad.metadata == {"signal": "recency"}
    assert away.source is Source.FALLBACK


@both
def test_a_batch_that_could_not_be_sent_is_fallbacks_where_its_items_allow_it(use: Any) -> None:
    calls = [ChooseCall("e", {}), ChooseCall("e", {}, excluded=["b"])]
    first, second = use(closed_port(), "b", lambda client: client.choose_batch(calls))
    assert (first.source, first.variant_id) == ("FALLBACK", "b")
    assert second.code is grpc.StatusCode.UNAVAILABLE


@both
def test_a_batch_that_could_not_be_sent_is_raised_without_a_fallback(use: Any) -> None:
    with pytest.raises(BanditError):
        use(closed_port(), None, lambda client: client.choose_batch([ChooseCall("e", {})]))


@both
def test_a_batch_that_was_refused_as_a_whole_is_raised(service: ScriptedService, use: Any) -> None:
    service.answers = [refuse(grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED")]
    with pytest.raises(BanditError, match="LIMIT_EXCEEDED"):
        use(service.target, "b", lambda client: client.choose_batch([ChooseCall("e", {})]))
    with pytest.raises(BanditError, match="LIMIT_EXCEEDED"):
        use(service.target, "b", lambda client: client.reward_batch([RewardCall("d", 1.0)]))


@both
def test_rewards_of_a_batch_stand_in_order_with_those_that_were_not_sent(
    service: ScriptedService, use: Any
) -> None:
    def batch(request: pb.RewardBatchRequest, rpc: grpc.ServicerContext) -> pb.RewardBatchResponse:
        return pb.RewardBatchResponse(
            results=[
                pb.RewardResult(response=record(request.requests[0])),
                pb.RewardResult(error=pb.CallError(code=3, reason="UNKNOWN_METRIC")),
            ]
        )

    service.answers = [batch]
    calls = [RewardCall("d1", 1.0), RewardCall("", 1.0), RewardCall("d2", 1.0, metric="x")]
    first, second, third = use(service.target, "b", lambda client: client.reward_batch(calls))
    assert (first, second) == ("RECORDED", "NOT_SENT")
    assert third.reason == "UNKNOWN_METRIC"
    assert [request.decision_id for request in service.seen[0].requests] == ["d1", "d2"]


@both
def test_a_batch_of_rewards_for_fallback_choices_alone_needs_no_service(use: Any) -> None:
    calls = [RewardCall("", 1.0), RewardCall("", 0.0)]
    assert use(closed_port(), "b", lambda client: client.reward_batch(calls)) == ["NOT_SENT", "NOT_SENT"]
    assert use(closed_port(), "b", lambda client: client.reward_batch([])) == []


def test_a_dead_sidecar_costs_no_more_than_one_attempt_after_a_few_failures(
    service: ScriptedService,
) -> None:
    service.answers = [refuse(grpc.StatusCode.UNAVAILABLE)]
    with bandit.client.BanditClient(service.target, timeout_s=TIMEOUT_S, fallback="b") as client:
        for _ in range(5):
            client.choose("e", {})
        service.seen.clear()
        client.choose("e", {})
    assert len(service.seen) == 1


@both
def test_calls_take_the_channels_in_turn(service: ScriptedService, use: Any) -> None:
    peers: list[str] = []

    def answer(request: Any, rpc: grpc.ServicerContext) -> Message:
        peers.append(rpc.peer())
        return choose_one(request)

    service.answers = [answer]
    calls = 7

    def chosen_one_after_another(client: Any) -> Any:
        if isinstance(client, bandit.client.BanditClient):
            return [client.choose("e", {}) for _ in range(calls)]

        async def run() -> Any:
            return [await client.choose("e", {}) for _ in range(calls)]

        return run()

    assert len(use(service.target, None, chosen_one_after_another, channels=3)) == calls
    assert len(set(peers)) == 3
    assert peers == [peers[turn % 3] for turn in range(calls)]


@pytest.mark.parametrize("client", [bandit.client.BanditClient, bandit.client.aio.BanditClient])
def test_a_client_opens_1_to_64_channels(client: Any) -> None:
    for channels in (0, -1, 65):
        with pytest.raises(ValueError, match=f"channels: {channels} can't be opened; choose 1 to 64"):
            client("127.0.0.1:1", channels=channels)
    for no_number in (True, 2.0, "2"):
        with pytest.raises(TypeError, match="channels: a number of channels is an int, not "):
            client("127.0.0.1:1", channels=no_number)


def test_a_proxy_for_the_outside_world_is_not_used(
    service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert with_sync(service.target, None, choose).variant_id == "a"


def test_importing_the_client_loads_neither_the_model_nor_pydantic() -> None:
    heavy = "{'vowpalwabbit', 'pylibvw', 'pydantic', 'numpy', 'typer', 'yaml', 'sqlite3'}"
    code = f"import sys, bandit.client, bandit.client.aio; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
