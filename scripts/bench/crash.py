"""Kills a loaded server with kill -9, again and again, and looks for what was acknowledged and is gone.

    python scripts/bench/crash.py --cycles 50 --seed 1

Each cycle kills a worker, the learner, the supervisor, or all of them, at a random moment under load, and
waits for recovery. In the end every acknowledged decision and reward must be in the log exactly once, the
log's chain of sums must be whole, and every model must equal the one replayed from the log. Exits 1, and says
what is wrong, if not.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from bandit.client import BanditClient, BanditError, ChooseCall, RewardCall, RewardStatus

EXPERIMENTS = """
experiments:
  - id: on-reward
    owner: growth@shop.example
    variants: [{id: a}, {id: b}, {id: c}]
    baseline: a
    signals: {recency: {type: number, purpose: personalization}}
    reward: {metric: visit, range: [0, 1], window: 10m, default: none, learn: on_reward}
  - id: at-close
    owner: growth@shop.example
    variants: [{id: a}, {id: b}]
    baseline: a
    signals: {recency: {type: number, purpose: personalization}}
    reward: {metric: visit, range: [0, 1], window: 1s, default: 0, learn: at_close}
"""

VICTIMS = ("worker", "learner", "supervisor", "all")
BACK_SECONDS_MAX = 5.0
READY_SECONDS_MAX = 60.0
CALL_SECONDS_MAX = 2.0
BATCH_CALLS = 20


class Lost(Exception):
    """Something that the service promised did not hold."""


def until(what: str, seconds_max: float, holds: Callable[[], bool]) -> float:
    """Waits until something holds; returns the seconds that took. Raises Lost."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > seconds_max:
            raise Lost(f"{what}: not within {seconds_max:g} s")
        time.sleep(0.01)
    return time.monotonic() - started


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Server:
    """A real `banditd serve --workers 2` on one folder and one port, started as often as it is killed."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.address = "127.0.0.1:0"
        self._folder = folder
        self._log = folder / "server.log"
        (folder / "experiments.yaml").write_text(EXPERIMENTS)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it and waits until a worker serves."""
        command = [sys.executable, "-m", "bandit", "serve", "--workers", "2", "--listen", self.address]
        command += ["--data-dir", str(self.data_dir), "--experiments", str(self._folder / "experiments.yaml")]
        with self._log.open("ab") as output:
            process = self._process = subprocess.Popen(command, stdout=output, stderr=output)
        self.ready(process)
        self.address = str(self._processes()["address"])

    def ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Waits until all its processes run and have reported."""

        def reported() -> bool:
            if process.poll() is not None:
                raise Lost(
                    f"the server did not start (exit {process.returncode}): {self._log.read_text()[-2000:]}"
                )
            states = self._status()
            return states.get("processes", {}).get("supervisor") == process.pid and bool(states["log"]["ok"])

        until("the server serves", READY_SECONDS_MAX, reported)

    def children(self) -> dict[str, int]:
        """Name -> pid of every child that runs."""
        processes = self._processes()
        return {
            name: pid for name, pid in processes.items() if name.startswith(("worker", "learner")) and pid
        }

    def kill_child(self, name: str) -> float:
        """Kills a child; returns the seconds until another is in its place."""
        pid = self.children().get(name, 0)
        if not pid:
            return 0.0
        os.kill(pid, signal.SIGKILL)
        return until(
            f"another {name}",
            BACK_SECONDS_MAX,
            lambda: self.children().get(name, pid) != pid and not alive(pid),
        )

    def kill_supervisor(self, *, children_too: bool) -> float:
        """Kills the supervisor and starts anew at once; returns after how long the old children are gone."""
        if self._process is None:
            raise Lost("no server")
        children = list(self.children().values())
        started = time.monotonic()
        for pid in [self._process.pid, *(children if children_too else [])]:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        killed = threading.Thread(target=self.start)
        killed.start()
        until(
            "the children of a killed supervisor end", BACK_SECONDS_MAX, lambda: not any(map(alive, children))
        )
        gone_s = time.monotonic() - started
        killed.join()
        return gone_s

    def stop(self) -> None:
        """Ends it by SIGTERM; it must exit with 0. Raises Lost."""
        if self._process is not None:
            self._process.terminate()
            if self._process.wait(30) != 0:
                raise Lost(f"SIGTERM ended the server with exit {self._process.returncode}")

    def kill(self) -> None:
        """Makes sure that nothing runs on."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _processes(self) -> dict[str, Any]:
        processes: dict[str, Any] = self._status().get("processes", {})
        return processes

    def _status(self) -> dict[str, dict[str, Any]]:
        try:
            states: dict[str, dict[str, Any]] = json.loads((self.data_dir / "status.json").read_text())
            return states
        except (FileNotFoundError, ValueError):
            return {}


