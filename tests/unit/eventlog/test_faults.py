"""What goes wrong with disks and processes, by real means: nothing that was acknowledged is lost."""

import fcntl
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import bandit
from bandit.eventlog.log import LogUnwritable, NewExperiment, Tick
from bandit.eventlog.sqlite import SqliteEventLog

PRELUDE = """
import json, os, resource, sys, threading
from pathlib import Path
from queue import SimpleQueue
from bandit.core.experiment import Experiment
from bandit.core.records import Arm, Decision, RewardStatus, Source, Stage
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.group_commit import GroupCommit
from bandit.eventlog.log import LogUnwritable, NewDecision, NewExperiment, NewReward, Tick
from bandit.eventlog.sqlite import SqliteEventLog

FOLDER = Path(sys.argv[1])
EXPERIMENT = Experiment.from_json(sys.argv[2])
VARIANTS = EXPERIMENT.catalogue()

class Caller:
    def __init__(self, log, deliver, on_state, **options):
        self.commit = GroupCommit(log, lambda call: call(), on_state=on_state, **options)
        self.deliver, self.close = deliver, self.commit.close

    def append(self, batch):
        told = SimpleQueue()
        self.commit.append(batch, told.put)
        results = told.get(timeout=60)
        if isinstance(results, Exception):
            raise results
        return results

    def sync(self, tokens):
        self.commit.sync(lambda failure: self.deliver(tokens, failure))

def decide(decision_id, size=0):
    third = [1 / 3] * 3
    decision = Decision(
        "front-page", 1, decision_id, "", {"text": "x" * size}, VARIANTS, False, third, third, 1,
        Arm.TREATMENT, Source.UNTRAINED, Stage.FULL, 1.0, "",
    )
    return NewDecision(decision, encode_decision(decision, b"digest"), EXPERIMENT.reward.window_us)
"""


@pytest.fixture
def experiment(define):
    return define()


@pytest.fixture
def child(tmp_path, experiment):
    """Starts a process of its own that works on the test's log."""
    started = []

    def start(code, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(Path(bandit.__file__).parents[1])}
        command = [
            sys.executable,
            "-c",
            PRELUDE + code,
            str(tmp_path),
            experiment.canonical_json(),
            *arguments,
        ]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def rows(log):
    return [(event.seq, event.at_us, event.kind, event.decision_id) for event in log.events()]


def assert_sound(log):
    """Contiguous, in time, and just as it was written."""
    found = rows(log)
    assert [seq for seq, _, _, _ in found] == list(range(1, len(found) + 1))
    assert [at_us for _, at_us, _, _ in found] == sorted(at_us for _, at_us, _, _ in found)
    assert log.check_chain() is None


FULL_DISK = """
delivered, states = SimpleQueue(), SimpleQueue()
log = SqliteEventLog(FOLDER)
log.append([NewExperiment(EXPERIMENT, b"salt")])

def deliver(tokens, failure):
    for token in tokens:
        delivered.put((token, failure))

group = Caller(log, deliver, states.put, reopen_every_s=0.01)
durable, room = sys.argv[3] == "durable", sys.argv[4]
accepted = []

def submit(decision_id):
    try:
        assert group.append([decide(decision_id, size=2000)]) == [None]
    except LogUnwritable as error:
        return error
    if durable:
        group.sync([decision_id])
        token, failure = delivered.get(timeout=60)
        assert token == decision_id
        if failure is not None:
            return failure
    accepted.append(decision_id)
    return None

submit("before")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
# No room: not even a tick can be written. Some room: a transaction is torn in its middle.
limit = 8192 if room == "none" else (FOLDER / "events.db-wal").stat().st_size + 300_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
n = 0
while (result := submit(f"during-{n}")) is None:
    n += 1
down = states.get(timeout=60)
still = submit("while-down") if room == "none" else result
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
up = states.get(timeout=60)
submit("after")
group.close()
print(json.dumps({
    "accepted": accepted, "states": [down, up], "flaps": states.qsize(), "error": str(result),
    "types": [type(result).__name__, type(still).__name__],
}))
"""


