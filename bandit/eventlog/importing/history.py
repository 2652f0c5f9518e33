"""A log from elsewhere as joined events: a data folder, its export, a Parquet data set, dsjson lines."""

import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from bandit.core.experiment import Experiment
from bandit.core.records import ORIGIN, JoinedEvent, Position
from bandit.eventlog.formats.lines import BadLine, BadLines, read
from bandit.eventlog.handles import DATABASE_NAME
from bandit.eventlog.importing.aside import BadImport
from bandit.eventlog.importing.bulk import BulkWriter
from bandit.eventlog.joined import next_due_us, read_joined
from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
from bandit.eventlog.sqlite import SqliteEventLog

FOLDER: Final = "data folder"
_BATCH_EVENTS: Final = 500
_EXPORT: Final = "export"

Numbered = tuple[int, JoinedEvent]
Progress = Callable[[str, int, int], None]


class History:
    """One experiment's events of a log, in the log's order, numbered by line, row or place.

    `lines` counts what was read, sound or not; what is not goes to `bad`. `experiment_id` is the log's own
    name for the experiment, empty for dsjson, which has none.
    """

    def __init__(self, path: Path, from_format: str, wanted_id: str, aside: Path, bad: BadLines) -> None:
        """`wanted_id` is the experiment to take where there are several. `aside` is a folder for the rest."""
        self.lines = 0
        self.naive_times = 0
        self.experiment_id = ""
        self._path = path
        self._format = from_format
        self._wanted_id = wanted_id
        self._aside = aside
        self._bad = bad

    def events(self, progress: Progress) -> Iterator[Numbered]:
        """The events, once. Raises BadImport, StoppedAtBadLine, OSError."""
        if self._format == "dsjson":
            return self._dsjson(progress)
        if self._format == "parquet":
            return self._parquet(progress)
        return self._folder(self._path, progress) if self._format == FOLDER else self._jsonl(progress)

    def _dsjson(self, progress: Progress) -> Iterator[Numbered]:
        from bandit.eventlog.formats.dsjson import Reader

        # Every reward is let through: whether one is in range is a matter of the definition.
        reader = Reader(self._wanted_id, (-math.inf, math.inf))
        for number, line in read(self._path, self._bad, lambda done, total: progress("read", done, total)):
            self.lines += 1
            try:
                event = reader.event(line, number)
            except BadLine as error:
                self._bad(number, error)
            else:
                self.naive_times = reader.naive_times
                yield number, event

    def _parquet(self, progress: Progress) -> Iterator[Numbered]:
        from bandit.eventlog.formats import parquet

        try:
            self.experiment_id = self._chosen(parquet.definitions(self._path))
            total = parquet.count(self._path, self.experiment_id)

            def on_bad(row: int, error: BadLine) -> None:
                self.lines = row
                self._bad(row, error)

            for event in parquet.read(self._path, self.experiment_id, on_bad):
                self.lines += 1
                if self.lines % 1000 == 0:
                    progress("read", self.lines, total)
                yield self.lines, event
        except parquet.BadDataSet as error:
            raise BadImport(str(error)) from error

    def _jsonl(self, progress: Progress) -> Iterator[Numbered]:
        """The export becomes a log once more, which is then read as one."""
        from bandit.eventlog.importing.jsonl import JsonlImport

        folder = self._aside / _EXPORT
        folder.mkdir()
        with BulkWriter(folder / DATABASE_NAME, indexed=True) as writer:
            JsonlImport(writer, self._bad).take(
                read(self._path, self._bad, lambda done, total: progress("read", done, total))
            )
            writer.finish()
        yield from self._folder(folder, lambda what, done, total: progress("join", done, total))

    def _folder(self, folder: Path, progress: Progress) -> Iterator[Numbered]:
        try:
            log = SqliteEventLog(folder, create=False)
        except (FileNotFoundError, LogUnwritable, SchemaTooNew) as error:
            raise BadImport(str(error)) from error
        try:
            definitions = {one.experiment.id: one.experiment for one in log.definitions()}
            self.experiment_id = self._chosen(definitions)
            _, now_us = log.head()
            settled_us = _settled_us(log, definitions[self.experiment_id], now_us)
            last_seq, position = log.head()[0], ORIGIN
            while events := read_joined(log, self.experiment_id, position, now_us, _BATCH_EVENTS):
                for event in events:
                    self.lines += 1
                    if event.at_us < settled_us:
                        yield self.lines, event
                    else:
                        self._bad(self.lines, BadLine("NOT_SETTLED", "is as new as some that are still open"))
                position = events[-1].position
                progress("read", min(position.seq, last_seq), last_seq)
        except (CorruptRecord, LogUnwritable) as error:
            raise BadImport(str(error)) from error
        finally:
            log.close()

    def _chosen(self, known: Collection[str]) -> str:
        """The log's experiment of the wanted id, or its only one. Raises BadImport."""
        if self._wanted_id in known:
            return self._wanted_id
        if len(known) == 1:
            return next(iter(known))
        names = ", ".join(list(known)[:5]) or "none"
        raise BadImport(
            f"{self._path} has no experiment {self._wanted_id!r} and not just one of another id (it has "
            f"{names}). Export the one to start from: banditd log export --experiment ID --format dsjson."
        )


def _settled_us(log: SqliteEventLog, experiment: Experiment, now_us: int) -> float:
    """Decisions from this time on have closed only if they got a reward: taken alone, they teach too much."""
    rule = experiment.reward
    if rule.learn != "on_reward" or rule.default_value is None:
        return math.inf
    due_us = next_due_us(log, experiment.id, Position(now_us, -1))
    return math.inf if due_us is None else due_us - rule.window_us
