"""Many experiments, large calls, and long logs: what they cost, and what they cost the other calls.

    .venv/bin/python scripts/bench/scale.py [--experiments 1000] [--events 300] [--grown 1000000]
        [--rounds 5] [--seconds 3] [--starts 3] [--only many,large,growth,learner] [--json]

many: experiments of 10 variants, each with a snapshot that the production trainer learned from `--events`
events; the variants of every second one share features, so that Vowpal Wabbit predicts too. Start to SERVING,
memory (PSS of all processes), the first use of each experiment and its returning use after more than 256
others, and meanwhile the calls of one other experiment, sent every 5 ms. `burst`: 64 unloaded experiments are
asked for at the same moment. `published`: 200 loaded experiments get rewards, so that the learner publishes
and the server takes their snapshots.

large: calls with 200 variants of their own with 20 features each, and calls with 1,000 entries of context,
one after the other; and the other experiment's calls meanwhile.

growth: two servers, one on a log of `--grown` events and one on an empty one, neither with a learner. Calls
alternate, a Choose and its Reward each: read the ratios. The log is filled straight into the file, some
30,000 events a second: --grown 10000000 takes ten minutes and 8 GB.

learner: two production trainers on that log, one near its start and one near its end, step by step in turn,
5,000 events a round.

Latencies are those that one client sees, in its own process on the same machine: read them beside `quiet`.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import rich.console
import rich.table
import scale_world
import uvloop
import world

from bandit.core.records import ORIGIN, Position
from bandit.eventlog.joined import read_joined
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.fold import ModelFold
from bandit.learning.trainer import BATCH_EVENTS, Trainer
from bandit.logs import configure
from bandit.policies.model import ModelSpec, vw_version
from bandit.serving.learner import wall_clock_us
from bandit.snapshots.store import SnapshotStore
from bandit.v1 import bandit_pb2 as pb

SERVICE = "bandit.v1.BanditService"
OTHER_EVERY_SECONDS = 0.005
BURST = 64
PUBLISHED = 200
RETURNING = 300
LARGE_CALLS = 40
SETTLED_SECONDS_MAX = 60
LEARNED_A_ROUND, KNOWN_EVENTS = 5_000, 1_000
PARTS = ("many", "large", "growth", "learner")


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
    if given.json:
        print(json.dumps(result))
    else:
        _print(result)


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
        calls = uvloop.run(_play(server, given, parts, rng))
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


@dataclass(slots=True)
class _Phase:
    """What was waited for in a phase: `own` its own calls, `other` those of the other experiment."""

    own: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Counts and milliseconds."""
        return {"own": _latencies(self.own), "other": _latencies(self.other)}