@pytest.mark.parametrize("durability", ["committed", "durable"])
@pytest.mark.parametrize(("room", "accepted_min"), [("none", 2), ("some", 5)])
def test_a_write_that_fails_acknowledges_nothing_and_the_log_comes_back_when_the_disk_does(
    child, open_log, durability, room, accepted_min
):
    process = child(FULL_DISK, durability, room)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    told = json.loads(output)
    assert told["types"] == ["LogUnwritable", "LogUnwritable"]
    assert "its disk has room" in told["error"]
    assert (told["states"], told["flaps"]) == ([False, True], 0)
    assert len(told["accepted"]) >= accepted_min
    assert (told["accepted"][0], told["accepted"][-1]) == ("before", "after")
    log = open_log()
    assert_sound(log)
    assert [decision_id for _, _, kind, decision_id in rows(log) if kind == "decision"] == told["accepted"]


class BrokenSync:
    """A disk whose next `failures` syncs fail."""

    def __init__(self, failures):
        self.failures = failures

    def __call__(self, fd):
        if self.failures:
            self.failures -= 1
            raise OSError(5, "Input/output error")
        os.fsync(fd)


def test_after_a_failed_sync_every_call_is_refused_until_the_log_is_reopened(open_log, experiment, decide):
    log = open_log(sync_file=BrokenSync(1))
    log.append([NewExperiment(experiment, b""), decide(experiment, "d1")])
    with pytest.raises(LogUnwritable, match="Input/output error"):
        log.sync()
    for call in (
        log.sync,
        log.head,
        lambda: log.append([Tick()]),
        lambda: log.decision("d1"),
        log.check_chain,
    ):
        with pytest.raises(LogUnwritable, match="Input/output error"):
            call()
    log.reopen()
    assert log.decision("d1").seq == 2
    assert log.append([decide(experiment, "d2")]) == [None]
    log.sync()
    assert_sound(log)


def test_reopening_writes_what_a_failed_sync_left_behind_into_the_database_itself(
    open_log, experiment, decide, tmp_path
):
    # Another process has the log open, so that closing it brings nothing over.
    open_log()
    log = open_log(sync_file=BrokenSync(1))
    log.append([NewExperiment(experiment, b""), decide(experiment, "d1")])
    with pytest.raises(LogUnwritable):
        log.sync()
    log.reopen()
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(tmp_path / "events.db", alone)
    direct = sqlite3.connect(alone / "events.db")
    assert direct.execute("SELECT decision_id FROM events WHERE kind = 'decision'").fetchall() == [("d1",)]
    direct.close()


def test_reopening_fails_as_long_as_the_disk_does(open_log, experiment):
    log = open_log(sync_file=BrokenSync(3))
    log.append([NewExperiment(experiment, b"")])
    for call in (log.sync, log.reopen, log.reopen):
        with pytest.raises(LogUnwritable, match="Input/output error"):
            call()
        with pytest.raises(LogUnwritable):
            log.head()
    log.reopen()
    assert_sound(log)


def test_reopening_fails_while_the_log_is_not_there(open_log, tmp_path):
    log = open_log()
    log.append([Tick()])
    away = tmp_path / "away"
    away.mkdir()
    for path in tmp_path.glob("events.db*"):
        path.rename(away / path.name)
    with pytest.raises(LogUnwritable, match="deleted or replaced"):
        log.reopen()
    for path in away.iterdir():
        path.rename(tmp_path / path.name)
    log.reopen()
    assert_sound(log)


def test_a_stranger_who_holds_the_database_makes_an_append_fail_and_nothing_is_written(open_log, tmp_path):
    log = open_log()
    log.append([Tick()])
    stranger = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnwritable, match="locked"):
        log.append([Tick()])
    stranger.execute("ROLLBACK")
    stranger.close()
    log.reopen()
    assert_sound(log)


def test_an_append_waits_while_another_process_has_the_writers_turn(open_log, tmp_path):
    first, second = open_log(), open_log()
    first.append([Tick()])

    def clock_us():
        # The other writer's turn comes only when this one is over: its lock can't be taken now.
        with pytest.raises(BlockingIOError):
            take_turn(tmp_path)
        return 5

    third = open_log(clock_us=clock_us)
    third.append([Tick()])
    take_turn(tmp_path)
    second.append([Tick()])
    assert_sound(second)


