"""Standings as a picture: a dot for each system in each world."""

# mypy: disable-error-code="import-not-found, import-untyped"

from pathlib import Path

from battery import catalogue
from battery.standings import Standings
from battery.systems import is_ours

GREY = "#888888"
"""Readable on white and on black: the background is left transparent."""
OURS = ("#e8590c", "#c2255c", "#9c36b5", "#5f3dc4")
PEERS = ("#1c7ed6", "#0ca678", "#66a80f", "#b08900", "#4a90a4", "#7a8f3c", "#5c7cfa", GREY)
MARKERS = "osD^vPX*"
MARKS = {"chosen": "", "held out": " *", "fresh": " **"}
"""After a world's name, by its group."""


def draw(standings: Standings, path: Path) -> None:
    """Writes an SVG: scores from left to right, worlds from top to bottom, those that are held out below."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    worlds = [world for _, group in standings.groups() for world in group]
    figure, axes = pyplot.subplots(figsize=(9, 0.27 * len(worlds) + 1.6))
    counts = {True: 0, False: 0}
    for system in standings.systems:
        ours = is_ours(system)
        index = counts[ours]
        counts[ours] += 1
        colours = OURS if ours else PEERS
        points = [
            (cell.score, y) for y, world in enumerate(worlds) if (cell := standings.cell(system, world))
        ]
        axes.scatter(
            [max(score, -0.1) for score, _ in points],
            [y for _, y in points],
            s=46 if ours else 26,
            marker=MARKERS[index % len(MARKERS)],
            color=colours[index % len(colours)],
            alpha=0.95 if ours else 0.75,
            label=system,
            zorder=3 if ours else 2,
            linewidths=0,
        )
    axes.set_yticks(range(len(worlds)))
    axes.set_yticklabels([f"{world}{MARKS[catalogue.group(world)]}" for world in worlds])
    axes.set_ylim(len(worlds) - 0.4, -0.6)
    axes.set_xlim(-0.12, 1.05)
    fresh = "   ** fresh" if any(world in catalogue.FRESH for world in worlds) else ""
    axes.set_xlabel(f"score: 0 an even draw, 1 the best known policy      * held out{fresh}", color=GREY)
    axes.grid(axis="both", color=GREY, alpha=0.25, linewidth=0.6)
    axes.tick_params(colors=GREY, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    legend = axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(GREY)
    figure.tight_layout()
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    pyplot.close(figure)
