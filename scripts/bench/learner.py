"""How fast the learner learns, and how soon a reward is known to what serves.

    .venv/bin/python scripts/bench/learner.py [--events 40000] [--runs 3] [--seconds 15] [--rate 1000]
        [--json]

Throughput: a filled log is read, joined, learned and published by the production trainer, in this process,
on one core. Lag: rewards are sent to a real server at a fixed rate while decisions are asked for one after
another. A snapshot's id begins with the position that it has come to, and the log tells the position of every
reward: a reward's lag is the time from its reply to the reply of the first Choose whose snapshot is that far.
"""

import argparse
import asyncio
import json
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import rich.console
import rich.table
import uvloop
import world

from bandit.core.records import Position
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.trainer import Trainer
from bandit.logs import configure
from bandit.snapshots.store import SnapshotStore
from bandit.v1 import bandit_pb2 as pb

SERVICE = "bandit.v1.BanditService"
TRAINED_EVENTS = 1_000
AFTER_SECONDS = 5.0
"""How long after the last reward decisions are still asked for."""


def main() -> None:
    """Runs both and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    configure("warning", process="bench")
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder:
        throughput = _throughput(Path(folder), given.events, given.runs, rng)
    with tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder:
        lag = _lag(Path(folder), given.seconds, given.rate, rng)
    if given.json:
        print(json.dumps({"throughput": throughput, "lag": lag}))
    else:
        _print(throughput, lag)


def _throughput(folder: Path, events: int, runs: int, rng: random.Random) -> dict[str, Any]:
    world.progress(f"filling the log with {events} decisions")
    data_dir = folder / "data"
    filler = world.Filler(data_dir, world.write_experiments(folder, "default: 0, learn: at_close"), rng)
    filler.at(7_200)
    filler.decisions(events, rewarded=0.2)
    # A row of now moves log time past every window's end.
    filler.at(0)
    filler.decisions(1)
    filler.close()
    wall, cpu, snapshots = [], [], []
    for _ in range(runs):
        shutil.rmtree(data_dir / "snapshots", ignore_errors=True)
        log = SqliteEventLog(data_dir, create=False)
        counts = world.Counts()
        store = SnapshotStore(data_dir)
        began, used = time.perf_counter(), time.process_time()
        trainer = Trainer(log, store, clock_us=lambda: time.time_ns() // 1000, watch=counts)
        while trainer.step(lambda: False):
            pass
        trainer.finish()
        wall.append(events / (time.perf_counter() - began))
        cpu.append(events / (time.process_time() - used))
        snapshots.append(counts.snapshots)
        log.close()
        assert counts.events == events, f"{counts.events} of {events} events were joined"
        world.progress(f"{wall[-1]:,.0f} events/s, {cpu[-1]:,.0f} a second of CPU, {snapshots[-1]} snapshots")
    return {"events": events, "per_second": wall, "per_cpu_second": cpu, "snapshots": snapshots}


@dataclass(slots=True)
class _Seen:
    """When each reward was acknowledged, and when each decision came with which snapshot."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    decided: list[tuple[float, Position]] = field(default_factory=list)


