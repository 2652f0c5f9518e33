"""Many experiments, large calls, and long logs: what they cost, and what they cost the other calls.

    .venv/bin/python scripts/bench/scale.py [--experiments 1000] [--events 300] [--grown 1000000]
        [--rounds 5] [--seconds 3] [--starts 3] [--only many,large,growth,learner,together] [--json]

many: experiments of 10 variants, each with a snapshot that the production trainer learned from `--events`
events; the variants of every second one share features, so that Vowpal Wabbit predicts too. Start to SERVING,
memory (PSS of all processes), the first use of each experiment and its returning use after more than 256
others, and meanwhile the calls of one other experiment, sent every 5 ms. `burst`: 64 unloaded experiments are
asked for at the same moment; `burst, in memory`: 64 loaded ones. `published`: 200 loaded experiments get
rewards, so that the learner publishes and the server takes their snapshots.

large: calls with 200 variants of their own with 20 features each, and calls with 1,000 entries of context,
one after the other; and the other experiment's calls meanwhile.

growth: two servers, one on a log of `--grown` events and one on an empty one, neither with a learner. Calls
alternate, a Choose and its Reward each: read the ratios. The log is filled straight into the file, some
30,000 events a second: --grown 10000000 takes ten minutes and 8 GB.

learner: two production trainers, one near the end of that log and one near the end of a log of 20,000 events
of the same time, step by step in turn, 5,000 events a round.

together: a production trainer of 40, 100 and 300 experiments that get 300 rewards a second together, in turn,
for 20 s; of more than 48 not all are in memory.

Latencies are those that one client sees, in its own process on the same machine: read them beside `quiet`.
"""

import argparse
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import scale_calls
import scale_tables
import scale_together
import scale_world
import uvloop
import world

from bandit.core.records import ORIGIN, Position
from bandit.eventlog.joined import read_joined
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.fold import ModelFold
from bandit.learning.trainer import Trainer
from bandit.logs import configure
from bandit.policies.model import ModelSpec, vw_version
from bandit.serving.learner import wall_clock_us
from bandit.snapshots.store import SnapshotStore

LEARNED_A_ROUND, KNOWN_EVENTS, SMALL_EVENTS = 5_000, 1_000, 20_000
TOGETHER_SECONDS = 20.0
PARTS = ("many", "large", "growth", "learner", "together")


def main() -> None:
    """Runs the parts and prints tables, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--grown", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    parts = set(given.only.split(","))
    if not parts <= set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}")
    configure("warning", process="bench")
    rng = random.Random(given.seed)
    result: dict[str, Any] = {}
    if parts & {"many", "large"}:
        with tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder:
            result |= _many(Path(folder), given, parts, rng)
    if parts & {"growth", "learner"}:
        with tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder:
            result |= _grown(Path(folder), given, parts, rng)
    if "together" in parts:
        result["together"] = []
        for count in scale_together.EXPERIMENTS:
            with tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder:
                found = scale_together.measure(Path(folder), count, TOGETHER_SECONDS, rng)
            result["together"].append(found)
    if given.json:
        print(json.dumps(result))
    else:
        scale_tables.show(result)


# Many experiments, and large calls.


def _many(folder: Path, given: argparse.Namespace, parts: set[str], rng: random.Random) -> dict[str, Any]:
    count = given.experiments
    world.progress(f"filling a log with {given.events} events of each of {count} experiments")
    experiments = scale_world.write_many(folder, count)
    data_dir = folder / "data"
    scale_world.fill(data_dir, experiments, given.events, rng)
    result: dict[str, Any] = {"experiments": count, "events_an_experiment": given.events}
    result["learning"] = _learn_all(data_dir)
    ready, used, fresh = [], [], 0.0
    for _ in range(max(1, given.starts)):
        with world.server(data_dir, experiments) as server:
            ready.append(server.ready_s)
            used.append(world.cpu_seconds(server.pid))
            fresh = sum(server.pss_mib().values())
    world.progress(f"start to SERVING: {ready} s, {used} s of CPU, {fresh:.0f} MiB")
    result |= {"start_s": ready, "start_cpu_s": used, "pss_mib_started": fresh}
    with world.server(data_dir, experiments) as server:
        calls = uvloop.run(scale_calls.play(server, given, parts, rng))
        memory = server.pss_mib()
    result |= calls | {"pss_mib": sum(memory.values()), "pss_mib_by_process": list(memory.values())}
    return result


def _learn_all(data_dir: Path) -> dict[str, float]:
    log, counts = SqliteEventLog(data_dir, create=False), world.Counts()
    began = shown = time.perf_counter()
    trainer = Trainer(log, SnapshotStore(data_dir), clock_us=wall_clock_us, watch=counts)
    for learned in scale_world.steps(trainer, counts):
        if time.perf_counter() - shown > 10:
            shown = time.perf_counter()
            world.progress(f"  {learned:,} events learned, {counts.snapshots:,} snapshots")
    trainer.finish()
    took = time.perf_counter() - began
    log.close()
    world.progress(f"{counts.events:,} events learned in {took:.0f} s, {counts.snapshots:,} snapshots")
    return {"events": counts.events, "snapshots": counts.snapshots, "seconds": took}


# Long logs.


def _grown(folder: Path, given: argparse.Namespace, parts: set[str], rng: random.Random) -> dict[str, Any]:
    experiments = world.write_experiments(folder, "default: none, learn: on_reward")
    sizes = {"empty": 0, "small": SMALL_EVENTS, "grown": given.grown}
    folders = {}
    for name, events in sizes.items():
        world.progress(f"filling a log with {events:,} events")
        (folder / name).mkdir()
        folders[name] = folder / name / "data"
        scale_world.fill(folders[name], experiments, events, rng)
    result: dict[str, Any] = {"grown_events": given.grown}
    if "learner" in parts:
        result["learner"] = _learner({name: folders[name] for name in ("small", "grown")}, given.rounds)
    if "growth" in parts:
        result["growth"] = _growth(folders, experiments, given, rng)
    return result


def _growth(
    folders: dict[str, Path], experiments: Path, given: argparse.Namespace, rng: random.Random
) -> dict[str, Any]:
    options = ("--no-learner",)
    with (
        world.server(folders["empty"], experiments, *options) as empty,
        world.server(folders["grown"], experiments, *options) as grown,
    ):
        starts = {"empty": empty.ready_s, "grown": grown.ready_s}
        addresses = {"empty": empty.address, "grown": grown.address}
        rounds = uvloop.run(_alternate(addresses, given, [world.choose_body(rng) for _ in range(500)]))
    found: dict[str, Any] = {"start_s": starts}
    for method, by_name in rounds.items():
        medians = {name: [statistics.median(one) * 1e3 for one in each] for name, each in by_name.items()}
        tails = {
            name: [scale_world.percentile(one, 0.99) * 1e3 for one in each] for name, each in by_name.items()
        }
        found[method] = {"p50_ms": _compared(medians), "p99_ms": _compared(tails)}
    return found


def _compared(rounds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and the ratio grown / empty of rounds that followed each other: min, median, max."""
    ratios = sorted(grown / empty for grown, empty in zip(rounds["grown"], rounds["empty"], strict=True))
    return {
        **{name: statistics.median(values) for name, values in rounds.items()},
        "ratio": [ratios[0], statistics.median(ratios), ratios[-1]],
    }


