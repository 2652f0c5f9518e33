"""Group commit: appends on the caller's thread where nobody else writes, one sync for all who wait."""

import fcntl
import os
import threading
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from bandit.core.records import RewardStatus
from bandit.eventlog.group_commit import GroupCommit
from bandit.eventlog.handles import LOCK_NAME
from bandit.eventlog.log import LogUnwritable, NewExperiment, NewReward, RewardOutcome, StoredDecision, Tick

WAIT_S = 30


class Disk:
    """Syncs when it is let, fails when it is told to."""

    def __init__(self):
        self.open = threading.Event()
        self.open.set()
        self.entered = SimpleQueue()
        self.broken = False
        self.syncs = 0

    def __call__(self, fd):
        self.entered.put(None)
        assert self.open.wait(WAIT_S)
        self.syncs += 1
        if self.broken:
            raise OSError(5, "Input/output error")


class Deliveries:
    """Collects what is delivered: each token with its failure or None."""

    def __init__(self):
        self.queue = SimpleQueue()

    def __call__(self, tokens, failure):
        assert tokens
        for token in tokens:
            self.queue.put((token, failure))

    def take(self, count=1):
        return [self.queue.get(timeout=WAIT_S) for _ in range(count)]


class Caller:
    """The one thread that appends and syncs: it waits for each batch, and collects tokens."""

    def __init__(self, log, delivered, on_state, **options):
        self.commit = GroupCommit(log, lambda call: call(), on_state=on_state, **options)
        self.delivered = delivered

    def append(self, batch):
        told = SimpleQueue()
        self.commit.append(batch, told.put)
        results = told.get(timeout=WAIT_S)
        if isinstance(results, Exception):
            raise results
        return results

    def sync(self, tokens):
        for token in tokens:
            self.commit.sync(lambda failure, token=token: self.delivered([token], failure))

    def close(self):
        self.commit.close()


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def delivered():
    return Deliveries()


@pytest.fixture
def states():
    return SimpleQueue()


@pytest.fixture
def log(open_log, disk):
    return open_log(sync_file=disk)


@pytest.fixture
def experiment(define):
    return define()


@pytest.fixture
def group(log, delivered, states, experiment, disk):
    log.append([NewExperiment(experiment, b"")])
    made = Caller(log, delivered, states.put, reopen_every_s=0.01)
    yield made
    # A test that failed may have left the disk hanging.
    disk.open.set()
    made.close()


@pytest.fixture
def append(group, decide, experiment):
    """Appends decisions as one batch."""

    def appended(*decision_ids):
        return group.append([decide(experiment, decision_id) for decision_id in decision_ids])

    return appended


@pytest.fixture
def down(group, append, delivered, disk, states):
    """The log has died in a sync, and cannot be reopened as long as the disk is broken."""
    disk.broken = True
    append("before")
    group.sync(["before"])
    ((_, failure),) = delivered.take()
    assert isinstance(failure, LogUnwritable)
    assert states.get(timeout=WAIT_S) is False
    return failure


def test_what_is_appended_is_committed_at_once_and_waits_for_no_sync(append, disk, delivered, open_log):
    assert append("d1", "d2") == [None, None]
    assert open_log().decision("d2").seq == 3
    assert disk.syncs == 0
    assert delivered.queue.empty()


def test_results_are_the_logs_own_in_the_order_of_the_batch(group, decide, experiment):
    first = decide(experiment, "d1", digest=b"first")
    recorded = RewardOutcome(RewardStatus.RECORDED, "front-page", "visit")
    answers = group.append(
        [
            first,
            NewReward("d1", "", 1.0, "", None),
            Tick(),
            decide(experiment, "d1", digest=b"second"),
            NewReward("unknown", "", 1.0, "", None),
        ]
    )
    assert answers[:3] == [None, recorded, None]
    assert isinstance(answers[3], StoredDecision)
    assert (answers[3].decision, answers[3].digest) == (first.decision, b"first")
    assert answers[4].status is RewardStatus.UNKNOWN_DECISION


def test_a_token_is_delivered_after_a_sync_and_not_before(group, append, delivered, disk):
    disk.open.clear()
    append("d1")
    group.sync(["d1"])
    disk.entered.get(timeout=WAIT_S)
    assert delivered.queue.empty()
    disk.open.set()
    assert delivered.take() == [("d1", None)]
    assert disk.syncs == 1


def test_tokens_come_in_the_order_they_were_handed_over(group, append, delivered):
    ids = [f"d{n}" for n in range(600)]
    for start in range(0, 600, 3):
        append(*ids[start : start + 3])
        group.sync(ids[start : start + 3])
    assert delivered.take(600) == [(decision_id, None) for decision_id in ids]
    assert delivered.queue.empty()


