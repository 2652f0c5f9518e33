"""What is put together from kept parts is the record that the library would have made in one go."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.core.records import Arm, Decision, Features, Source, Stage, Variant
from bandit.eventlog import encoding
from bandit.eventlog.encoding import DecisionEncoder
from bandit.log.v1 import records_pb2 as pb

CATALOGUE = tuple(Variant(name, {"price": 2.5, "kind": "ö"}) for name in ("a", "b", "größe"))
CATALOGUES = [CATALOGUE, (*CATALOGUE[::-1],), (*CATALOGUE, Variant("x" * 64)), (Variant("alone"),)]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
VALUES = st.one_of(
    TEXT,
    st.floats(),
    st.sampled_from(["", 0.0, -0.0, 1.0, False, True, math.nan, (), ("",), ("a", "ö")]),
    st.lists(TEXT, max_size=3).map(tuple),
)


def made_at_once(decision: Decision, digest: bytes) -> bytes:
    """The record without anything kept, in an order of its own that equal records share."""
    record = pb.DecisionRecord(
        version=decision.version,
        variant_ids=[variant.id for variant in decision.variants],
        probabilities=decision.distribution,
        policy_probabilities=decision.policy_distribution,
        chosen=decision.chosen,
        arm=pb.Arm.Value(f"ARM_{decision.arm.name}"),
        source=pb.DecisionSource.Value(f"DECISION_SOURCE_{decision.source.name}"),
        stage=pb.Stage.Value(f"STAGE_{decision.stage.name}"),
        treatment_share=decision.treatment_share,
        snapshot_id=decision.snapshot_id,
        request_digest=digest,
        pdrop=decision.pdrop,
    )
    fill(record.context, decision.context)
    for variant in decision.variants if decision.call_variants else ():
        fill(record.call_variants.add(id=variant.id).features, variant.features)
    return record.SerializeToString(deterministic=True)


def fill(target, features: Features) -> None:
    for name, value in features.items():
        if isinstance(value, tuple):
            target[name].texts.SetInParent()
            target[name].texts.values.extend(value)
        else:
            kind = {str: "text", float: "number", bool: "flag"}[type(value)]
            setattr(target[name], kind, value)


def in_order(record: bytes) -> bytes:
    """By bytes, because NaN equals nothing."""
    return pb.DecisionRecord.FromString(record).SerializeToString(deterministic=True)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Decision, bytes]:
    variants = draw(st.sampled_from([*CATALOGUES, list(CATALOGUE[1:]), [Variant("own", {"n": 0.0})]]))
    size = len(variants)
    probabilities = st.lists(st.floats(0, 1) | st.just(math.nan), min_size=size, max_size=size)
    distribution = draw(probabilities)
    decision = Decision(
        experiment_id="mail",
        version=draw(st.sampled_from([1, 2, 300])),
        decision_id="d",
        subject="",
        context=draw(st.dictionaries(TEXT, VALUES, max_size=5)),
        variants=variants,
        call_variants=draw(st.booleans()),
        distribution=distribution,
        policy_distribution=draw(st.just(distribution) | probabilities),
        chosen=draw(st.integers(0, size - 1)),
        arm=draw(st.sampled_from(Arm)),
        source=draw(st.sampled_from([one for one in Source if one is not Source.FALLBACK])),
        stage=draw(st.sampled_from(Stage)),
        treatment_share=draw(st.sampled_from([0.0, 0.25, 1.0])),
        snapshot_id=draw(st.sampled_from(["", "s-1", "s-2"])),
        pdrop=draw(st.sampled_from([0.0, 0.5])),
    )
    return decision, draw(st.sampled_from([b"", b"digest", b"\x00\xff"]))


@given(st.lists(decisions(), min_size=1, max_size=12))
def test_a_record_is_the_same_whatever_was_encoded_before(made):
    encoder = DecisionEncoder()
    for decision, digest in [*made, *made]:
        assert in_order(encoder.encode(decision, digest)) == made_at_once(decision, digest)


def plain(**changes) -> Decision:
    fields = {
        "experiment_id": "mail",
        "version": 1,
        "decision_id": "d",
        "subject": "",
        "context": {},
        "variants": CATALOGUE,
        "call_variants": False,
        "distribution": [0.25, 0.25, 0.5],
        "policy_distribution": [0.25, 0.25, 0.5],
        "chosen": 2,
        "arm": Arm.TREATMENT,
        "source": Source.LEARNED,
        "stage": Stage.FULL,
        "treatment_share": 1.0,
        "snapshot_id": "s-1",
    }
    return Decision(**{**fields, **changes})


@pytest.mark.parametrize("name", ["CATALOGUES_KEPT", "HEADS_KEPT", "ENTRIES_KEPT", "ENTRY_CHARACTERS_KEPT"])
def test_records_stay_right_when_no_more_can_be_kept(monkeypatch, name):
    monkeypatch.setattr(encoding, name, 2)
    encoder = DecisionEncoder()
    for count in [*range(9), 0, 8]:
        catalogue = CATALOGUES[count % len(CATALOGUES)]
        decision = plain(
            context={f"n{count}": 1.0, f"t{count}": f"text {count}", "flag": count % 2 == 0},
            variants=catalogue,
            distribution=[0.5] * len(catalogue),
            policy_distribution=[0.5] * len(catalogue),
            chosen=0,
            snapshot_id=f"s-{count}",
        )
        assert in_order(encoder.encode(decision, b"")) == made_at_once(decision, b"")


def test_a_number_that_equals_a_flag_is_no_flag_and_an_int_is_nothing():
    encoder = DecisionEncoder()
    for value in (True, 1.0, True, False, 0.0):
        decision = plain(context={"n": value})
        assert in_order(encoder.encode(decision, b"")) == made_at_once(decision, b"")
    with pytest.raises(TypeError, match="'n' is int"):
        encoder.encode(plain(context={"n": 1}), b"")


def test_a_distribution_that_is_not_parallel_to_the_catalogue_is_never_encoded():
    with pytest.raises(ValueError, match="not parallel"):
        DecisionEncoder().encode(plain(distribution=[0.5, 0.5]), b"")
