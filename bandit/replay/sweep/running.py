"""Runs the cells of a sweep in an executor, and keeps each as it ends."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

from bandit.replay.sweep import cells
from bandit.replay.sweep.cells import Cell, Kept

LOOK_SECONDS: Final = 0.1
"""How often it is asked whether to stop."""

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
