"""An append goes on from the last row its instance wrote, and is right when another one wrote since."""

import sqlite3

import pytest

from bandit.core.errors import Reason
from bandit.core.records import RewardStatus
from bandit.eventlog import schema, writing
from bandit.eventlog.log import LogUnwritable, NewExperiment, NewReward, StoredDecision, Tick


@pytest.fixture
def experiment(define):
    return define()


@pytest.fixture
def ours(open_log, experiment):
    """An instance that has written, so that it knows a last row."""
    log = open_log()
    log.append([NewExperiment(experiment, b"salt")])
    return log


@pytest.fixture
def our_name(ours, tmp_path):
    """What the lock file says while ours is the last one to have written."""
    return (tmp_path / "writer.lock").read_bytes()


@pytest.fixture
def theirs(our_name, open_log):
    """Another instance on the same folder, that has written after ours."""
    log = open_log()
    log.append([Tick()])
    return log


@pytest.fixture(params=["stale", "stale unawares", "up to date"])
def catch_up(request, ours, our_name, tmp_path):
    """Called after the other instance wrote: leaves our last row stale, or brings it up to date."""
    lock_file = tmp_path / "writer.lock"

    def caught_up():
        if request.param == "stale unawares":
            # As after a stranger's write: the lock file does not tell of it.
            assert lock_file.read_bytes() != our_name
            lock_file.write_bytes(our_name)
        elif request.param == "up to date":
            ours.append([Tick()])

    return caught_up


def assert_sound(log):
    """Contiguous, in time, and just as it was written."""
    found = list(log.events())
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert [event.at_us for event in found] == sorted(event.at_us for event in found)
    assert log.check_chain() is None


def decision_ids(log):
    return [event.decision_id for event in log.events(kinds=["decision"])]


@pytest.mark.parametrize("batch", [[Tick(), Tick()], ["d1", "d2"]], ids=["ticks", "decisions"])
def test_an_undisturbed_append_is_one_statement_and_a_disturbed_one_reads_the_log(
    tmp_path, experiment, decide, batch
):
    connection = schema.connect(tmp_path / "events.db", create=True)
    schema.prepare(connection, tmp_path / "events.db", create=True)

    def write(tail, turn):
        items = [item if isinstance(item, Tick) else decide(experiment, f"{item}-{turn}") for item in batch]
        statements = []
        connection.set_trace_callback(statements.append)
        written = writing.write(connection, items, lambda: 5, tail, None, lambda ids: {})
        connection.set_trace_callback(None)
        return [statement.split(" ")[0] for statement in statements], written.tail

    first, tail = write(None, 1)
    second, newer = write(tail, 2)
    third, newest = write(tail, 3)
    assert first == ["SELECT", "INSERT"]
    assert second == ["INSERT"]
    assert third == ["INSERT", "BEGIN", "SELECT", "INSERT", "COMMIT"]
    assert [tail.seq, newer.seq, newest.seq] == [2, 4, 6]
    connection.close()


def test_an_instance_that_another_one_wrote_after_reads_the_last_row_once(ours, theirs, monkeypatch):
    known = []

    def write(connection, batch, clock_us, tail, *others):
        known.append(tail and tail.seq)
        return real(connection, batch, clock_us, tail, *others)

    real = writing.write
    monkeypatch.setattr(writing, "write", write)
    for log in (ours, ours, theirs, theirs, ours):
        log.append([Tick()])
    assert known == [None, 3, None, 5, None]
    assert_sound(ours)


# Once in turns, once with runs of either, so that a last row is stale by one batch and by many.
@pytest.mark.parametrize("turns", ["0101010101", "0011100011110", "1120210022112"])
def test_appends_of_instances_in_any_turns_make_one_sound_log(open_log, experiment, decide, turns):
    # Their clocks disagree, and one of them runs backwards.
    clocks = [iter(range(1_000, 2_000)), iter(range(1_500, 2_500, 7)), iter(range(1_200, 200, -1))]
    logs = [open_log(clock_us=clock.__next__) for clock in clocks]
    logs[0].append([NewExperiment(experiment, b"salt")])
    expected = []
    for index, turn in enumerate(turns):
        ids = [f"d{index}-{n}" for n in range(index % 3 + 1)]
        answers = logs[int(turn)].append([decide(experiment, decision_id) for decision_id in ids])
        assert answers == [None] * len(ids)
        expected += ids
    for log in logs:
        assert decision_ids(log) == expected
        assert_sound(log)


def test_time_goes_on_from_the_other_instances_last_row(ours, open_log, clock):
    ahead_us = clock.now_us + 7_000_000
    ahead = open_log(clock_us=lambda: ahead_us)
    ahead.append([Tick()])
    ours.append([Tick()])
    assert ours.head() == (3, ahead_us)
    assert_sound(ours)


def test_a_decision_id_another_instance_wrote_is_answered_with_its_decision_and_leaves_no_gap(
    ours, theirs, catch_up, experiment, decide, clock
):
    theirs.append([decide(experiment, "d1", digest=b"theirs")])
    catch_up()
    before, _ = ours.head()
    clock.now_us += 10
    answers = ours.append([decide(experiment, "d2"), decide(experiment, "d1", chosen=2), Tick()])
    assert (answers[0], answers[2]) == (None, None)
    assert isinstance(answers[1], StoredDecision)
    assert (answers[1].digest, answers[1].seq, answers[1].at_us) == (b"theirs", 3, clock.now_us - 10)
    assert answers[1].decision.chosen == 1
    assert ours.head()[0] == before + 2
    assert decision_ids(ours) == ["d1", "d2"]
    # What was rolled back meanwhile left nothing in the way of the next ones of either.
    assert theirs.append([decide(experiment, "d3")]) == [None]
    assert ours.append([decide(experiment, "d4")]) == [None]
    assert_sound(ours)


