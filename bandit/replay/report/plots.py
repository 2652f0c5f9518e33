"""Charts as SVG elements: drawn in 360 units of width, so that they read at a phone's width unscaled.

Every chart is an image with a title and a description that says in words what it shows. Nothing here knows
what the figures mean. Same figures, same bytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bandit.replay.report.markup import Html, el, join

WIDTH: Final = 360.0
_PAD: Final = 8.0
_LABEL_CHARACTERS: Final = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """A row of a forest chart. `value` may lie outside low and high; `out` marks it as one to look at."""

    label: str
    value: float
    low: float
    high: float
    out: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """From figures to units of a chart, with round figures for its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, ticks: int = 4) -> "Scale":
        """A scale that takes in all finite values, and at least a sliver where they are all the same."""
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            margin = abs(low) * 0.05 or 0.5
            low, high = low - margin, high + margin
        step = _step((high - low) / ticks)
        first = math.floor(low / step + 1e-9)
        last = math.ceil(high / step - 1e-9)
        marks = tuple(index * step for index in range(first, last + 1))
        return cls(marks[0], marks[-1], start, end, marks)

    def at(self, value: float) -> float:
        """Where a figure stands; one outside is held at the nearer end."""
        held = min(max(value, self.low), self.high)
        return self.start + (held - self.low) / (self.high - self.low) * (self.end - self.start)


def figure_text(value: float) -> str:
    """A figure in four significant digits at most."""
    if not math.isfinite(value):
        return "–"
    return f"{value + 0.0:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def percent_text(value: float) -> str:
    """A share as per cent."""
    return f"{100 * value + 0.0:.1f} %" if math.isfinite(value) else "–"


def forest(
    slug: str,
    title: str,
    rows: Sequence[Interval],
    *,
    reference: float | None = None,
    reference_label: str = "",
    said: Callable[[float], str] = figure_text,
    marked: Callable[[float], str] = figure_text,
    banded: bool = False,
) -> Html:
    """One row an estimate: its label and figure, and below them a dot on its interval.

    `said` writes the figures, `marked` those of the axis.

    `reference` is a line through all rows. `banded` draws the interval as what was to be expected instead of
    as what is known about the dot.
    """
    step, top = 36.0, 18.0 if reference is not None else 6.0
    bottom = top + step * len(rows)
    figures = [figure for row in rows for figure in (row.value, row.low, row.high)]
    scale = Scale.over([*figures, *([] if reference is None else [reference])], _PAD, WIDTH - _PAD)
    parts = [*_x_axis(scale, top, bottom, marked)]
    if reference is not None:
        parts += _reference(scale.at(reference), top, bottom, f"{reference_label} {said(reference)}")
    for index, row in enumerate(rows):
        y = top + step * index
        parts.append(el("text", {"x": _PAD, "y": y + 13}, shortened(row.label)))
        parts.append(el("text", {"x": WIDTH - _PAD, "y": y + 13, "class": "end"}, said(row.value)))
        track = y + 24
        ends = {"x1": scale.at(row.low), "x2": scale.at(row.high), "y1": track, "y2": track}
        if math.isfinite(row.low) and math.isfinite(row.high):
            parts.append(el("line", {**ends, "class": "bandbar" if banded else "bar"}))
        if math.isfinite(row.value):
            dot = "dot out" if row.out else "dot"
            parts.append(el("circle", {"cx": scale.at(row.value), "cy": track, "r": 4.5, "class": dot}))
    between = "expected from" if banded else "from"
    told = "; ".join(
        f"{row.label}: {said(row.value)}, {between} {said(row.low)} to {said(row.high)}" for row in rows
    )
    if reference is not None:
        told += f"; {reference_label}: {said(reference)}"
    return _image(slug, title, told, bottom + 22, parts)


