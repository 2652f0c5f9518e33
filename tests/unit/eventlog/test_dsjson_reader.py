"""dsjson lines -> joined events: old and new ones as they are, and every bad line by its reason."""

import json
import math
from pathlib import Path

import pytest

from bandit.core.records import Outcome
from bandit.eventlog.formats.dsjson import BadLine, Reader

GOLDEN = Path(__file__).parents[2] / "golden" / "dsjson"
BAD = sorted((Path(__file__).parents[2] / "fixtures" / "dsjson").glob("*.*.dsjson"))
SOUND = (Path(__file__).parents[2] / "fixtures" / "dsjson" / "sound.dsjson").read_bytes().strip()
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


def line(**changes):
    document = json.loads(SOUND)
    document.update(changes)
    return json.dumps(document).encode()


def with_context(context, **changes):
    return line(c={**json.loads(SOUND)["c"], **context}, **changes)


def told(event):
    """An event as expected.json tells it."""
    decision = event.decision
    return {
        "decision_id": decision.decision_id,
        "at_us": event.at_us,
        "reward": event.reward,
        "outcome": event.outcome.name,
        "variants": [variant.id for variant in decision.variants],
        "chosen": decision.chosen,
        "distribution": [None if math.isnan(p) else p for p in decision.distribution],
        "pdrop": decision.pdrop,
        "context": {name: list(v) if type(v) is tuple else v for name, v in decision.context.items()},
        "features": dict(decision.variant.features),
        "snapshot_id": decision.snapshot_id,
    }


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_lines_of_each_age_mean_what_they_always_meant(name):
    reader = Reader()
    lines = (GOLDEN / name).read_bytes().splitlines()
    events = [reader.event(raw, number) for number, raw in enumerate(lines, start=1)]
    assert [told(event) for event in events] == EXPECTED[name]
    assert [event.position for event in events] == [(e.at_us, n) for n, e in enumerate(events, start=1)]
    assert {event.decision.experiment_id for event in events} == {"imported"}


def test_a_time_without_a_zone_is_utc_and_counted():
    reader = Reader()
    naive = reader.event(line(Timestamp="2020-01-31T23:59:59.1234567"), 1)
    assert naive.at_us == reader.event(line(Timestamp="2020-02-01T01:59:59.1234567+02:00"), 2).at_us
    assert reader.naive_times == 1


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_line_is_refused_by_its_reason(path):
    with pytest.raises(BadLine) as caught:
        Reader().event(path.read_bytes().rstrip(b"\n"), 1)
    assert caught.value.reason == path.name.split(".")[0]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_line_spoils_no_line_after_it(path):
    reader = Reader()
    expected = Reader().event(SOUND, 3)
    for number in (1, 2):
        with pytest.raises(BadLine):
            reader.event(path.read_bytes().rstrip(b"\n"), number)
    assert reader.event(SOUND, 3) == expected


@pytest.mark.parametrize("cut", [1, 60, 200, -1])
def test_a_line_that_was_cut_off_is_told_from_one_that_is_no_json(cut):
    with pytest.raises(BadLine) as caught:
        Reader().event(SOUND[:cut], 1)
    assert caught.value.reason == "TRUNCATED_LINE"


def test_bytes_that_are_no_text_are_no_json():
    with pytest.raises(BadLine, match="is not JSON"):
        Reader().event(SOUND.replace(b"old", b"\xff\xfe"), 1)


def test_the_declared_range_says_which_rewards_are_bad():
    assert Reader(reward_range=(-2.0, 2.0)).event(line(_label_cost=1.5), 1).reward == -1.5
    with pytest.raises(BadLine, match=r"\[-1, 1\]"):
        Reader(reward_range=(-1.0, 1.0)).event(line(_label_cost=1.5), 1)


def test_a_cost_of_minus_zero_is_a_reward_of_zero():
    assert math.copysign(1.0, Reader().event(line(_label_cost=-0.0), 1).reward) == 1.0


def test_actions_that_are_not_ranked_were_not_eligible():
    event = Reader().event(with_context({"_multi": [{"id": i} for i in "xyz"]}), 1)
    assert event.decision.distribution == [0.2, 0.8, 0.0]


def test_a_probability_that_rounding_took_over_1_is_1():
    event = Reader().event(line(p=[1.0000001, 0.0], _label_probability=1.0000001), 1)
    assert event.decision.distribution == [0.0, 1.0]


def test_an_event_that_was_never_activated_has_no_reward():
    event = Reader().event(line(_skipLearn=True), 1)
    assert (event.reward, event.outcome) == (None, Outcome.UNREWARDED)


@pytest.mark.parametrize(
    ("multi", "ids"),
    [
        ([{"id": "x"}, {"id": 7}], ["x", "7"]),
        ([{"_id": "x"}, {"_tag": "y"}], ["x", "y"]),
        ([{"A": {"id": "x"}}, {"A": [{"n": 1}, {"id": "y"}]}], ["x", "y"]),
        ([{"A": {"id": "same"}}, {"A": {"id": "same"}}], ["1", "2"]),
        ([{"A": {"id": "x"}}, {"A": {"n": 1}}], ["1", "2"]),
        ([{"n": 1}, {"n": 2}], ["1", "2"]),
    ],
)
def test_a_variants_id_is_the_best_that_the_line_has(multi, ids):
    event = Reader().event(with_context({"_multi": multi}), 1)
    assert [variant.id for variant in event.decision.variants] == ids


