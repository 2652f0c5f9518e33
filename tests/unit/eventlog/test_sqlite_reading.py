"""Reading rows back: pages, kinds, what was touched."""

import pytest

from bandit.eventlog import reading
from bandit.eventlog.log import NewExperiment, Tick


@pytest.fixture
def experiment(define):
    return define()


@pytest.fixture
def filled(log, experiment, define, decide, reward):
    """Rows 1 to 7: two experiments, two decisions, a reward, an unknown reward, a tick."""
    other = define(id="checkout")
    log.append([NewExperiment(experiment, b"")])
    log.append([NewExperiment(other, b"")])
    log.append([decide(experiment, "d1", subject="s1"), decide(other, "d2"), reward("d1", reward_id="r")])
    log.append([reward("unknown"), Tick()])
    return log


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_every_row_is_read_once_in_order_whatever_the_batch(filled, batch):
    events = list(filled.events(batch=batch))
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.kind for event in events] == [
        "experiment", "experiment", "decision", "decision", "reward", "reward_unknown", "tick"
    ]  # fmt: skip
    assert [(events[2].subject, events[2].version), (events[4].key, events[4].version)] == [
        ("s1", 1),
        ("id:r", None),
    ]


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_rows_can_be_read_by_kind_and_from_a_seq_on(filled, batch):
    assert [event.seq for event in filled.events(kinds=["decision", "tick"], batch=batch)] == [3, 4, 7]
    assert [event.seq for event in filled.events(after_seq=3, kinds={"decision", "tick"}, batch=batch)] == [
        4,
        7,
    ]
    assert list(filled.events(kinds=[], batch=batch)) == []
    assert list(filled.events(after_seq=7, batch=batch)) == []


def test_a_reader_stops_where_the_log_ended_when_it_began(filled):
    rows = filled.events(batch=2)
    assert next(rows).seq == 1
    filled.append([Tick()])
    assert [event.seq for event in rows][-1] == 7


def test_big_records_end_a_page_early_and_none_is_lost(filled, experiment, decide, monkeypatch):
    filled.append([decide(experiment, f"big-{n}", context={"text": "x" * 1000}) for n in range(20)])
    monkeypatch.setattr(reading, "PAGE_BYTES", 2_500)
    assert [event.seq for event in filled.events()] == list(range(1, 28))
    assert filled.check_chain() is None


def test_only_experiments_with_rows_after_a_seq_are_touched(filled, monkeypatch):
    assert filled.experiments_touched(0) == {"front-page", "checkout"}
    assert filled.experiments_touched(3) == {"checkout", "front-page"}
    assert filled.experiments_touched(4) == {"front-page"}
    assert filled.experiments_touched(5) == set()
    monkeypatch.setattr("bandit.eventlog.readable._SCAN_ROWS", 2)
    assert filled.experiments_touched(0) == {"front-page", "checkout"}


def test_a_read_sees_nothing_that_is_not_committed(open_log, experiment):
    reader = open_log()
    seen = []

    def clock_us():
        seen.append(reader.head())
        return 5

    writer = open_log(clock_us=clock_us)
    writer.append([NewExperiment(experiment, b"")])
    writer.append([Tick()])
    assert seen == [(0, 0), (1, 5)]
    assert reader.head() == (2, 5)
