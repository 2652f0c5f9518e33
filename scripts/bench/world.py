"""What benches of the service measure on: an experiment (10 variants, 10 signals), a filled log, a server."""

import json
import os
import random
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bandit import experiment_file
from bandit.core.choose import View, choose
from bandit.core.experiment import Experiment
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.log import Definition, Item, NewDecision, NewExperiment, NewReward
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.ids import TimeOrderedIds
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.v1 import bandit_pb2 as pb

EXPERIMENT_ID = "bench"
READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 15.0
ROWS_PER_TRANSACTION = 256
CITIES = tuple(f"city-{index}" for index in range(50))
VARIANTS = tuple(
    {"id": f"variant-{index}", "features": {"price": index + 0.5, "kind": f"kind-{index % 3}"}}
    for index in range(10)
)
"""The catalogue."""

_EXPERIMENTS = """
experiments:
  - id: bench
    owner: bench@example.com
    variants:
{variants}
    baseline: variant-0
    signals:
      recency:  {{type: number, range: [0, 365], purpose: personalization}}
      history:  {{type: number, purpose: personalization}}
      basket:   {{type: number, purpose: personalization}}
      visits:   {{type: number, range: [0, 1000], purpose: personalization}}
      city:     {{type: category, purpose: personalization}}
      channel:  {{type: category, values: [web, app, phone], purpose: personalization}}
      segment:  {{type: category, purpose: personalization}}
      language: {{type: category, purpose: personalization}}
      newbie:   {{type: flag, purpose: personalization}}
      member:   {{type: flag, purpose: personalization}}
    reward: {{metric: click, range: [0, 1], window: 1h, {reward}}}
    rollout: {{stage: full}}
"""

Context = dict[str, str | float | bool]


def progress(text: str) -> None:
    """One line about what is going on, beside the results."""
    print(text, file=sys.stderr, flush=True)


def write_experiments(folder: Path, reward: str) -> Path:
    """The experiments file; `reward` is what its reward says beside metric, range and window."""
    variants = "\n".join(f"      - {json.dumps(variant)}" for variant in VARIANTS)
    path = folder / "experiments.yaml"
    path.write_text(_EXPERIMENTS.format(variants=variants, reward=reward))
    return path


def context(rng: random.Random) -> Context:
    """The 10 signals of one call."""
    return {
        "recency": round(rng.uniform(0, 365), 1),
        "history": round(rng.lognormvariate(4, 1), 2),
        "basket": round(rng.uniform(0, 200), 2),
        "visits": float(rng.randrange(1000)),
        "city": rng.choice(CITIES),
        "channel": rng.choice(("web", "app", "phone")),
        "segment": f"segment-{rng.randrange(20)}",
        "language": rng.choice(("en", "de", "fr", "es")),
        "newbie": rng.random() < 0.3,
        "member": rng.random() < 0.5,
    }


def choose_request(rng: random.Random) -> pb.ChooseRequest:
    """A ChooseRequest without a decision_id, so that each sending is a new decision."""
    request = pb.ChooseRequest(experiment_id=EXPERIMENT_ID, subject_id=f"user-{rng.randrange(1_000_000)}")
    for name, value in context(rng).items():
        if isinstance(value, bool):
            request.context[name].flag = value
        elif isinstance(value, float):
            request.context[name].number = value
        else:
            request.context[name].text = value
    return request


def choose_body(rng: random.Random) -> bytes:
    """A serialised `choose_request`."""
    return choose_request(rng).SerializeToString()


def choose_batch_body(rng: random.Random, size: int) -> bytes:
    """A serialised ChooseBatchRequest of so many."""
    return pb.ChooseBatchRequest(requests=[choose_request(rng) for _ in range(size)]).SerializeToString()


def reward_body(decision_id: str, value: float) -> bytes:
    """A serialised RewardRequest."""
    return pb.RewardRequest(decision_id=decision_id, value=value).SerializeToString()


def reward_batch_body(rewards: Iterable[tuple[str, float]]) -> bytes:
    """A serialised RewardBatchRequest: a decision id and a value each."""
    requests = [pb.RewardRequest(decision_id=decision_id, value=value) for decision_id, value in rewards]
    return pb.RewardBatchRequest(requests=requests).SerializeToString()


