"""Contenders measured in alternating rounds, and what one is beside another: ratios, round by round.

A shared machine's speed drifts, so a figure means little alone. Each rotation gives every contender one round
right after another; a ratio is of two rounds of the same rotation, and is shown as min - median - max.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import rich.box
import rich.console
import rich.table
import world
from load import Generators, Load, Round, Target

WARM_UP_SECONDS_MAX = 1.0
WIDTH_MIN = 110


class Measure(NamedTuple):
    """One figure of a round."""

    name: str
    of: Callable[[Round], float]
    digits: int = 0
    difference: bool = False
    """Told as what one has more than the other, instead of how many times as much."""


def rate(items: str) -> Measure:
    """How many of something are answered in a second."""
    return Measure(f"{items}/s", lambda one: one.rate)


def cpu(item: str) -> Measure:
    """What one of something costs."""
    return Measure(f"CPU us/{item}", lambda one: one.cpu_us)


P50 = Measure("p50 ms", lambda one: one.p50_ms, 2)
P99 = Measure("p99 ms", lambda one: one.p99_ms, 2)
P50_MORE = Measure("p50 us more", lambda one: one.p50_ms * 1e3, 0, difference=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What gets a round in each rotation. `bodies` has a list for each of them, the warm-up's first.

    `items` are in a body; `again` says that bodies may be sent more than once.
    """

    name: str
    target: Target
    method: str
    bodies: Sequence[Sequence[bytes]]
    in_flight: int
    items: int = 1
    again: bool = True
    channels: int = 1
    generators: int = 1


Rounds = Mapping[str, Sequence[Round]]
"""By the name of the contender, in the order of the rotations."""


def alternate(senders: Generators, contenders: Sequence[Contender], rounds: int, seconds: float) -> Rounds:
    """So many rotations, after one that only warms up."""
    found: dict[str, list[Round]] = {each.name: [] for each in contenders}
    for index in range(rounds + 1):
        for each in contenders:
            load = Load(
                each.target.address,
                each.method,
                each.bodies[index],
                each.in_flight,
                seconds if index else min(WARM_UP_SECONDS_MAX, seconds),
                each.again,
                each.channels,
            )
            measured = senders.play(load, each.target.pid, items=each.items, count=each.generators)
            if index:
                found[each.name].append(measured)
                world.progress(
                    f"{each.method} {each.in_flight:>2} in flight, {each.name:<14} {measured.rate:>8,.0f}/s, "
                    f"p50 {measured.p50_ms:.2f} ms, p99 {measured.p99_ms:.2f} ms, {measured.cpu_us:,.0f} us"
                )
    return found


def spread(values: Sequence[float]) -> list[float]:
    """Minimum, median, maximum."""
    return [min(values), statistics.median(values), max(values)]


def compared(
    title: str, rounds: Rounds, name: str, beside: str, measures: Sequence[Measure]
) -> dict[str, Any]:
    """One contender beside another, as an object for JSON and for `table`."""
    return {
        "title": title,
        "name": name,
        "beside": beside,
        "measures": {
            measure.name: beside_each_other(
                [measure.of(one) for one in rounds[name]],
                [measure.of(one) for one in rounds[beside]],
                measure.digits,
                difference=measure.difference,
            )
            for measure in measures
        },
    }


def beside_each_other(
    values: Sequence[float], others: Sequence[float], digits: int, *, difference: bool = False
) -> dict[str, Any]:
    """Medians of both, and the spread of their ratios, or differences, pair by pair."""
    pairs = list(zip(values, others, strict=True))
    found: dict[str, Any] = {
        "value": statistics.median(values),
        "beside": statistics.median(others),
        "digits": digits,
    }
    if difference:
        found["difference"] = spread([value - other for value, other in pairs])
    else:
        found["ratio"] = spread([value / other for value, other in pairs])
    return found


def alone(title: str, name: str, measure: str, values: Sequence[float], digits: int = 0) -> dict[str, Any]:
    """What stands beside nothing: its median, and its own spread."""
    found = {"value": statistics.median(values), "digits": digits, "spread": spread(values)}
    return {"title": title, "name": name, "beside": None, "measures": {measure: found}}


def print_results(result: Mapping[str, Any], lines: Sequence[str] = ()) -> None:
    """Every comparison as a table, a line a measure; further lines, and the notes, under it."""
    console = rich.console.Console()
    # Figures that are cut off are of no use, whatever this is printed to.
    console.width = max(console.width, WIDTH_MIN)
    table = rich.table.Table(
        box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, collapse_padding=True
    )
    for heading in ("", "measure", "value", "beside", "min - median - max"):
        table.add_column(heading, justify="left" if heading in ("", "measure") else "right", no_wrap=True)
    for each in result["comparisons"]:
        for row in _rows(each):
            table.add_row(*row)
        table.add_section()
    rounds = f"{result['rounds']} alternating rounds of {result['seconds']:g} s on {result['cores']} core(s)"
    console.print(f"Medians of {rounds}; ratios and differences round by round", highlight=False)
    console.print(table)
    for line in (*lines, *result["notes"]):
        console.print(line, highlight=False)


def _rows(comparison: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    beside = comparison["beside"]
    labels = [comparison["title"], f"  {comparison['name']}" + (f" / {beside}" if beside else "")]
    measures = list(comparison["measures"].items())
    for index in range(max(len(labels), len(measures))):
        label = labels[index] if index < len(labels) else ""
        yield (label, *(_cells(*measures[index]) if index < len(measures) else ("", "", "", "")))


def _cells(name: str, measured: Mapping[str, Any]) -> tuple[str, str, str, str]:
    digits = measured["digits"]
    value = f"{measured['value']:,.{digits}f}"
    if "spread" in measured:
        return name, value, "", _joined(measured["spread"], f",.{digits}f")
    if "difference" in measured:
        shown = _joined(measured["difference"], f"+,.{digits}f")
    else:
        shown = _joined(measured["ratio"], ".2f")
    return name, value, f"{measured['beside']:,.{digits}f}", shown


def _joined(values: Sequence[float], form: str) -> str:
    return " - ".join(format(value, form) for value in values)
