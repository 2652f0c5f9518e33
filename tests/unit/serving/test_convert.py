"""Messages and checked data: what a process isn't needed for."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from bandit.core.errors import Reason, Refused
from bandit.core.records import Arm, Decision, RewardStatus, Source, Stage, Variant
from bandit.serving import convert
from bandit.v1 import bandit_pb2 as pb

T = TypeVar("T")
LIMIT_FIELDS = {"field", "limit", "value"}


def decision(source: Source, snapshot_id: str) -> Decision:
    return Decision(
        experiment_id="mail",
        version=1,
        decision_id="d",
        subject="",
        context={},
        variants=(Variant("a"), Variant("b")),
        call_variants=False,
        distribution=(0.25, 0.75),
        policy_distribution=(0.25, 0.75),
        chosen=1,
        arm=Arm.TREATMENT,
        source=source,
        stage=Stage.FULL,
        treatment_share=1.0,
        snapshot_id=snapshot_id,
    )


def replied(replies: convert.Replies, made: Decision, payload_json: str) -> pb.ChooseResponse:
    return pb.ChooseResponse.FromString(replies.choose(made, payload_json))


def built(made: Decision, payload_json: str) -> pb.ChooseResponse:
    """The reply, made without anything kept."""
    return pb.ChooseResponse(
        decision_id=made.decision_id,
        variant_id=made.variants[made.chosen].id,
        propensity=made.distribution[made.chosen],
        distribution=[
            pb.VariantProbability(variant_id=variant.id, probability=probability)
            for variant, probability in zip(made.variants, made.distribution, strict=True)
        ],
        snapshot_id=made.snapshot_id if made.source is Source.LEARNED else "",
        source=pb.DecisionSource.Value(f"DECISION_SOURCE_{made.source.name}"),
        payload_json=payload_json,
        arm=pb.Arm.Value(f"ARM_{made.arm.name}"),
    )


def taken_or_refused(call: Callable[[], T]) -> T | Refused:
    try:
        return call()
    except Refused as refusal:
        return refusal


def test_a_response_says_what_was_decided() -> None:
    response = replied(convert.Replies(), decision(Source.LEARNED, "s-1"), '{"n": 1}')
    assert (response.decision_id, response.variant_id, response.propensity) == ("d", "b", 0.75)
    assert [(e.variant_id, e.probability) for e in response.distribution] == [("a", 0.25), ("b", 0.75)]
    assert (response.snapshot_id, response.payload_json) == ("s-1", '{"n": 1}')
    assert (response.source, response.arm) == (pb.DECISION_SOURCE_LEARNED, pb.ARM_TREATMENT)


@pytest.mark.parametrize("source", [source for source in Source if source is not Source.LEARNED])
def test_only_a_learned_choice_names_its_snapshot(source: Source) -> None:
    response = replied(convert.Replies(), decision(source, "s-1"), "")
    assert response.snapshot_id == ""
    assert pb.DecisionSource.Name(response.source) == f"DECISION_SOURCE_{source.name}"


def test_nothing_of_an_earlier_decision_stays_in_a_reply() -> None:
    replies = convert.Replies()
    full = decision(Source.LEARNED, "s-1")
    bare = full._replace(
        decision_id="",
        source=Source.BASELINE,
        snapshot_id="",
        arm=Arm.CONTROL,
        chosen=0,
        distribution=(1.0, 0.0),
    )
    for made, payload in ((full, '{"n": 1}'), (bare, ""), (full, ""), (bare, "2"), (full, '{"n": 1}')):
        assert replied(replies, made, payload) == built(made, payload)
    # A decision that can't be told must not leave its half in the next reply.
    for variants in (full.variants, list(full.variants)):
        with pytest.raises(ValueError, match=r"size 3|zip"):
            replies.choose(full._replace(variants=variants, distribution=(0.5, 0.25, 0.25)), "3")
    assert replied(replies, bare, "") == built(bare, "")


def test_replies_stay_right_however_many_snapshots_and_payloads_there_were() -> None:
    replies = convert.Replies()
    for count in (*range(600), 0, 599):
        made = decision(Source.LEARNED, f"s-{count}")
        assert replied(replies, made, str(count % 7)) == built(made, str(count % 7))


CATALOGUE = tuple(Variant(name) for name in "abcd")


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Decision, str]:
    """Decisions among a catalogue, an equal one read back, another version's, a part, a call's own.

    Read back from the log, those of a call come as a tuple, too.
    """
    whole = draw(st.sampled_from([CATALOGUE, (*CATALOGUE,), (*CATALOGUE, Variant("e"))]))
    variants = draw(
        st.sampled_from(
            [whole, list(whole[1:]), list(reversed(whole)), [Variant("of the call")], (Variant("ö" * 99),)]
        )
    )
    weights = draw(st.lists(st.floats(allow_nan=False), min_size=len(variants), max_size=len(variants)))
    made = decision(draw(st.sampled_from(Source)), draw(st.sampled_from(["", "s-1"])))._replace(
        experiment_id=draw(st.sampled_from(["mail", "page"])),
        decision_id=draw(st.text(max_size=5)) * draw(st.sampled_from([1, 70])),
        call_variants=draw(st.booleans()),
        variants=variants,
        distribution=weights,
        chosen=draw(st.integers(0, len(variants) - 1)),
        arm=draw(st.sampled_from(Arm)),
    )
    return made, draw(st.sampled_from(["", "1", '{"n": 1}']))


@given(st.lists(decisions(), min_size=1, max_size=12))
def test_a_reply_is_the_same_whatever_was_replied_before(made: list[tuple[Decision, str]]) -> None:
    replies = convert.Replies()
    for one, payload in made:
        assert replied(replies, one, payload) == built(one, payload)


def test_a_whole_catalogue_and_parts_of_it_alternate() -> None:
    replies = convert.Replies()
    whole = decision(Source.LEARNED, "s-1")
    part = whole._replace(variants=list(whole.variants[1:]), distribution=[1.0], chosen=0)
    turned = whole._replace(variants=list(reversed(whole.variants)))
    for made in (whole, part, whole, turned, part, part, whole):
        assert replied(replies, made, "") == built(made, "")


def test_a_reward_reply_says_its_status() -> None:
    for status, reply in convert.REWARD_REPLIES.items():
        read = pb.RewardResponse.FromString(reply)
        assert pb.RewardStatus.Name(read.status) == f"REWARD_STATUS_{status.name}"
    assert set(convert.REWARD_REPLIES) == set(RewardStatus)


@pytest.mark.parametrize("seconds", [-(2**63), -1, 0, 2**63 - 1])
def test_any_time_of_observation_is_taken(seconds: int) -> None:
    request = pb.RewardRequest(decision_id="d", value=1, observed_at=Timestamp(seconds=seconds, nanos=1_999))
    assert convert.new_reward(request).observed_at_us == seconds * 1_000_000 + 1


def test_without_a_time_of_observation_there_is_none() -> None:
    assert convert.new_reward(pb.RewardRequest(decision_id="d", value=1)).observed_at_us is None


@given(
    st.text(max_size=70),
    st.dictionaries(st.text(max_size=70), st.one_of(st.none(), st.text(), st.floats(), st.booleans())),
)
def test_whatever_is_sent_is_taken_as_it_came_or_refused_with_a_reason(
    name: str, context: dict[str, str | float | bool | None]
) -> None:
    request = pb.ChooseRequest(experiment_id=name)
    for key, item in context.items():
        value = request.context[key]
        if isinstance(item, bool):
            value.flag = item
        elif isinstance(item, float):
            value.number = item
        elif item is not None:
            value.text = item
    taken = taken_or_refused(lambda: convert.choose_call(request))
    if isinstance(taken, Refused):
        assert taken.reason in {Reason.LIMIT_EXCEEDED, Reason.MISSING_ID, Reason.INVALID_ID}
        assert taken.violations[0].field == taken.metadata["field"]
        if taken.reason is Reason.LIMIT_EXCEEDED:
            assert set(taken.metadata) == LIMIT_FIELDS
            assert int(taken.metadata["value"]) > int(taken.metadata["limit"])
    else:
        assert taken.experiment_id == name
        # By repr, because NaN does not equal itself; it is refused later, with the signals.
        assert repr(dict(sorted(taken.context.items()))) == repr(dict(sorted(context.items())))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(body: bytes) -> None:
    parsed = taken_or_refused(lambda: convert.parse(pb.ChooseBatchRequest, body))
    assert isinstance(parsed, pb.ChooseBatchRequest) or parsed.reason is Reason.MALFORMED_MESSAGE


def test_a_batch_reply_is_what_the_library_would_have_written() -> None:
    responses = [
        pb.ChooseResponse(decision_id="d" * size, variant_id="v", propensity=0.3)
        for size in (0, 1, 90, 127, 128, 20_000, 300_000)
    ]
    error = pb.CallError(code=5, reason="UNKNOWN_EXPERIMENT", message="m" * 200)
    given = [*[each.SerializeToString() for each in responses], error, b"", error]
    wanted = pb.ChooseBatchResponse(
        results=[
            *[pb.ChooseResult(response=each) for each in responses],
            pb.ChooseResult(error=error),
            pb.ChooseResult(response=pb.ChooseResponse()),
            pb.ChooseResult(error=error),
        ]
    )
    assert convert.batch_reply(given) == wanted.SerializeToString()
    assert convert.batch_reply([]) == b""


def test_rewards_batch_reply_is_written_alike() -> None:
    recorded = pb.RewardResponse(status=pb.REWARD_STATUS_RECORDED)
    error = pb.CallError(code=3, reason="UNKNOWN_METRIC")
    results = [pb.RewardResult(response=recorded), pb.RewardResult(error=error)]
    wanted = pb.RewardBatchResponse(results=results)
    assert convert.batch_reply([recorded.SerializeToString(), error]) == wanted.SerializeToString()