def test_a_batch_of_known_decisions_only_writes_nothing_and_either_goes_on(
    ours, theirs, catch_up, experiment, decide
):
    theirs.append([decide(experiment, "d1"), decide(experiment, "d2")])
    catch_up()
    before = ours.head()
    answers = ours.append([decide(experiment, "d2"), decide(experiment, "d1")])
    assert [answer.seq for answer in answers] == [4, 3]
    assert ours.head() == before
    theirs.append([decide(experiment, "d3")])
    ours.append([decide(experiment, "d4")])
    assert_sound(ours)


def test_a_reward_another_instance_wrote_is_seen(ours, theirs, catch_up, experiment, decide, reward):
    theirs.append([decide(experiment, "d1"), reward("d1"), decide(experiment, "d2")])
    catch_up()
    before, _ = ours.head()
    repeated, refused = ours.append([reward("d1"), reward("d1", value=0.0)])
    assert repeated.status is RewardStatus.DUPLICATE
    assert refused.reason is Reason.REWARD_ID_CONFLICT
    # Neither is a row, so our last row may be stale still when the next ones are written.
    assert ours.head()[0] == before
    answers = ours.append([reward("d1"), reward("d2"), reward("d3")])
    assert [answer.status for answer in answers] == [
        RewardStatus.DUPLICATE, RewardStatus.RECORDED, RewardStatus.UNKNOWN_DECISION
    ]  # fmt: skip
    assert ours.head()[0] == before + 2
    assert_sound(ours)


def test_a_reward_beside_a_decision_that_another_instance_wrote_goes_to_that_one(
    ours, theirs, catch_up, experiment, decide, reward
):
    theirs.append([decide(experiment, "d1"), reward("d1")])
    catch_up()
    stored, repeated, other = ours.append(
        [decide(experiment, "d1"), reward("d1"), reward("d1", reward_id="r")]
    )
    assert stored.seq == 3
    assert (repeated.status, other.status) == (RewardStatus.DUPLICATE, RewardStatus.RECORDED)
    assert_sound(ours)


def test_a_reward_is_late_by_the_other_instances_time(ours, open_log, experiment, decide, reward, clock):
    ours.append([decide(experiment, "d1")])
    ahead = open_log(clock_us=lambda: clock.now_us + experiment.reward.window_us)
    ahead.append([Tick()])
    # By our clock the window is open, but log time has come to its end.
    (outcome,) = ours.append([reward("d1")])
    assert outcome.status is RewardStatus.LATE
    assert_sound(ours)


def test_a_definition_another_instance_wrote_is_the_one_before_ours(ours, theirs, catch_up, define, decide):
    theirs.append([NewExperiment(define(hypothesis="theirs"), b"")])
    catch_up()
    same, third = ours.append(
        [NewExperiment(define(hypothesis="theirs"), b""), NewExperiment(define(hypothesis="ours"), b"")]
    )
    assert (same.version, same.seq, third.version, third.salt) == (2, 3, 3, b"salt")
    assert [definition.version for definition in theirs.definitions()] == [1, 2, 3]
    assert_sound(ours)


@pytest.mark.parametrize("size", [64, 65, 200])
def test_a_large_batch_holds_ids_that_another_instance_wrote(
    ours, theirs, catch_up, experiment, decide, size
):
    # Where it takes more than one insert, the last of them conflicts: the ones before must not stay either.
    known = {size - 1}
    theirs.append([decide(experiment, f"d{n}", digest=b"theirs") for n in sorted(known)])
    catch_up()
    before, _ = ours.head()
    answers = ours.append([decide(experiment, f"d{n}") for n in range(size)])
    assert {n for n, answer in enumerate(answers) if answer is not None} == known
    assert {answers[n].digest for n in known} == {b"theirs"}
    assert ours.head()[0] == before + size - 1
    # The last row of a large batch is gone on from, by either.
    for log in (ours, theirs, theirs, ours):
        log.append([Tick()])
    assert sorted(decision_ids(ours)) == sorted(f"d{n}" for n in range(size))
    assert_sound(ours)


def test_an_item_that_cannot_be_encoded_leaves_a_stale_last_row_as_it_was(
    ours, theirs, catch_up, experiment, decide
):
    catch_up()
    before = ours.head()
    with pytest.raises(UnicodeEncodeError):
        ours.append([decide(experiment, "d1"), NewReward("\ud800", "", 1.0, "", None)])
    assert ours.head() == before
    assert ours.append([decide(experiment, "d1")]) == [None]
    assert_sound(ours)


def test_a_log_opened_again_goes_on_after_what_others_wrote(ours, theirs, open_log, experiment, decide):
    theirs.append([decide(experiment, "d1")])
    ours.close()
    theirs.append([decide(experiment, "d2")])
    again = open_log(create=False)
    theirs.append([decide(experiment, "d3")])
    answers = again.append([decide(experiment, f"d{n}") for n in range(5)])
    assert [answer and answer.seq for answer in answers] == [None, 3, 4, 5, None]
    assert_sound(again)


def test_a_reopened_log_goes_on_after_what_others_wrote_while_it_was_dead(
    ours, theirs, tmp_path, experiment, decide
):
    stranger = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnwritable, match="locked"):
        ours.append([decide(experiment, "d0")])
    stranger.execute("ROLLBACK")
    stranger.close()
    theirs.append([decide(experiment, "d1")])
    ours.reopen()
    # The reopening wrote a row of its own.
    assert theirs.append([decide(experiment, "d2")]) == [None]
    answers = ours.append([decide(experiment, f"d{n}") for n in range(4)])
    assert [answer and answer.seq for answer in answers] == [None, 3, 5, None]
    assert_sound(ours)
