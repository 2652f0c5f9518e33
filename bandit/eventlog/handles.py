"""What one process has open of a log: two connections, the writers' lock, and the write-ahead log's file."""

import fcntl
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Self

from bandit.eventlog import schema
from bandit.eventlog.log import LogBusy

DATABASE_NAME = "events.db"
LOCK_NAME = "writer.lock"
_NAME_BYTES = 16

CheckpointMode = Literal["PASSIVE", "RESTART", "TRUNCATE"]


class Checkpoint(NamedTuple):
    """What a checkpoint did: whether everything came over, and how much the write-ahead log holds."""

    complete: bool
    wal_bytes: int


@dataclass(slots=True)
class Handles:
    """The open handles. Writing and reading have a connection each, so no read sees what isn't committed.

    The write-ahead log is opened beside SQLite, to be synced: unlike the database and its `-shm` file, it
    carries none of SQLite's locks, which closing any handle of those files would drop.
    """

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    _path: Path
    _wal_path: Path
    _lock_fd: int
    _wal_fd: int | None = None
    _name: bytes = field(default_factory=partial(os.urandom, _NAME_BYTES))

    @classmethod
    def open(cls, data_dir: Path, *, create: bool) -> Self:
        """Opens the log in `data_dir`. Raises OSError, sqlite3.Error, SchemaTooNew, LogUnwritable."""
        path = data_dir / DATABASE_NAME
        lock_fd = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        connections: list[sqlite3.Connection] = []
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            writer = schema.connect(path, create=create)
            connections.append(writer)
            schema.prepare(writer, path, create=create)
            reader = schema.connect(path)
            connections.append(reader)
            _sync_folder(data_dir)
            handles = cls(writer, reader, path, data_dir / f"{DATABASE_NAME}-wal", lock_fd)
            # The kernel tells a write-back error to the descriptors that were open when it happened.
            handles.wal_fd()
            fcntl.flock(lock_fd, fcntl.LOCK_UN)
            return handles
        except BaseException:
            for connection in connections:
                connection.close()
            os.close(lock_fd)
            raise

    def take_turn(self, *, wait: bool = True) -> None:
        """Takes the writers' lock. The wait is fair, as SQLite's own, a sleep, is not. Raises LogBusy."""
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LogBusy from None

    def claim_tail(self) -> bool:
        """Whether no other process has written since the last time; only in this one's turn. Raises OSError.

        The lock file says who wrote last. It says so before the rows are there, so whatever a crash leaves in
        it, nobody takes an old tail for the log's.
        """
        if os.pread(self._lock_fd, _NAME_BYTES, 0) == self._name:
            return True
        os.pwrite(self._lock_fd, self._name, 0)
        return False

    def end_turn(self) -> None:
        """Gives the writers' lock back. Raises OSError."""
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def wal_fd(self) -> int | None:
        """A descriptor of the write-ahead log's file; None if there is none, and so nothing to sync."""
        try:
            now = self._wal_path.stat()
        except FileNotFoundError:
            return None
        if self._wal_fd is not None:
            opened = os.fstat(self._wal_fd)
            if (opened.st_dev, opened.st_ino) == (now.st_dev, now.st_ino):
                return self._wal_fd
            os.close(self._wal_fd)
            self._wal_fd = None
        self._wal_fd = os.open(self._wal_path, os.O_RDONLY | os.O_CLOEXEC)
        return self._wal_fd

    def checkpoint(self, mode: CheckpointMode) -> Checkpoint:
        """Brings the write-ahead log into the database; all modes but PASSIVE let the writers wait meanwhile.

        For them, the caller keeps this process's other threads from writing. Raises sqlite3.Error, OSError.
        """
        # A connection of its own, so that reads and appends of this process go on meanwhile.
        with closing(schema.connect(self._path)) as connection:
            if mode != "PASSIVE":
                self.take_turn()
            try:
                busy, frames, done = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            finally:
                if mode != "PASSIVE":
                    self.end_turn()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return Checkpoint(not busy and frames == done, frames * page_bytes)

    def close(self) -> None:
        """Closes everything. The last one to leave a log brings its write-ahead log into the database."""
        # Who opens the log meanwhile waits at the lock, not in SQLite's short sleep.
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self.reader.close()
            self.writer.close()
        finally:
            os.close(self._lock_fd)
            if self._wal_fd is not None:
                os.close(self._wal_fd)
                self._wal_fd = None


def _sync_folder(data_dir: Path) -> None:
    # A file whose name isn't in its folder yet is lost with the power, however often it was synced itself.
    fd = os.open(data_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
