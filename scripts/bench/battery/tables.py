"""Standings as tables: for a terminal, and as Markdown for a README."""

from collections.abc import Iterator, Sequence

import rich.box
import rich.table

from battery.standings import NEAR, Cell, Standings

Row = tuple[str, list[str], int | None]
"""A title, a cell a system, and which of them is the best."""


def rich_tables(standings: Standings) -> list[rich.table.Table]:
    """The scores by world, then what they come to."""
    return [
        _table(
            "score: 0 an even draw, 1 the best known policy; ± a standard error",
            standings,
            _worlds(standings),
        ),
        _table("what it comes to", standings, _totals(standings)),
    ]


def _table(title: str, standings: Standings, rows: Iterator[Row]) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("")
    for one in standings.systems:
        table.add_column(one.replace(":", "\n", 1).replace(",", ",\n"), justify="right", overflow="fold")
    for name, cells, best in rows:
        table.add_row(
            name, *(f"[bold]{cell}[/bold]" if index == best else cell for index, cell in enumerate(cells))
        )
    return table


def markdown(standings: Standings) -> str:
    """Both tables; the best of a row is bold."""
    parts = []
    for title, rows in (("world", _worlds(standings)), ("", _totals(standings))):
        lines = [
            f"| {title} | {' | '.join(f'`{one}`' for one in standings.systems)} |",
            "| --- |" + " ---: |" * len(standings.systems),
        ]
        for name, cells, best in rows:
            shown = [f"**{cell}**" if index == best else cell for index, cell in enumerate(cells)]
            lines.append(f"| {name} | {' | '.join(shown)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def number(value: float, digits: int = 3) -> str:
    """Without the zero before the point."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _worlds(standings: Standings) -> Iterator[Row]:
    for group, worlds in standings.groups():
        for world in worlds:
            cells = [standings.cell(one, world) for one in standings.systems]
            name = world if group == "chosen" else f"{world} ({group})"
            best = _best([None if cell is None else cell.score for cell in cells])
            yield name, [_shown(cell) for cell in cells], best
        yield _means(standings, f"mean of {len(worlds)} {group}", worlds)


def _means(standings: Standings, title: str, worlds: Sequence[str]) -> Row:
    """Means over worlds. One that is not over all of them has their number beside it."""
    means = [standings.mean(one, worlds) for one in standings.systems]
    texts = []
    for mean in means:
        if mean is None:
            texts.append("")
        else:
            value, error, count = mean
            texts.append(_with_error(value, error) + ("" if count == len(worlds) else f" ({count})"))
    return title, texts, _best([None if mean is None else mean[0] for mean in means])


def _totals(standings: Standings) -> Iterator[Row]:
    for kind, worlds in standings.kinds():
        yield _means(standings, f"mean of {len(worlds)}, {kind}", worlds)
    groups = standings.groups()
    if len(groups) > 1:
        groups = [*groups, ("all", list(standings.worlds))]
    for group, worlds in groups:
        for share in NEAR:
            shares = [standings.near(one, worlds, share) for one in standings.systems]
            texts = ["" if each is None else f"{each:.0%}" for each in shares]
            yield f"within {share:.0%} of the best, {group}", texts, _best(shares)
        yield (
            f"furthest behind a peer, {group}",
            [_worst(standings, one, worlds) for one in standings.systems],
            None,
        )
    shifting = {world for one in standings.systems for world in standings.recovery(one)}
    for world in (world for world in standings.worlds if world in shifting):
        rounds = [standings.recovery(one).get(world) for one in standings.systems]
        yield (
            f"rounds to recover, {world}",
            ["" if each is None else f"{each:,.0f}" for each in rounds],
            _best([None if each is None else -each for each in rounds]),
        )
    times = [
        sorted(cell.ms for world in standings.worlds if (cell := standings.cell(one, world)))
        for one in standings.systems
    ]
    yield "ms a round, median world", [f"{each[len(each) // 2]:.2f}" for each in times], None
    yield "ms a round, slowest world", [f"{each[-1]:.2f}" for each in times], None


def _worst(standings: Standings, system: str, worlds: Sequence[str]) -> str:
    worst = standings.worst(system, worlds)
    if worst is None:
        return ""
    return f"{worst.world}: {number(worst.score, 2)}, {worst.peer} {number(worst.peer_score, 2)}"


def _shown(cell: Cell | None) -> str:
    return "" if cell is None else _with_error(cell.score, cell.error)


def _with_error(value: float, error: float | None) -> str:
    return number(value) if error is None else f"{number(value)} ±{number(error)}"


def _best(values: Sequence[float | None]) -> int | None:
    known = [(value, -index) for index, value in enumerate(values) if value is not None]
    return -max(known)[1] if known else None
