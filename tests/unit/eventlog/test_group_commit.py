"""Group commit: one transaction for all who queue, one sync for all who wait."""

import threading
from queue import SimpleQueue

import pytest

from bandit.core.records import RewardStatus
from bandit.eventlog.group_commit import BATCH_ITEMS, GroupCommit
from bandit.eventlog.log import LogUnwritable, NewExperiment, NewReward, StoredDecision, Tick

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
    """Collects what is delivered, and in which batches."""

    def __init__(self):
        self.queue = SimpleQueue()
        self.batches = []

    def __call__(self, results):
        self.batches.append(len(results))
        for token, result in results:
            self.queue.put((token, result))

    def take(self, count=1):
        return [self.queue.get(timeout=WAIT_S) for _ in range(count)]


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
def group(log, delivered, states, experiment):
    log.append([NewExperiment(experiment, b"")])
    commit = GroupCommit(log, delivered, on_state=states.put, reopen_every_s=0.01)
    yield commit
    commit.close()


@pytest.fixture
def submit(group, decide, experiment):
    def submitted(decision_id, *, durable=False):
        group.submit(decision_id, decide(experiment, decision_id), durable=durable)

    return submitted


def test_a_decision_is_delivered_with_its_token_once_it_is_committed(submit, delivered, open_log):
    submit("d1")
    assert delivered.take() == [("d1", None)]
    assert open_log().decision("d1").seq == 2


def test_results_come_in_the_order_of_submission(submit, delivered):
    ids = [f"d{n}" for n in range(2000)]
    for decision_id in ids:
        submit(decision_id)
    assert delivered.take(2000) == [(decision_id, None) for decision_id in ids]
    assert max(delivered.batches) <= BATCH_ITEMS


def test_a_conflict_is_delivered_as_the_stored_decision(submit, delivered):
    submit("d1")
    submit("d1")
    (_, first), (_, second) = delivered.take(2)
    assert first is None
    assert isinstance(second, StoredDecision)


def test_a_durable_item_is_delivered_after_a_sync(submit, delivered, disk):
    submit("d1", durable=True)
    assert delivered.take() == [("d1", None)]
    assert disk.syncs == 1


def test_an_item_that_is_not_durable_waits_for_no_sync(submit, delivered, disk):
    submit("d1")
    delivered.take()
    assert disk.syncs == 0


def test_a_slow_sync_holds_back_no_commit_and_one_sync_serves_all_who_waited(submit, delivered, disk):
    disk.open.clear()
    submit("slow", durable=True)
    disk.entered.get(timeout=WAIT_S)
    for n in range(50):
        submit(f"waits-{n}", durable=True)
        submit(f"quick-{n}")
        assert delivered.take() == [(f"quick-{n}", None)]
    disk.open.set()
    assert delivered.take(51) == [("slow", None), *((f"waits-{n}", None) for n in range(50))]
    assert disk.syncs == 2


def test_an_acknowledged_reward_comes_after_the_sync_of_its_decision(group, submit, delivered, disk):
    submit("d1")
    group.submit("reward", NewReward("d1", "", 1.0, "", None), durable=True)
    (_, decision), (_, outcome) = delivered.take(2)
    assert decision is None
    assert outcome.status is RewardStatus.RECORDED
    assert disk.syncs == 1


def test_an_item_that_cannot_be_encoded_gets_its_exception_and_the_next_ones_go_on(
    group, submit, delivered, states
):
    group.submit("bad", NewReward("\ud800", "", 1.0, "", None), durable=False)
    ((_, error),) = delivered.take()
    assert isinstance(error, UnicodeEncodeError)
    submit("d1")
    assert delivered.take() == [("d1", None)]
    assert states.empty()


def test_a_failed_sync_acknowledges_nobody_and_the_log_comes_back_by_itself(
    submit, delivered, disk, states, log
):
    disk.broken = True
    submit("d1", durable=True)
    ((_, failure),) = delivered.take()
    assert isinstance(failure, LogUnwritable)
    assert "Input/output error" in str(failure)
    assert states.get(timeout=WAIT_S) is False
    submit("d2")
    submit("d3", durable=True)
    assert {(token, type(result)) for token, result in delivered.take(2)} == {
        ("d2", LogUnwritable), ("d3", LogUnwritable)
    }  # fmt: skip
    disk.broken = False
    assert states.get(timeout=WAIT_S) is True
    submit("d4", durable=True)
    assert delivered.take() == [("d4", None)]
    assert states.empty()
    assert log.check_chain() is None


