"""Choose and Reward against the floor: an empty gRPC handler on the same stack that answers constant bytes.

    .venv/bin/python scripts/bench/serving.py [--rounds 5] [--seconds 3] [--starts 3] [--json]

Floor, service and load generator are processes of their own. Rounds of the floor and the service alternate,
so that whatever else the machine does hits both: read the ratios, not the numbers. The generator sends bytes
made beforehand over one channel and parses no reply. The service serves a learned snapshot, its learner
running; every Choose is a new decision, committed before its reply; every Reward is the first of its
decision, acknowledged after fsync.
"""

import argparse
import asyncio
import gc
import itertools
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import rich.console
import rich.table
import uvloop
import world

from bandit.v1 import bandit_pb2 as pb

SERVICE = "bandit.v1.BanditService"
IN_FLIGHT = (1, 32)
MEASURES = (("rate", "requests/s"), ("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("cpu_us", "CPU us/request"))
CHOOSE_BODIES = 2_000
REWARDS_PER_SECOND_MAX = 5_000
"""A round of rewards ends early when so many decisions a second are used up."""

TRAINED_EVENTS = 5_000


@dataclass(frozen=True, slots=True)
class Load:
    """One round: what to send where, how many at once, and for how long at most."""

    address: str
    method: str
    bodies: Sequence[bytes]
    in_flight: int
    seconds: float
    again: bool


@dataclass(frozen=True, slots=True)
class Round:
    """What one round gave."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float = 0.0
    """CPU time a request of the processes that were called, all together."""


def main() -> None:
    """Runs everything and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder:
        result = _measure(Path(folder), given.rounds, given.seconds, given.starts, random.Random(given.seed))
    if given.json:
        print(json.dumps(result))
    else:
        _print(result)


def _measure(folder: Path, rounds: int, seconds: float, starts: int, rng: random.Random) -> dict[str, Any]:
    experiments = world.write_experiments(folder, "default: 0, learn: at_close")
    data_dir = folder / "data"
    rewards_a_round = int(REWARDS_PER_SECOND_MAX * seconds)
    world.progress("filling the log")
    filler = world.Filler(data_dir, experiments, rng)
    filler.at(7_200)
    filler.decisions(TRAINED_EVENTS, rewarded=0.2)
    filler.at(0)
    decisions = iter(filler.decisions(rewards_a_round * (rounds + 1) * len(IN_FLIGHT)))
    filler.close()
    choose_bodies = [world.choose_body(rng) for _ in range(CHOOSE_BODIES)]

    ready = []
    for _ in range(starts):
        with world.server(data_dir, experiments) as server:
            ready.append(server.ready_s)
    cases = []
    with world.server(data_dir, experiments) as server, _generator() as generator:
        reply_bytes = _await_learned(server.address, choose_bodies[0])
        sizes = {"Choose": reply_bytes, "Reward": len(pb.RewardResponse(status=1).SerializeToString())}
        with _floor(sizes) as floor:
            for method, in_flight in itertools.product(("Choose", "Reward"), IN_FLIGHT):
                both: dict[str, list[Round]] = {"floor": [], "service": []}
                for index in range(rounds + 1):
                    if method == "Choose":
                        bodies = choose_bodies
                    else:
                        bodies = [
                            world.reward_body(decision_id, float(rng.random() < 0.1))
                            for decision_id in itertools.islice(decisions, rewards_a_round)
                        ]
                    for name, address, pid in (("floor", *floor), ("service", server.address, server.pid)):
                        # The first pair only warms up.
                        length = seconds if index else min(1.0, seconds)
                        load = Load(address, method, bodies, in_flight, length, method == "Choose")
                        measured = _round(generator, load, pid)
                        if index:
                            both[name].append(measured)
                            world.progress(f"{method} {in_flight:>2} in flight, {name:<7} {measured}")
                cases.append(_case(method, in_flight, both))
        memory = server.pss_mib()
    return {
        "cases": cases,
        "cold_start_s": ready,
        "pss_mib": sum(memory.values()),
        "pss_mib_by_process": list(memory.values()),
        "choose_reply_bytes": reply_bytes,
        "rounds": rounds,
        "seconds": seconds,
    }


def _round(generator: Connection, load: Load, pid: int) -> Round:
    before = world.cpu_seconds(pid)
    generator.send(load)
    measured = generator.recv()
    if isinstance(measured, str):
        raise RuntimeError(measured)
    used = world.cpu_seconds(pid) - before
    return replace(measured, cpu_us=used / measured.requests * 1e6)


def _case(method: str, in_flight: int, both: dict[str, list[Round]]) -> dict[str, Any]:
    case: dict[str, Any] = {"method": method, "in_flight": in_flight}
    for field, _ in MEASURES:
        floor = [getattr(one, field) for one in both["floor"]]
        service = [getattr(one, field) for one in both["service"]]
        case[field] = {
            "floor": statistics.median(floor),
            "service": statistics.median(service),
            "ratio": _spread([b / a for a, b in zip(floor, service, strict=True)]),
        }
    return case


def _spread(values: Sequence[float]) -> list[float]:
    return [min(values), statistics.median(values), max(values)]


def _await_learned(address: str, body: bytes) -> int:
    """Waits until a learned snapshot serves, and returns the size of a reply."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Choose")
        give_up = time.monotonic() + world.READY_SECONDS_MAX
        while time.monotonic() < give_up:
            reply = call(body, timeout=5)
            if pb.ChooseResponse.FromString(reply).source == pb.DECISION_SOURCE_LEARNED:
                return len(reply)
            time.sleep(0.05)
    raise TimeoutError("no snapshot came")


# The floor and the generator, each in a process of its own.


@contextmanager
def _floor(sizes: dict[str, int]) -> Any:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run_floor, args=(there, sizes))
    process.start()
    try:
        yield f"127.0.0.1:{here.recv()}", process.pid
    finally:
        process.terminate()
        process.join()


def _run_floor(pipe: Connection, sizes: dict[str, int]) -> None:
    async def serve() -> None:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 4 * 1024 * 1024),
                ("grpc.max_send_message_length", 64 * 1024 * 1024),
                ("grpc.so_reuseport", 1),
                ("grpc.http2.bdp_probe", 0),
            ]
        )
        handlers = {}
        for name, size in sizes.items():

            async def answer(body: bytes, rpc: object, reply: bytes = bytes(size)) -> bytes:
                return reply

            handlers[name] = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        pipe.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    uvloop.run(serve())


@contextmanager
def _generator() -> Any:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run_generator, args=(there,))
    process.start()
    try:
        yield here
    finally:
        here.send(None)
        process.join(10)
        process.kill()


def _run_generator(pipe: Connection) -> None:
    while (load := pipe.recv()) is not None:
        try:
            pipe.send(uvloop.run(_send(load)))
        except Exception as error:
            pipe.send(f"{load.method}: {error!r}")


async def _send(load: Load) -> Round:
    waited: list[float] = []
    bodies = itertools.cycle(load.bodies) if load.again else iter(load.bodies)
    clock = time.perf_counter
    async with grpc.aio.insecure_channel(load.address) as channel:
        await channel.channel_ready()
        call = channel.unary_unary(f"/{SERVICE}/{load.method}")
        gc.collect()
        begun = clock()
        until = begun + load.seconds

        async def one_after_another() -> None:
            for body in bodies:
                sent = clock()
                if sent >= until:
                    return
                await call(body)
                waited.append(clock() - sent)

        await asyncio.gather(*(one_after_another() for _ in range(load.in_flight)))
        took = clock() - begun
    waited.sort()
    size = len(waited)
    return Round(size, size / took, waited[size // 2] * 1e3, waited[size * 99 // 100] * 1e3)


def _print(result: dict[str, Any]) -> None:
    console = rich.console.Console()
    table = rich.table.Table(
        title=f"{result['rounds']} alternating rounds of {result['seconds']:g} s: medians; min - median - max"
    )
    for title in ("", "in flight", "measure", "floor", "service", "service / floor"):
        table.add_column(title, justify="left" if not title else "right")
    for case in result["cases"]:
        for field, label in (
            ("rate", "requests/s"),
            ("p50_ms", "p50 ms"),
            ("p99_ms", "p99 ms"),
            ("cpu_us", "CPU us"),
        ):
            one = case[field]
            digits = 2 if field.endswith("ms") else 0
            table.add_row(
                case["method"],
                str(case["in_flight"]),
                label,
                f"{one['floor']:,.{digits}f}",
                f"{one['service']:,.{digits}f}",
                " - ".join(f"{value:.2f}" for value in one["ratio"]),
            )
        table.add_section()
    console.print(table)
    starts = ", ".join(f"{seconds:.2f}" for seconds in result["cold_start_s"])
    console.print(f"cold start to SERVING: {starts} s")
    parts = " + ".join(f"{mib:.0f}" for mib in result["pss_mib_by_process"])
    console.print(f"memory of all processes (PSS): {result['pss_mib']:.0f} MiB ({parts})")


if __name__ == "__main__":
    main()
