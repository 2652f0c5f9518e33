"""Which signals of a log matter, in bounded memory, and what the page says of them."""

import random
from xml.etree import ElementTree

import pytest

from bandit.core.records import Arm, Decision, JoinedEvent, Outcome, Position, Source, Stage, Variant
from bandit.replay.report import signals as signals_module
from bandit.replay.report.exposure import Exposure
from bandit.replay.report.mattering import signals_section
from bandit.replay.report.signals import ABSENT, OTHER, VALUES_MAX, VARIANTS_MAX, Matters, Signals

VARIANTS = tuple(map(Variant, "abc"))
EVIL = "<script>alert('x')</script>"


def event(
    number, context, reward, chosen=0, p=1 / 3, *, variants=VARIANTS, subject="", arm=Arm.TREATMENT, **other
):
    distribution = [p if index == chosen else (1 - p) / 2 for index in range(len(variants))]
    decision = Decision(
        experiment_id="front-page",
        version=1,
        decision_id=f"d{number}",
        subject=subject,
        context=context,
        variants=variants,
        call_variants=False,
        distribution=distribution,
        policy_distribution=distribution,
        chosen=chosen,
        arm=arm,
        source=Source.LEARNED,
        stage=Stage.FULL,
        treatment_share=1.0,
        snapshot_id="",
        **other,
    )
    return JoinedEvent(Position(number, number), number, decision, Outcome.REWARDED, reward, False, {})


def told(experiment, events, metric=""):
    signals = Signals(experiment, metric)
    for one in events:
        signals.take(one)
    matters = signals.matters()
    return matters, {one.signal: one for one in matters.signals}


def simulated(rounds=6_000, seed=1, name=str):
    """`channel` decides between a and b; `age` and `member` move all alike; `tags` and `hour` do nothing."""
    chance = random.Random(seed)
    for number in range(rounds):
        context = {
            name("channel"): chance.choice(("web", "app", "shop")),
            name("age"): chance.gauss(40, 12),
            name("member"): chance.random() < 0.4,
            name("hour"): float(chance.randrange(24)),
            name("tags"): tuple(tag for tag in "xyz" if chance.random() < 0.5),
        }
        chosen = chance.randrange(3)
        rate = 0.3 + 0.15 * context[name("member")] + 0.1 * (context[name("age")] > 40)
        rate += (0.2, -0.1, 0.0)[chosen] * (context[name("channel")] == "app")
        yield event(number, context, float(chance.random() < rate), chosen)


def test_a_signal_that_decides_is_found_and_those_that_move_all_alike_are_not(define):
    matters, found = told(define(signals="open"), simulated())
    assert {name: one.verdict for name, one in found.items()} == {
        "channel": "matters",
        "age": "no_sign",
        "member": "no_sign",
        "hour": "no_sign",
        "tags": "no_sign",
    }
    assert matters.signals[0] is found["channel"]
    assert (found["channel"].value, found["channel"].variants) == ("app", ("a", "b"))
    assert found["channel"].p < 1e-6
    assert found["age"].value is None
    assert found["member"].value == "true"
    assert all(one.rows == 6_000 for one in matters.signals)
    assert 0.0 < found["hour"].visible < found["channel"].visible < 0.2
    assert matters.weighted
    assert found["channel"].to_json() == {
        "signal": "channel",
        "verdict": "matters",
        "p": found["channel"].p,
        "value": "app",
        "variants": ["a", "b"],
        "rows": 6_000,
        "visible": found["channel"].visible,
    }


def test_a_number_that_decides_is_found_whatever_its_unit(define):
    chance = random.Random(2)

    def events():
        for number in range(3_000):
            age, chosen = chance.gauss(0, 1), chance.randrange(3)
            reward = float(chance.random() < min(max(0.5 + (0.15, -0.15, 0.0)[chosen] * age, 0.0), 1.0))
            yield event(number, {"age": 1e9 + 1e3 * age, "still": 7.0}, reward, chosen)

    _, found = told(define(signals="open"), events())
    assert (found["age"].verdict, found["age"].value, found["age"].variants) == ("matters", None, ("a", "b"))
    assert (found["still"].verdict, found["still"].p) == ("too_few_rows", None)


def test_that_a_signal_is_absent_may_matter_too(define):
    chance = random.Random(3)

    def events():
        for number in range(3_000):
            here, chosen = chance.random() < 0.5, chance.randrange(3)
            reward = float(chance.random() < 0.4 + (0.2 if chosen == 1 and not here else 0.0))
            yield event(number, {"age": chance.gauss(0, 1)} if here else {}, reward, chosen)

    _, found = told(define(signals={"age": {"type": "number"}, "gone": {"type": "flag"}}), events())
    assert (found["age"].verdict, found["age"].value) == ("matters", ABSENT)
    assert found["age"].variants[0] == "b"
    assert 1_300 < found["age"].rows < 1_700
    assert (found["gone"].verdict, found["gone"].rows) == ("too_few_rows", 0)


@pytest.mark.parametrize("logged", [True, False])
def test_a_policy_that_chose_by_noise_does_not_make_it_matter(define, logged):
    # Served is what x and noise say together, so that among the rows of a variant the one tells of the other.
    chance = random.Random(4)

    def events():
        for number in range(6_000):
            x, noise = chance.random() < 0.5, chance.random() < 0.5
            chosen = int(x != noise) if chance.random() < 0.7 else chance.randrange(2)
            p = 0.85 if chosen == int(x != noise) else 0.15
            reward = float(chance.random() < 0.2 + 0.5 * x)
            p = p if logged else float("nan")
            yield event(number, {"x": x, "noise": noise}, reward, chosen, p, variants=VARIANTS[:2])

    matters, found = told(define(signals="open"), events())
    assert found["noise"].verdict == ("no_sign" if logged else "matters")
    assert matters.weighted is logged
    assert ("no propensities" in signals_section(matters)) is not logged


