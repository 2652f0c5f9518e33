"""Who was shown what, in bounded memory."""

import pytest

from bandit.core.records import Arm, Decision, JoinedEvent, Outcome, Position, Source, Stage, Variant
from bandit.replay.report.exposure import OTHERS, VALUES_MAX, Exposure, Watched

VARIANTS = (Variant("a"), Variant("b"))


def event(number, context, chosen=0):
    decision = Decision(
        experiment_id="front-page",
        version=1,
        decision_id=f"d{number}",
        subject="",
        context=context,
        variants=VARIANTS,
        call_variants=False,
        distribution=[0.5, 0.5],
        policy_distribution=[0.5, 0.5],
        chosen=chosen,
        arm=Arm.TREATMENT,
        source=Source.LEARNED,
        stage=Stage.FULL,
        treatment_share=1.0,
        snapshot_id="",
    )
    return JoinedEvent(Position(number, number), number, decision, Outcome.REWARDED, 1.0, False, {})


def counted(experiment, events, segments=8, since_us=None, until_us=None):
    exposure = Exposure(experiment, since_us, until_us)
    for one in events:
        exposure.take(one)
    return exposure, {
        breakdown.signal: [(s.value, s.decisions, dict(s.served)) for s in breakdown.segments]
        for breakdown in exposure.breakdowns(segments)
    }


def test_decisions_are_counted_by_signal_value_and_variant(define):
    experiment = define(
        signals={
            "channel": {"type": "category"},
            "age": {"type": "number", "range": [0, 100]},
            "new": {"type": "flag"},
            "tags": {"type": "categories"},
        }
    )
    exposure, found = counted(
        experiment,
        [
            event(1, {"channel": "web", "age": 10.0, "new": True, "tags": ("x", "y", "x")}),
            event(2, {"channel": "web", "age": 100.0, "new": False, "tags": ("y",)}, 1),
            event(3, {"channel": "app", "age": -5.0, "new": False}),
        ],
    )
    assert found == {
        "channel": [("web", 2, {"a": 1, "b": 1}), ("app", 1, {"a": 1})],
        "age": [("0 to 25", 2, {"a": 2}), ("75 to 100", 1, {"b": 1})],
        "new": [("false", 2, {"b": 1, "a": 1}), ("true", 1, {"a": 1})],
        "tags": [("y", 2, {"a": 1, "b": 1}), ("x", 1, {"a": 1})],
    }
    assert (exposure.decisions, exposure.first_us, exposure.last_us) == (3, 1, 3)


def test_open_signals_are_counted_as_they_come(define):
    _, found = counted(define(signals="open"), [event(1, {"x": 1.0}), event(2, {"x": 2.0}), event(3, {})])
    assert found == {"x": [("1", 1, {"a": 1}), ("2", 1, {"a": 1})]}


def test_only_the_time_that_was_asked_for_counts(define):
    exposure, _ = counted(define(), [event(n, {}) for n in range(10)], since_us=2, until_us=5)
    assert (exposure.decisions, exposure.first_us, exposure.last_us) == (3, 2, 4)


def test_rare_values_are_others_and_an_id_is_no_segment(define):
    experiment = define(signals={"name": {"type": "category"}, "id": {"type": "category"}})
    events = [event(n, {"name": "abcdefghij"[n % 10], "id": str(n)}) for n in range(3 * VALUES_MAX)]
    _, found = counted(experiment, events, segments=4)
    assert [row[0] for row in found["name"]] == ["a", "b", "c", OTHERS]
    assert found["name"][-1][1] == 3 * VALUES_MAX * 7 // 10
    assert "id" not in found


@pytest.mark.parametrize("whole", [True, False])
def test_a_watched_source_counts_its_first_whole_iteration_alone(define, whole):
    class Plain:
        kind = "dsjson"

        def experiments(self):
            return {"front-page": define()}

        def settled_us(self, experiment_id, metric):
            return None

        def events(self, experiment_id):
            return iter([event(n, {}) for n in range(6)])

    watched = Watched(Plain(), None, None)
    peeked = watched.events("front-page")
    next(peeked)
    peeked.close()
    assert watched.exposure.decisions == 1
    for number, _ in enumerate(watched.events("front-page")):
        if not whole and number == 3:
            break
    list(watched.events("front-page"))
    assert watched.exposure.decisions == 6
    kept = watched.exposure
    list(watched.events("front-page"))
    assert watched.exposure is kept