class DyingLog:
    """A log whose sync hangs until its append has failed too."""

    def __init__(self):
        self.syncing = threading.Event()
        self.dead = threading.Event()

    def append(self, batch):
        if self.syncing.is_set():
            raise LogUnwritable("append")
        return [None] * len(batch)

    def sync(self):
        self.syncing.set()
        assert self.dead.wait(WAIT_S)
        raise LogUnwritable("sync")

    def reopen(self):
        self.syncing.clear()


def test_a_log_that_dies_in_both_threads_at_once_is_told_once(delivered, states):
    log = DyingLog()
    group = GroupCommit(log, delivered, on_state=states.put, reopen_every_s=0.01)
    group.submit("d1", Tick(), durable=True)
    assert log.syncing.wait(WAIT_S)
    group.submit("d2", Tick(), durable=False)
    assert [token for token, _ in delivered.take()] == ["d2"]
    log.dead.set()
    assert [token for token, _ in delivered.take()] == ["d1"]
    assert [states.get(timeout=WAIT_S), states.get(timeout=WAIT_S)] == [False, True]
    group.close()
    assert states.empty()


def test_answers_while_the_log_is_down_wait_for_no_reopening(submit, delivered, disk, states):
    disk.broken = True
    submit("d1", durable=True)
    delivered.take()
    assert states.get(timeout=WAIT_S) is False
    while not disk.entered.empty():
        disk.entered.get()
    disk.open.clear()
    # The reopening proves the disk with a sync of its own, and hangs in it.
    disk.entered.get(timeout=WAIT_S)
    submit("d2")
    submit("d3", durable=False)
    assert [type(result) for _, result in delivered.take(2)] == [LogUnwritable, LogUnwritable]
    disk.broken = False
    disk.open.set()
    assert states.get(timeout=WAIT_S) is True


def test_closing_commits_syncs_and_delivers_everything_submitted(group, submit, delivered, log):
    for n in range(1000):
        submit(f"d{n}", durable=n % 2 == 0)
    group.close()
    assert {token for token, result in delivered.take(1000) if result is None} == {
        f"d{n}" for n in range(1000)
    }
    assert log.head()[0] == 1001


def test_closing_while_the_log_is_down_answers_everybody(group, submit, delivered, disk, states):
    disk.broken = True
    submit("d1", durable=True)
    delivered.take()
    assert states.get(timeout=WAIT_S) is False
    for n in range(10):
        submit(f"late-{n}", durable=n % 2 == 0)
    group.close()
    assert all(isinstance(result, LogUnwritable) for _, result in delivered.take(10))


def test_nothing_is_taken_after_closing(group, submit):
    group.close()
    with pytest.raises(RuntimeError, match="closed"):
        submit("d1")
    group.close()


def test_commits_and_syncs_are_measured(log, delivered, experiment, decide):
    commits, syncs = [], []
    log.append([NewExperiment(experiment, b"")])
    group = GroupCommit(
        log,
        delivered,
        on_state=lambda up: None,
        on_commit=lambda items, seconds: commits.append((items, seconds)),
        on_sync=syncs.append,
    )
    for n in range(100):
        group.submit(n, decide(experiment, f"d{n}"), durable=True)
    group.close()
    assert sum(items for items, _ in commits) == 100
    assert len(syncs) <= len(commits)
    assert min(syncs) > 0
    assert min(seconds for _, seconds in commits) > 0


def test_many_threads_may_submit(group, delivered, decide, experiment):
    def work(name):
        for n in range(200):
            group.submit((name, n), decide(experiment, f"{name}-{n}"), durable=n % 10 == 0)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = dict(delivered.take(1600))
    assert len(results) == 1600
    assert set(results.values()) == {None}
