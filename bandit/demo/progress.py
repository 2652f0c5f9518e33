"""How far a run has come: a bar where someone watches, a line now and then where a file does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bandit.demo.player import Round

_UPDATE_ROUNDS: Final = 64
"""A bar is drawn a few times a second; telling it of every round would only cost time."""


class Watch:
    """Counts rounds and shows the running mean reward of those that count."""

    def __init__(self, console: Console, bar: Progress | None, total: int) -> None:
        """Shows nothing of its own if `bar` is None, except for a line each tenth of `total`."""
        self._console = console
        self._bar = bar
        self._task = bar.add_task("", total=total) if bar else None
        self._total = total
        self._rounds = 0
        self._counted = 0
        self._reward = 0.0

    def on_round(self, finished: Round) -> None:
        """Takes one round."""
        self._rounds += 1
        if finished.counts:
            self._counted += 1
            self._reward += finished.customer.visit
        if self._bar is not None and self._task is not None:
            if self._rounds % _UPDATE_ROUNDS == 0 or self._rounds == self._total:
                self._bar.update(self._task, completed=self._rounds, description=self._text())
        elif self._rounds * 10 // self._total > (self._rounds - 1) * 10 // self._total:
            self._console.print(f"{self._rounds:>7,} of {self._total:,}   {self._text()}", highlight=False)

    def _text(self) -> str:
        mean = self._reward / self._counted if self._counted else 0.0
        return f"mean reward {mean:.4f} over {self._counted:,} counted"


@contextmanager
def watching(console: Console, total: int) -> Iterator[Watch]:
    """A Watch on `console`: a bar if it is a terminal, lines if it is not."""
    if not console.is_terminal:
        yield Watch(console, None, total)
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield Watch(console, bar, total)
