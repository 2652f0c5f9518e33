"""Where joined events come from: a data folder, a Parquet data set, a file of decision lines (dsjson).

A source gives joined events in joined order, afresh each time it is asked, and counts what was wrong with
them. What is done with the events is the same whatever the source.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bandit.core.experiment import Experiment
from bandit.core.records import JoinedEvent
from bandit.replay.errors import BadLog

__all__ = ["BadLog", "Row", "Source", "open_source"]

Row = tuple[JoinedEvent, Sequence[object]]
"""A joined event, and the values of the columns that were asked for beside it."""


class Source(Protocol):
    """One log."""

    kind: str
    """"data folder", "dsjson" or "parquet"."""

    def experiments(self) -> Mapping[str, Experiment]:
        """The latest definition of each experiment, by id."""
        ...

    def events(self, experiment_id: str) -> Iterator[JoinedEvent]:
        """An experiment's events in joined order, from the first. Raises BadLog."""
        ...

    def rows(self, experiment_id: str, columns: Sequence[str], *, contexts: bool = True) -> Iterator[Row]:
        """The events with the values of `columns` beside each; None where a row lacks one. Raises BadLog.

        Without `contexts` nobody looks at the events' contexts, and a source that can save time by it leaves
        them empty.
        """
        ...

    def trouble(self) -> Mapping[str, int]:
        """What was wrong with the events of the last iteration, by name: duplicates, bad lines, …"""
        ...

    def first_trouble(self) -> Mapping[str, tuple[int, str]]:
        """By reason, the number of the first bad line of the last iteration, and what is wrong with it."""
        ...

    def settled_us(self, experiment_id: str, metric: str = "") -> int | None:
        """Decisions from this time on can't be judged fairly yet, by their reward or a secondary `metric`:
        those with a reward closed before those that will get none, or before the metric came. None if that is
        not so. Raises BadLog.
        """
        ...

    def extent(self) -> tuple[int, int]:
        """How far the last iteration has come, and of how much, in a unit of the source's own."""
        ...


@contextmanager
def open_source(path: Path, *, reward_range: tuple[float, float] | None = None) -> Iterator[Source]:
    """The source that `path` is; closed at the end of the block.

    `reward_range` declares the range of the rewards of a dsjson file, which carries none: (0, 1) if None. The
    other sources carry their own, and refuse another. Raises BadLog.
    """
    if not path.exists():
        raise BadLog(f"{path} does not exist. Give a data folder, a Parquet data set, or a dsjson file.")
    # What reads the one kind is not imported to read another.
    if path.is_file() and path.suffix != ".parquet":
        from bandit.replay.source_dsjson import DsjsonSource

        yield DsjsonSource(path, reward_range or (0.0, 1.0))
        return
    if reward_range is not None:
        raise BadLog(f"{path} carries the declared range of its rewards: leave --reward-range out.")
    from bandit.replay.source_folder import FolderSource

    if FolderSource.holds(path):
        folder = FolderSource.open(path)
        try:
            yield folder
        finally:
            folder.close()
        return
    from bandit.replay.source_parquet import ParquetSource

    if not ParquetSource.holds(path):
        raise BadLog(
            f"{path} holds neither an event log (events.db) nor Parquet files. Give a data folder of banditd "
            "serve, a data set of banditd log export --format parquet, or a dsjson file."
        )
    yield ParquetSource(path)
