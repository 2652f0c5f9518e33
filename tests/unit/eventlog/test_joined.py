"""The joined order read from the log, case by case; a property test holds it to the definition."""

import sqlite3

import pytest

from bandit.core.records import ORIGIN, Outcome, Position
from bandit.eventlog import reading
from bandit.eventlog.joined import next_due_us, read_joined
from bandit.eventlog.log import CorruptRecord, NewExperiment, Tick

SECOND_US = 1_000_000


@pytest.fixture
def start(log, define):
    """Brings an experiment into force whose window is a second."""

    def started(**changes):
        rule = {"metric": "visit", "window": "1s", **changes.pop("rule", {})}
        experiment = define(reward=rule, **changes)
        log.append([NewExperiment(experiment, b"")])
        return experiment

    return started


@pytest.fixture
def joined(log):
    """All events after a position that closed before the log's last row, read `limit` at a time."""

    def read(after=ORIGIN, limit=100, experiment_id="front-page"):
        events = []
        while batch := read_joined(log, experiment_id, after, log.head()[1], limit):
            assert len(batch) <= limit
            events += batch
            after = batch[-1].position
        return events

    return read


@pytest.fixture
def tick(log, clock):
    def ticked(later_us=0):
        clock.now_us += later_us
        log.append([Tick()])

    return ticked


def ids(events):
    return [event.decision.decision_id for event in events]


def test_a_decision_closes_when_its_window_ends_and_not_before_log_time_has_passed_it(
    start, log, decide, tick, joined, clock
):
    made_us = clock.now_us
    log.append([decide(start(), "d1")])
    tick(SECOND_US)
    assert joined() == []
    tick(1)
    (event,) = joined()
    assert (event.position, event.at_us) == (Position(made_us + SECOND_US, 2), made_us)
    assert (event.outcome, event.reward) == (Outcome.DEFAULTED, 0.0)


def test_on_reward_the_first_primary_reward_closes_once_and_the_windows_end_not_again(
    start, log, decide, reward, tick, joined, clock
):
    log.append([decide(start(rule={"learn": "on_reward"}), "d1")])
    clock.now_us += 10
    log.append([reward("d1")])
    assert joined() == []
    tick(1)
    (event,) = joined()
    assert (event.position, event.reward) == (Position(clock.now_us - 1, 2), 1.0)
    tick(2 * SECOND_US)
    assert ids(joined()) == ["d1"]
    assert joined(after=event.position) == []


def test_decisions_that_close_together_come_in_the_order_they_were_made(
    start, log, decide, reward, tick, joined
):
    experiment = start(rule={"learn": "on_reward"})
    log.append([decide(experiment, f"d{n}") for n in range(3)])
    log.append([reward("d2"), reward("d0"), reward("d1")])
    tick(1)
    assert ids(joined(limit=1)) == ids(joined(limit=100)) == ["d0", "d1", "d2"]


def test_events_of_other_experiments_are_left_out(start, log, decide, tick, joined):
    first, second = start(), start(id="checkout")
    log.append([decide(first, "d1"), decide(second, "d2")])
    tick(2 * SECOND_US)
    assert (ids(joined()), ids(joined(experiment_id="checkout"))) == (["d1"], ["d2"])
    assert joined(experiment_id="none") == []


def test_window_default_and_range_are_those_of_the_version_the_decision_carries(
    start, log, decide, tick, joined
):
    first = start(rule={"default": 0.25})
    second = start(rule={"default": "none", "window": "500ms"})
    log.append([decide(first, "d1"), decide(second, "d2", version=2)])
    tick(2 * SECOND_US)
    assert [(event.decision.decision_id, event.reward) for event in joined()] == [("d2", None), ("d1", 0.25)]


def test_rewards_are_aggregated_in_log_order_and_late_ones_left_out(
    start, log, decide, reward, tick, joined, clock
):
    experiment = start(
        rule={"aggregate": "last"}, metrics={"complaint": {"range": [0, 1], "aggregate": "sum"}}
    )
    log.append([decide(experiment, "d1")])
    log.append([reward("d1", 0.5, reward_id="b"), reward("d1", 0.25, reward_id="a")])
    log.append([reward("d1", 1.0, metric="complaint"), reward("d1", 0.5, metric="complaint", reward_id="c")])
    clock.now_us += SECOND_US
    log.append([reward("d1", 1.0)])
    tick(1)
    (event,) = joined()
    assert (event.reward, event.metrics) == (0.25, {"complaint": 1.5})