async def _alternate(
    addresses: dict[str, str], given: argparse.Namespace, bodies: Sequence[bytes]
) -> dict[str, dict[str, list[list[float]]]]:
    found: dict[str, dict[str, list[list[float]]]] = {
        method: {name: [[] for _ in range(given.rounds)] for name in addresses}
        for method in ("Choose", "Reward")
    }
    async with AsyncExitStack() as stack:
        clients = {}
        for name, address in addresses.items():
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            await channel.channel_ready()
            clients[name] = scale_calls.Client(channel, random.Random(1))
        # Call by call in turn, so that whatever else the machine does hits both. The first round warms up.
        for index in range(-1, given.rounds):
            until = time.perf_counter() + given.seconds
            for number, body in enumerate(itertools.cycle(bodies)):
                for name in sorted(clients, reverse=number % 2 == 1):
                    chosen, reply = await clients[name].choose(body)
                    rewarded = await clients[name].reward(reply.decision_id, 1.0)
                    if index >= 0:
                        found["Choose"][name][index].append(chosen)
                        found["Reward"][name][index].append(rewarded)
                if time.perf_counter() > until:
                    break
            world.progress(f"growth: round {index + 1} of {given.rounds}")
    return found


def _learner(folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Events a second of CPU near each log's end."""
    logs = {name: SqliteEventLog(folder, create=False) for name, folder in folders.items()}
    positions = {name: _near_end(log) for name, log in logs.items()}
    # What a model knows costs time too, so both begin with the same one.
    (definition,) = logs["small"].definitions()
    experiment_id, spec = definition.experiment.id, ModelSpec.of(definition.experiment)
    fold = ModelFold.start(spec)
    fold.take(read_joined(logs["small"], experiment_id, ORIGIN, logs["small"].head()[1], KNOWN_EVENTS))
    speeds: dict[str, list[float]] = {name: [] for name in logs}
    with tempfile.TemporaryDirectory(prefix="banditd-bench-", dir=folders["grown"].parent) as folder:
        for index in range(rounds + 1):
            used = dict.fromkeys(logs, 0.0)
            counts = {name: world.Counts() for name in logs}
            trainers = {}
            for name, log in logs.items():
                store = SnapshotStore(Path(folder) / f"{name}-{index}")
                fold.position = positions[name]
                store.publish(fold.manifest(experiment_id, vw_version()), fold.save)
                trainers[name] = Trainer(log, store, clock_us=wall_clock_us, watch=counts[name])
            # Step by step in turn, so that whatever else the machine does hits both.
            number = 0
            while min(count.events for count in counts.values()) < LEARNED_A_ROUND:
                for name in sorted(trainers, reverse=number % 2 == 1):
                    began = time.process_time()
                    trainers[name].step(lambda: False)
                    used[name] += time.process_time() - began
                number += 1
            for name, trainer in trainers.items():
                trainer.finish()
                # The first round only warms up.
                if index:
                    speeds[name].append(counts[name].events / used[name])
                    world.progress(f"learner, {name} log: {speeds[name][-1]:,.0f} events/s of CPU")
    for log in logs.values():
        log.close()
    fold.close()
    ratios = sorted(grown / small for small, grown in zip(speeds["small"], speeds["grown"], strict=True))
    return {"per_cpu_second": speeds, "ratio": [ratios[0], statistics.median(ratios), ratios[-1]]}


def _near_end(log: SqliteEventLog) -> Position:
    """A position with a little more than a round's events behind it."""
    head_seq, _ = log.head()
    # Each event is a decision and a reward that closes it.
    for event in log.events(max(0, head_seq - 3 * LEARNED_A_ROUND)):
        if event.kind == "reward":
            return Position(event.at_us, event.seq - 1)
    raise ValueError("the log has too few events: give --grown more")


if __name__ == "__main__":
    main()
