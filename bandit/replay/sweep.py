"""Many policies on one log, in parallel, and an honest winner.

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

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from math import isfinite
from queue import Empty, SimpleQueue
from typing import Any, Final

from bandit.replay import cells, paired
from bandit.replay.cells import Cell, Kept

LOOK_SECONDS: Final = 0.1
"""How often it is asked whether to stop."""

RIVALS: Final = 20
"""Each cell is compared with this many others, those of highest value."""

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much it is in all."""


class Stopped(Exception):
    """The sweep was asked to stop before its end."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a cell: its `result`, or None and why. `reused` tells that it was kept earlier."""

    cell: Cell
    result: Mapping[str, Any] | None
    error: str
    reused: bool


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


def sweep(
    wanted: Sequence[Cell],
    executor: Executor,
    kept: Kept,
    progress: Progress,
    *,
    run: Callable[[Cell], dict[str, Any]] = cells.run,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Done]:
    """Runs the cells that are not kept yet, and keeps each as it ends; answers in the order of `wanted`.

    Nothing is shared with the executor's workers but the cells themselves and what they answer; `run` must
    be importable there. A cell that fails is not kept and stops no other one. Raises Stopped soon after
    `stopping` says so, with all kept that ended; OSError if the folder can't be written.
    """
    done: dict[Cell, Done] = {}
    for cell in wanted:
        result = kept.find(cell)
        if result is not None:
            done[cell] = Done(cell, result, "", True)
    progress("cells", len(done), len(wanted))
    missing = [cell for cell in wanted if cell not in done]
    ended: SimpleQueue[Future[dict[str, Any]]] = SimpleQueue()
    waiting: dict[Future[dict[str, Any]], Cell] = {}
    for cell in missing:
        future = executor.submit(run, cell)
        waiting[future] = cell
        future.add_done_callback(ended.put)
    while waiting:
        if stopping():
            raise Stopped
        try:
            future = ended.get(timeout=LOOK_SECONDS)
        except Empty:
            continue
        cell = waiting.pop(future)
        done[cell] = _ended(cell, future, kept)
        progress("cells", len(done), len(wanted))
    return [done[cell] for cell in wanted]


def _ended(cell: Cell, future: Future[dict[str, Any]], kept: Kept) -> Done:
    try:
        result = future.result()
    # Whatever it raised there, it is this cell's failure and no other's.
    except (Exception, CancelledError) as error:
        return Done(cell, None, f"{error}" or type(error).__name__, False)
    kept.keep(cell, result)
    return Done(cell, result, "", False)


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
