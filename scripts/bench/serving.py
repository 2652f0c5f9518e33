"""The service against the floor: an empty gRPC handler on the same stack that answers constant bytes.

    .venv/bin/python scripts/bench/serving.py [--only choose,reward,batch,native,workers,local]
        [--rounds 5] [--seconds 1.5] [--starts 3] [--seed 1] [--json]

Floor, service and load generator are processes of their own. Rounds of the floor and the service alternate,
so that whatever else the machine does hits both: read the ratios, not the numbers. The generator is a client
of our own (`wire.py`) at a quarter of the floor's CPU a call: it sends bytes made beforehand over one
connection and parses no reply. The service serves a learned snapshot, its learner running; every Choose is a
new decision, committed before its reply; every Reward is the first of its decision, acknowledged after fsync.

choose, reward   single calls, 1 and 32 in flight; with 1 also by how much the median reply is later than
                 the floor's
batch            ChooseBatch and RewardBatch of 100 beside the floor with messages of the same sizes, and
                 beside single calls, 32 in flight, of the same service; rates and CPU time are of decisions
                 and rewards, latencies of calls
native           `--transport native` beside grpcio's floor, and beside the service on grpcio; left out with
                 a note if its package is not installed
workers          `--workers 2` beside one worker, both on several connections; on two cores they share these
                 with the generators and the learner, so two workers can't be twice as fast
local            LocalBandit.choose in process, between rewards that it learns from

All of it takes about five minutes.
"""

import argparse
import json
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import served
import serving_groups as groups
from load import generators
from ratios import print_results
from serving_calls import Run, decisions_needed

GROUPS = ("choose", "reward", "batch", "native", "workers", "local")


def main() -> None:
    """Runs everything and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=_groups, default=list(GROUPS), help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with (
        tempfile.TemporaryDirectory(prefix="banditd-bench-") as folder,
        generators(groups.GENERATORS) as senders,
    ):
        run = Run(
            folder=Path(folder),
            senders=senders,
            rounds=given.rounds,
            seconds=given.seconds,
            starts=given.starts,
            rng=rng,
            bodies=served.choose_bodies(rng),
            filled=served.fill(
                Path(folder) / "filled", rng, decisions_needed(given.only, given.rounds, given.seconds)
            ),
        )
        result = _measure(run, given.only)
    if given.json:
        print(json.dumps(result))
    else:
        _print(result)


def _groups(text: str) -> list[str]:
    wanted = text.split(",")
    for each in wanted:
        if each not in GROUPS:
            raise argparse.ArgumentTypeError(f"there is no group {each!r}; there are {', '.join(GROUPS)}")
    return wanted


def _measure(run: Run, wanted: list[str]) -> dict[str, Any]:
    methods = [name.capitalize() for name in ("choose", "reward") if name in wanted]
    found = [groups.singles(run, methods)] if methods else []
    others: dict[str, Callable[[Run], groups.Found]] = {
        "batch": groups.batches,
        "native": groups.native,
        "workers": groups.workers,
        "local": groups.local,
    }
    found += [measure(run) for name, measure in others.items() if name in wanted]
    result: dict[str, Any] = {
        "comparisons": [each for one in found for each in one.comparisons],
        "notes": [each for one in found for each in one.notes],
        "rounds": run.rounds,
        "seconds": run.seconds,
        "cores": len(os.sched_getaffinity(0)),
    }
    for one in found:
        result |= one.processes
    return result


def _print(result: dict[str, Any]) -> None:
    lines = []
    if "cold_start_s" in result:
        starts = ", ".join(f"{seconds:.2f}" for seconds in result["cold_start_s"])
        parts = " + ".join(f"{mib:.0f}" for mib in result["pss_mib_by_process"])
        lines.append(f"cold start to SERVING: {starts} s")
        lines.append(f"memory of all processes (PSS): {result['pss_mib']:.0f} MiB ({parts})")
    print_results(result, lines)


if __name__ == "__main__":
    main()
