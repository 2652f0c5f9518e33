"""A Parquet data set as a source, or one file of it: as `banditd log export --format parquet` writes it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bandit.core.experiment import Experiment
from bandit.core.records import JoinedEvent
from bandit.eventlog.formats.lines import BadLine
from bandit.replay.errors import BadLog, MissingExtra
from bandit.replay.ordering import put_right
from bandit.replay.sources import Row


class ParquetSource:
    """Rows, read a few at a time. A row that can't be read is counted by its reason and left out."""

    kind = "parquet"

    def __init__(self, path: Path) -> None:
        """A folder, or a file. Raises MissingExtra."""
        try:
            from bandit.eventlog.formats import parquet
        except ModuleNotFoundError as error:
            raise MissingExtra from error
        self._parquet = parquet
        self._path = path
        self._trouble: Counter[str] = Counter()
        self._first: dict[str, tuple[int, str]] = {}
        self._done = 0
        self._total = 0

    @staticmethod
    def holds(path: Path) -> bool:
        """Whether there are Parquet files; whose they are, reading tells."""
        return path.is_file() or next(path.rglob("*.parquet"), None) is not None

    def experiments(self) -> Mapping[str, Experiment]:
        """The latest definition of each experiment. Raises BadLog."""
        try:
            return self._parquet.definitions(self._path)
        except self._parquet.BadDataSet as error:
            raise BadLog(str(error)) from error

    def events(self, experiment_id: str) -> Iterator[JoinedEvent]:
        """An experiment's events. Raises BadLog."""
        for event, _ in self.rows(experiment_id, ()):
            yield event

    def rows(self, experiment_id: str, columns: Sequence[str], *, contexts: bool = True) -> Iterator[Row]:
        """The events, each with the values of some further columns. Raises BadLog."""
        self._trouble = Counter()
        self._first = {}
        return put_right(self._rows(experiment_id, columns), self._trouble)

    def trouble(self) -> Mapping[str, int]:
        """duplicates, out_of_order, bad_lines (here rows), and bad_line.REASON for each reason."""
        return self._trouble

    def first_trouble(self) -> Mapping[str, tuple[int, str]]:
        """By reason, the number of the first bad row and what is wrong with it."""
        return self._first

    def settled_us(self, experiment_id: str, metric: str = "") -> int | None:
        """None: what was open when it was written is not in it."""
        return None

    def extent(self) -> tuple[int, int]:
        """Rows read, and how many there are."""
        return self._done, self._total

    def _rows(self, experiment_id: str, columns: Sequence[str]) -> Iterator[Row]:
        self._done = 0
        try:
            self._total = self._parquet.count(self._path, experiment_id)
            yield from self._parquet.rows(self._path, experiment_id, columns, self._note, self._count)
        except (self._parquet.BadDataSet, OSError) as error:
            raise BadLog(str(error)) from error

    def _count(self, done: int) -> None:
        self._done = done

    def _note(self, number: int, error: BadLine) -> None:
        self._trouble["bad_lines"] += 1
        self._trouble[f"bad_line.{error.reason}"] += 1
        self._first.setdefault(error.reason, (number, str(error)))
