"""How fast a log is judged and replayed, and whether what comes out is true.

    .venv/bin/python scripts/bench/replay.py [--events 200000] [--rounds 5] [--seed 1] [--json]
        [--large 5000000]

Speed: one file of decision lines (10 variants, 1.2 kB a line), read by Vowpal Wabbit's own driver, by
`banditd evaluate` and by `banditd replay` (of one VW regression, and of the default's three oracles), in
turn, each on one core, start of the process included. Events a second of processor time, so that what else
the machine does counts little; ratios are those of the rounds, so that a machine that slows down slows all
of them.

Truth: the value of Bernoulli Thompson sampling from the random log of the Open Bandit Dataset, beside the
click rate that it had in its own log; and `replay` of squarecb on the uniform log of the Hillstrom e-mail
experiment, beside what a live squarecb earned on the same customers by rejection (Li et al., 2011).

`--large` takes that many events through `banditd evaluate` and `banditd log import`, and shows the memory
that each needed. It takes minutes, and 1.2 kB of disk an event, twice.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import replay_logs
import rich.console
import rich.table

from bandit import LocalBandit
from bandit.demo.customers import DATA as CUSTOMERS
from bandit.demo.customers import EXPERIMENT_ID, EXPERIMENTS, Customer, load, shuffled

OBP_DR_ERROR = 0.993
"""obp's relative error of DR on this very sample, examples/obd/README.md of st-tech/zr-obp (DM .218, IPW
1.159)."""

LIVE_RUNS = 5

DRIVER = ("-m", "vowpalwabbit", "--dsjson", "--chain_hash", "--cb_explore_adf", "--quiet", "-d")


def main() -> None:
    """Runs everything and prints tables, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.rounds < 1 or given.events < 0 or given.large < 0:
        parser.error("--rounds is at least 1, --events and --large at least 0 (0 leaves that part out)")
    for path in (CUSTOMERS, *(replay_logs.DATA / f"obd_{name}.csv.gz" for name in ("bts", "random"))):
        if not path.is_file():
            parser.error(f"the data set {path} is missing; get it back: git checkout -- {path}")
    with tempfile.TemporaryDirectory(prefix="banditd-bench-") as name:
        folder = Path(name)
        found: dict[str, Any] = {"seed": given.seed}
        if given.events:
            found["speed"] = speed(folder, given.events, given.rounds, given.seed)
        found["open_bandit_data"] = open_bandit_data(folder)
        found["hillstrom"] = hillstrom(folder, given.seed)
        if given.large:
            found["large"] = large(folder, given.large, given.seed)
    if given.json:
        print(json.dumps(found))
    else:
        show(found)


def speed(folder: Path, events: int, rounds: int, seed: int) -> dict[str, Any]:
    """Events a second of the three, and the ratios to the driver's, round by round."""
    path = folder / "lines.dsjson"
    replay_logs.write_lines(path, events, seed)
    commands: dict[str, Sequence[str]] = {
        "driver": (*DRIVER, str(path)),
        "evaluate": ("-m", "bandit", "evaluate", str(path), "--policy", "uniform", "--json"),
        "replay": ("-m", "bandit", "replay", str(path), "--policy", "squarecb:oracle=vw", "--json"),
        "replay of three oracles": ("-m", "bandit", "replay", str(path), "--policy", "squarecb", "--json"),
    }
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            ran = _run(command)
            rates[name].append(events / ran.cpu_seconds)
            output = ran.output
            if name != "driver":
                told = json.loads(output)
                assert told["counts"]["joined"] == events, told
                assert told["headline"] is not None, told
    ratios = {
        name: [mine / driver for mine, driver in zip(rates[name], rates["driver"], strict=True)]
        for name in list(commands)[1:]
    }
    return {
        "events": events,
        "line_bytes": round(path.stat().st_size / events),
        "events_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "ratio_spread": {name: [min(values), max(values)] for name, values in ratios.items()},
        "wanted": {"evaluate": "0.80", "replay": "0.35"},
    }


def open_bandit_data(folder: Path) -> dict[str, Any]:
    """The value of Thompson sampling from the random log."""
    path = folder / "obd.dsjson"
    clicks, rows = replay_logs.write_obd(path, 10_000)
    truth = statistics.fmean(clicks)
    ran = _run(
        ("-m", "bandit", "evaluate", str(path), "--policy", "column:bts", "--reward-model", "vw", "--json")
    )
    [judged] = json.loads(ran.output)["policies"]
    estimates = judged["estimates"]
    return {
        "rows": rows,
        "truth": truth,
        "reason": judged["reason"],
        "estimates": {
            name: {
                **{key: one[key] for key in ("value", "low", "high")},
                "covers": one["low"] <= truth <= one["high"],
                "relative_error": abs(one["value"] - truth) / truth,
            }
            for name, one in estimates.items()
        },
        "obp_dr_error": OBP_DR_ERROR,
    }