def _latencies(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {"calls": 0}
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    found = {key: scale_world.percentile(seconds, share) * 1e3 for key, share in shares.items()}
    return {"calls": len(seconds), **found}


class _Client:
    """Sends calls on one channel and times them."""

    def __init__(self, channel: "grpc.aio.Channel", rng: random.Random) -> None:
        self._choose: Any = channel.unary_unary(f"/{SERVICE}/Choose")  # type: ignore[call-arg]
        self._reward: Any = channel.unary_unary(f"/{SERVICE}/Reward")  # type: ignore[call-arg]
        self._other = scale_world.choose_bodies(scale_world.name(0), 200, rng)

    async def choose(self, body: bytes) -> tuple[float, pb.ChooseResponse]:
        """The seconds that a call took, and its reply."""
        sent = time.perf_counter()
        reply = await self._choose(body)
        return time.perf_counter() - sent, pb.ChooseResponse.FromString(reply)

    async def reward(self, decision_id: str, value: float) -> float:
        """The seconds that a call took."""
        sent = time.perf_counter()
        await self._reward(world.reward_body(decision_id, value))
        return time.perf_counter() - sent

    async def during(self, work: Callable[[_Phase], Awaitable[None]]) -> dict[str, Any]:
        """What `work` puts into a phase, and what the other experiment's calls took meanwhile."""
        phase = _Phase()
        working = asyncio.ensure_future(work(phase))
        pending: set[asyncio.Task[None]] = set()

        async def one(body: bytes) -> None:
            took, _ = await self.choose(body)
            phase.other.append(took)

        # On time whatever becomes of the calls before: who only sends after a reply never sees a stall twice.
        for body in itertools.cycle(self._other):
            if working.done():
                break
            task = asyncio.ensure_future(one(body))
            pending.add(task)
            task.add_done_callback(pending.discard)
            await asyncio.sleep(OTHER_EVERY_SECONDS)
        await working
        await asyncio.gather(*pending)
        return phase.summary()


async def _play(
    server: world.Server, given: argparse.Namespace, parts: set[str], rng: random.Random
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with grpc.aio.insecure_channel(server.address) as channel:
        await channel.channel_ready()
        client = _Client(channel, rng)

        async def phase(name: str, work: Callable[[_Phase], Awaitable[None]]) -> None:
            used = world.cpu_seconds(server.pid)
            found[name] = await client.during(work)
            found[name]["cpu_s"] = world.cpu_seconds(server.pid) - used
            found[name]["pss_mib"] = sum(server.pss_mib().values())
            world.progress(f"{name}: {found[name]}")

        async def wait(phase: _Phase) -> None:
            await asyncio.sleep(given.seconds)

        await _settled(server)
        # The first call of all loads what no later one must.
        await phase("warm-up", wait)
        await phase("quiet", wait)
        if "many" in parts:
            await _play_many(client, phase, given.experiments, rng)
        if "large" in parts:
            await _play_large(client, phase, rng)
    return {"phases": found}


async def _settled(server: world.Server) -> None:
    """Returns when the learner has looked at every experiment and the processes are idle."""
    for _ in range(SETTLED_SECONDS_MAX):
        used = world.cpu_seconds(server.pid)
        await asyncio.sleep(1.0)
        if world.cpu_seconds(server.pid) - used < 0.2:
            return
    world.progress("the server is still busy")


async def _play_many(client: _Client, phase: Any, count: int, rng: random.Random) -> None:
    bodies = {
        index: scale_world.choose_bodies(scale_world.name(index), 1, rng)[0] for index in range(count - 1)
    }
    others = list(bodies)[1:]

    def each(indices: Iterable[int]) -> Callable[[_Phase], Awaitable[None]]:
        async def work(phase: _Phase) -> None:
            for index in indices:
                took, reply = await client.choose(bodies[index])
                phase.own.append(took)
                assert reply.snapshot_id, reply
                await asyncio.sleep(0.004)

        return work

    await phase("first use", each(others))
    await phase("returning use", each(others[:RETURNING]))
    await phase("in memory", each(others[:RETURNING][-PUBLISHED:]))

    async def burst(phase: _Phase) -> None:
        for start in range(RETURNING, min(len(others), RETURNING + 5 * BURST) - BURST + 1, BURST):
            replies = await asyncio.gather(*(client.choose(bodies[i]) for i in others[start : start + BURST]))
            phase.own += [took for took, _ in replies]
            await asyncio.sleep(0.5)

    await phase("burst", burst)
    await phase("again", each(others[:PUBLISHED]))

    async def publish(phase: _Phase) -> None:
        for index in others[:PUBLISHED]:
            _, reply = await client.choose(bodies[index])
            phase.own.append(await client.reward(reply.decision_id, 1.0))
        # The learner loads, learns and publishes each of them, and the server takes them.
        await asyncio.sleep(10)

    await phase("published", publish)


async def _play_large(client: _Client, phase: Any, rng: random.Random) -> None:
    variants, features = scale_world.LARGE_VARIANTS, scale_world.LARGE_FEATURES
    shapes = {
        f"{variants} variants": {"variants": variants, "features": features, "context": 10},
        f"{scale_world.LARGE_CONTEXT} entries": {
            "variants": 10,
            "features": 2,
            "context": scale_world.LARGE_CONTEXT,
        },
        "both": {"variants": variants, "features": features, "context": scale_world.LARGE_CONTEXT},
    }
    for name, shape in shapes.items():
        bodies = scale_world.large_bodies(20, rng, **shape)

        async def work(phase: _Phase, bodies: Sequence[bytes] = bodies) -> None:
            await client.choose(bodies[0])
            for body in itertools.islice(itertools.cycle(bodies), LARGE_CALLS):
                took, reply = await client.choose(body)
                phase.own.append(took)
                assert reply.snapshot_id, reply
                # The others have caught up before the next one comes.
                await asyncio.sleep(max(0.05, 2.0 * took))

        await phase(name, work)


# Long logs.


def _grown(folder: Path, given: argparse.Namespace, parts: set[str], rng: random.Random) -> dict[str, Any]:
    experiments = world.write_experiments(folder, "default: none, learn: on_reward")
    sizes = {"empty": 0, "grown": given.grown}
    folders = {}
    for name, events in sizes.items():
        world.progress(f"filling a log with {events:,} events")
        (folder / name).mkdir()
        folders[name] = folder / name / "data"
        scale_world.fill(folders[name], experiments, events, rng)
    result: dict[str, Any] = {"grown_events": given.grown}
    if "learner" in parts:
        result["learner"] = _learner(folders["grown"], given.rounds)
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
            clients[name] = _Client(channel, random.Random(1))
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


def _learner(data_dir: Path, rounds: int) -> dict[str, Any]:
    """Events a second of CPU from near the log's first event on, and from near its last one on."""
    log = SqliteEventLog(data_dir, create=False)
    (definition,) = log.definitions()
    experiment_id, spec = definition.experiment.id, ModelSpec.of(definition.experiment)
    # What a model knows costs time too, so both begin with the same one, at another position.
    fold = ModelFold.start(spec)
    fold.take(read_joined(log, experiment_id, ORIGIN, log.head()[1], KNOWN_EVENTS))
    positions = {"start": fold.position, "end": _near_end(log)}
    speeds: dict[str, list[float]] = {name: [] for name in positions}
    with tempfile.TemporaryDirectory(prefix="banditd-bench-", dir=data_dir.parent) as folder:
        for index in range(rounds + 1):
            used = dict.fromkeys(positions, 0.0)
            counts = {name: world.Counts() for name in positions}
            trainers = {}
            for name, position in positions.items():
                store = SnapshotStore(Path(folder) / f"{name}-{index}")
                fold.position = position
                store.publish(fold.manifest(experiment_id, vw_version()), fold.save)
                trainers[name] = Trainer(log, store, clock_us=wall_clock_us, watch=counts[name])
            # Step by step in turn, so that whatever else the machine does hits both.
            for number in range(LEARNED_A_ROUND // BATCH_EVENTS):
                for name in sorted(trainers, reverse=number % 2 == 1):
                    began = time.process_time()
                    trainers[name].step(lambda: False)
                    used[name] += time.process_time() - began
            for name, trainer in trainers.items():
                trainer.finish()
                # The first round only warms up.
                if index:
                    speeds[name].append(counts[name].events / used[name])
                    world.progress(f"learner at the {name}: {speeds[name][-1]:,.0f} events/s of CPU")
    fold.close()
    log.close()
    ratios = sorted(end / start for start, end in zip(speeds["start"], speeds["end"], strict=True))
    return {"per_cpu_second": speeds, "ratio": [ratios[0], statistics.median(ratios), ratios[-1]]}


def _near_end(log: SqliteEventLog) -> Position:
    """A position with a little more than a round's events behind it."""
    head_seq, _ = log.head()
    # Each event is a decision and a reward that closes it.
    for event in log.events(max(0, head_seq - 3 * LEARNED_A_ROUND)):
        if event.kind == "reward":
            return Position(event.at_us, event.seq - 1)
    raise ValueError("the log has too few events: give --grown more")


# Tables.


def _print(result: dict[str, Any]) -> None:
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    if "phases" in result:
        _print_many(console, result)
    if "growth" in result:
        _print_growth(console, result)
    if "learner" in result:
        learner = result["learner"]
        start, end = (statistics.median(learner["per_cpu_second"][name]) for name in ("start", "end"))
        console.print(
            f"learner, {result['grown_events']:,} events: {start:,.0f} events a second of CPU at the log's "
            f"start, {end:,.0f} at its end; end / start {_spread(learner['ratio'])}"
        )


def _print_many(console: rich.console.Console, result: dict[str, Any]) -> None:
    table = rich.table.Table(
        title=f"{result['experiments']:,} experiments of 10 variants, "
        f"{result['events_an_experiment']:,} events each; milliseconds"
    )
    for title in ("phase", "calls", "p50", "p99", "max", "other p50", "p99", "max", "CPU s", "MiB"):
        table.add_column(title, justify="left" if title == "phase" else "right")
    for name, phase in result["phases"].items():
        cells = []
        for one in (phase["own"], phase["other"]):
            cells += [f"{one[key]:.2f}" if key in one else "" for key in ("p50_ms", "p99_ms", "max_ms")]
        table.add_row(
            name, f"{phase['own']['calls']:,}", *cells, f"{phase['cpu_s']:.1f}", f"{phase['pss_mib']:,.0f}"
        )
    console.print(table)
    starts = ", ".join(f"{seconds:.2f}" for seconds in result["start_s"])
    parts = " + ".join(f"{mib:.0f}" for mib in result["pss_mib_by_process"])
    used = ", ".join(f"{seconds:.2f}" for seconds in result["start_cpu_s"])
    console.print(f"start to SERVING: {starts} s, {used} s of CPU, then {result['pss_mib_started']:.0f} MiB")
    console.print(f"memory of all processes (PSS) at the end: {result['pss_mib']:.0f} MiB ({parts})")
    learning = result["learning"]
    console.print(
        f"the trainer learned all in {learning['seconds']:.0f} s: {learning['events']:,} events, "
        f"{learning['snapshots']:,} snapshots"
    )


def _print_growth(console: rich.console.Console, result: dict[str, Any]) -> None:
    growth = result["growth"]
    table = rich.table.Table(title=f"a log of {result['grown_events']:,} events, and an empty one")
    for title in ("", "measure", "empty", "grown", "grown / empty"):
        table.add_column(title, justify="right" if title else "left")
    for method in ("Choose", "Reward"):
        for key, label in (("p50_ms", "p50 ms"), ("p99_ms", "p99 ms")):
            one = growth[method][key]
            table.add_row(method, label, f"{one['empty']:.2f}", f"{one['grown']:.2f}", _spread(one["ratio"]))
    console.print(table)
    console.print(
        f"start to SERVING: empty {growth['start_s']['empty']:.2f} s, "
        f"grown {growth['start_s']['grown']:.2f} s"
    )


def _spread(ratios: Sequence[float]) -> str:
    return " - ".join(f"{value:.2f}" for value in ratios)


if __name__ == "__main__":
    main()