def test_variants_that_came_with_the_call_are_joined_without_a_catalogue(
    start, log, decide, tick, joined, define
):
    experiment = start(variants=[], baseline="")
    variants = [*define().catalogue()]
    log.append([decide(experiment, "d1", variants=variants, call_variants=True)])
    tick(2 * SECOND_US)
    assert [variant.id for variant in joined()[0].decision.variants] == ["a", "b", "c"]


def test_all_events_of_a_version_share_the_catalogue(start, log, decide, tick, joined):
    experiment = start()
    log.append([decide(experiment, "d1"), decide(experiment, "d2")])
    tick(2 * SECOND_US)
    first, second = joined(limit=1)
    assert first.decision.variants is second.decision.variants is log.definition("front-page", 1).catalogue


def test_big_decisions_end_a_batch_early_and_none_is_lost(start, log, decide, tick, joined, monkeypatch):
    experiment = start()
    log.append([decide(experiment, f"d{n}", context={"text": "x" * 1000}) for n in range(20)])
    tick(2 * SECOND_US)
    monkeypatch.setattr(reading, "PAGE_BYTES", 2_500)
    assert len(read_joined(log, "front-page", ORIGIN, log.head()[1], 100)) == 3
    assert ids(joined()) == [f"d{n}" for n in range(20)]


def test_a_stretch_of_decisions_closed_by_rewards_is_passed_over(start, log, decide, reward, tick, joined):
    experiment = start(rule={"learn": "on_reward"})
    rewarded = [f"d{n}" for n in range(50)]
    log.append([decide(experiment, decision_id) for decision_id in rewarded])
    log.append([reward(decision_id) for decision_id in rewarded])
    tick(1)
    log.append([decide(experiment, "last")])
    tick(2 * SECOND_US)
    events = joined(limit=7)
    assert ids(events) == [*rewarded, "last"]
    after = events[49].position
    assert ids(joined(after=after, limit=7)) == ["last"]


def test_a_closing_time_that_is_not_the_experiments_is_found(start, log, decide, tick, joined, tmp_path):
    log.append([decide(start(), "d1")])
    direct = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    direct.execute("UPDATE events SET closes_us = closes_us - 5 WHERE seq = 2")
    direct.close()
    tick(2 * SECOND_US)
    with pytest.raises(CorruptRecord, match="'d1' closes at"):
        joined()


def test_nothing_is_due_where_nothing_is_open(start, log):
    start()
    assert next_due_us(log, "front-page", ORIGIN) is None


def test_what_is_due_next_is_the_closing_of_the_first_event_not_yet_read(
    start, log, decide, reward, tick, joined, clock
):
    made_us = clock.now_us
    experiment = start(rule={"learn": "on_reward"})
    log.append([decide(experiment, "d1"), decide(experiment, "d2")])
    assert next_due_us(log, "front-page", ORIGIN) == made_us + SECOND_US
    clock.now_us += 10
    log.append([reward("d2")])
    assert next_due_us(log, "front-page", ORIGIN) == made_us + 10
    tick(1)
    after = joined()[-1].position
    assert next_due_us(log, "front-page", after) == made_us + SECOND_US
    tick(2 * SECOND_US)
    assert next_due_us(log, "front-page", joined()[-1].position) is None


def test_what_is_due_is_found_behind_any_number_of_decisions_that_rewards_closed(
    start, log, decide, reward, tick, clock, monkeypatch
):
    monkeypatch.setattr("bandit.eventlog.readable._SEARCH_ENTRIES", 4)
    experiment = start(rule={"learn": "on_reward"})
    rewarded = [f"d{n}" for n in range(50)]
    log.append([decide(experiment, decision_id) for decision_id in rewarded])
    log.append([reward(decision_id) for decision_id in rewarded])
    after = Position(clock.now_us, 10**6)
    # Their windows lie ahead: it looks at some and says when to ask again.
    assert next_due_us(log, "front-page", after) == clock.now_us + SECOND_US
    clock.now_us += 10
    log.append([decide(experiment, "last")])
    assert next_due_us(log, "front-page", after) <= clock.now_us + SECOND_US
    # Their windows have ended: it looks past all of them.
    tick(SECOND_US - 1)
    assert next_due_us(log, "front-page", after) == clock.now_us + 1
    tick(SECOND_US)
    assert next_due_us(log, "front-page", Position(clock.now_us, 0)) is None