def running(
    slug: str,
    title: str,
    positions: Sequence[float],
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    ends: tuple[str, str],
    *,
    bounds: tuple[float, float],
    reference: float | None = None,
    reference_label: str = "",
) -> Html:
    """A line with a band around it, over positions that don't fall; `ends` labels the first and the last.

    `bounds` are the figures that the vertical axis takes in, so that several charts can share one. Points
    that are not finite are left out.
    """
    top, bottom, left = 16.0, 176.0, 44.0
    points = [
        point for point in zip(positions, values, lows, highs, strict=True) if all(map(math.isfinite, point))
    ]
    first, last = (positions[0], positions[-1]) if len(positions) else (0.0, 1.0)
    span = last - first or 1.0
    x = [left + (point[0] - first) / span * (WIDTH - _PAD - left) for point in points]
    scale = Scale.over(bounds, bottom, top)
    parts = []
    for tick in scale.ticks:
        y = scale.at(tick)
        parts.append(el("line", {"x1": left, "x2": WIDTH - _PAD, "y1": y, "y2": y, "class": "grid"}))
        parts.append(el("text", {"x": left - 6, "y": y + 4, "class": "soft end"}, figure_text(tick)))
    upper = [(at, scale.at(point[3])) for at, point in zip(x, points, strict=True)]
    lower = [(at, scale.at(point[2])) for at, point in zip(x, points, strict=True)]
    parts.append(el("path", {"d": _path([*upper, *reversed(lower)]) + "Z", "class": "band"}))
    if reference is not None:
        y = scale.at(reference)
        parts.append(el("line", {"x1": left, "x2": WIDTH - _PAD, "y1": y, "y2": y, "class": "ref"}))
    line = [(at, scale.at(point[1])) for at, point in zip(x, points, strict=True)]
    parts.append(el("path", {"d": _path(line), "class": "line"}))
    if line:
        parts.append(el("circle", {"cx": line[-1][0], "cy": line[-1][1], "r": 4, "class": "dot"}))
    parts.append(el("text", {"x": left, "y": bottom + 16, "class": "soft"}, ends[0]))
    parts.append(el("text", {"x": WIDTH - _PAD, "y": bottom + 16, "class": "soft end"}, ends[1]))
    told = f"from {ends[0]} to {ends[1]}"
    if points:
        told += (
            f": {figure_text(points[0][1])} at first, {figure_text(points[-1][1])} at the end, there from "
            f"{figure_text(points[-1][2])} to {figure_text(points[-1][3])}"
        )
    if reference is not None:
        told += f"; {reference_label}: {figure_text(reference)}"
    return _image(slug, title, told, bottom + 24, parts)


def histogram(
    slug: str, title: str, labels: Sequence[str], rows: Sequence[float], mass: Sequence[float]
) -> Html:
    """Two shares a bin: of the rows as filled bars, of the mass as outlined ones."""
    top, bottom, left = 10.0, 130.0, 44.0
    scale = Scale.over([0.0, *rows, *mass], bottom, top, ticks=3)
    parts = []
    for tick in scale.ticks:
        y = scale.at(tick)
        parts.append(el("line", {"x1": left, "x2": WIDTH - _PAD, "y1": y, "y2": y, "class": "grid"}))
        parts.append(el("text", {"x": left - 6, "y": y + 4, "class": "soft end"}, f"{100 * tick:g} %"))
    step = (WIDTH - _PAD - left) / max(len(labels), 1)
    for index, label in enumerate(labels):
        x = left + index * step
        for share, kind, inset in ((rows[index], "rows", 0.2), (mass[index], "mass", 0.06)):
            y = scale.at(share)
            if share > 0:
                box = {"x": x + inset * step, "y": y, "width": step * (1 - 2 * inset), "height": bottom - y}
                parts.append(el("rect", {**box, "class": kind}))
        parts.append(el("text", {"x": x + step / 2, "y": bottom + 15, "class": "soft mid"}, label))
    told = "; ".join(
        f"{label}: {percent_text(share)} of rows, {percent_text(weight)} of the weight"
        for label, share, weight in zip(labels, rows, mass, strict=True)
        if share > 0 or weight > 0
    )
    return _image(slug, title, told, bottom + 22, parts)


def shortened(label: str, characters: int = _LABEL_CHARACTERS) -> str:
    """A label that fits; the whole one stands in the description and in the tables."""
    return label if len(label) <= characters else f"{label[: characters - 1]}…"


def _image(slug: str, title: str, told: str, height: float, parts: Sequence[Html]) -> Html:
    named = {"role": "img", "aria-labelledby": f"{slug}-title {slug}-desc"}
    return el(
        "svg",
        {"viewBox": f"0 0 {WIDTH:g} {height:g}", **named},
        el("title", {"id": f"{slug}-title"}, title),
        el("desc", {"id": f"{slug}-desc"}, told),
        join(*parts),
    )


def _x_axis(scale: Scale, top: float, bottom: float, said: Callable[[float], str]) -> list[Html]:
    parts = []
    for index, tick in enumerate(scale.ticks):
        x = scale.at(tick)
        side = " end" if index == len(scale.ticks) - 1 else "" if index == 0 else " mid"
        parts.append(el("line", {"x1": x, "x2": x, "y1": top, "y2": bottom, "class": "grid"}))
        parts.append(el("text", {"x": x, "y": bottom + 14, "class": f"soft{side}"}, said(tick)))
    return parts


def _reference(x: float, top: float, bottom: float, label: str) -> list[Html]:
    side = " end" if x > WIDTH * 0.7 else " mid" if x > WIDTH * 0.3 else ""
    return [
        el("line", {"x1": x, "x2": x, "y1": top - 4, "y2": bottom, "class": "ref"}),
        el("text", {"x": x, "y": top - 7, "class": f"reftext{side}"}, label),
    ]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points)) or "M0 0"


def _step(raw: float) -> float:
    """The next round step up: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
