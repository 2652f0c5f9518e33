"""What `scale` measured, as tables."""

import statistics
import sys
from collections.abc import Sequence
from typing import Any

import rich.console
import rich.table


def show(result: dict[str, Any]) -> None:
    """What was measured, as tables."""
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    if "phases" in result:
        _print_many(console, result)
    if "growth" in result:
        _print_growth(console, result)
    if "learner" in result:
        learner = result["learner"]
        small, grown = (statistics.median(learner["per_cpu_second"][name]) for name in ("small", "grown"))
        console.print(
            f"learner: {grown:,.0f} events a second of CPU at the end of a log of {result['grown_events']:,} "
            f"events, {small:,.0f} at that of a small one; ratio {_spread(learner['ratio'])}"
        )
    if "together" in result:
        table = rich.table.Table(title="a trainer of experiments that learn at once")
        titles = ("experiments", "came", "learned", "snapshots", "CPU", "behind p50 s", "max s")
        for title in titles:
            table.add_column(title, justify="right")
        for one in result["together"]:
            cells = [f"{one[key]:,}" for key in ("experiments", "came", "learned", "snapshots")]
            cells += [f"{one[key]:.2f}" for key in ("cpu", "behind_p50_s", "behind_max_s")]
            table.add_row(*cells)
        console.print(table)


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