class Load:
    """Threads that choose and reward for as long as it lasts, and remember what was acknowledged."""

    def __init__(self, address: str, seed: int, threads: int) -> None:
        self.decisions: dict[str, str] = {}
        self.rewards: dict[str, float] = {}
        self.failures: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._address = address
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(f"{seed}-{index}", random.Random(seed * 1000 + index)))
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, rng: random.Random) -> None:
        made = 0
        with BanditClient(self._address, timeout_s=CALL_SECONDS_MAX) as client:
            while not self._stopping.is_set():
                made += 1
                try:
                    if rng.random() < 0.3:
                        self._batch(client, f"{name}-{made}", rng)
                    else:
                        self._single(client, f"{name}-{made}", rng)
                except BanditError as error:
                    self._failed(error)

    def _single(self, client: BanditClient, decision_id: str, rng: random.Random) -> None:
        experiment = rng.choice(("on-reward", "at-close"))
        context = {"recency": rng.randrange(12)}
        try:
            choice = client.choose(experiment, context, decision_id=decision_id)
        except BanditError as error:
            self._failed(error)
            # As a backend would: the same call again, which may or may not have been stored.
            choice = client.choose(experiment, context, decision_id=decision_id)
        if choice.decision_id != decision_id:
            self.wrong.append(f"decision {decision_id} was answered as {choice.decision_id!r}")
            return
        self.decisions[decision_id] = choice.variant_id
        if rng.random() < 0.05:
            again = client.choose(experiment, context, decision_id=decision_id)
            if again.variant_id != choice.variant_id:
                self.wrong.append(f"decision {decision_id} was {choice.variant_id}, then {again.variant_id}")
        if rng.random() < 0.7:
            value = float(choice.variant_id == "b")
            try:
                status = client.reward(decision_id, value)
            except BanditError as error:
                self._failed(error)
                status = client.reward(decision_id, value)
            self._rewarded(decision_id, value, status)

    def _batch(self, client: BanditClient, name: str, rng: random.Random) -> None:
        ids = [f"{name}-{index}" for index in range(BATCH_CALLS)]
        calls = [ChooseCall("on-reward", {"recency": rng.randrange(12)}, decision_id=one) for one in ids]
        for decision_id, choice in zip(ids, client.choose_batch(calls), strict=True):
            if isinstance(choice, BanditError):
                self._failed(choice)
            elif choice.decision_id != decision_id:
                self.wrong.append(f"decision {decision_id} was answered as {choice.decision_id!r}")
            else:
                self.decisions[decision_id] = choice.variant_id
        known = [one for one in ids if one in self.decisions]
        values = [float(self.decisions[one] == "b") for one in known]
        statuses = client.reward_batch([RewardCall(*pair) for pair in zip(known, values, strict=True)])
        for decision_id, value, status in zip(known, values, statuses, strict=True):
            if isinstance(status, BanditError):
                self._failed(status)
            else:
                self._rewarded(decision_id, value, status)

    def _rewarded(self, decision_id: str, value: float, status: RewardStatus) -> None:
        if status is RewardStatus.UNKNOWN_DECISION:
            self.wrong.append(f"the acknowledged decision {decision_id} was unknown to its reward")
        self.rewards[decision_id] = value

    def _failed(self, error: BanditError) -> None:
        self.failures[error.reason or error.code.name] += 1
        # While nothing serves, a call fails at once: don't spin.
        self._stopping.wait(0.02)