def take_turn(folder):
    fd = os.open(folder / "writer.lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)


WRITER = """
name, batches = sys.argv[3], int(sys.argv[4])
log = SqliteEventLog(FOLDER)
for b in range(batches):
    # Every writer also tries ids that the others try, and rewards them: one of them makes the decision.
    own = [decide(f"{name}-{b}-{n}") for n in range(5)]
    answers = log.append([*own, decide(f"shared-{b}"), NewReward(f"shared-{b}", "", 1.0, "", None)])
    assert answers[:5] == [None] * 5
    print(json.dumps([name, b, answers[5] is None, answers[6].status.name]), flush=True)
    if b % 10 == 0:
        log.sync()
        log.checkpoint_if_large()
        log.checkpoint("RESTART" if b % 20 == 0 else "PASSIVE")
log.close()
"""


def test_processes_that_append_at_once_write_one_sound_log_and_lose_nothing(child, open_log, experiment):
    open_log().append([NewExperiment(experiment, b"salt")])
    processes = [child(WRITER, name, "60") for name in ("w1", "w2", "w3")]
    told = [
        json.loads(line) for process in processes for line in process.communicate(timeout=100)[0].splitlines()
    ]
    assert [process.returncode for process in processes] == [0, 0, 0]
    log = open_log()
    assert_sound(log)
    found = rows(log)
    decisions = [decision_id for _, _, kind, decision_id in found if kind == "decision"]
    expected = {f"{name}-{b}-{n}" for name in ("w1", "w2", "w3") for b in range(60) for n in range(5)}
    assert len(decisions) == len(set(decisions))
    assert set(decisions) == expected | {f"shared-{b}" for b in range(60)}
    for b in range(60):
        mine = [line for line in told if line[1] == b]
        assert sorted(made for _, _, made, _ in mine) == [False, False, True]
        assert sorted(status for _, _, _, status in mine) == ["DUPLICATE", "DUPLICATE", "RECORDED"]


KILLED = """
log = SqliteEventLog(FOLDER)

def tell(tokens, failure):
    if failure is not None:
        os._exit(1)
    # One write a line: a kill can't tear it.
    for token in tokens:
        os.write(1, (token + chr(10)).encode())

def state(up):
    os._exit(1)

group = Caller(log, tell, state)
name = sys.argv[3]
n = 0
while True:
    ids = [f"{name}-{n}-{k}" for k in range(n % 3 + 1)]
    assert group.append([decide(decision_id) for decision_id in ids]) == [None] * len(ids)
    # A decision is told once it is committed, and at times once it is durable; a reward always then.
    if n % 7:
        tell(ids, None)
    else:
        group.sync(ids)
    outcomes = group.append([NewReward(decision_id, "", 1.0, "", None) for decision_id in ids])
    assert {outcome.status for outcome in outcomes} == {RewardStatus.RECORDED}
    group.sync([f"reward {decision_id}" for decision_id in ids])
    n += 1
    if n % 200 == 0:
        log.checkpoint("PASSIVE")
"""


@pytest.mark.crash
def test_what_was_told_as_committed_is_there_after_kill_9(child, tmp_path, experiment):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    log = SqliteEventLog(tmp_path)
    log.append([NewExperiment(experiment, b"salt")])
    log.close()
    told = []
    for cycle in range(4):
        process = child(KILLED, f"c{cycle}")
        for _ in range(rng.randrange(1, 400)):
            told.append(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().splitlines()
        assert process.wait() == -signal.SIGKILL
    log = SqliteEventLog(tmp_path, create=False)
    assert_sound(log)
    found = rows(log)
    log.close()
    decisions = {decision_id for _, _, kind, decision_id in found if kind == "decision"}
    rewarded = {decision_id for _, _, kind, decision_id in found if kind == "reward"}
    assert {line for line in told if not line.startswith("reward ")} <= decisions
    assert {line.removeprefix("reward ") for line in told if line.startswith("reward ")} <= rewarded
    assert len(told) >= 4


def test_of_a_file_that_is_no_database_it_is_not_said_that_the_disk_is_full(tmp_path):
    (tmp_path / "events.db").write_text("no database\n" * 1_000)
    with pytest.raises(LogUnwritable, match="damaged, or none of ours: restore it"):
        SqliteEventLog(tmp_path, create=False)
