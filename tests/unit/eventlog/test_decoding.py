"""What comes again in decision records is decoded once, within bounds, and never taken for another."""

import itertools
import threading

import pytest

from bandit.core.records import Variant
from bandit.eventlog import codec, decoding
from bandit.eventlog.decoding import DecisionDecoder
from bandit.eventlog.log import CorruptRecord
from bandit.log.v1 import records_pb2 as pb


@pytest.fixture
def decoder():
    return DecisionDecoder()


@pytest.fixture
def called(define, decide):
    """The record of a decision between variants of its call."""
    experiment = define(variants=[], baseline="")

    def record(*variants, **changes):
        return decide(experiment, "d1", variants=variants, call_variants=True, **changes).record

    return record


def decode(decoder, record, catalogue=()):
    return decoder.decode("front-page", "d1", None, record, lambda _: catalogue)


def numbered(number):
    return Variant(f"v{number}", {"n": float(number)})


def test_equal_variants_of_calls_are_one_tuple(decoder, called):
    variants = (Variant("a", {"n": 1.5, "t": "x"}), Variant("b", {"flag": True, "tags": ("x", "y")}))
    first = decode(decoder, called(*variants, context={"age": 3.0}))
    again = decode(decoder, called(*variants, context={"age": 4.0}))
    assert first.variants == variants
    assert type(first.variants) is tuple
    assert again.variants is first.variants
    assert again.context == {"age": 4.0}


def test_a_variant_that_differs_makes_another_tuple_of_which_the_rest_is_the_same(decoder, called):
    first = decode(decoder, called(numbered(1), numbered(2)))
    other = decode(decoder, called(numbered(1), Variant("v2", {"n": 2.5})))
    assert other.variants == (numbered(1), Variant("v2", {"n": 2.5}))
    assert other.variants[0] is first.variants[0]


def test_the_same_variants_in_another_order_come_back_in_that_order(decoder, called):
    for order in itertools.permutations(map(numbered, range(3))):
        assert decode(decoder, called(*order)).variants == order


def test_equal_exclusions_from_a_catalogue_are_one_tuple(decoder, define, decide):
    experiment = define()
    catalogue = experiment.catalogue()
    record = decide(experiment, "d1", variants=catalogue[1:], distribution=[0.5, 0.5], chosen=1).record
    first = decode(decoder, record, catalogue)
    assert first.variants == catalogue[1:]
    assert decode(decoder, record, catalogue).variants is first.variants


def test_equal_exclusions_from_another_catalogue_are_of_that_one(decoder, define, decide):
    experiment = define()
    record = decide(
        experiment, "d1", variants=experiment.catalogue()[1:], distribution=[0.5, 0.5], chosen=1
    ).record
    decode(decoder, record, experiment.catalogue())
    # Each catalogue is freed before the next is made, and may take its place in memory.
    for size in range(10):
        catalogue = tuple(Variant(v.id, {"size": float(size)}) for v in experiment.catalogue())
        assert decode(decoder, record, catalogue).variants == catalogue[1:]
        del catalogue


def test_what_is_kept_is_bounded(decoder, called, monkeypatch):
    for name in ("VARIANT_LISTS_KEPT", "VARIANTS_KEPT", "ENTRIES_KEPT"):
        monkeypatch.setattr(decoding, name, 5)
    for number in range(40):
        context = {f"number{number}": 1.0, "text": str(number)}
        decision = decode(decoder, called(numbered(number), numbered(0), context=context))
        assert (decision.variants, decision.context) == ((numbered(number), numbered(0)), context)
    kept = (decoder._lists, decoder._variants, decoder._entries, decoder._numbers)
    assert all(0 < len(each) <= 5 for each in kept)


def test_catalogues_and_exclusions_that_are_kept_are_bounded(decoder, define, decide):
    experiment = define()
    record = decide(
        experiment, "d1", variants=experiment.catalogue()[1:], distribution=[0.5, 0.5], chosen=1
    ).record
    for _ in range(decoding.CATALOGUES_KEPT + decoding.VARIANT_LISTS_KEPT):
        decode(decoder, record, experiment.catalogue())
    assert 0 < len(decoder._catalogues) <= decoding.CATALOGUES_KEPT
    assert 0 < len(decoder._subsets) <= decoding.VARIANT_LISTS_KEPT


def test_what_is_big_is_not_kept(decoder, called, monkeypatch):
    monkeypatch.setattr(decoding, "VARIANT_LIST_BYTES_KEPT", 1_000)
    long = "x" * decoding.VARIANT_BYTES_KEPT
    record = called(Variant("a", {"long": long}), context={"long": long, "n" * 200: 1.0})
    decision = decode(decoder, record)
    assert decision.variants == (Variant("a", {"long": long}),)
    assert decision.context == {"long": long, "n" * 200: 1.0}
    assert not any((decoder._lists, decoder._variants, decoder._entries, decoder._numbers))
    assert decode(decoder, record) == decision


@pytest.mark.parametrize(
    "context",
    [
        {"n": 1.0},
        {"n": -0.0},
        {"n": 0.0},
        {"n": "12345678"},
        {"n": "\t\x1112345678"},
        {"n": ""},
        {"n": False},
        {"n": ()},
        {"n\x12\t\x11": "12345678"},
        {"": 2.0},
        {"ä": 3.0},
    ],
)
def test_an_entry_is_not_taken_for_a_number_that_begins_alike(decoder, called, context):
    decode(decoder, called(numbered(1), context={"n": 7.0, "": 7.0, "ä": 7.0}))
    for _ in range(2):
        assert repr(decode(decoder, called(numbered(1), context=context)).context) == repr(context)


def test_the_last_of_two_entries_of_a_name_counts_as_protobuf_has_it(decoder, called):
    record = called(numbered(1), context={"n": 1.0})
    for value in (pb.FeatureValue(text="later"), pb.FeatureValue(number=2.0)):
        record += pb.DecisionRecord(context={"n": value}).SerializeToString()
        expected = pb.DecisionRecord.FromString(record).context["n"]
        assert decode(decoder, record).context == {"n": expected.number or expected.text}


@pytest.mark.parametrize(
    "entry", [b"\x0a\x01\xff\x12\x02\x18\x01", b"\x0a\x01n\x12\x03\x0a\x01\xff", b"\xff", b""]
)
def test_an_entry_that_was_never_written_is_found_corrupt(decoder, called, entry):
    record = called(numbered(1)) + b"\x5a" + bytes([len(entry)]) + entry
    for _ in range(2):
        with pytest.raises(CorruptRecord, match="'d1'"):
            decode(decoder, record)


def test_a_call_variant_that_was_never_written_is_found_corrupt(decoder, called):
    record = called(numbered(1)) + codec.encode_call_variants([numbered(2)])
    assert decode(decoder, record).variants == (numbered(1),)
    with pytest.raises(CorruptRecord, match="'d1'"):
        decode(decoder, called(numbered(1)) + b"\x62\x01\xff")


def test_threads_may_share_a_decoder(decoder, called, monkeypatch):
    monkeypatch.setattr(decoding, "VARIANT_LISTS_KEPT", 3)
    monkeypatch.setattr(decoding, "ENTRIES_KEPT", 3)
    sent = [((numbered(n), numbered(0)), {"age": float(n), "city": str(n)}) for n in range(1, 9)]
    records = [called(*variants, context=context) for variants, context in sent]
    wrong = []

    def run():
        for _ in range(100):
            for (variants, context), record in zip(sent, records, strict=True):
                decision = decode(decoder, record)
                if (decision.variants, decision.context) != (variants, context):
                    wrong.append(decision)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
