"""Formats under whatever comes: no line but gives an event or a reason, and no event but comes back."""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.core.experiment import Experiment
from bandit.core.records import Arm, Decision, JoinedEvent, Outcome, Position, Source, Stage, Variant
from bandit.eventlog.formats import parquet
from bandit.eventlog.formats.dsjson import BadLine, Reader, lines

SOUND = json.loads((Path(__file__).parents[1] / "fixtures" / "dsjson" / "sound.dsjson").read_text())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=3) | st.just("x" * 2000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "_tag", "_multi", "m", "U", "_banditd", "a"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["_multi", "_label", "%x", "%%", "_", "id", "_tag", "_banditd", "a+b", "|", "a:1"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
FEATURES = st.dictionaries(
    NAMES, TEXTS | NUMBERS | st.booleans() | st.lists(TEXTS, max_size=3).map(tuple), max_size=4
)


@st.composite
def distributions(draw, size, chosen):
    weights = draw(st.lists(st.floats(0.0, 1.0), min_size=size, max_size=size))
    weights[chosen] += 0.01
    return [weight / math.fsum(weights) for weight in weights]


@st.composite
def events(draw):
    ids = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    chosen = draw(st.integers(0, len(ids) - 1))
    outcome = draw(st.sampled_from(Outcome))
    decision = Decision(
        experiment_id="e",
        version=1,
        decision_id=draw(NAMES),
        subject=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
        context=draw(FEATURES),
        variants=tuple([Variant(variant_id, draw(FEATURES)) for variant_id in ids]),
        call_variants=True,
        distribution=draw(distributions(len(ids), chosen)),
        policy_distribution=draw(distributions(len(ids), chosen)),
        chosen=chosen,
        arm=draw(st.sampled_from(Arm)),
        source=draw(st.sampled_from([Source.LEARNED, Source.UNTRAINED, Source.BASELINE])),
        stage=draw(st.sampled_from(Stage)),
        treatment_share=draw(st.floats(0, 1)),
        snapshot_id=draw(NAMES),
        pdrop=draw(st.floats(0, 1, exclude_max=True)),
    )
    at_us = draw(st.integers(0, 10**16))
    return JoinedEvent(
        Position(at_us + draw(st.integers(0, 10**10)), draw(st.integers(1, 10**12))),
        at_us,
        decision,
        outcome,
        None if outcome is Outcome.UNREWARDED else draw(st.floats(-5, 5)) + 0.0,
        draw(st.booleans()),
        draw(st.dictionaries(NAMES, NUMBERS, max_size=2)),
    )


@given(events=st.lists(events(), max_size=3))
def test_every_event_comes_back_from_its_line(events):
    reader = Reader("e", (-5.0, 5.0))
    for number, line in enumerate(lines(events * 3), start=1):
        assert reader.event(line.encode(), number) == events[(number - 1) % len(events)]


@settings(max_examples=20)
@given(events=st.lists(events(), min_size=1, max_size=3))
def test_every_event_comes_back_from_parquet(events):
    definition = Experiment(id="e", owner="o", variants=(), reward={"metric": "m", "range": (-5, 5)})
    with TemporaryDirectory() as folder:
        parquet.write({"e": events}, Path(folder), {"e": definition})
        back = list(parquet.read(Path(folder), "e"))
    by_day = sorted(events, key=lambda event: event.position.closing_us // 86_400_000_000)
    assert back == by_day


def given_or_refused(reader, line, number):
    try:
        return reader.event(line, number)
    except BadLine:
        return None


@settings(max_examples=300)
@given(data=st.data())
def test_a_line_with_anything_in_it_gives_an_event_or_a_reason(data):
    document = json.loads(json.dumps(SOUND))
    for _ in range(data.draw(st.integers(1, 3))):
        where = document if data.draw(st.booleans()) else document.get("c")
        if isinstance(where, dict):
            key = data.draw(
                st.sampled_from([*SOUND, "_skipLearn", "pdrop", "_banditd", "U", "_multi", "_slots"])
            )
            where[key] = data.draw(JSON)
    line = json.dumps(document).encode()
    reader = Reader()
    for number in range(3):
        event = given_or_refused(reader, line, number)
        if event is not None:
            decision = event.decision
            served = decision.propensity
            assert 0.0 < served <= 1.0 or math.isnan(served)
            assert len(decision.distribution) == len(decision.policy_distribution) == len(decision.variants)
            assert event.reward is None or 0.0 <= event.reward <= 1.0


@given(line=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_give_a_reason(line):
    try:
        Reader().event(line, 1)
    except BadLine:
        return
    raise AssertionError("that was no decision")
