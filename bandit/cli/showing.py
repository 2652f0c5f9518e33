"""What the commands show to people: tables on stdout, progress on stderr where someone watches.

What draws is imported where something is drawn: machines that read --json should not wait for it.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID
    from rich.table import Table


@contextmanager
def bars(*, drawn: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Takes (what, done, of how many) and draws a bar for each `what`; nothing if stderr is no terminal, or
    if it is not to be `drawn`."""
    if not (drawn and sys.stderr.isatty()):
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(what)
            display.update(tasks[what], completed=done, total=total)

        yield progress


def console_for_people() -> "Console":
    """Stdout. Text is printed as it is: an id may look like markup."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def table(*columns: str, right: Collection[str] = ()) -> "Table":
    """An empty table; the columns in `right` hold figures."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    empty = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        empty.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return empty


def time_text(at_us: int | None) -> str:
    """Microseconds since the epoch as a UTC time to the second; a dash for None."""
    if at_us is None:
        return "-"
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
