"""Appending: order, time, idempotent decisions, definitions, the hash chain, the file itself."""

import multiprocessing
import sqlite3

import pytest

from bandit.core.records import RewardStatus
from bandit.eventlog.handles import Handles
from bandit.eventlog.log import LogUnwritable, NewExperiment, NewReward, SchemaTooNew, Tick
from bandit.eventlog.sqlite import SqliteEventLog


@pytest.fixture
def experiment(define):
    return define()


@pytest.fixture
def started(log, experiment):
    """A log with the experiment in force, in row 1."""
    log.append([NewExperiment(experiment, b"salt")])
    return log


def stamps(log):
    return [(event.seq, event.at_us) for event in log.events()]


def test_an_empty_log_stands_at_zero(log):
    assert log.head() == (0, 0)
    assert list(log.events()) == []
    assert log.definitions() == []
    assert log.check_chain() is None


def test_rows_of_a_batch_are_numbered_in_order_and_share_a_stamp(started, experiment, decide, clock):
    clock.now_us += 5
    assert started.append([decide(experiment, "d1"), Tick(), decide(experiment, "d2")]) == [None, None, None]
    assert stamps(started)[1:] == [(2, clock.now_us), (3, clock.now_us), (4, clock.now_us)]
    assert [event.kind for event in started.events()] == ["experiment", "decision", "tick", "decision"]
    assert started.head() == (4, clock.now_us)


def test_log_time_never_runs_backwards_when_the_clock_does(started, clock):
    latest = clock.now_us
    clock.now_us -= 1_000_000
    started.append([Tick()])
    clock.now_us += 999_999
    started.append([Tick()])
    clock.now_us += 2
    started.append([Tick()])
    assert [at_us for _, at_us in stamps(started)] == [latest, latest, latest, latest + 1]


def test_the_clock_is_read_after_the_last_row_by_every_writer(open_log, clock):
    first, second = open_log(), open_log(clock_us=lambda: clock.now_us - 500)
    first.append([Tick()])
    second.append([Tick()])
    assert stamps(first) == [(1, clock.now_us), (2, clock.now_us)]


def test_an_empty_batch_writes_nothing(started):
    assert started.append([]) == []
    assert started.head()[0] == 1


def test_a_decision_comes_back_by_its_id(started, experiment, decide, clock):
    new = decide(experiment, "d1", subject="pseudonym", context={"age": 3.0}, digest=b"abc")
    started.append([new])
    stored = started.decision("d1")
    assert (stored.decision, stored.digest, stored.seq, stored.at_us) == (
        new.decision,
        b"abc",
        2,
        clock.now_us,
    )
    assert stored.decision.variants is started.definition("front-page", 1).catalogue


def test_an_unknown_decision_is_none(started):
    assert started.decision("d1") is None


def test_a_decision_id_that_is_stored_answers_with_the_stored_decision(started, experiment, decide):
    started.append([decide(experiment, "d1", digest=b"first")])
    (answer,) = started.append([decide(experiment, "d1", digest=b"second", chosen=2)])
    assert (answer.digest, answer.seq, answer.decision.chosen) == (b"first", 2, 1)
    assert started.head()[0] == 2


def test_a_conflict_inside_a_batch_leaves_no_gap_and_spoils_no_neighbour(started, experiment, decide, reward):
    started.append([decide(experiment, "d1", digest=b"first")])
    answers = started.append(
        [
            decide(experiment, "d2"),
            reward("d2"),
            decide(experiment, "d1"),
            reward("d1"),
            decide(experiment, "d3"),
        ]
    )
    assert [type(answer).__name__ for answer in answers] == [
        "NoneType", "RewardOutcome", "StoredDecision", "RewardOutcome", "NoneType"
    ]  # fmt: skip
    assert answers[2].digest == b"first"
    assert [(event.seq, event.decision_id) for event in started.events(after_seq=1)] == [
        (2, "d1"), (3, "d2"), (4, "d2"), (5, "d1"), (6, "d3")
    ]  # fmt: skip
    assert started.check_chain() is None


def test_the_same_id_twice_in_a_batch_answers_with_the_first(started, experiment, decide, clock):
    first = decide(experiment, "d1", digest=b"first")
    answers = started.append([first, decide(experiment, "d1", digest=b"second")])
    assert answers[0] is None
    assert (answers[1].decision, answers[1].digest) == (first.decision, b"first")
    assert (answers[1].seq, answers[1].at_us) == (2, clock.now_us)
    assert started.decision("d1").digest == b"first"


