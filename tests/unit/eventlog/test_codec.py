"""Records come back as they went in, and what can't be a record is found out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.core.records import Arm, Decision, RewardStatus, Source, Stage, Variant
from bandit.eventlog import codec
from bandit.eventlog.log import CorruptRecord, NewReward
from bandit.log.v1 import records_pb2 as pb

CATALOGUE = (Variant("a", {"colour": "red"}, '{"x":1}'), Variant("b"), Variant("c", {"size": 2.5}))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.one_of(
    TEXT,
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.lists(TEXT, max_size=3).map(tuple),
)
FEATURES = st.dictionaries(TEXT, VALUES, max_size=5)


def decision(**changes):
    fields = {
        "experiment_id": "front-page",
        "version": 7,
        "decision_id": "d1",
        "subject": "pseudonym",
        "context": {
            "number": 3.0,
            "zero": 0.0,
            "text": "3",
            "empty": "",
            "yes": True,
            "no": False,
            "none": (),
        },
        "variants": CATALOGUE,
        "call_variants": False,
        "distribution": [0.2, 0.3, 0.5],
        "policy_distribution": [0.1, 0.1, 0.8],
        "chosen": 2,
        "arm": Arm.TREATMENT,
        "source": Source.LEARNED,
        "stage": Stage.RAMP,
        "treatment_share": 0.25,
        "snapshot_id": "s1",
    }
    return Decision(**{**fields, **changes})


def round_trip(given_decision, catalogue=CATALOGUE):
    record = codec.encode_decision(given_decision, b"digest")
    return codec.decode_decision(
        given_decision.experiment_id,
        given_decision.decision_id,
        given_decision.subject,
        record,
        lambda _: catalogue,
    )


def same_types(left, right):
    return {name: type(value) for name, value in left.items()} == {n: type(v) for n, v in right.items()}


def test_a_decision_comes_back_as_it_was_stored():
    assert round_trip(decision()) == decision()


@given(context=FEATURES)
def test_any_context_comes_back_with_its_types(context):
    back = round_trip(decision(context=context)).context
    assert back == context
    assert same_types(back, context)


@given(features=st.lists(FEATURES, min_size=1, max_size=3), context=FEATURES)
def test_variants_of_the_call_come_back_with_their_features(features, context):
    variants = tuple(Variant(f"v{index}", each) for index, each in enumerate(features))
    share = [1.0 / len(variants)] * len(variants)
    sent = decision(
        variants=variants,
        call_variants=True,
        distribution=share,
        policy_distribution=share,
        chosen=0,
        context=context,
    )
    assert round_trip(sent, catalogue=()) == sent


@given(context=FEATURES)
def test_features_come_back_in_the_order_of_their_names_whatever_order_they_were_sent_in(context):
    back = round_trip(decision(context=dict(reversed(context.items())))).context
    assert list(back) == sorted(context)


def test_a_decision_between_all_variants_holds_the_catalogue_itself():
    assert round_trip(decision()).variants is CATALOGUE


def test_a_decision_with_a_variant_excluded_holds_the_others_from_the_catalogue():
    sent = decision(variants=CATALOGUE[1:], distribution=[0.5, 0.5], policy_distribution=[0.5, 0.5], chosen=1)
    back = round_trip(sent)
    assert list(back.variants) == list(CATALOGUE[1:])
    assert back.variant is CATALOGUE[2]


def test_the_catalogue_is_asked_for_the_version_of_the_decision():
    record = codec.encode_decision(decision(version=41), b"")
    asked = []
    codec.decode_decision(
        "front-page", "d1", None, record, lambda version: asked.append(version) or CATALOGUE
    )
    assert asked == [41]


def test_a_decision_without_a_subject_comes_back_without_one():
    record = codec.encode_decision(decision(subject=""), b"")
    assert codec.decode_decision("front-page", "d1", None, record, lambda _: CATALOGUE).subject == ""


@pytest.mark.parametrize("arm", list(Arm))
@pytest.mark.parametrize("stage", list(Stage))
def test_every_arm_and_stage_comes_back(arm, stage):
    assert round_trip(decision(arm=arm, stage=stage)) == decision(arm=arm, stage=stage)


def test_the_stored_numbers_of_arm_source_and_stage_are_those_of_the_contract():
    assert {arm.name: int(arm) for arm in Arm} == enum_of(pb.Arm, "ARM_")
    assert {stage.name: int(stage) for stage in Stage} == enum_of(pb.Stage, "STAGE_")
    stored = {source.name: int(source) for source in Source if source is not Source.FALLBACK}
    assert stored == enum_of(pb.DecisionSource, "DECISION_SOURCE_")


def enum_of(enum, prefix):
    return {name.removeprefix(prefix): number for name, number in enum.items() if number}


def test_a_fallback_decision_is_never_encoded():
    with pytest.raises(ValueError, match="never stored"):
        codec.encode_decision(decision(source=Source.FALLBACK), b"")


def test_a_value_that_is_no_feature_is_never_encoded():
    with pytest.raises(TypeError, match="'n' is int"):
        codec.encode_decision(decision(context={"n": 3}), b"")


def test_the_request_digest_can_be_read_alone():
    assert codec.decode_digest(codec.encode_decision(decision(), b"\x00\xff")) == b"\x00\xff"


def altered(**changes):
    record = pb.DecisionRecord.FromString(codec.encode_decision(decision(), b""))
    for name, value in changes.items():
        if isinstance(value, list):
            record.ClearField(name)
            getattr(record, name).extend(value)
        else:
            setattr(record, name, value)
    return record.SerializeToString()


@pytest.mark.parametrize(
    "record",
    [
        b"\xff\xff\xff",
        altered(chosen=3),
        altered(arm=0),
        altered(arm=9),
        altered(source=4),
        altered(stage=0),
        altered(probabilities=[0.5, 0.5]),
        altered(policy_probabilities=[0.5, 0.5]),
        altered(probabilities=[0.5, 0.5, 0.0]),
        altered(probabilities=[0.5, 0.5, float("nan")]),
        altered(variant_ids=["a", "b", "unknown"]),
        altered(variant_ids=[]),
    ],
)
def test_a_record_that_was_never_written_is_found_corrupt(record):
    with pytest.raises(CorruptRecord, match=r"'d1'.*banditd verify"):
        codec.decode_decision("front-page", "d1", None, record, lambda _: CATALOGUE)


def test_a_context_entry_without_a_value_is_found_corrupt():
    record = pb.DecisionRecord.FromString(codec.encode_decision(decision(), b""))
    record.context["broken"].SetInParent()
    with pytest.raises(CorruptRecord, match="'broken' has no value"):
        codec.decode_decision("front-page", "d1", None, record.SerializeToString(), lambda _: CATALOGUE)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (RewardStatus.RECORDED, "REWARD_STATUS_RECORDED"),
        (RewardStatus.LATE, "REWARD_STATUS_LATE"),
        (RewardStatus.UNKNOWN_DECISION, "REWARD_STATUS_UNKNOWN_DECISION"),
    ],
)
def test_a_reward_is_stored_with_its_status_by_name(status, name):
    record = codec.encode_reward(NewReward("d1", "", -2.5, "r1", None), "visit", status)
    stored = pb.RewardRecord.FromString(record)
    assert pb.RewardStatus.Name(stored.status) == name
    assert (stored.metric, stored.value, stored.reward_id) == ("visit", -2.5, "r1")
    assert not stored.HasField("observed_at")
    assert codec.decode_reward(record) == ("visit", -2.5)


@pytest.mark.parametrize(
    ("observed_us", "stored_us"),
    [
        (1_700_000_000_123_456, 1_700_000_000_123_456),
        (0, 0),
        (-1, -1),
        (10**30, 253_402_300_799_999_999),
        (-(10**30), -62_135_596_800_000_000),
    ],
)
def test_when_it_was_observed_is_stored_to_the_microsecond_and_always_fits_a_timestamp(
    observed_us, stored_us
):
    record = codec.encode_reward(NewReward("d1", "", 1.0, "", observed_us), "visit", RewardStatus.RECORDED)
    at = pb.RewardRecord.FromString(record).observed_at
    assert at.ToMicroseconds() == stored_us
    assert at.ToJsonString()


def test_a_definition_comes_back_as_it_was_stored(define):
    experiment = define(signals={"age": {"type": "number", "range": [0, 9]}})
    definition = codec.decode_experiment(codec.encode_experiment(experiment, 3, b"salt"), 17)
    assert (definition.experiment, definition.version, definition.salt, definition.seq) == (
        experiment,
        3,
        b"salt",
        17,
    )
    assert definition.catalogue == experiment.catalogue()


@pytest.mark.parametrize(
    "record", [b"\xff", pb.ExperimentRecord(definition_json="{").SerializeToString(), b""]
)
def test_a_definition_that_was_never_written_is_found_corrupt(record):
    with pytest.raises(CorruptRecord, match="row 17"):
        codec.decode_experiment(record, 17)


@pytest.mark.parametrize("call", [codec.decode_digest, codec.decode_reward])
def test_bytes_that_are_no_record_are_found_corrupt(call):
    with pytest.raises(CorruptRecord):
        call(b"\xff")


def test_a_row_of_an_unknown_kind_has_no_message():
    with pytest.raises(CorruptRecord, match="'novel'"):
        codec.message_of("novel", b"")
