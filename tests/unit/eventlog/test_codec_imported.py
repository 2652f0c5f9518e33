"""What only records of an imported log have: drops, unknown propensities, where they came from."""

import math

import pytest

from bandit.core.records import Variant
from bandit.eventlog import codec
from bandit.eventlog.log import CorruptRecord
from bandit.log.v1 import records_pb2 as pb

NAN = math.nan


def back(record, catalogue=()):
    return codec.decode_decision("front-page", "d1", None, record, lambda version: catalogue)


def test_the_share_of_drops_comes_back_and_is_0_where_it_was_not_stored(define, decide):
    experiment = define()
    assert back(decide(experiment, "d1", pdrop=0.75).record, experiment.catalogue()).pdrop == 0.75
    plain = decide(experiment, "d1")
    assert back(plain.record, experiment.catalogue()) == plain.decision
    assert plain.decision.pdrop == 0.0
    assert pb.DecisionRecord.DESCRIPTOR.fields_by_name["pdrop"].number == 14
    for wrong in (1.0, -0.1, NAN):
        with pytest.raises(CorruptRecord, match="pdrop"):
            back(decide(experiment, "d1", pdrop=wrong).record, experiment.catalogue())


def test_a_propensity_is_unknown_alone_only_if_all_are(define, decide):
    experiment = define()
    for known in ([NAN, NAN, NAN], [NAN, 0.25, NAN]):
        record = decide(experiment, "d1", distribution=known).record
        assert str(list(back(record, experiment.catalogue()).distribution)) == str(known)
    for broken in ([0.5, NAN, 0.5], [NAN, NAN, 0.5], [NAN, 0.0, NAN]):
        with pytest.raises(CorruptRecord, match="propensity"):
            back(decide(experiment, "d1", distribution=broken).record, experiment.catalogue())


def test_variants_that_many_decisions_share_may_be_encoded_once(define, decide):
    experiment = define(variants=[], baseline="")
    variants = (Variant("a", {"n": 1.0, "t": ("x",)}), Variant("b", {"flag": False}))
    whole = decide(experiment, "d1", variants=variants, call_variants=True, context={"age": 3.0})
    head = codec.encode_decision(whole.decision._replace(call_variants=False), b"digest")
    shared = head + codec.encode_call_variants(variants)
    assert back(shared) == back(whole.record)
    assert pb.DecisionRecord.FromString(shared) == pb.DecisionRecord.FromString(whole.record)


def test_a_definition_says_where_it_was_imported_from(define):
    own = codec.decode_experiment(codec.encode_experiment(define(), 1, b"salt"), 1)
    other = codec.decode_experiment(codec.encode_experiment(define(), 1, b"salt", "dsjson a.log"), 1)
    assert (own.imported_from, other.imported_from) == ("", "dsjson a.log")