def test_a_slow_sync_holds_back_no_append_and_one_sync_serves_all_who_waited(
    group, append, delivered, disk, log
):
    disk.open.clear()
    append("slow")
    group.sync(["slow"])
    disk.entered.get(timeout=WAIT_S)
    for n in range(50):
        assert append(f"waits-{n}", f"quick-{n}") == [None, None]
        group.sync([f"waits-{n}"])
    assert log.head()[0] == 102
    assert delivered.queue.empty()
    disk.open.set()
    # What was appended during the first sync is not in it, so the others wait for a second one.
    assert delivered.take(51) == [("slow", None), *((f"waits-{n}", None) for n in range(50))]
    assert disk.syncs == 2


def test_an_acknowledged_reward_comes_after_the_sync_of_its_decision(group, append, delivered, disk, log):
    disk.open.clear()
    # Nobody waits for the decision to be durable, but who is told of its reward relies on both.
    append("d1")
    (outcome,) = group.append([NewReward("d1", "", 1.0, "", None)])
    assert outcome.status is RewardStatus.RECORDED
    group.sync(["reward"])
    disk.entered.get(timeout=WAIT_S)
    assert log.head()[0] == 3
    assert delivered.queue.empty()
    disk.open.set()
    assert delivered.take() == [("reward", None)]
    assert disk.syncs == 1


def test_an_item_that_cannot_be_encoded_raises_and_the_next_ones_go_on(
    group, append, delivered, states, decide, experiment, log
):
    with pytest.raises(UnicodeEncodeError):
        group.append([decide(experiment, "d1"), NewReward("\ud800", "", 1.0, "", None)])
    assert log.head()[0] == 1
    assert append("d1") == [None]
    group.sync(["d1"])
    assert delivered.take() == [("d1", None)]
    assert states.empty()


def test_a_failed_sync_acknowledges_nobody_and_the_log_comes_back_by_itself(
    group, append, delivered, disk, states, log
):
    disk.broken = True
    disk.open.clear()
    append("d1")
    group.sync(["d1"])
    disk.entered.get(timeout=WAIT_S)
    append("d2", "d3")
    group.sync(["d2", "d3"])
    disk.open.set()
    told = delivered.take(3)
    assert [token for token, _ in told] == ["d1", "d2", "d3"]
    for _, failure in told:
        assert isinstance(failure, LogUnwritable)
        assert "Input/output error" in str(failure)
    assert states.get(timeout=WAIT_S) is False
    with pytest.raises(LogUnwritable, match="Input/output error"):
        append("d4")
    group.sync(["d5"])
    ((token, failure),) = delivered.take()
    assert (token, type(failure)) == ("d5", LogUnwritable)
    disk.broken = False
    assert states.get(timeout=WAIT_S) is True
    assert append("d6") == [None]
    group.sync(["d6"])
    assert delivered.take() == [("d6", None)]
    assert states.empty()
    assert log.decision("d4") is None
    assert log.check_chain() is None


class DyingLog:
    """A log whose append fails once it is dying, and whose sync hangs until the append has failed too."""

    def __init__(self):
        self.dying = threading.Event()
        self.dead = threading.Event()

    def append(self, batch, *, wait):
        if self.dying.is_set():
            raise LogUnwritable("append")
        return [None] * len(batch)

    def sync(self):
        self.dying.set()
        assert self.dead.wait(WAIT_S)
        raise LogUnwritable("sync")

    def reopen(self):
        self.dying.clear()


@pytest.fixture
def dying():
    return DyingLog()


@pytest.fixture
def dying_group(dying, delivered, states):
    made = Caller(dying, delivered, states.put, reopen_every_s=0.01)
    yield made
    dying.dead.set()
    made.close()


def test_a_log_that_dies_in_both_threads_at_once_is_told_once(dying, dying_group, delivered, states):
    dying_group.append([Tick()])
    dying_group.sync(["t1"])
    assert dying.dying.wait(WAIT_S)
    with pytest.raises(LogUnwritable, match="append"):
        dying_group.append([Tick()])
    dying.dead.set()
    ((token, failure),) = delivered.take()
    assert (token, str(failure)) == ("t1", "sync")
    assert [states.get(timeout=WAIT_S), states.get(timeout=WAIT_S)] == [False, True]
    dying_group.close()
    assert states.empty()


