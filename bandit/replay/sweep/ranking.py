"""Finished cells -> an honest winner.

The best of m estimates is too good to be true: with 95 % intervals one in twenty looks better than it is,
and the search picks just that one. Each cell's interval is therefore at level 1 - alpha / m (Bonferroni), so
that with probability 1 - alpha all m hold at once, the winner's among them, whatever picked it. So does the
winner's difference to what was served.

`best` are the cells that no other one beats: cell i is left out if for some j the one-sided lower bound of
V_j - V_i at level 1 - alpha / (m - 1) is above 0. For the truly best cell all m - 1 of these differences are
at most 0, so it is left out with probability at most alpha. Differences are taken on the same rows (see
`paired`); where they can't be, a cell is left out if its simultaneous interval lies below another's.

Dunn, Multiple comparisons among means (1961); Hsu, Simultaneous confidence intervals for all distances from
the "best" (1981).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from bandit.replay.sweep import paired
from bandit.replay.sweep.running import Done

RIVALS: Final = 20
"""Each cell is compared with this many others, those of highest value."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Finished cells, best first; those without a headline after those with one, in grid order.

    `best` are the policies that no other one beats at the family's level, empty if no cell has a headline;
    `paired` tells that this was judged by differences on the same rows. `gain` is the winner's difference to
    the mean as served, (value, low, high), None where it can't be told. `uneven` tells that cells judged
    different numbers of rows: the log changed meanwhile.
    """

    rows: tuple[Done, ...]
    failed: tuple[Done, ...]
    best: tuple[str, ...]
    paired: bool
    gain: tuple[float, float, float] | None
    uneven: bool

    @property
    def winner(self) -> Done | None:
        """The cell with the highest headline value."""
        return self.rows[0] if self.best else None


def cell_alpha(alpha: float, count: int) -> float:
    """The level of each of `count` cells' intervals, so that all hold at once with probability 1 - alpha."""
    return alpha / max(count, 1)


def rank(done: Sequence[Done], alpha: float) -> Ranking:
    """Orders finished cells by their headline value, and finds those that may be the best.

    `alpha` is that of the whole sweep, all of `done` being its cells.
    """
    finished = [one for one in done if one.result is not None]
    judged = [one for one in finished if _headline(one) is not None]
    judged.sort(key=lambda one: -_figure(one, "value"))
    uneven = len({(one.result or {})["logged"]["n"] for one in finished}) > 1
    may_pair = not uneven and all(_blocks(one, "blocks") is not None for one in judged)
    best = [
        one.cell.policy for one in (_unbeaten(judged, alpha, len(done)) if may_pair else _reaching(judged))
    ]
    return Ranking(
        rows=(*judged, *(one for one in finished if _headline(one) is None)),
        failed=tuple(one for one in done if one.result is None),
        best=tuple(best),
        paired=may_pair and bool(judged),
        gain=_gain(judged[0], cell_alpha(alpha, len(done))) if judged and may_pair else None,
        uneven=uneven,
    )


def _unbeaten(judged: Sequence[Done], alpha: float, count: int) -> list[Done]:
    """Those that none of the RIVALS of highest value beats. Fewer comparisons leave fewer out, so they are
    on the safe side however the rivals are picked.
    """
    # A one-sided bound is the lower end of an interval that misses twice as often.
    level = 2.0 * alpha / max(count - 1, 1)
    kept = []
    for one in judged:
        bounds = (_difference(rival, one, level)[1] for rival in judged[:RIVALS] if rival is not one)
        if not any(low > 0.0 for low in bounds):
            kept.append(one)
    return kept


def _reaching(judged: Sequence[Done]) -> list[Done]:
    bar = max((_figure(one, "low") for one in judged), default=0.0)
    return [one for one in judged if _figure(one, "high") >= bar]


def _difference(one: Done, other: Done, alpha: float) -> tuple[float, float, float]:
    return paired.difference(
        _figure(one, "value"),
        _figure(other, "value"),
        _blocks(one, "blocks") or {},
        _blocks(other, "blocks") or {},
        alpha,
    )


def _gain(winner: Done, alpha: float) -> tuple[float, float, float] | None:
    blocks, served = _blocks(winner, "blocks"), _blocks(winner, "logged_blocks")
    if blocks is None or served is None:
        return None
    return paired.difference(
        _figure(winner, "value"), float((winner.result or {})["logged"]["value"]), blocks, served, alpha
    )


def _blocks(one: Done, name: str) -> Mapping[str, Sequence[float]] | None:
    blocks: Mapping[str, Sequence[float]] | None = (one.result or {}).get(name)
    return blocks


def _headline(one: Done) -> Mapping[str, Any] | None:
    headline: Mapping[str, Any] | None = (one.result or {}).get("headline")
    if headline is None or not all(isfinite(headline[name]) for name in ("value", "low", "high")):
        return None
    return headline


def _figure(one: Done, name: str) -> float:
    return float((_headline(one) or {})[name])
