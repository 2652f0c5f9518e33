"""The contract of calls, line by line, against a real server over a real socket."""

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from bandit.v1 import bandit_pb2 as pb
from bandit.v1.bandit_pb2_grpc import BanditServiceStub

TIMEOUT_S = 20.0
LONG_TEXT = "é" * 513
LONG_TEXTS = [f"{number}{'é' * 500}" for number in range(10)]

EXPERIMENTS = f"""
experiments:
  - id: mail
    owner: growth@shop.example
    variants:
      - {{id: none}}
      - {{id: mens, features: {{merchandise: mens}}, payload: {{template: mens-spring}}}}
      - {{id: womens, features: {{merchandise: womens}}, payload: {{template: womens-spring}}}}
    baseline: none
    signals:
      recency: {{type: number, range: [1, 12]}}
      age: {{type: number, range: [0, 120], strict: true}}
      channel: {{type: category, values: [Web, Phone]}}
      region: {{type: category, values: [north, south], strict: true}}
      mens: {{type: flag}}
      interests: {{type: categories}}
      zip_code: {{type: category, consent: marketing}}
    reward: {{metric: visit, range: [0, 1], window: 10m, aggregate: sum}}
    metrics: {{complaint: {{range: [0, 5]}}}}
  - id: first-click
    owner: growth@shop.example
    variants: [{{id: a}}, {{id: b}}]
    baseline: a
    reward: {{metric: click, default: none, learn: on_reward}}
    metrics: {{complaint: {{range: [0, 5]}}}}
  - id: blink
    owner: growth@shop.example
    variants: [{{id: a}}, {{id: b}}]
    baseline: a
    reward: {{metric: click, window: 1ms}}
  - id: own
    owner: growth@shop.example
    variants: []
    signals: open
    reward: {{metric: click}}
  - id: wordy
    owner: growth@shop.example
    variants: [{{id: a}}]
    baseline: a
    signals: {{topic: {{type: category, strict: true, values: [{", ".join(LONG_TEXTS)}]}}}}
    reward: {{metric: click}}
""" + "".join(
    f"""
  - id: stage-{name}
    owner: growth@shop.example
    variants: [{{id: a}}, {{id: b, payload: {{n: 1}}}}, {{id: c}}]
    baseline: b
    reward: {{metric: click}}
    rollout: {rollout}
"""
    for name, rollout in {
        "draft": "{stage: draft}",
        "shadow": "{stage: shadow}",
        "paused": "{stage: paused}",
        "stopped": "{stage: stopped}",
        "ramp": "{stage: ramp, percent: 50, holdout_percent: 10}",
        "held": "{stage: full, holdout_percent: 50}",
        "full": "{stage: full}",
    }.items()
)

_ids = itertools.count()


def new_id() -> str:
    return f"d-{next(_ids)}"


@dataclass(frozen=True)
class Failure:
    """What a caller sees of a refused call."""

    code: grpc.StatusCode
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    retry_ms: int = 0
    message: str = ""


def failure(call: Callable[[], object]) -> Failure:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error: Any = raised.value
    trailing = dict(error.trailing_metadata() or ())
    if "grpc-status-details-bin" not in trailing:
        return Failure(error.code(), message=error.details())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    # A status and its details are one answer told twice.
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), None
    for detail in status.details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
        elif not detail.Unpack(info):
            assert detail.Unpack(bad)
    assert all(violation.description for violation in bad.field_violations)
    return Failure(
        code=error.code(),
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        fields=tuple(violation.field for violation in bad.field_violations),
        retry_ms=retry.retry_delay.ToMilliseconds() if retry is not None else 0,
        message=error.details(),
    )


def value(given: object) -> pb.FeatureValue:
    match given:
        case None:
            return pb.FeatureValue()
        case bool():
            return pb.FeatureValue(flag=given)
        case str():
            return pb.FeatureValue(text=given)
        case int() | float():
            return pb.FeatureValue(number=given)
        case list():
            return pb.FeatureValue(texts=pb.TextList(values=given))
    raise TypeError(type(given).__name__)


def ask(
    experiment_id: str = "mail", context: dict[str, object] | None = None, **rest: Any
) -> pb.ChooseRequest:
    given = {name: value(item) for name, item in (context or {}).items()}
    return pb.ChooseRequest(experiment_id=experiment_id, context=given, **rest)


def variant(name: str = "v", payload_json: str = "", features: dict[str, object] | None = None) -> pb.Variant:
    given = {key: value(item) for key, item in (features or {}).items()}
    return pb.Variant(id=name, features=given, payload_json=payload_json)