def test_decision_ids_are_unique_across_experiments(started, experiment, define, decide):
    other = define(id="checkout")
    started.append([NewExperiment(other, b"other"), decide(experiment, "d1")])
    (answer,) = started.append([decide(other, "d1")])
    assert answer.decision.experiment_id == "front-page"


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_a_batch_of_any_size_is_stored_whole_and_in_order(started, experiment, decide, size):
    ids = [f"d{index}" for index in range(size)]
    assert started.append([decide(experiment, decision_id) for decision_id in ids]) == [None] * size
    assert [event.decision_id for event in started.events(after_seq=1)] == ids
    assert started.check_chain() is None


def test_rows_that_conflict_for_no_known_reason_kill_the_log_instead_of_trying_forever(
    started, experiment, decide, tmp_path
):
    altered(
        tmp_path / "events.db",
        "CREATE TRIGGER ignores BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END",
    )
    with pytest.raises(LogUnwritable, match="altered"):
        started.append([decide(experiment, "d1")])


def test_an_item_that_cannot_be_encoded_writes_nothing_and_leaves_the_log_alive(started, experiment, decide):
    with pytest.raises(UnicodeEncodeError):
        started.append([decide(experiment, "d1"), NewReward("\ud800", "", 1.0, "", None)])
    assert started.head()[0] == 1
    assert started.append([decide(experiment, "d1")]) == [None]


def test_the_first_definition_is_version_1_with_the_salt_given(log, experiment):
    (definition,) = log.append([NewExperiment(experiment, b"salt")])
    assert (definition.experiment, definition.version, definition.salt, definition.seq) == (
        experiment,
        1,
        b"salt",
        1,
    )
    assert log.definitions() == [definition]
    assert log.definition("front-page", 1) == definition


def test_a_changed_definition_is_the_next_version_with_the_salt_kept(started, define):
    (second,) = started.append([NewExperiment(define(hypothesis="better"), b"another")])
    assert (second.version, second.salt, second.seq) == (2, b"salt", 2)


def test_an_equal_definition_changes_nothing(started, define):
    (same,) = started.append([NewExperiment(define(), b"another")])
    assert (same.version, same.salt, same.seq) == (1, b"salt", 1)
    assert started.head()[0] == 1


def test_a_definition_that_comes_back_is_a_new_version(started, define):
    started.append([NewExperiment(define(hypothesis="better"), b"")])
    (third,) = started.append([NewExperiment(define(), b"")])
    assert third.version == 3


def test_definitions_of_one_batch_count_on(log, define):
    definitions = log.append(
        [
            NewExperiment(define(), b"one"),
            NewExperiment(define(hypothesis="x"), b"two"),
            NewExperiment(define(), b""),
        ]
    )
    assert [definition.version for definition in definitions] == [1, 2, 3]
    assert {definition.salt for definition in definitions} == {b"one"}


def test_a_definition_serves_rewards_of_its_own_batch(log, experiment, decide, reward):
    outcome = log.append([NewExperiment(experiment, b""), decide(experiment, "d1"), reward("d1")])[2]
    assert outcome.status is RewardStatus.RECORDED


def test_another_process_sees_definitions_by_their_seq(open_log, define):
    writer, reader = open_log(), open_log()
    writer.append([NewExperiment(define(), b"a"), NewExperiment(define(id="checkout"), b"b")])
    assert [definition.experiment.id for definition in reader.definitions()] == ["front-page", "checkout"]
    assert [definition.experiment.id for definition in reader.definitions(after_seq=1)] == ["checkout"]
    assert reader.definition("checkout", 1) is reader.definition("checkout", 1)