def test_features_flatten_and_keep_their_types():
    context = {
        "top": 1,
        "User": {"deep": {"er": "x"}, "flag": False, "none": None, "_hidden": 1, "big": 10**25},
        "vector": [1, 2.5],
        "tags": ["a", "b"],
        "empty": [],
        "parts": [{"p": 1}, {"q": "z"}],
        "_other": {"x": 1},
    }
    assert Reader().event(with_context(context), 1).decision.context == {
        "top": 1.0,
        "User.deep.er": "x",
        "User.flag": False,
        "User.big": 1e25,
        "vector.0": 1.0,
        "vector.1": 2.5,
        "tags": ("a", "b"),
        "empty": (),
        "parts.p": 1.0,
        "parts.q": "z",
    }


def test_variants_are_one_object_while_their_text_stays():
    reader = Reader()
    first, second, third = [reader.event(line(EventId=f"e{n}"), n).decision.variants for n in (1, 2, 3)]
    assert first is second is third
    other = reader.event(with_context({"_multi": [{"id": "x"}, {"id": "z"}]}), 4).decision.variants
    assert [variant.id for variant in other] == ["x", "z"]
    assert reader.event(line(), 5).decision.variants is first


def test_variants_that_take_turns_are_soon_one_object_each():
    reader = Reader()
    lines = [
        SOUND,
        with_context({"_multi": [{"id": "x"}, {"id": "z"}]}).replace(b", ", b",").replace(b": ", b":"),
    ]
    seen = [reader.event(lines[number % 2], number).decision.variants for number in range(20)]
    assert seen[-2] is seen[-4] is seen[-6]
    assert seen[-1] is seen[-3] is seen[-5]
    assert seen[-1] != seen[-2]


def test_spaces_and_another_order_of_keys_change_nothing():
    document = json.loads(SOUND)
    document["c"] = dict(reversed(document["c"].items()))
    spaced = json.dumps(dict(reversed(document.items())), indent=None, separators=(" , ", " : ")).encode()
    reader, expected = Reader(), Reader().event(SOUND, 1)
    for number in range(1, 6):
        event = reader.event(spaced, number)
        assert event.decision == expected.decision
        assert event.reward == expected.reward


def test_a_text_that_looks_like_variants_is_not_taken_for_them():
    multi = json.dumps(json.loads(SOUND)["c"]["_multi"], separators=(",", ":"))
    odd = f'"_multi":{multi}'
    reader = Reader()
    for number in range(1, 4):  # until the text of the variants is known by heart
        reader.event(SOUND, number)
    tricky = with_context({"User": {"age": odd, odd: 1, "\\": odd}}).replace(b'": ', b'":')
    expected = json.loads(tricky)["c"]["User"]
    assert dict(reader.event(tricky, 4).decision.context) == {
        f"User.{name}": float(value) if type(value) is int else value for name, value in expected.items()
    }


def knowing(line):
    """A reader that knows the text of a line's variants by heart."""
    reader = Reader()
    for number in range(1, 4):
        reader.event(line, number)
    return reader


@pytest.mark.parametrize("name", ["n", '"_multi', "_multi", "\\"])
def test_the_same_text_elsewhere_is_not_the_variants(name):
    multi = json.loads(SOUND)["c"]["_multi"]
    before = json.dumps({name: {"_multi": multi}, '"_multi': multi}, separators=(",", ":")).encode()
    nested = SOUND.replace(b'{"age":"old"}', before)
    assert [v.id for v in knowing(SOUND).event(nested, 5).decision.variants] == ["x", "y"]
    other = nested.replace(b'"_multi":[{"id":"x"},{"id":"y"}]},"p"', b'"_multi":[{"id":"q"},{"id":"r"}]},"p"')
    assert other != nested
    assert [v.id for v in knowing(SOUND).event(other, 5).decision.variants] == ["q", "r"]


def test_the_same_variants_mean_another_thing_in_a_line_of_banditds_own():
    multi = b'"_multi":[{"_tag":"x","A":{"id":"x"}},{"_tag":"y","A":{"id":"y"}}]'
    foreign = SOUND.replace(b'"_multi":[{"id":"x"},{"id":"y"}]', multi)
    mark = b'"U":{},"_banditd":{"closing_us":5,"seq":1,"outcome":"REWARDED"},'
    own = foreign.replace(multi, mark + multi)
    for first, second in ((own, foreign), (foreign, own)):
        assert knowing(first).event(second, 5).decision == Reader().event(second, 5).decision
    assert Reader().event(own, 1).decision.variant.features == {}
    assert Reader().event(foreign, 1).decision.variant.features == {"A.id": "y"}