def hillstrom(folder: Path, seed: int) -> dict[str, Any]:
    """Replay of squarecb on the uniform log, and what a live one earned."""
    customers = shuffled(load(), seed)
    path = folder / "hillstrom.dsjson"
    replay_logs.write_hillstrom(path, customers)
    ran = _run(("-m", "bandit", "replay", str(path), "--policy", "squarecb", "--json"))
    headline = json.loads(ran.output)["headline"]
    runs = [_live(customers, seed + index) for index in range(LIVE_RUNS)]
    live = statistics.fmean(mean for mean, _ in runs)
    # A live run is as uncertain as a mean of so many visits; the interval of the difference has both doubts.
    rounds = statistics.fmean(count for _, count in runs)
    live_half = 1.96 * math.sqrt(live * (1.0 - live) / rounds)
    half = math.hypot(headline["high"] - headline["low"], 2.0 * live_half) / 2.0
    difference = headline["value"] - live
    return {
        "replayed": {key: headline[key] for key in ("value", "low", "high", "ess")},
        "live": live,
        "live_runs": [mean for mean, _ in runs],
        "live_rounds": rounds,
        "live_within_interval_of_replayed": headline["low"] <= live <= headline["high"],
        "difference": {"value": difference, "low": difference - half, "high": difference + half},
    }


def _live(customers: Sequence[Customer], seed: int) -> tuple[float, int]:
    """(mean visits, rounds that counted) of a squarecb that lives through the customers, by rejection."""
    visits = []
    clock = iter(range(10**15, 10**16, 1_000))
    with LocalBandit.from_yaml(
        EXPERIMENTS, EXPERIMENT_ID, salt=seed.to_bytes(16, "big"), clock_us=lambda: next(clock)
    ) as bandit:
        for customer in customers:
            choice = bandit.choose(customer.context)
            if choice.variant_id == customer.sent:
                bandit.reward(choice.decision_id, customer.visit)
                visits.append(customer.visit)
    return statistics.fmean(visits), len(visits)


def large(folder: Path, events: int, seed: int) -> dict[str, Any]:
    """The most memory that evaluate and import need for so many events."""
    path = folder / "large.dsjson"
    replay_logs.write_lines(path, events, seed)
    found: dict[str, Any] = {"events": events}
    ran = _run(
        ("-m", "bandit", "evaluate", str(path), "--policy", "uniform", "--policy", "fixed:offer-3", "--json")
    )
    found["evaluate"] = {"seconds": ran.seconds, "resident_mib": ran.resident_mib}
    ran = _run(("-m", "bandit", "report", str(path), "-o", str(folder / "report.html"), "--json"))
    found["report"] = {"seconds": ran.seconds, "resident_mib": ran.resident_mib}
    target = folder / "data"
    ran = _run(
        (
            "-m",
            "bandit",
            "log",
            "import",
            str(path),
            "--format",
            "dsjson",
            "--data-dir",
            str(target),
            "--json",
        )
    )
    found["import"] = {"seconds": ran.seconds, "resident_mib": ran.resident_mib}
    shutil.rmtree(target)
    return found


@dataclass(frozen=True, slots=True)
class Ran:
    """A process that ended well."""

    seconds: float
    cpu_seconds: float
    resident_mib: float
    output: str


def _run(arguments: Sequence[str]) -> Ran:
    """Runs Python on one core."""
    core = max(os.sched_getaffinity(0))
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        assert process.stderr is not None
        trouble = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{arguments}: exit {process.returncode}\n{trouble}"
        output.seek(0)
        cpu_seconds = usage.ru_utime + usage.ru_stime
        return Ran(seconds, cpu_seconds, usage.ru_maxrss / 1024, output.read())


def show(found: dict[str, Any]) -> None:
    """The figures as tables."""
    console = rich.console.Console()
    if "speed" in found:
        speed_found = found["speed"]
        table = rich.table.Table(
            title=f"{speed_found['events']:,} lines of {speed_found['line_bytes']:,} bytes"
        )
        for column in ("", "events/s", "x driver", "spread", "wanted"):
            table.add_column(column, justify="right")
        for name, rate in speed_found["events_per_second"].items():
            if name == "driver":
                table.add_row(name, f"{rate:,.0f}", "", "", "")
                continue
            low, high = speed_found["ratio_spread"][name]
            table.add_row(
                name,
                f"{rate:,.0f}",
                f"{speed_found['ratio'][name]:.2f}",
                f"{low:.2f} to {high:.2f}",
                speed_found["wanted"].get(name, ""),
            )
        console.print(table)
    obd = found["open_bandit_data"]
    table = rich.table.Table(title=f"Thompson sampling from the random log; its own log: {obd['truth']:.5f}")
    for column in ("", "value", "95 % interval", "covers", "relative error"):
        table.add_column(column, justify="right")
    for name, one in obd["estimates"].items():
        interval = f"{one['low']:.5f} to {one['high']:.5f}"
        table.add_row(
            name, f"{one['value']:.5f}", interval, str(one["covers"]), f"{one['relative_error']:.3f}"
        )
    console.print(table)
    console.print(f"obp's DR on this sample: relative error {obd['obp_dr_error']}")
    mail = found["hillstrom"]
    value = mail["replayed"]
    gap = mail["difference"]
    console.print(
        f"Hillstrom: squarecb replayed {value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}], live "
        f"{mail['live']:.4f} in {mail['live_rounds']:,.0f} rounds (mean of {LIVE_RUNS} runs); difference "
        f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
    )
    for name, one in found.get("large", {}).items():
        if name != "events":
            console.print(f"{name}: {one['seconds']:.0f} s, {one['resident_mib']:.0f} MiB resident")


if __name__ == "__main__":
    main()