def test_the_columns_are_those_of_the_contract(started, experiment, decide, reward, clock, tmp_path):
    started.append([decide(experiment, "d1", subject="pseudonym"), reward("d1"), reward("unknown")])
    window_us = experiment.reward.window_us
    with sqlite3.connect(tmp_path / "events.db") as direct:
        rows = direct.execute(
            "SELECT seq, kind, experiment_id, decision_id, at_us, key, subject, version, closes_us, "
            "closes_seq FROM events"
        ).fetchall()
        types = {row[0] for row in direct.execute("SELECT DISTINCT typeof(record) FROM events")}
        names = [row[1] for row in direct.execute("PRAGMA table_info(events)")]
    direct.close()
    now = clock.now_us
    assert rows == [
        (1, "experiment", "front-page", "", now, None, None, 1, None, None),
        (2, "decision", "front-page", "d1", now, None, "pseudonym", 1, now + window_us, 2),
        (3, "reward", "front-page", "d1", now, "metric:visit", None, None, None, None),
        (4, "reward_unknown", "", "unknown", now, None, None, None, None, None),
    ]
    assert types == {"blob"}
    assert names[:6] == ["seq", "kind", "experiment_id", "decision_id", "at_us", "record"]


def test_decisions_alone_are_stored_as_beside_others(open_log, experiment, decide, tmp_path):
    stored = []
    for beside in ([], [Tick()]):
        log = open_log(data_dir=tmp_path / f"beside {len(beside)}")
        log.append([NewExperiment(experiment, b"salt")])
        new = [
            decide(experiment, "d1"),
            decide(experiment, "d\u00e9", subject="pseudonym", version=2),
            decide(experiment, "d3")._replace(window_us=1),
        ]
        assert log.append([*new, *beside]) == [None] * (3 + len(beside))
        assert log.check_chain() is None
        with sqlite3.connect(tmp_path / f"beside {len(beside)}" / "events.db") as direct:
            stored.append(direct.execute("SELECT * FROM events WHERE seq <= 4 ORDER BY seq").fetchall())
        direct.close()
    assert stored[0] == stored[1]
    assert len(stored[0]) == 4


def altered(path, *statements):
    direct = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        direct.execute(statement)
    direct.close()


@pytest.mark.parametrize(
    ("first_wrong", "statement"),
    [
        (3, "UPDATE events SET record = x'00' WHERE seq = 3"),
        (2, "UPDATE events SET at_us = at_us + 1 WHERE seq = 2"),
        (2, "UPDATE events SET subject = 'someone' WHERE seq = 2"),
        (2, "UPDATE events SET decision_id = CAST('d0' AS BLOB) WHERE seq = 2"),
        (4, "UPDATE events SET experiment_id = CAST(x'ff' AS TEXT) WHERE seq = 4"),
        (4, "UPDATE events SET checksum = x'0011223344556677' WHERE seq = 4"),
        (4, "UPDATE events SET record = 5 WHERE seq = 4"),
        (3, "DELETE FROM events WHERE seq = 3"),
        (6, "DELETE FROM events WHERE seq = 6"),
        (5, "DELETE FROM events WHERE seq > 4"),
        (6, "UPDATE events SET seq = -6 WHERE seq = 6"),
        (6, "UPDATE events SET seq = 0 WHERE seq = 6"),
        (1, "DELETE FROM events"),
        (7, "INSERT INTO events SELECT 7, 'tick', '', '', at_us, x'', NULL, NULL, NULL, NULL, NULL, checksum "
            "FROM events WHERE seq = 6"),
    ],
)  # fmt: skip
def test_whatever_is_altered_is_found_at_its_row(
    started, experiment, decide, tmp_path, first_wrong, statement
):
    started.append([decide(experiment, f"d{index}") for index in range(5)])
    assert started.check_chain() is None
    altered(tmp_path / "events.db", statement)
    assert started.check_chain() == first_wrong


def test_rows_that_changed_places_are_found(started, experiment, decide, tmp_path):
    started.append([decide(experiment, f"d{index}") for index in range(5)])
    swap = "UPDATE events SET seq = {} WHERE seq = {}"
    altered(tmp_path / "events.db", swap.format(99, 3), swap.format(3, 4), swap.format(4, 99))
    assert started.check_chain() == 3


def test_checking_tells_how_far_it_has_come(started, experiment, decide):
    started.append([decide(experiment, f"d{index}") for index in range(1500)])
    seen = []
    assert started.check_chain(seen.append) is None
    assert seen == [1000, 1501]


def test_what_was_appended_is_there_after_opening_again(open_log, experiment, decide):
    log = open_log()
    log.append([NewExperiment(experiment, b"salt"), decide(experiment, "d1")])
    log.close()
    again = open_log(create=False)
    assert again.head()[0] == 2
    assert again.decision("d1").seq == 2