def _lag(folder: Path, seconds: float, rate: int, rng: random.Random) -> dict[str, Any]:
    world.progress(f"rewards at {rate} a second for {seconds:g} s")
    data_dir = folder / "data"
    experiments = world.write_experiments(folder, "default: none, learn: on_reward")
    filler = world.Filler(data_dir, experiments, rng)
    filler.at(7_200)
    filler.decisions(TRAINED_EVENTS, rewarded=1.0)
    filler.at(0)
    ids = filler.decisions(int(seconds * rate))
    filler.close()
    with world.server(data_dir, experiments) as server:
        seen = uvloop.run(_play(server.address, ids, rate, [world.choose_body(rng) for _ in range(500)]))
    lags, unknown = _lags(data_dir, seen)
    lags.sort()
    return {
        "rewards": len(seen.acknowledged),
        "rate": rate,
        "decisions": len(seen.decided),
        "snapshots": len({position for _, position in seen.decided}),
        "p50_s": statistics.median(lags),
        "p99_s": lags[len(lags) * 99 // 100],
        "max_s": lags[-1],
        "never_known": unknown,
    }


async def _play(address: str, ids: Sequence[str], rate: int, bodies: Sequence[bytes]) -> _Seen:
    seen = _Seen()
    async with grpc.aio.insecure_channel(address) as channel:
        choose = channel.unary_unary(f"/{SERVICE}/Choose")
        reward = channel.unary_unary(f"/{SERVICE}/Reward")
        rewarding = asyncio.create_task(_reward_all(reward, ids, rate, seen))
        until = float("inf")
        for count in range(10_000_000):
            reply = pb.ChooseResponse.FromString(await choose(bodies[count % len(bodies)]))
            if reply.snapshot_id:
                closing_us, seq, _ = reply.snapshot_id.split("-")
                seen.decided.append((time.perf_counter(), Position(int(closing_us), int(seq))))
            if rewarding.done() and until == float("inf"):
                until = time.perf_counter() + AFTER_SECONDS
            if time.perf_counter() > until:
                break
            await asyncio.sleep(0.002)
        await rewarding
    return seen


async def _reward_all(reward: Any, ids: Sequence[str], rate: int, seen: _Seen) -> None:
    async def one(decision_id: str, body: bytes) -> None:
        reply = pb.RewardResponse.FromString(await reward(body))
        assert reply.status == pb.REWARD_STATUS_RECORDED, reply
        seen.acknowledged[decision_id] = time.perf_counter()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as calls:
        for index, decision_id in enumerate(ids):
            ahead = began + index / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            calls.create_task(one(decision_id, world.reward_body(decision_id, float(index % 10 == 0))))


def _lags(data_dir: Path, seen: _Seen) -> tuple[list[float], int]:
    """The lag of each reward that became known, and how many did not before decisions ended."""
    with closing(sqlite3.connect(data_dir / "events.db")) as connection:
        positions = {
            decision_id: Position(closes_us, closes_seq)
            for decision_id, closes_us, closes_seq in connection.execute(
                "SELECT decision_id, closes_us, closes_seq FROM events "
                "WHERE kind = 'reward' AND closes_us IS NOT NULL"
            )
        }
    # Snapshots only move forward, so the first decision that is far enough can be searched for.
    reached = [position for _, position in seen.decided]
    assert reached == sorted(reached), "a decision was made by an older snapshot than the one before"
    lags, unknown = [], 0
    for decision_id, acknowledged in seen.acknowledged.items():
        first = bisect_left(reached, positions[decision_id])
        if first == len(reached):
            unknown += 1
        else:
            lags.append(max(0.0, seen.decided[first][0] - acknowledged))
    return lags, unknown


def _print(throughput: dict[str, Any], lag: dict[str, Any]) -> None:
    console = rich.console.Console()
    table = rich.table.Table(
        title=f"learner: {throughput['events']:,} joined events, 10 variants, 10 signals"
    )
    for title in ("", "min", "median", "max"):
        table.add_column(title, justify="right" if title else "left")
    for key, label in (("per_second", "events/s"), ("per_cpu_second", "events a second of CPU")):
        values = sorted(throughput[key])
        table.add_row(label, *(f"{one:,.0f}" for one in (values[0], statistics.median(values), values[-1])))
    console.print(table)
    console.print(
        f"lag from a Reward's reply to the first decision that knows it, {lag['rewards']:,} rewards at "
        f"{lag['rate']:,}/s: p50 {lag['p50_s']:.3f} s, p99 {lag['p99_s']:.3f} s, max {lag['max_s']:.3f} s; "
        f"{lag['never_known']} never known; {lag['snapshots']} snapshots in {lag['decisions']:,} decisions"
    )


if __name__ == "__main__":
    main()