def lost(data_dir: Path, load: Load) -> list[str]:
    """What was acknowledged and is not in the log exactly once, and whatever else is wrong with the log."""
    wrong = list(load.wrong)
    with closing(sqlite3.connect(data_dir / "events.db")) as connection:
        decisions = Counter(
            d for (d,) in connection.execute("SELECT decision_id FROM events WHERE kind = 'decision'")
        )
        rewards = Counter(
            d for (d,) in connection.execute("SELECT decision_id FROM events WHERE kind = 'reward'")
        )
        count, last = connection.execute("SELECT count(*), max(seq) FROM events").fetchone()
        backwards = connection.execute(
            "SELECT count(*) FROM events a JOIN events b ON b.seq = a.seq + 1 WHERE b.at_us < a.at_us"
        ).fetchone()[0]
    wrong += [f"decision {one} is not in the log" for one in load.decisions if not decisions[one]]
    wrong += [f"reward of {one} is not in the log" for one in load.rewards if not rewards[one]]
    # Each decision of this load gets one reward at most, so nothing may be there twice.
    for kind, counts in (("decision", decisions), ("reward of", rewards)):
        wrong += [f"{kind} {one}: {times} times in the log" for one, times in counts.items() if times > 1]
    if count != last:
        wrong.append(f"{count} rows up to seq {last}")
    if backwards:
        wrong.append(f"time runs backwards {backwards} times")
    return wrong


def verified(data_dir: Path) -> tuple[list[str], int]:
    """What `banditd verify` finds wrong, and how many joined events its models hold."""
    command = [sys.executable, "-m", "bandit", "verify", "--json", "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return [f"verify failed: {done.stdout}{done.stderr}"], 0
    wrong = [] if done.returncode == 0 and found["ok"] else [f"verify: {done.stdout}"]
    if {e["id"] for e in found["experiments"] if e["snapshot_id"]} != {"on-reward", "at-close"}:
        wrong.append(f"an experiment has no snapshot: {done.stdout}")
    return wrong, sum(experiment["joined"] for experiment in found["experiments"])


def kill_one(server: Server, victim: str, rng: random.Random) -> float:
    """Kills the victim and waits for recovery; returns the seconds that took. Raises Lost."""
    if victim == "worker":
        return server.kill_child(rng.choice(("worker-0", "worker-1")))
    if victim == "learner":
        return server.kill_child("learner")
    return server.kill_supervisor(children_too=victim == "all")


def run(cycles: int, seed: int, threads: int, folder: Path, console: Console) -> list[str]:
    """All cycles; returns what is wrong. Raises Lost."""
    rng = random.Random(seed)
    # Every kind of victim comes once before any comes twice.
    victims = [victim for _ in range(cycles // 4 + 1) for victim in rng.sample(VICTIMS, 4)][:cycles]
    recovery_s: dict[str, float] = dict.fromkeys(VICTIMS, 0.0)
    server = Server(folder)
    try:
        load = Load(server.address, seed, threads)
        try:
            for victim in track(victims, "killing", console=console):
                before = len(load.decisions)
                until("decisions are made", READY_SECONDS_MAX, lambda n=before: len(load.decisions) > n + 50)
                time.sleep(rng.uniform(0.0, 1.0))
                recovery_s[victim] = max(recovery_s[victim], kill_one(server, victim, rng))
        finally:
            load.stop()
        server.stop()
    finally:
        server.kill()
    wrong = lost(server.data_dir, load)
    unequal, joined = verified(server.data_dir)
    verdict = "differ" if unequal else "equal"
    slowest = ", ".join(f"{victim} {seconds:.2f} s" for victim, seconds in recovery_s.items())
    print(
        f"seed {seed}: {cycles} kills, {len(load.decisions)} decisions and {len(load.rewards)} rewards "
        f"acknowledged, {len(wrong)} lost or wrong; {joined} joined, models {verdict}; "
        f"slowest recovery: {slowest}; failed calls: {dict(load.failures)}"
    )
    return wrong + unequal


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--threads", type=int, default=6)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="banditd-crash-") as folder:
        try:
            wrong = run(options.cycles, options.seed, options.threads, Path(folder), Console(stderr=True))
        except Lost as problem:
            wrong = [str(problem)]
        for line in wrong[:20]:
            print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
