"""Times a sweep of 24 cells with one worker and with two, and checks that both find the same.

    python scripts/bench/sweep.py [--events N] [--seed N] [--json]

The log is a dsjson file of 10 variants and about 1 kB a line, made from the seed and thrown away afterwards.
Both sweeps are the command `banditd sweep`, processes and all, into folders of their own. Exit 1 if two
workers are not at least 1.8 times as fast as one.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

FACTOR = 1.8
VARIANTS = 10
SIGNALS = 12
START_S = 1_767_225_600

GRID = """
policies: [squarecb, epsilon_greedy]
options:
  squarecb: {gamma_scale: [3, 10, 30, 100], learning_rate: [0.1, 0.2, 0.5, 1]}
  epsilon_greedy: {epsilon: [0.02, 0.05], learning_rate: [0.1, 0.2, 0.5, 1]}
"""
CELLS = 24


def write_log(path: Path, events: int, seed: int) -> None:
    """A log of uniform choices; one variant is better for each value of a signal."""
    chance = random.Random(seed)
    catalogue = [
        {"Action": {"id": f"v{n}", "kind": f"kind-{n % 3}", "shade": f"shade-{n}"}} for n in range(VARIANTS)
    ]
    with path.open("w", encoding="utf-8") as file:
        for number in range(events):
            context = {f"signal-{n}": chance.choice("abcdefgh") * 8 for n in range(SIGNALS)}
            order = list(range(1, VARIANTS + 1))
            chosen = chance.randrange(VARIANTS)
            order[0], order[chosen] = order[chosen], order[0]
            best = ord(context["signal-0"][0]) % VARIANTS
            reward = float(chance.random() < (0.3 if chosen == best else 0.1))
            line = {
                "_label_cost": -reward,
                "_label_probability": 1 / VARIANTS,
                "_label_Action": chosen + 1,
                "_labelIndex": chosen,
                "Timestamp": datetime.fromtimestamp(START_S + number, UTC).strftime(
                    "%Y-%m-%dT%H:%M:%S.0000000Z"
                ),
                "Version": "1",
                "EventId": f"{seed}-{number:012}",
                "a": order,
                "c": {"User": context, "_multi": catalogue},
                "p": [1 / VARIANTS] * VARIANTS,
                "VWState": {"m": "N/A"},
            }
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def timed(log: Path, grid: Path, folder: Path, workers: int) -> tuple[float, list[dict[str, object]]]:
    """The seconds of one sweep, and its results in the order of their policies."""
    command = [sys.executable, "-m", "bandit", "sweep", str(log), "--grid", str(grid), "--json"]
    start = time.perf_counter()
    ran = subprocess.run(
        [*command, "--workers", str(workers), "--output", str(folder)], capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)["results"]
    assert len(results) == CELLS
    return seconds, sorted(results, key=lambda result: str(result["policy"]))


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    given = parser.parse_args()
    # On a machine that others use, two workers have no second core to themselves.
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="banditd-sweep-") as name:
        folder = Path(name)
        log, grid = folder / "log.dsjson", folder / "grid.yaml"
        write_log(log, given.events, given.seed)
        grid.write_text(GRID, encoding="utf-8")
        line_bytes = log.stat().st_size / given.events
        one_s, one = timed(log, grid, folder / "one", 1)
        two_s, two = timed(log, grid, folder / "two", 2)
        again_s, again = timed(log, grid, folder / "two", 2)
    assert one == two, "two workers found something else than one"
    assert all(result["reused"] for result in again)
    figures = {
        "cells": CELLS,
        "events": given.events,
        "bytes_a_line": round(line_bytes),
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "one_worker_s": round(one_s, 2),
        "two_workers_s": round(two_s, 2),
        "factor": round(one_s / two_s, 3),
        "all_kept_s": round(again_s, 2),
        "events_a_second_a_worker": round(CELLS * given.events / one_s),
        "seed": given.seed,
        "ok": one_s / two_s >= FACTOR,
    }
    if given.json:
        print(json.dumps(figures))
    else:
        print(
            f"sweep of {CELLS} cells, {given.events:,} events of {line_bytes:,.0f} bytes: one worker "
            f"{one_s:.1f} s, two workers {two_s:.1f} s, {one_s / two_s:.2f} x (at least {FACTOR} x); "
            f"all kept {again_s:.1f} s; {figures['events_a_second_a_worker']:,} events/s a worker; "
            f"{os.cpu_count()} cores, load {load:.1f} before, seed {given.seed}"
        )
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