class Filler:
    """Writes decisions and rewards straight into a data folder's log, as if they had come `age_s` ago."""

    def __init__(self, data_dir: Path, experiments: Path, rng: random.Random) -> None:
        """Makes the folder and puts the experiment in force, long ago."""
        self._clock_us = 0
        self._rng = rng
        self._new_id = TimeOrderedIds()
        loaded = experiment_file.load(experiments)
        assert not loaded.problems, loaded.problems
        self.experiment: Experiment = loaded.experiments[0]
        data_dir.mkdir(mode=0o700)
        self._log = SqliteEventLog(data_dir, clock_us=lambda: self._clock_us)
        self.at(86_400)
        (definition,) = self._log.append([NewExperiment(self.experiment, secrets.token_bytes(16))])
        assert isinstance(definition, Definition)
        self._view = View.of(self.experiment, definition.version, definition.salt)
        self._policy = untrained_policy(ModelSpec.of(self.experiment))

    def at(self, age_s: float) -> None:
        """From here on, rows are stamped so long ago."""
        self._clock_us = time.time_ns() // 1000 - int(age_s * 1e6)

    def decisions(self, count: int, *, rewarded: float = 0.0) -> list[str]:
        """The ids of `count` new decisions; a share of them, `rewarded`, got a reward of 1 at once."""
        ids: list[str] = []
        while len(ids) < count:
            batch: list[Item] = []
            for _ in range(min(ROWS_PER_TRANSACTION, count - len(ids))):
                item = self._decision()
                ids.append(item.decision.decision_id)
                batch.append(item)
                if self._rng.random() < rewarded:
                    batch.append(NewReward(item.decision.decision_id, "", 1.0, "", None))
            self._clock_us += 1000
            self._log.append(batch)
        return ids

    def close(self) -> None:
        """Ends the filling; the log is durable."""
        self._log.sync()
        self._log.checkpoint("TRUNCATE")
        self._log.close()

    def _decision(self) -> NewDecision:
        decision = choose(
            self._view,
            self._policy,
            decision_id=self._new_id(),
            subject="",
            context=context(self._rng),
            variants=self._view.catalogue,
            call_variants=False,
        )
        return NewDecision(decision, encode_decision(decision, b""), self.experiment.reward.window_us)


class Counts:
    """Counts what the trainer says."""

    def __init__(self) -> None:
        self.events = 0
        self.snapshots = 0

    def learned(self, experiment_id: str, events: int) -> None:
        """So many more."""
        self.events += events

    def published(self, experiment_id: str) -> None:
        """One more."""
        self.snapshots += 1

    def behind(self, experiment_id: str, events: int) -> None:
        """Not looked at."""

    def lag_us(self, lag_us: int) -> None:
        """Not looked at: everything was due long ago."""


class Server:
    """A `banditd serve` that is SERVING by gRPC health; `ready_s` is how long that took from its start."""

    def __init__(self, address: str, pid: int, ready_s: float) -> None:
        self.address = address
        self.pid = pid
        self.ready_s = ready_s

    def pss_mib(self) -> dict[str, float]:
        """Proportional set size of each process of the tree, in MiB, by pid."""
        return {str(pid): _pss_kib(pid) / 1024 for pid in _tree(self.pid)}


@contextmanager
def server(data_dir: Path, experiments: Path, *options: str) -> Iterator[Server]:
    """A server that lives as long as the block, with further `options` of `serve`. Its log goes to serve.log
    beside the data folder.
    """
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "bandit", "serve", "--listen", address]
    command += ["--data-dir", str(data_dir), "--experiments", str(experiments), *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BANDITD_")}
    with (data_dir.parent / "serve.log").open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        _await_serving(process, port)
        yield Server(address, process.pid, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_serving(process: "subprocess.Popen[bytes]", port: int) -> None:
    give_up = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < give_up:
        assert process.poll() is None, f"the server ended with exit code {process.returncode}"
        try:
            # Only then a channel: one that was refused once waits a second before it tries again.
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.005)
            continue
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = health_pb2.HealthCheckRequest(service="")
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        if reply.status == health_pb2.HealthCheckResponse.SERVING:
            return
        time.sleep(0.005)
    raise TimeoutError("the server is not SERVING")


def cpu_seconds(pid: int) -> float:
    """CPU time, of the user and of the kernel, that a tree of processes has used."""
    ticks = 0
    for one in _tree(pid):
        # The name in parentheses may hold anything, spaces too.
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in tasks.read_text().split():
            yield from _tree(int(child))


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/smaps_rollup has no Pss")