def test_a_log_that_dies_in_an_append_is_reopened_although_nobody_waits_for_a_sync(
    dying, dying_group, delivered, states
):
    dying.dying.set()
    with pytest.raises(LogUnwritable, match="append"):
        dying_group.append([Tick()])
    assert [states.get(timeout=WAIT_S), states.get(timeout=WAIT_S)] == [False, True]
    assert dying_group.append([Tick()]) == [None]
    assert delivered.queue.empty()


def test_appends_while_the_log_is_down_raise_at_once_and_wait_for_no_reopening(down, append, disk, states):
    while not disk.entered.empty():
        disk.entered.get()
    disk.open.clear()
    # The reopening proves the disk with a sync of its own, and hangs in it.
    disk.entered.get(timeout=WAIT_S)
    for decision_id in ("d1", "d2"):
        with pytest.raises(LogUnwritable, match="Input/output error"):
            append(decision_id)
    assert states.empty()
    disk.broken = False
    disk.open.set()
    assert states.get(timeout=WAIT_S) is True
    assert append("d1") == [None]


def test_closing_syncs_and_delivers_everything(group, append, delivered, disk, log):
    disk.open.clear()
    append("first")
    group.sync(["first"])
    disk.entered.get(timeout=WAIT_S)
    for n in range(300):
        append(f"d{n}")
        group.sync([f"d{n}"])
    disk.open.set()
    group.close()
    # No wait: all of it was delivered before it was closed.
    told = [delivered.queue.get_nowait() for _ in range(301)]
    assert told == [("first", None), *((f"d{n}", None) for n in range(300))]
    assert disk.syncs == 2
    # The log itself stays open.
    assert log.head()[0] == 302


def test_closing_while_the_log_is_down_answers_everybody(down, group, delivered):
    for n in range(10):
        group.sync([f"late-{n}"])
    group.close()
    told = [delivered.queue.get_nowait() for _ in range(10)]
    assert [token for token, _ in told] == [f"late-{n}" for n in range(10)]
    assert all(isinstance(failure, LogUnwritable) for _, failure in told)


def test_nothing_is_appended_after_closing(group, append, log):
    group.close()
    with pytest.raises(RuntimeError, match="closed"):
        append("d1")
    group.close()
    assert log.head()[0] == 1


def test_commits_and_syncs_are_measured(log, delivered, experiment, decide):
    commits, syncs = [], []
    log.append([NewExperiment(experiment, b"")])
    group = Caller(
        log,
        delivered,
        lambda up: None,
        on_commit=lambda items, seconds: commits.append((items, seconds)),
        on_sync=syncs.append,
    )
    for n in range(100):
        group.append([decide(experiment, f"d{n}"), Tick()])
        group.sync([n])
    with pytest.raises(UnicodeEncodeError):
        group.append([NewReward("\ud800", "", 1.0, "", None)])
    group.close()
    # What failed is no commit.
    assert [items for items, _ in commits] == [2] * 100
    assert 1 <= len(syncs) <= 100
    assert min(syncs) > 0
    assert min(seconds for _, seconds in commits) > 0


@contextmanager
def another_writer(folder):
    """Another process's turn to write, as long as it takes."""
    lock = os.open(folder / LOCK_NAME, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def test_while_another_process_writes_the_caller_does_not_wait(group, decide, experiment, tmp_path, log):
    told = SimpleQueue()
    with another_writer(tmp_path):
        for n in range(20):
            group.commit.append([decide(experiment, f"d{n}")], lambda results, n=n: told.put((n, results)))
        assert told.empty()
        assert log.head()[0] == 1
    assert [told.get(timeout=WAIT_S) for _ in range(20)] == [(n, [None]) for n in range(20)]
    assert log.head()[0] == 21
    assert log.check_chain() is None


def test_closing_writes_what_waits_for_another_process(group, decide, experiment, tmp_path, log):
    told = []
    with another_writer(tmp_path):
        for n in range(3):
            group.commit.append([decide(experiment, f"d{n}")], told.append)
        closing = threading.Thread(target=group.close)
        closing.start()
    closing.join(WAIT_S)
    assert told == [[None]] * 3
    assert log.head()[0] == 4


def test_an_item_that_cannot_be_encoded_is_told_by_the_writer_too(group, tmp_path, append):
    told = SimpleQueue()
    with another_writer(tmp_path):
        group.commit.append([NewReward("\ud800", "", 1.0, "", None)], told.put)
    assert isinstance(told.get(timeout=WAIT_S), UnicodeEncodeError)
    assert append("d1") == [None]


def test_what_is_asked_for_after_closing_is_not_durable(group):
    group.close()
    told = []
    group.commit.sync(told.append)
    assert [type(failure) for failure in told] == [LogUnwritable]