class Caller:
    """Raw stubs on one channel."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.stub = BanditServiceStub(self.channel)

    def choose(self, request: pb.ChooseRequest) -> pb.ChooseResponse:
        return self.stub.Choose(request, timeout=TIMEOUT_S)

    def reward(self, decision_id: str, number: float | None = 1.0, **rest: Any) -> str:
        request = pb.RewardRequest(decision_id=decision_id, value=number, **rest)
        return pb.RewardStatus.Name(self.stub.Reward(request, timeout=TIMEOUT_S).status)

    def raw(self, method: str, body: bytes) -> bytes:
        call = self.channel.unary_unary(f"/bandit.v1.BanditService/{method}", None, None)
        reply: bytes = call(body, timeout=TIMEOUT_S)
        return reply

    def refused(self, request: pb.ChooseRequest) -> Failure:
        """Why a Choose is refused; an item of a batch must be refused in the same words."""
        alone = failure(lambda: self.choose(request))
        batch = self.stub.ChooseBatch(pb.ChooseBatchRequest(requests=[request]), timeout=TIMEOUT_S)
        self._same(alone, batch.results[0].error)
        return alone

    def reward_refused(self, decision_id: str, number: float | None = 1.0, **rest: Any) -> Failure:
        alone = failure(lambda: self.reward(decision_id, number, **rest))
        request = pb.RewardRequest(decision_id=decision_id, value=number, **rest)
        batch = self.stub.RewardBatch(pb.RewardBatchRequest(requests=[request]), timeout=TIMEOUT_S)
        self._same(alone, batch.results[0].error)
        return alone

    @staticmethod
    def _same(alone: Failure, item: pb.CallError) -> None:
        assert alone.domain == "bandit.v1"
        assert (item.code, item.reason) == (alone.code.value[0], alone.reason)
        assert dict(item.metadata) == alone.metadata
        assert tuple(violation.field for violation in item.violations) == alone.fields
        assert item.message == alone.message


@pytest.fixture(scope="module")
def caller(module_servers: Any, module_transport: str) -> Iterator[Caller]:
    flags = ("--no-learner", "--transport", module_transport)
    address = module_servers.start("127.0.0.1:0", *flags, experiments_text=EXPERIMENTS)
    one = Caller(address)
    yield one
    one.channel.close()
    module_servers.stop()


def assert_invalid(refusal: Failure, reason: str, *fields: str) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert refusal.fields == fields
    assert refusal.retry_ms == 0


# Messages and limits


@pytest.mark.parametrize("method", ["Choose", "ChooseBatch", "Reward", "RewardBatch"])
def test_bytes_that_are_no_message_are_malformed(caller: Caller, method: str) -> None:
    refusal = failure(lambda: caller.raw(method, b"\x0a\xff not protobuf"))
    assert_invalid(refusal, "MALFORMED_MESSAGE")
    assert refusal.domain == "bandit.v1"
    assert refusal.metadata == {"type": f"bandit.v1.{method}Request"}


def test_a_text_that_is_not_utf8_is_malformed(caller: Caller) -> None:
    assert failure(lambda: caller.raw("Choose", b"\x0a\x02\xff\xfe")).reason == "MALFORMED_MESSAGE"


def test_an_unknown_method_is_unimplemented(caller: Caller) -> None:
    assert failure(lambda: caller.raw("Forget", b"")).code is grpc.StatusCode.UNIMPLEMENTED


def test_fields_of_a_newer_client_are_accepted(caller: Caller) -> None:
    newer = b"\xfa\x3e\x05hello"  # field 1007, a text
    assert pb.ChooseResponse.FromString(caller.raw("Choose", ask().SerializeToString() + newer)).decision_id


def test_a_message_over_4_mib_is_refused_by_the_transport(caller: Caller) -> None:
    body = ask(decision_id="x" * 5 * 1024 * 1024).SerializeToString()
    refusal = failure(lambda: caller.raw("Choose", body))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.reason == ""
    assert caller.choose(ask()).decision_id


def test_a_compressed_message_is_judged_by_what_it_holds(caller: Caller) -> None:
    def compressed(size: int) -> bytes:
        call = caller.channel.unary_unary("/bandit.v1.BanditService/Choose", None, None)
        body = ask(decision_id="x" * size).SerializeToString()
        reply: bytes = call(body, timeout=TIMEOUT_S, compression=grpc.Compression.Gzip)
        return reply

    assert pb.ChooseResponse.FromString(compressed(64)).decision_id == "x" * 64
    assert failure(lambda: compressed(5 * 1024 * 1024)).code is grpc.StatusCode.RESOURCE_EXHAUSTED


OVER_LIMIT: dict[str, tuple[pb.ChooseRequest, str, int, int]] = {
    "context of 1,001": (ask("own", {f"s{i}": 1 for i in range(1_001)}), "context", 1_000, 1_001),
    "context of 10,000": (ask("own", {f"s{i}": 1 for i in range(10_000)}), "context", 1_000, 10_000),
    "variants": (ask("own", variants=[variant(f"v{i}") for i in range(1_001)]), "variants", 1_000, 1_001),
    "features": (
        ask("own", variants=[variant("v", features={f"f{i}": 1 for i in range(257)})]),
        "variants.features", 256, 257,
    ),
    "text": (ask(context={"channel": "x" * 1_025}), "context[channel]", 1_024, 1_025),
    "text in bytes, not letters": (ask(context={"channel": LONG_TEXT}), "context[channel]", 1_024, 1_026),
    "text of a list": (ask(context={"interests": ["x" * 1_025]}), "context[interests]", 1_024, 1_025),
    "texts": (ask(context={"interests": ["x"] * 65}), "context[interests]", 64, 65),
    "text of a feature": (
        ask("own", variants=[variant("v", features={"f": "x" * 1_025})]),
        "variants.features[f]", 1_024, 1_025,
    ),
    "consents": (ask(consents=[f"c{i}" for i in range(33)]), "consents", 32, 33),
    "excluded": (
        ask(excluded_variant_ids=[f"x{i}" for i in range(1_001)]), "excluded_variant_ids", 1_000, 1_001,
    ),
    "payload": (
        ask("own", variants=[variant("v", '"' + "x" * 65 * 1024 + '"')]),
        "variants.payload_json", 65_536, 65 * 1024 + 2,
    ),
    "experiment id": (ask("x" * 65), "experiment_id", 64, 65),
    "decision id": (ask(decision_id="x" * 65), "decision_id", 64, 65),
    "variant id": (ask("own", variants=[variant("x" * 65)]), "variants.id", 64, 65),
    "excluded id": (ask(excluded_variant_ids=["x" * 65]), "excluded_variant_ids", 64, 65),
    "consent": (ask(consents=["x" * 65]), "consents", 64, 65),
    "signal name": (ask(context={"x" * 65: 1}), "context", 64, 65),
    "feature name": (
        ask("own", variants=[variant("v", features={"x" * 65: 1})]), "variants.features", 64, 65,
    ),
    "subject": (ask(subject_id="x" * 257), "subject_id", 256, 257),
}  # fmt: skip


@pytest.mark.parametrize("name", OVER_LIMIT)
def test_a_choose_over_a_limit_is_refused_with_the_limit_and_the_size(caller: Caller, name: str) -> None:
    request, where, limit, size = OVER_LIMIT[name]
    refusal = caller.refused(request)
    assert_invalid(refusal, "LIMIT_EXCEEDED", where)
    assert refusal.metadata == {"field": where, "limit": str(limit), "value": str(size)}


AT_LIMIT: dict[str, pb.ChooseRequest] = {
    "context": ask("own", {f"s{i}": 1 for i in range(1_000)}, variants=[variant()]),
    "variants": ask("own", variants=[variant(f"v{i}") for i in range(1_000)]),
    "features": ask("own", variants=[variant("v", features={f"f{i}": 1 for i in range(256)})]),
    "text": ask(context={"channel": "x" * 1_024}),
    "texts": ask(context={"interests": ["x"] * 64}),
    "consents": ask(consents=[f"c{i}" for i in range(32)]),
    "excluded": ask(excluded_variant_ids=[f"x{i}" for i in range(1_000)]),
    "payload": ask("own", variants=[variant("v", "x" * 65_536)]),
    "ids": ask("own", variants=[variant("é" * 32)], excluded_variant_ids=["x" * 64], consents=["c" * 64]),
    "decision id": ask(decision_id="x" * 64),
    "subject": ask(subject_id="x" * 256),
}


@pytest.mark.parametrize("name", AT_LIMIT)
def test_a_choose_at_a_limit_is_served(caller: Caller, name: str) -> None:
    response = caller.choose(AT_LIMIT[name])
    assert sum(entry.probability for entry in response.distribution) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("where", ["decision_id", "reward_id", "metric"])
def test_a_reward_with_a_name_of_65_bytes_is_refused(caller: Caller, where: str) -> None:
    request: dict[str, Any] = {"decision_id": "d", where: "x" * 65}
    refusal = caller.reward_refused(**request)
    assert_invalid(refusal, "LIMIT_EXCEEDED", where)
    assert refusal.metadata == {"field": where, "limit": "64", "value": "65"}


def test_batches_take_1000_items_and_refuse_1001(caller: Caller) -> None:
    chosen = caller.stub.ChooseBatch(pb.ChooseBatchRequest(requests=[ask()] * 1_000), timeout=TIMEOUT_S)
    assert len(chosen.results) == 1_000
    assert all(result.WhichOneof("result") == "response" for result in chosen.results)
    reward = pb.RewardRequest(decision_id="nobody", value=1)
    for call in (
        lambda: caller.stub.ChooseBatch(pb.ChooseBatchRequest(requests=[ask()] * 1_001)),
        lambda: caller.stub.RewardBatch(pb.RewardBatchRequest(requests=[reward] * 1_001)),
    ):
        refusal = failure(call)
        assert_invalid(refusal, "LIMIT_EXCEEDED", "requests")
        assert refusal.metadata == {"field": "requests", "limit": "1000", "value": "1001"}


def test_an_empty_batch_has_no_results(caller: Caller) -> None:
    assert not caller.stub.ChooseBatch(pb.ChooseBatchRequest(), timeout=TIMEOUT_S).results
    assert not caller.stub.RewardBatch(pb.RewardBatchRequest(), timeout=TIMEOUT_S).results


# Ids


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        (ask(""), "experiment_id"),
        (ask("own", variants=[variant("v"), variant("")]), "variants[1].id"),
    ],
)
def test_a_missing_id_is_named(caller: Caller, request_: pb.ChooseRequest, where: str) -> None:
    refusal = caller.refused(request_)
    assert_invalid(refusal, "MISSING_ID", where)
    assert refusal.metadata["field"] == where


def test_a_reward_without_a_decision_id_is_refused(caller: Caller) -> None:
    assert_invalid(caller.reward_refused(""), "MISSING_ID", "decision_id")


@pytest.mark.parametrize("bad", ["a\nb", "a\x00", "\x1b[31m", "\x7f", "a\u0085"])
def test_an_id_with_a_control_character_is_invalid(caller: Caller, bad: str) -> None:
    for request, where in (
        (ask(bad), "experiment_id"),
        (ask(decision_id=bad), "decision_id"),
        (ask("own", variants=[variant(bad)]), "variants[0].id"),
        (ask(context={bad: 1}), f"context[{bad!r}]"),
        (ask("own", variants=[variant("v", features={bad: 1})]), f"variants[0].features[{bad!r}]"),
        (ask(consents=[bad]), "consents"),
    ):
        refusal = caller.refused(request)
        assert_invalid(refusal, "INVALID_ID", where)
        assert refusal.metadata["field"] == where
    for where in ("decision_id", "reward_id", "metric"):
        reward: dict[str, Any] = {"decision_id": "d", where: bad}
        assert_invalid(caller.reward_refused(**reward), "INVALID_ID", where)


# Experiments and variants


def test_an_unknown_experiment_is_not_found(caller: Caller) -> None:
    refusal = caller.refused(ask("nobody"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_EXPERIMENT")
    assert refusal.metadata["experiment_id"] == "nobody"
    assert "'nobody'" in refusal.message


@pytest.mark.parametrize(
    "request_",
    [
        ask("own"),
        ask("own", variants=[variant("v")], excluded_variant_ids=["v"]),
        ask("mail", excluded_variant_ids=["none", "mens", "womens"]),
    ],
)
def test_without_any_variant_left_a_call_is_refused(caller: Caller, request_: pb.ChooseRequest) -> None:
    refusal = caller.refused(request_)
    assert_invalid(refusal, "NO_VARIANTS")
    assert refusal.metadata == {"experiment_id": request_.experiment_id}


def test_a_variant_that_comes_twice_is_refused_even_if_it_is_excluded(caller: Caller) -> None:
    request = ask("own", variants=[variant("v"), variant("w"), variant("v")], excluded_variant_ids=["v"])
    refusal = caller.refused(request)
    assert_invalid(refusal, "DUPLICATE_VARIANT_ID", "variants[2].id")
    assert refusal.metadata["variant_id"] == "v"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(None, "MISSING_VALUE"), (math.nan, "NON_FINITE_VALUE"), (-math.inf, "NON_FINITE_VALUE")],
)
def test_a_feature_needs_a_finite_value(caller: Caller, bad: object, reason: str) -> None:
    refusal = caller.refused(ask("own", variants=[variant("v"), variant("w", features={"price": bad})]))
    assert_invalid(refusal, reason, "variants[1].features[price]")
    assert (refusal.metadata["variant_id"], refusal.metadata["feature"]) == ("w", "price")


def test_the_distribution_has_the_eligible_variants_in_the_order_of_the_call(caller: Caller) -> None:
    given = [variant(name, f'{{"n": "{name}"}}') for name in ("z", "a", "m", "b")]
    response = caller.choose(ask("own", variants=given, excluded_variant_ids=["a", "nobody"]))
    assert [entry.variant_id for entry in response.distribution] == ["z", "m", "b"]
    assert response.payload_json == f'{{"n": "{response.variant_id}"}}'
    assert response.source == pb.DECISION_SOURCE_UNTRAINED
    assert response.snapshot_id == ""


def test_one_variant_is_served_at_propensity_1(caller: Caller) -> None:
    for request in (
        ask("own", variants=[variant("only")]),
        ask("mail", excluded_variant_ids=["none", "mens"]),
    ):
        response = caller.choose(request)
        assert response.propensity == 1
        assert [entry.probability for entry in response.distribution] == [1]


def test_an_empty_context_is_served(caller: Caller) -> None:
    assert caller.choose(ask()).variant_id in {"none", "mens", "womens"}


def test_the_server_makes_ids_that_grow_with_time(caller: Caller) -> None:
    ids = [caller.choose(ask()).decision_id for _ in range(20)]
    assert ids == sorted(set(ids))
    assert all(len(name) == 36 and name[14] == "7" for name in ids)


# Signals


def test_an_undeclared_signal_is_refused(caller: Caller) -> None:
    refusal = caller.refused(ask(context={"recencyy": 3}))
    assert_invalid(refusal, "UNDECLARED_SIGNAL", "context[recencyy]")
    assert refusal.metadata["signal"] == "recencyy"


@pytest.mark.parametrize(
    ("signal", "sent", "expected", "actual"),
    [
        ("recency", "3", "number", "category"),
        ("recency", True, "number", "flag"),
        ("recency", ["3"], "number", "categories"),
        ("channel", 3, "category", "number"),
        ("channel", False, "category", "flag"),
        ("channel", ["Web"], "category", "categories"),
        ("mens", 1, "flag", "number"),
        ("mens", "true", "flag", "category"),
        ("interests", "golf", "categories", "category"),
    ],
)
def test_no_type_is_converted(caller: Caller, signal: str, sent: object, expected: str, actual: str) -> None:
    refusal = caller.refused(ask(context={signal: sent}))
    assert_invalid(refusal, "WRONG_TYPE", f"context[{signal}]")
    assert refusal.metadata == {
        "field": f"context[{signal}]", "signal": signal, "expected": expected, "actual": actual,
    }  # fmt: skip


@pytest.mark.parametrize("experiment", ["mail", "own"])
def test_a_signal_without_a_value_is_refused(caller: Caller, experiment: str) -> None:
    variants = [variant()] if experiment == "own" else []
    refusal = caller.refused(ask(experiment, {"recency": None}, variants=variants))
    assert_invalid(refusal, "MISSING_VALUE", "context[recency]")
    assert refusal.metadata["signal"] == "recency"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("signal", ["recency", "age"])
def test_a_number_that_is_not_finite_is_refused(caller: Caller, signal: str, bad: float) -> None:
    refusal = caller.refused(ask(context={signal: bad}))
    assert_invalid(refusal, "NON_FINITE_VALUE", f"context[{signal}]")
    assert refusal.metadata["signal"] == signal


@pytest.mark.parametrize(
    ("signal", "sent"), [("age", 121), ("age", -0.5), ("region", "west"), ("region", "")]
)
def test_a_strict_signal_refuses_what_is_out_of_range(caller: Caller, signal: str, sent: object) -> None:
    refusal = caller.refused(ask(context={signal: sent}))
    assert_invalid(refusal, "SIGNAL_OUT_OF_RANGE", f"context[{signal}]")
    assert refusal.metadata["signal"] == signal


def test_a_refusal_that_lists_long_values_still_arrives_whole(caller: Caller) -> None:
    assert_invalid(caller.refused(ask("wordy", {"topic": "x"})), "SIGNAL_OUT_OF_RANGE", "context[topic]")


@pytest.mark.parametrize(
    ("signal", "sent"), [("recency", 13), ("recency", -1e300), ("channel", "Fax"), ("channel", "")]
)
def test_a_signal_that_is_not_strict_is_served_outside_its_range(
    caller: Caller, signal: str, sent: object
) -> None:
    assert caller.choose(ask(context={signal: sent})).decision_id


@pytest.mark.parametrize("sent", [None, 3, True, ["x"], math.nan])
def test_without_its_consent_a_value_is_dropped_before_it_is_judged(caller: Caller, sent: object) -> None:
    assert caller.choose(ask(context={"zip_code": sent}, consents=["other"])).decision_id
    given = caller.refused(ask(context={"zip_code": sent}, consents=["other", "marketing"]))
    assert given.reason == ("MISSING_VALUE" if sent is None else "WRONG_TYPE")


# The order of checks


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ask("", decision_id="\n", subject_id="x" * 257), "LIMIT_EXCEEDED"),
        (ask("nobody", decision_id="\n"), "INVALID_ID"),
        (ask("nobody", {"recency": "x"}, variants=[variant("v"), variant("v")]), "UNKNOWN_EXPERIMENT"),
        (ask("mail", {"nobody": 1}, variants=[variant("v"), variant("v")]), "DUPLICATE_VARIANT_ID"),
        (ask("own", {"s": None}), "NO_VARIANTS"),
        (ask("mail", {"age": 500, "recency": "x", "nobody": 1, "mens": None}), "UNDECLARED_SIGNAL"),
        (ask("mail", {"age": 500, "region": "west", "recency": "x"}), "WRONG_TYPE"),
    ],
)
def test_checks_come_in_the_order_of_the_contract(
    caller: Caller, request_: pb.ChooseRequest, reason: str
) -> None:
    assert caller.refused(request_).reason == reason


def test_a_bad_request_is_refused_before_its_decision_id_is_looked_up(caller: Caller) -> None:
    name = new_id()
    caller.choose(ask(decision_id=name))
    assert caller.refused(ask(context={"recency": "x"}, decision_id=name)).reason == "WRONG_TYPE"


# Retries


def test_the_same_body_returns_the_stored_decision(caller: Caller) -> None:
    context: dict[str, object] = {"recency": 3, "channel": "Web", "mens": True, "interests": ["a", "b"]}
    name = new_id()
    request = ask(context=context, decision_id=name, subject_id="u", consents=["marketing"])
    stored = caller.choose(request)
    turned = ask(
        context=dict(reversed(context.items())), decision_id=name, subject_id="u", consents=["marketing"]
    )
    assert [caller.choose(turned), caller.choose(request)] == [stored, stored]
    batch = caller.stub.ChooseBatch(pb.ChooseBatchRequest(requests=[request, turned]), timeout=TIMEOUT_S)
    assert [result.response for result in batch.results] == [stored, stored]


def test_a_large_context_is_the_same_body_in_any_order(caller: Caller) -> None:
    # Many entries, because a protobuf map of a few comes out in the same order however it was filled.
    context: dict[str, object] = {f"s{number}": number for number in range(900)}
    name = new_id()
    one = ask("own", context, decision_id=name, variants=[variant()])
    other = ask("own", dict(reversed(context.items())), decision_id=name, variants=[variant()])
    assert one.SerializeToString() != other.SerializeToString()
    assert caller.choose(one) == caller.choose(other)


def test_a_repeated_call_with_its_own_variants_gets_its_payload_again(caller: Caller) -> None:
    request = ask("own", variants=[variant("v", '{"n": 1}'), variant("w", '{"n": 2}')], decision_id=new_id())
    assert caller.choose(request) == caller.choose(request)
    assert caller.choose(request).payload_json


@pytest.mark.parametrize(
    "change",
    [
        {"experiment_id": "first-click", "context": None},
        {"context": {"recency": 4}},
        {"context": {"recency": 3, "mens": False}},
        {"context": {"interests": ["b", "a"]}},
        {"subject_id": "somebody else"},
        {"excluded_variant_ids": ["nobody"]},
        {"consents": ["marketing"]},
        {"context": {"recency": 3, "zip_code": "dropped, but sent"}},
    ],
)
def test_another_body_under_the_same_id_is_a_conflict(caller: Caller, change: dict[str, Any]) -> None:
    name = new_id()
    context: dict[str, object] = {"recency": 3}
    if "interests" in str(change):
        context = {"interests": ["a", "b"]}
    stored = caller.choose(ask(context=context, decision_id=name))
    refusal = caller.refused(ask(**{"context": context, "decision_id": name, **change}))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "DECISION_ID_CONFLICT")
    assert refusal.metadata == {"decision_id": name}
    assert caller.choose(ask(context=context, decision_id=name)) == stored


def test_an_id_that_the_server_made_can_not_be_taken(caller: Caller) -> None:
    made = caller.choose(ask())
    assert caller.refused(ask(decision_id=made.decision_id)).reason == "DECISION_ID_CONFLICT"


# Rewards


def test_a_reward_is_recorded_once_and_its_repeat_is_a_duplicate(caller: Caller) -> None:
    name = caller.choose(ask()).decision_id
    assert caller.reward(name, 1, observed_at=Timestamp(seconds=1)) == "REWARD_STATUS_RECORDED"
    assert caller.reward(name, 1) == "REWARD_STATUS_DUPLICATE"
    assert caller.reward(name, 1, metric="visit") == "REWARD_STATUS_DUPLICATE"
    assert caller.reward(name, 1, observed_at=Timestamp(seconds=2)) == "REWARD_STATUS_DUPLICATE"
    assert caller.reward(name, 1, metric="complaint") == "REWARD_STATUS_RECORDED"
    assert caller.reward(name, 0.5, reward_id="second") == "REWARD_STATUS_RECORDED"
    assert caller.reward(name, 0.5, reward_id="second") == "REWARD_STATUS_DUPLICATE"


def test_another_value_under_the_same_key_is_a_conflict(caller: Caller) -> None:
    name = caller.choose(ask()).decision_id
    caller.reward(name, 1)
    refusal = caller.reward_refused(name, 0)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REWARD_ID_CONFLICT")
    assert (refusal.fields, refusal.metadata["decision_id"]) == (("value",), name)
    caller.reward(name, 1, reward_id="r")
    for number, metric in ((0.5, ""), (1, "complaint")):
        refusal = caller.reward_refused(name, number, metric=metric, reward_id="r")
        assert refusal.reason == "REWARD_ID_CONFLICT"
        assert (refusal.fields, refusal.metadata["reward_id"]) == (("reward_id",), "r")


def test_a_metric_that_was_not_declared_is_refused(caller: Caller) -> None:
    refusal = caller.reward_refused(caller.choose(ask()).decision_id, metric="click")
    assert_invalid(refusal, "UNKNOWN_METRIC", "metric")
    assert (refusal.metadata["metric"], refusal.metadata["experiment_id"]) == ("click", "mail")


@pytest.mark.parametrize(("metric", "sent"), [("", 1.01), ("visit", -0.01), ("complaint", 5.5)])
def test_a_reward_outside_its_range_is_refused_and_not_stored(
    caller: Caller, metric: str, sent: float
) -> None:
    name = caller.choose(ask()).decision_id
    refusal = caller.reward_refused(name, sent, metric=metric)
    assert_invalid(refusal, "REWARD_OUT_OF_RANGE", "value")
    assert refusal.metadata["metric"] == (metric or "visit")
    assert caller.reward(name, 1, metric=metric) == "REWARD_STATUS_RECORDED"


@pytest.mark.parametrize("known", [True, False])
def test_a_reward_needs_a_finite_value(caller: Caller, known: bool) -> None:
    name = caller.choose(ask()).decision_id if known else "nobody"
    assert_invalid(caller.reward_refused(name, None), "MISSING_VALUE", "value")
    for bad in (math.nan, math.inf, -math.inf):
        assert_invalid(caller.reward_refused(name, bad), "NON_FINITE_VALUE", "value")
    assert caller.reward(name, 0) == f"REWARD_STATUS_{'RECORDED' if known else 'UNKNOWN_DECISION'}"


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253_402_300_800, -1, 0])
def test_when_a_reward_was_observed_is_not_judged(caller: Caller, seconds: int) -> None:
    name = caller.choose(ask()).decision_id
    observed = Timestamp()
    # Past the setters, which know a calendar.
    observed.MergeFromString(Timestamp(seconds=seconds, nanos=999_999_999).SerializeToString())
    assert caller.reward(name, 1, observed_at=observed) == "REWARD_STATUS_RECORDED"


def test_a_reward_may_come_again_once_its_decision_exists(caller: Caller) -> None:
    name = new_id()
    for _ in range(2):
        assert caller.reward(name, 99, metric="anything") == "REWARD_STATUS_UNKNOWN_DECISION"
    assert caller.reward(name, 1) == "REWARD_STATUS_UNKNOWN_DECISION"
    caller.choose(ask(decision_id=name))
    assert caller.reward(name, 1) == "REWARD_STATUS_RECORDED"


def test_a_reward_after_the_window_is_late_and_its_repeat_is_a_duplicate(caller: Caller) -> None:
    name = caller.choose(ask("blink")).decision_id
    # The reward can be in time only if it comes within the same millisecond; then the next one is late.
    statuses = [caller.reward(name, 1, reward_id=str(number)) for number in range(50)]
    assert statuses[-1] == "REWARD_STATUS_LATE"
    assert caller.reward(name, 1, reward_id="49") == "REWARD_STATUS_DUPLICATE"


def test_learned_on_reward_a_later_primary_reward_is_late_but_a_metric_is_not(caller: Caller) -> None:
    name = caller.choose(ask("first-click")).decision_id
    assert caller.reward(name, 1) == "REWARD_STATUS_RECORDED"
    assert caller.reward(name, 1, reward_id="again") == "REWARD_STATUS_LATE"
    assert caller.reward(name, 2, metric="complaint") == "REWARD_STATUS_RECORDED"


# Batches


def test_bad_items_never_fail_their_neighbours(caller: Caller) -> None:
    twice = new_id()
    requests = [
        ask(),
        ask("nobody"),
        ask(decision_id=twice),
        ask(context={"recency": math.nan}),
        ask(decision_id=twice, subject_id="another body"),
        ask(consents=["c"] * 33),
        ask("own", variants=[variant("only")]),
    ]
    results = caller.stub.ChooseBatch(pb.ChooseBatchRequest(requests=requests), timeout=TIMEOUT_S).results
    assert [result.error.reason for result in results] == [
        "", "UNKNOWN_EXPERIMENT", "", "NON_FINITE_VALUE", "DECISION_ID_CONFLICT", "LIMIT_EXCEEDED", "",
    ]  # fmt: skip
    assert results[2].response.decision_id == twice
    assert results[6].response.variant_id == "only"


def test_a_batch_of_rewards_answers_each_in_order(caller: Caller) -> None:
    name = caller.choose(ask()).decision_id
    requests = [
        pb.RewardRequest(decision_id=name, value=1),
        pb.RewardRequest(decision_id=name),
        pb.RewardRequest(decision_id="nobody", value=7),
        pb.RewardRequest(decision_id=name, value=1),
        pb.RewardRequest(decision_id=name, value=0),
        pb.RewardRequest(decision_id=name, value=3, metric="complaint"),
    ]
    results = caller.stub.RewardBatch(pb.RewardBatchRequest(requests=requests), timeout=TIMEOUT_S).results
    assert [r.error.reason or pb.RewardStatus.Name(r.response.status) for r in results] == [
        "REWARD_STATUS_RECORDED", "MISSING_VALUE", "REWARD_STATUS_UNKNOWN_DECISION",
        "REWARD_STATUS_DUPLICATE", "REWARD_ID_CONFLICT", "REWARD_STATUS_RECORDED",
    ]  # fmt: skip


# Stages


@pytest.mark.parametrize("stage", ["draft", "shadow", "paused", "stopped"])
def test_a_stage_that_is_not_out_serves_the_baseline(caller: Caller, stage: str) -> None:
    response = caller.choose(ask(f"stage-{stage}"))
    assert (response.variant_id, response.propensity) == ("b", 1)
    assert [(e.variant_id, e.probability) for e in response.distribution] == [("a", 0), ("b", 1), ("c", 0)]
    assert (response.source, response.arm) == (pb.DECISION_SOURCE_BASELINE, pb.ARM_CONTROL)
    assert response.payload_json == '{"n":1}'
    assert response.snapshot_id == ""


def test_the_first_eligible_variant_stands_in_for_an_excluded_baseline(caller: Caller) -> None:
    response = caller.choose(ask("stage-paused", excluded_variant_ids=["b", "a"]))
    assert (response.variant_id, response.propensity) == ("c", 1)
    response = caller.choose(ask("stage-paused", variants=[variant("z"), variant("y")]))
    assert (response.variant_id, response.propensity) == ("z", 1)


@pytest.mark.parametrize(
    ("experiment", "share"), [("stage-ramp", 0.5), ("stage-held", 0.5), ("stage-full", 1)]
)
def test_a_share_of_subjects_is_treated_and_keeps_its_arm(
    caller: Caller, experiment: str, share: float
) -> None:
    requests = [ask(experiment, subject_id=f"s{number % 400}") for number in range(800)]
    batch = caller.stub.ChooseBatch(pb.ChooseBatchRequest(requests=requests), timeout=TIMEOUT_S)
    responses = [result.response for result in batch.results]
    assert [r.arm for r in responses[:400]] == [r.arm for r in responses[400:]]
    treated = [r for r in responses if r.arm == pb.ARM_TREATMENT]
    assert len(treated) / 800 == pytest.approx(share, abs=0.15)
    for response in responses:
        if response.arm == pb.ARM_TREATMENT:
            assert response.source == pb.DECISION_SOURCE_UNTRAINED
            assert all(entry.probability > 0 for entry in response.distribution)
        else:
            assert response.source == pb.DECISION_SOURCE_BASELINE
            assert (response.variant_id, response.propensity) == ("b", 1)
    assert {r.variant_id for r in treated} == {"a", "b", "c"}


# Overload


def test_each_call_of_a_burst_is_served_or_refused_by_the_gate(caller: Caller) -> None:
    call = caller.channel.unary_unary("/bandit.v1.BanditService/Choose", None, None)
    body = ask().SerializeToString()
    burst = [call.future(body, timeout=60) for _ in range(2_000)]
    codes = {one.code() for one in burst}
    assert grpc.StatusCode.OK in codes
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


@pytest.mark.parametrize("transport", ["grpcio", "native"])
def test_more_calls_than_may_be_in_flight_are_refused_with_a_time_to_retry(
    servers: Any, transport: str
) -> None:
    flags = ("--no-learner", "--calls-in-flight-max", "1", "--transport", transport)
    caller = Caller(servers.start("127.0.0.1:0", *flags))
    request = pb.RewardBatchRequest(requests=[pb.RewardRequest(decision_id="nobody", value=1)] * 200)

    def call() -> Failure | None:
        try:
            caller.stub.RewardBatch(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raised = error
        else:
            return None

        def again() -> None:
            raise raised

        return failure(again)

    with caller.channel, ThreadPoolExecutor(16) as pool:
        answers: list[Failure | None] = []
        # Which calls meet is chance; that none of hundreds do is not.
        while len(answers) < 800 and (not any(answers) or all(answers)):
            answers += [future.result() for future in [pool.submit(call) for _ in range(16)]]
    refusal = next(answer for answer in answers if answer is not None)
    assert None in answers
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refusal.domain == "bandit.v1"
    assert refusal.metadata == {"calls_in_flight": "1", "limit": "1"}
    assert refusal.retry_ms > 0