def test_a_closed_log_refuses_every_call(log):
    log.close()
    for call in (lambda: log.append([Tick()]), log.sync, log.head, log.check_chain, log.definitions):
        with pytest.raises(LogUnwritable, match="closed"):
            call()


def test_a_log_that_is_not_there_is_only_made_when_asked(tmp_path):
    with pytest.raises(FileNotFoundError, match="no event log in"):
        SqliteEventLog(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    SqliteEventLog(tmp_path / "a" / "b").close()
    SqliteEventLog(tmp_path / "a" / "b", create=False).close()


def test_a_newer_schema_is_refused_with_what_to_do_and_left_as_it_is(log, tmp_path):
    log.close()
    altered(tmp_path / "events.db", "PRAGMA user_version = 2")
    before = (tmp_path / "events.db").read_bytes()
    with pytest.raises(SchemaTooNew, match=r"schema version 2.*up to 1.*Upgrade banditd"):
        SqliteEventLog(tmp_path)
    assert (tmp_path / "events.db").read_bytes() == before


def test_another_database_is_refused_and_left_as_it_is(tmp_path):
    altered(tmp_path / "events.db", "CREATE TABLE other (x)")
    before = (tmp_path / "events.db").read_bytes()
    with pytest.raises(LogUnwritable, match="not an event log"):
        SqliteEventLog(tmp_path)
    assert (tmp_path / "events.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "events.db").write_bytes(b"not a database, but longer than a header of one" * 99)
    with pytest.raises(LogUnwritable, match="not a database"):
        SqliteEventLog(tmp_path)


def test_a_checkpoint_brings_everything_into_the_database(started, tmp_path):
    assert started.checkpoint("PASSIVE")
    assert started.checkpoint("RESTART")
    assert started.checkpoint("TRUNCATE")
    assert (tmp_path / "events.db-wal").stat().st_size == 0
    assert started.size_bytes() == (tmp_path / "events.db").stat().st_size
    assert started.check_chain() is None


def test_a_large_write_ahead_log_is_checkpointed_and_starts_anew(started, experiment, decide, monkeypatch):
    monkeypatch.setattr("bandit.eventlog.sqlite.PASSIVE_CHECKPOINT_BYTES", 50_000)
    monkeypatch.setattr("bandit.eventlog.sqlite.RESTART_CHECKPOINT_BYTES", 100_000)
    for index in range(100):
        started.append([decide(experiment, f"{index}-{n}") for n in range(10)])
        started.checkpoint_if_large()
    # Without a checkpoint these rows take over 1 MB of it.
    assert started.size_bytes() < 600_000
    assert started.check_chain() is None


@pytest.mark.parametrize(
    ("passive_bytes", "restart_bytes", "modes"),
    [(1 << 30, 1 << 30, []), (1, 1 << 30, ["PASSIVE"]), (1, 1, ["PASSIVE", "RESTART"])],
)
def test_only_a_very_large_write_ahead_log_lets_the_writers_wait(
    started, monkeypatch, passive_bytes, restart_bytes, modes
):
    done = []
    checkpoint = Handles.checkpoint
    monkeypatch.setattr(Handles, "checkpoint", lambda self, mode: done.append(mode) or checkpoint(self, mode))
    monkeypatch.setattr("bandit.eventlog.sqlite.PASSIVE_CHECKPOINT_BYTES", passive_bytes)
    monkeypatch.setattr("bandit.eventlog.sqlite.RESTART_CHECKPOINT_BYTES", restart_bytes)
    started.checkpoint_if_large()
    assert done == modes


def test_a_commit_is_never_held_up_by_a_checkpoint(started, experiment, decide, tmp_path):
    size = (tmp_path / "events.db").stat().st_size
    started.append([decide(experiment, f"d{n}", context={"text": "x" * 12_000}) for n in range(400)])
    started.append([Tick()])
    assert (tmp_path / "events.db-wal").stat().st_size > 4_500_000
    assert (tmp_path / "events.db").stat().st_size == size


def test_a_connection_is_refused_on_the_other_side_of_a_fork(started):
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child():
        for call in (started.head, started.sync, started.reopen, lambda: started.append([Tick()])):
            try:
                call()
                answers.put("went through")
            except RuntimeError as error:
                answers.put(str(error))

    process = context.Process(target=child)
    process.start()
    process.join()
    assert all("after the fork" in answers.get() for _ in range(4))
    assert started.append([Tick()]) == [None]