def test_few_rows_tell_nothing_rather_than_that_nothing_matters(define):
    matters, found = told(define(signals="open"), simulated(150))
    assert {one.verdict for one in found.values()} == {"too_few_rows"}
    assert "Carr" not in signals_section(matters)


def test_of_a_subject_the_first_row_with_each_variant_counts(define):
    events = [event(n, {"age": 1.0}, 1.0, n % 2, subject=f"s{n % 5}") for n in range(2_500)]
    matters, _ = told(define(signals="open"), events)
    assert matters.rows == 10
    several = [event(n, {"age": 1.0}, 1.0, subject="" if n % 2 else "s") for n in range(10)]
    assert told(define(), several)[0].rows == 6


def test_rows_of_both_arms_count_and_those_without_a_reward_do_not(define):
    events = [event(n, {}, None if n % 5 == 0 else 0.5, arm=Arm(1 + n % 2)) for n in range(100)]
    assert told(define(), events)[0].rows == 80


def test_a_secondary_metric_is_judged_within_its_own_range(define):
    experiment = define(signals="open", metrics={"spend": {"range": [0, 50]}})
    events = [one._replace(reward=0.0, metrics={"spend": 500 * one.reward}) for one in simulated(3_000)]
    _, found = told(experiment, events, "spend")
    _, plain = told(experiment, simulated(3_000))
    assert found["channel"].p == pytest.approx(plain["channel"].p)
    assert found["channel"].visible == pytest.approx(50 * plain["channel"].visible)
    assert told(experiment, events, "visit")[1]["channel"].verdict == "too_few_rows"


def test_what_is_kept_is_bounded(define, monkeypatch):
    monkeypatch.setattr(signals_module, "SIGNALS_MAX", 8)
    chance = random.Random(5)
    signals = Signals(define(signals="open"))
    many = tuple(Variant(f"v{n}") for n in range(2 * VARIANTS_MAX))

    def events():
        for number in range(4_000):
            # At first all alike, then the last one most of all.
            chosen = len(many) - 1 if number > 2_000 and number % 2 else number % len(many)
            context = {f"s{number % 40}": f"value {number}", "open": f"{number % 60}", "n": number * 1.0}
            yield event(number, context, float(chance.random() < 0.5), chosen, variants=many)

    for one in events():
        signals.take(one)
    matters = signals.matters()
    assert len(matters.signals) == len(signals._signals) == 8
    assert len(signals._slots) == VARIANTS_MAX
    assert "v99" in signals._slots
    assert len(signals._pending) == 0
    assert matters.more_signals
    assert matters.more_variants
    for one in signals._signals.values():
        assert len(one._codes) <= VALUES_MAX
        assert one._labels is None or one._labels.size == 6 * (VALUES_MAX + 1) * VARIANTS_MAX
    said = signals_section(matters)
    assert "the log has more" in said
    assert "most served variants" in said


def test_late_values_are_one(define):
    chance = random.Random(6)

    def events():
        for number in range(4_000):
            value, chosen = number % 60 if number > 1_000 else number % VALUES_MAX, chance.randrange(2)
            late = value >= VALUES_MAX
            reward = float(chance.random() < 0.5 + (0.3 if chosen and late else 0.0))
            yield event(number, {"code": f"{value}"}, reward, chosen)

    _, found = told(define(signals="open"), events())
    assert (found["code"].verdict, found["code"].value) == ("matters", OTHER)


def test_the_same_log_tells_the_same(define):
    experiment = define(signals="open")
    assert told(experiment, simulated(2_000))[0] == told(experiment, simulated(2_000))[0]


def test_decisions_that_are_not_settled_tell_nothing_of_rewards(define):
    exposure = Exposure(define(), None, None, settled_us=6)
    for number in range(10):
        exposure.take(event(number, {}, 1.0))
    assert (exposure.decisions, exposure.signals.matters().rows) == (10, 6)


def words(section):
    # Our own markup, not a stranger's.
    return " ".join("".join(ElementTree.fromstring(section).itertext()).split())  # noqa: S314


def test_the_page_names_what_carries_nothing(define):
    said = words(signals_section(told(define(signals="open"), simulated())[0]))
    assert "Matters most: channel." in said
    for name in ("age", "member", "hour", "tags"):
        assert name in said.partition("Carry nothing by themselves: ")[2].partition(".")[0]
    assert (
        "They cost consent and attention and change no decision that the log shows; two signals that decide "
        "only together are not seen by this test." in said
    )
    assert "app: a gains over b" in said


def test_strange_names_are_texts_on_the_page(define):
    events = (
        one._replace(decision=one.decision._replace(variants=[Variant(EVIL), *VARIANTS[1:]]))
        for one in simulated(3_000, name=lambda name: f"{EVIL}{name}\0")
    )
    section = signals_section(told(define(signals="open"), events)[0])
    assert "<script" not in section
    assert EVIL in words(section)


def test_a_log_without_contexts_is_told_to_have_none(define):
    bare = [event(n, {}, 1.0) for n in range(10)]
    for signals in ("open", {"age": {"type": "number"}}):
        matters, _ = told(define(signals=signals), bare)
        assert "come without contexts" in signals_section(matters)
    assert signals_section(Matters()) == ""
