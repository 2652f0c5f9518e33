"""A data folder as a source: the event log of a server, which may be running."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bandit.core.experiment import Experiment
from bandit.core.records import ORIGIN, JoinedEvent, Position
from bandit.eventlog.handles import DATABASE_NAME
from bandit.eventlog.joined import next_due_us, read_joined
from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.replay.errors import BadLog
from bandit.replay.sources import Row
from bandit.snapshots.store import SnapshotStore

BATCH_EVENTS: Final = 500


class FolderSource:
    """Joined events as the learner reads them. `log` and `store` are for what only a live run has."""

    kind = "data folder"

    def __init__(self, log: SqliteEventLog, store: SnapshotStore) -> None:
        """Use `open`."""
        self.log = log
        self.store = store
        self._done = 0
        self._total = 0
        self._open: dict[str, int] = {}

    @staticmethod
    def holds(path: Path) -> bool:
        """Whether a folder is a data folder."""
        return (path / DATABASE_NAME).exists()

    @classmethod
    def open(cls, path: Path) -> "FolderSource":
        """Opens a data folder. Raises BadLog."""
        try:
            return cls(SqliteEventLog(path, create=False), SnapshotStore(path))
        except (LogUnwritable, SchemaTooNew, OSError) as error:
            raise BadLog(str(error)) from error

    def close(self) -> None:
        """Closes the log."""
        self.log.close()

    def experiments(self) -> Mapping[str, Experiment]:
        """The latest definition of each experiment. Raises BadLog."""
        try:
            return {one.experiment.id: one.experiment for one in self.log.definitions()}
        except (CorruptRecord, LogUnwritable) as error:
            raise BadLog(str(error)) from error

    def events(self, experiment_id: str) -> Iterator[JoinedEvent]:
        """What closed before the log's last row; what is still open is counted. Raises BadLog."""
        try:
            _, now_us = self.log.head()
            open_now = self.log.open_decisions(experiment_id)
            decisions = sum(
                count.rows
                for count in self.log.counts()
                if (count.kind, count.experiment_id) == ("decision", experiment_id)
            )
            self._open = {"still_open": open_now} if open_now else {}
            self._done, self._total = 0, decisions - open_now
            position = ORIGIN
            while events := read_joined(self.log, experiment_id, position, now_us, BATCH_EVENTS):
                yield from events
                self._done += len(events)
                position = events[-1].position
        except (CorruptRecord, LogUnwritable) as error:
            raise BadLog(str(error)) from error

    def rows(self, experiment_id: str, columns: Sequence[str], *, contexts: bool = True) -> Iterator[Row]:
        """Raises BadLog if any column is asked for: a data folder has none."""
        if columns:
            raise BadLog(
                f"A data folder has no column {columns[0]!r}. Export it (banditd log export --format "
                "parquet, or dsjson), add the column there, and judge that."
            )
        return ((event, ()) for event in self.events(experiment_id))

    def trouble(self) -> Mapping[str, int]:
        """How many decisions were still open. The log itself takes no duplicates, and keeps its order."""
        return self._open

    def first_trouble(self) -> Mapping[str, tuple[int, str]]:
        """None: a row that can't be read ends the reading."""
        return {}

    def settled_us(self, experiment_id: str, metric: str = "") -> int | None:
        """Where rewards close decisions before their windows end: the time of the oldest decision still open
        if no reward counts as one; for a secondary metric, that of the oldest whose window has not ended.
        """
        rule = self.experiments()[experiment_id].reward
        if rule.learn != "on_reward" or (rule.default_value is None and not metric):
            return None
        try:
            _, now_us = self.log.head()
            if metric:
                return now_us - rule.window_us
            due_us = next_due_us(self.log, experiment_id, Position(now_us, -1))
        except (CorruptRecord, LogUnwritable) as error:
            raise BadLog(str(error)) from error
        return None if due_us is None else due_us - rule.window_us

    def extent(self) -> tuple[int, int]:
        """Joined events given, and how many there are."""
        return self._done, max(self._done, self._total)
