"""The embedded event log: one SQLite file in WAL mode, many writing and reading processes.

Open it after a fork, never before: two processes that share a connection destroy the file, so an instance
refuses to work in another process than the one that opened it. And never open `events.db` or `events.db-shm`
by other means in a process that has a log open: closing any handle of theirs drops SQLite's locks.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from bandit.core.records import Position, Reward, Variant
from bandit.eventlog import checking, reading, schema, writing
from bandit.eventlog.codec import decode_decision, decode_digest
from bandit.eventlog.files import DATABASE_NAME, Database, wal_path
from bandit.eventlog.handles import Checkpoint, CheckpointMode, Handles
from bandit.eventlog.log import (
    Closing,
    Count,
    Definition,
    Event,
    Item,
    LogBusy,
    LogUnwritable,
    Result,
    SchemaTooNew,
    StoredDecision,
    Tick,
)

PASSIVE_CHECKPOINT_BYTES = 4 * 1024 * 1024
"""From this size of the write-ahead log on, its pages are brought into the database beside the writers."""

RESTART_CHECKPOINT_BYTES = 256 * 1024 * 1024
"""From this size on, the writers wait until it starts anew, which never happens under constant load."""

LOOK_SECONDS = 0.1
"""How often it is looked whether the open files are still there, apart from each sync."""

_SCAN_ROWS = 50_000
_SEARCH_ENTRIES = 1_000
_NEVER_US = 2**63 - 1

_T = TypeVar("_T")


def _wall_clock_us() -> int:
    return time.time_ns() // 1_000


def _sync_data(fd: int) -> None:
    # macOS has no fdatasync.
    getattr(os, "fdatasync", os.fsync)(fd)


def checkpoint_due(data_dir: Path) -> bool:
    """Whether the write-ahead log is large. Opens nothing, so it waits for nobody."""
    try:
        size_bytes = wal_path(data_dir).stat().st_size
    except FileNotFoundError:
        return False
    return size_bytes >= PASSIVE_CHECKPOINT_BYTES


class SqliteEventLog:
    """The log of one data folder, as one process sees it. It is a `bandit.eventlog.log.EventLog`.

    `append` writes from one thread at a time, `sync` may run beside it in another, and reads may come from
    any thread. A write or sync that fails is never retried on the same handles: the instance is dead from
    then on, and every call raises LogUnwritable until `reopen` succeeds.

    `clock_us` gives the wall clock in microseconds since the epoch; `sync_file` makes the file behind a
    descriptor durable. Raises FileNotFoundError if there is no log and `create` is False, SchemaTooNew, or
    LogUnwritable.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        clock_us: Callable[[], int] = _wall_clock_us,
        sync_file: Callable[[int], None] = _sync_data,
        create: bool = True,
    ) -> None:
        self._data_dir = data_dir
        self._path = data_dir / DATABASE_NAME
        self._clock_us = clock_us
        self._sync_file = sync_file
        self._process_id = os.getpid()
        # Taken in this order wherever more than one is.
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._definitions: dict[tuple[str, int], Definition] = {}
        # The log's last row, if nobody else has written since this instance did.
        self._tail: writing.Tail | None = None
        self._dead = ""
        self._look_at_s = 0.0
        if not create and not self._path.exists():
            raise FileNotFoundError(
                f"There is no event log in {data_dir}. Is it a --data-dir of banditd serve?"
            )
        try:
            if create:
                data_dir.mkdir(parents=True, exist_ok=True)
            self._handles: Handles | None = Handles.open(data_dir, create=create)
            self._database = Database(data_dir)
        except (sqlite3.Error, OSError) as error:
            raise self._unwritable(error) from error

    def append(self, batch: Sequence[Item], *, wait: bool = True) -> list[Result]:
        """Writes a batch as one transaction with one stamp, and answers with one result an item, in order.

        NewDecision: None if it was stored, else the StoredDecision that has its id already. NewReward: a
        RewardOutcome, or a Refused (UNKNOWN_METRIC, REWARD_OUT_OF_RANGE, REWARD_ID_CONFLICT), not raised.
        NewExperiment: the Definition in force, which is the latest one where nothing differs. Tick: None.

        When it returns, the rows survive the death of every process; `sync` makes them survive a loss of
        power. Raises LogUnwritable, whatever an item raises that can't be encoded, and without `wait` LogBusy
        if another writer is at it; nothing was written then.
        """
        if not self._write_lock.acquire(blocking=wait):
            raise LogBusy
        try:
            written = self._append(self._alive(), batch, wait=wait)
        finally:
            self._write_lock.release()
        for definition in written.definitions:
            self._remember(definition)
        return written.results

    def sync(self) -> None:
        """Makes every row that was committed before the call, by whichever process, survive a loss of power.

        Raises LogUnwritable.
        """
        with self._sync_lock:
            self._sync(self._alive())

    def reopen(self) -> None:
        """Opens the log afresh and proves, with a tick, that it can be written. Raises LogUnwritable.

        Only the same files are opened again; as long as they are lost, those that are open stay so.

        After a failed sync the kernel takes the pages for clean: another sync would succeed without writing
        them. So a checkpoint writes them again, into the database itself, and syncs that.
        """
        with self._write_lock, self._sync_lock, self._read_lock:
            self._refuse_fork()
            try:
                if self._handles is not None and self._handles.lost():
                    self._handles.rescue()
                self._look()
                self._close_handles()
                self._definitions.clear()
                self._tail = None
                handles = self._handles = Handles.open(self._data_dir, create=False)
                self._dead = ""
                if not self._checkpoint("TRUNCATE").complete:
                    raise sqlite3.OperationalError("another process is in the way of a checkpoint")
                self._append(handles, [Tick()])
                self._sync(handles)
            except (sqlite3.Error, OSError) as error:
                self._die(error)
            except SchemaTooNew as error:
                self._dead = str(error)
                raise LogUnwritable(self._dead) from error

    def close(self) -> None:
        """Closes the log for good; every later call raises LogUnwritable."""
        with self._write_lock, self._sync_lock, self._read_lock:
            self._refuse_fork()
            self._close_handles()
            self._database.close()

    def head(self) -> tuple[int, int]:
        """(seq, at_us) of the last row; (0, 0) if there is none."""
        return self._read(reading.head)

    def definitions(self, after_seq: int = 0) -> list[Definition]:
        """The definitions that came into force after `after_seq`, in seq order. Raises CorruptRecord."""
        found = self._read(lambda connection: reading.definitions(connection, after_seq))
        return [self._remember(definition) for definition in found]

    def definition(self, experiment_id: str, version: int) -> Definition:
        """One version of an experiment, always the same object. Raises CorruptRecord if the log has none."""
        known = self._definitions.get((experiment_id, version))
        if known is not None:
            return known
        return self._remember(
            self._read(lambda connection: reading.definition(connection, experiment_id, version))
        )

    def decision(self, decision_id: str) -> StoredDecision | None:
        """The decision with this id, of whichever experiment. Raises CorruptRecord."""
        return self._stored_decisions([decision_id]).get(decision_id)

    def events(
        self, after_seq: int = 0, kinds: Collection[str] | None = None, batch: int = 1000
    ) -> Iterator[Event]:
        """The rows after `after_seq`, read `batch` seqs at a time, up to the last one when it starts."""
        last, _ = self.head()
        while after_seq < last:
            up_to = min(after_seq + batch, last)
            rows, after_seq = self._read(
                partial(reading.page, after_seq=after_seq, up_to_seq=up_to, kinds=kinds)
            )
            yield from rows

    def experiments_touched(self, after_seq: int) -> set[str]:
        """The experiments that have rows after `after_seq`."""
        touched: set[str] = set()
        last, _ = self.head()
        for low in range(after_seq, last, _SCAN_ROWS):
            touched |= self._read(
                partial(reading.experiments_touched, after_seq=low, up_to_seq=low + _SCAN_ROWS)
            )
        return touched

    def counts(self) -> list[Count]:
        """How many rows of each kind each experiment has, and their first and last time."""
        found: dict[tuple[str, str], Count] = {}
        last, _ = self.head()
        for low in range(0, last, _SCAN_ROWS):
            high = min(low + _SCAN_ROWS, last)
            for row in self._read(partial(reading.counts, after_seq=low, up_to_seq=high)):
                one = Count(*row)
                before = found.get(one[:2], Count(*one[:2], 0, one.first_us, one.last_us))
                found[one[:2]] = Count(*one[:2], before.rows + one.rows, before.first_us, one.last_us)
        return [found[key] for key in sorted(found)]

    def open_decisions(self, experiment_id: str) -> int:
        """How many decisions of an experiment are not closed at the time of the last row."""
        _, now_us = self.head()
        after: Position | None = Position(now_us, -1)
        total = 0
        while after is not None:
            count, after = self.count_closings(experiment_id, after, _NEVER_US, _SEARCH_ENTRIES)
            total += count
        return total

    def count_closings(
        self, experiment_id: str, after: Position, before_us: int, entries: int
    ) -> tuple[int, Position | None]:
        """How many of the next `entries` of the joined order that close before `before_us` are events.

        Also answers with the last entry; None if there is none.
        """
        return self._read(
            lambda connection: reading.count_closings(connection, experiment_id, after, before_us, entries)
        )

    def closings(self, experiment_id: str, after: Position, before_us: int, limit: int) -> list[Closing]:
        """The entries of the joined order after `after` and before `before_us`; empty only at its end."""
        return self._read(
            lambda connection: reading.closings(connection, experiment_id, after, before_us, limit)
        )

    def rewards_of(self, decision_ids: Sequence[str]) -> dict[str, list[Reward]]:
        """The rewards of each decision that has any. Raises CorruptRecord."""
        return self._read(lambda connection: reading.rewards_of(connection, decision_ids))

    def next_due_us(self, experiment_id: str, after: Position) -> int | None:
        """A time before which no event after `after` closes; None if nothing is open.

        It is exact if it is before the last row's time. Ahead of that it may be too early: a reward may have
        closed any number of decisions whose windows have not ended, and only some are looked at.
        """
        _, now_us = self.head()
        last: Position | None = after
        while last is not None:
            due_us, last = self._read(
                partial(
                    reading.next_closing, experiment_id=experiment_id, after=last, entries=_SEARCH_ENTRIES
                )
            )
            if due_us is None and last is not None and last.closing_us >= now_us:
                return last.closing_us
        return due_us

    def check_chain(self, progress: Callable[[int], None] | None = None) -> int | None:
        """The first seq whose row is not the one that was written, else None. Reads the whole log."""
        self._alive()
        try:
            with closing(schema.connect(self._path)) as connection:
                return checking.first_unsound(connection, 1_000, progress)
        except sqlite3.Error as error:
            self._die(error)

    def size_bytes(self) -> int:
        """What the log takes on the disk: the database and its write-ahead log."""
        return sum(path.stat().st_size for path in (self._path, wal_path(self._data_dir)) if path.exists())

    def checkpoint(self, mode: CheckpointMode) -> bool:
        """Brings committed rows from the write-ahead log into the database, and tells whether all came over.

        PASSIVE holds up nobody; RESTART and TRUNCATE let the writers wait. Raises LogUnwritable.
        """
        if mode == "PASSIVE":
            return self._checkpoint(mode).complete
        with self._write_lock:
            return self._checkpoint(mode).complete

    def checkpoint_if_large(self) -> None:
        """Checkpoints if the write-ahead log is large; for one process a data folder, about once a second."""
        if not checkpoint_due(self._data_dir):
            return
        # The file keeps its size when it starts anew, so only a checkpoint can tell how much is in it.
        if self._checkpoint("PASSIVE").wal_bytes >= RESTART_CHECKPOINT_BYTES:
            self.checkpoint("RESTART")

    # The private parts: what writes or syncs leaves the locks to its caller.

    def _append(self, handles: Handles, batch: Sequence[Item], *, wait: bool = True) -> writing.Written:
        try:
            handles.take_turn(wait=wait)
            try:
                if not handles.claim_tail():
                    self._tail = None
                written = writing.write(
                    handles.writer,
                    batch,
                    self._clock_us,
                    self._tail,
                    self.definition,
                    self._stored_decisions,
                )
            finally:
                handles.end_turn()
        except (sqlite3.Error, OSError) as error:
            self._die(error)
        self._tail = written.tail
        return written

    def _sync(self, handles: Handles) -> None:
        try:
            self._sync_file(handles.wal_fd)
        except OSError as error:
            self._die(error)
        # Afterwards: a sync of a file that nobody can open any more is worth nothing.
        self._look()

    def _look(self) -> None:
        """Raises LogUnwritable if a file of the log was deleted or replaced."""
        handles = self._handles
        try:
            lost = (self._database if handles is None else handles).lost()
        except OSError as error:
            self._die(error)
        if lost:
            self._dead = (
                f"The event log in {self._data_dir} is not the one that was opened: {', '.join(lost)} was "
                "deleted or replaced under the running process. Nothing more is acknowledged. Stop the "
                "server, restore the log, and start again."
            )
            raise LogUnwritable(self._dead)

    def _checkpoint(self, mode: CheckpointMode) -> Checkpoint:
        try:
            return self._alive().checkpoint(mode)
        except (sqlite3.Error, OSError) as error:
            self._die(error)

    def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._read_lock:
            reader = self._alive().reader
            try:
                return query(reader)
            except sqlite3.Error as error:
                self._die(error)

    def _stored_decisions(self, decision_ids: Sequence[str]) -> dict[str, StoredDecision]:
        rows = self._read(lambda connection: reading.decisions(connection, decision_ids))
        found: dict[str, StoredDecision] = {}
        for experiment_id, decision_id, subject, record, seq, at_us in rows:
            catalogue = partial(self._catalogue, experiment_id)
            decision = decode_decision(experiment_id, decision_id, subject, record, catalogue)
            found[decision_id] = StoredDecision(decision, decode_digest(record), seq, at_us)
        return found

    def _catalogue(self, experiment_id: str, version: int) -> tuple[Variant, ...]:
        return self.definition(experiment_id, version).catalogue

    def _remember(self, definition: Definition) -> Definition:
        # The first one stays: what is computed once for a catalogue is found by the object.
        return self._definitions.setdefault((definition.experiment.id, definition.version), definition)

    def _alive(self) -> Handles:
        self._refuse_fork()
        if self._dead or self._handles is None:
            raise LogUnwritable(self._dead)
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_SECONDS
            self._look()
        return self._handles

    def _refuse_fork(self) -> None:
        if os.getpid() != self._process_id:
            raise RuntimeError(
                "this event log was opened before a fork; open one in each process, after the fork"
            )

    def _close_handles(self) -> None:
        handles, self._handles = self._handles, None
        self._dead = self._dead or f"The event log in {self._data_dir} is closed."
        if handles is not None:
            handles.close()

    def _die(self, error: Exception) -> NoReturn:
        unwritable = self._unwritable(error)
        self._dead = str(unwritable)
        raise unwritable from error

    def _unwritable(self, error: Exception) -> LogUnwritable:
        return LogUnwritable(
            f"The event log in {self._data_dir} can't be used ({type(error).__name__}: {error}). Check that "
            "its disk has room and works, and that the folder may be written."
        )
