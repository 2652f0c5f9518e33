"""The embedded event log: one SQLite file in WAL mode, many writing and reading processes.

Open it after a fork, never before: two processes that share a connection destroy the file, so an instance
refuses to work in another process than the one that opened it. And never open `events.db` or `events.db-shm`
by other means in a process that has a log open: closing any handle of theirs drops SQLite's locks.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn, TypeVar

from bandit.eventlog import checking, schema, writing
from bandit.eventlog.files import DATABASE_NAME, Database, wal_path
from bandit.eventlog.handles import Checkpoint, CheckpointMode, Handles
from bandit.eventlog.log import Item, LogBusy, LogUnwritable, Result, SchemaTooNew, Tick
from bandit.eventlog.readable import Readable

PASSIVE_CHECKPOINT_BYTES = 4 * 1024 * 1024
"""From this size of the write-ahead log on, its pages are brought into the database beside the writers."""

RESTART_CHECKPOINT_BYTES = 256 * 1024 * 1024
"""From this size on, the writers wait until it starts anew, which never happens under constant load."""

LOOK_SECONDS = 0.1
"""How often it is looked whether the open files are still there, apart from each sync."""

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


class SqliteEventLog(Readable):
    """The log of one data folder, as one process sees it. It is a `bandit.eventlog.log.EventLog`.

    `append` writes from one thread at a time, `sync` may run beside it in another, and reads may come from
    any thread. A write or sync that fails is never retried on the same handles: the instance is dead from
    then on, and every call raises LogUnwritable until `reopen` succeeds.

    `clock_us` gives the wall clock in microseconds since the epoch; `sync_file` makes the file behind a
    descriptor durable. `database`, which its owner closes, is the file that the log must be, as a process has
    known it that forked this one. Raises FileNotFoundError if there is no log and `create` is False,
    SchemaTooNew, or LogUnwritable, also if another log, or none, is in the place of `database`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        clock_us: Callable[[], int] = _wall_clock_us,
        sync_file: Callable[[int], None] = _sync_data,
        create: bool = True,
        database: Database | None = None,
    ) -> None:
        super().__init__()
        self._data_dir = data_dir
        self._path = data_dir / DATABASE_NAME
        self._clock_us = clock_us
        self._sync_file = sync_file
        self._process_id = os.getpid()
        # Taken in this order wherever more than one is.
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._read_lock = threading.Lock()
        # The log's last row, if nobody else has written since this instance did.
        self._tail: writing.Tail | None = None
        self._dead = ""
        self._look_at_s = 0.0
        self._handles: Handles | None = None
        self._own_database = None
        if database is not None:
            self._database = database
            self._look()
        elif not create and not self._path.exists():
            raise FileNotFoundError(
                f"There is no event log in {data_dir}. Is it a --data-dir of banditd serve?"
            )
        try:
            if create:
                data_dir.mkdir(parents=True, exist_ok=True)
            self._handles = Handles.open(data_dir, create=create)
            if database is None:
                self._database = self._own_database = Database(data_dir)
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
            if self._own_database is not None:
                self._own_database.close()

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
        cure = "Check that its disk has room and works, and that the folder may be written."
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            cure = "Its file is damaged, or none of ours: restore it from a backup."
        return LogUnwritable(
            f"The event log in {self._data_dir} can't be used ({type(error).__name__}: {error}). {cure}"
        )
