"""The service beside what one would use instead, in the same run.

    .venv/bin/python scripts/bench/compare.py [--rounds 5] [--seconds 1.5] [--seed 1]
        [--peers-python .venv-bench/bin/python] [--json]

Served over gRPC, 32 calls in flight and 1: an empty handler (the floor), banditd's Choose (10 variants, 10
signals; a learned snapshot; each decision committed before its reply), and a server written by hand around
Vowpal Wabbit (`handmade.py`: the same requests and replies, a line of JSON a decision, never synced).

In process: LocalBandit, gittins and mabwiser's LinUCB choose between rewards that they learn from. The latter
two run in the environment of scripts/bench/requirements.lock, which the README tells how to make for
quality.py; without it they are left out with a note.

Rounds alternate, and a ratio is of rounds that came right after one another: read those, not the numbers. All
of it takes about two minutes.
"""

import argparse
import json
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import handmade
import inprocess
import served
import world
from floor import process, run_floor
from load import generators
from ratios import (
    P50,
    P50_MORE,
    P99,
    Contender,
    alone,
    alternate,
    beside_each_other,
    compared,
    cpu,
    print_results,
    rate,
)

IN_FLIGHT = (32, 1)
PEERS = ("gittins", "mabwiser")
PAIRS = (("banditd", "floor"), ("VW by hand", "floor"), ("banditd", "VW by hand"))


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measures with."""

    folder: Path
    rounds: int
    seconds: float
    seed: int


def main() -> None:
    """Runs everything and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers-python", type=Path, default=inprocess.ROOT / ".venv-bench/bin/python")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.rounds < 1 or not given.seconds > 0:
        parser.error("--rounds is at least 1, and --seconds more than 0")
    with tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder:
        run = Run(Path(folder), given.rounds, given.seconds, given.seed)
        comparisons = list(_served(run))
        beside, notes = _in_process(run, given.peers_python)
    result = {
        "comparisons": comparisons + beside,
        "notes": notes,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "cores": len(os.sched_getaffinity(0)),
    }
    if given.json:
        print(json.dumps(result))
    else:
        print_results(result)


def _served(run: Run) -> Iterator[dict[str, Any]]:
    rng = random.Random(run.seed)
    bodies = served.choose_bodies(rng)
    filled = served.fill(run.folder / "served", rng)
    with (
        generators() as senders,
        served.learned(filled, bodies[0]) as server,
        process(handmade.run, run.folder / "decisions.jsonl", run.seed) as by_hand,
        process(run_floor, {"Choose": len(served.call(server.address, "Choose", bodies[0]))}) as floor,
    ):
        targets = {"floor": floor, "banditd": served.target(server), "VW by hand": by_hand}
        for in_flight in IN_FLIGHT:
            contenders = [
                Contender(
                    name=name,
                    target=target,
                    method="Choose",
                    bodies=[bodies] * (run.rounds + 1),
                    in_flight=in_flight,
                )
                for name, target in targets.items()
            ]
            rounds = alternate(senders, contenders, run.rounds, run.seconds)
            measures = (rate("requests"), P50, *([P50_MORE] if in_flight == 1 else []), P99, cpu("request"))
            for name, beside in PAIRS:
                yield compared(f"Choose, {in_flight} in flight", rounds, name, beside, measures)


def _in_process(run: Run, python: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The comparisons, and a note for each library that is not there."""
    experiments = world.write_experiments(run.folder, "default: 0, learn: at_close")
    notes: list[str] = []
    with ExitStack() as stack:
        plays = {"LocalBandit": stack.enter_context(inprocess.local(experiments, run.seed))}
        for name in PEERS:
            try:
                plays[name] = stack.enter_context(inprocess.peer(python, name, run.seed))
            except inprocess.Missing as missing:
                notes.append(f"left out: {missing}")
        times: dict[str, list[float]] = {name: [] for name in plays}
        for _ in range(run.rounds):
            for name, play in plays.items():
                times[name].append(play(run.seconds))
                world.progress(f"in process, {name:<11} {times[name][-1]:>7,.0f} us a decision")
    return list(_beside_local(times)), notes


def _beside_local(times: Mapping[str, Sequence[float]]) -> Iterator[dict[str, Any]]:
    title = "choosing, in process"
    yield alone(title, "LocalBandit", "median us", times["LocalBandit"])
    for name in times:
        if name != "LocalBandit":
            measures = {"median us": beside_each_other(times["LocalBandit"], times[name], 0)}
            yield {"title": title, "name": "LocalBandit", "beside": name, "measures": measures}


if __name__ == "__main__":
    main()
