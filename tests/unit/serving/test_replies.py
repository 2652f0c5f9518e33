"""Decisions and outcomes as serialised replies: what the library would have written, whatever came before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.core.records import Arm, Decision, RewardStatus, Source, Stage, Variant
from bandit.serving.replies import REWARD_REPLIES, Replies, batch_reply
from bandit.v1 import bandit_pb2 as pb


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


def replied(replies: Replies, made: Decision, payload_json: str) -> pb.ChooseResponse:
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


def test_a_response_says_what_was_decided() -> None:
    response = replied(Replies(), decision(Source.LEARNED, "s-1"), '{"n": 1}')
    assert (response.decision_id, response.variant_id, response.propensity) == ("d", "b", 0.75)
    assert [(e.variant_id, e.probability) for e in response.distribution] == [("a", 0.25), ("b", 0.75)]
    assert (response.snapshot_id, response.payload_json) == ("s-1", '{"n": 1}')
    assert (response.source, response.arm) == (pb.DECISION_SOURCE_LEARNED, pb.ARM_TREATMENT)


@pytest.mark.parametrize("source", [source for source in Source if source is not Source.LEARNED])
def test_only_a_learned_choice_names_its_snapshot(source: Source) -> None:
    response = replied(Replies(), decision(source, "s-1"), "")
    assert response.snapshot_id == ""
    assert pb.DecisionSource.Name(response.source) == f"DECISION_SOURCE_{source.name}"


def test_nothing_of_an_earlier_decision_stays_in_a_reply() -> None:
    replies = Replies()
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
    replies = Replies()
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
    replies = Replies()
    for one, payload in made:
        assert replied(replies, one, payload) == built(one, payload)


def test_a_whole_catalogue_and_parts_of_it_alternate() -> None:
    replies = Replies()
    whole = decision(Source.LEARNED, "s-1")
    part = whole._replace(variants=list(whole.variants[1:]), distribution=[1.0], chosen=0)
    turned = whole._replace(variants=list(reversed(whole.variants)))
    for made in (whole, part, whole, turned, part, part, whole):
        assert replied(replies, made, "") == built(made, "")


def test_a_reward_reply_says_its_status() -> None:
    for status, reply in REWARD_REPLIES.items():
        read = pb.RewardResponse.FromString(reply)
        assert pb.RewardStatus.Name(read.status) == f"REWARD_STATUS_{status.name}"
    assert set(REWARD_REPLIES) == set(RewardStatus)


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
    assert batch_reply(given) == wanted.SerializeToString()
    assert batch_reply([]) == b""


def test_rewards_batch_reply_is_written_alike() -> None:
    recorded = pb.RewardResponse(status=pb.REWARD_STATUS_RECORDED)
    error = pb.CallError(code=3, reason="UNKNOWN_METRIC")
    results = [pb.RewardResult(response=recorded), pb.RewardResult(error=error)]
    wanted = pb.RewardBatchResponse(results=results)
    assert batch_reply([recorded.SerializeToString(), error]) == wanted.SerializeToString()
