"""What one process has open of a log: two connections, the writers' lock, and the write-ahead log's file."""

import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

from bandit.eventlog import schema
from bandit.eventlog.files import DATABASE_NAME as DATABASE_NAME  # part of this module's interface
from bandit.eventlog.files import Files, wal_path
from bandit.eventlog.log import LogBusy

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
    wal_fd: int
    _path: Path
    _wal_path: Path
    _files: Files
    _lock_fd: int
    _name: bytes = field(default_factory=partial(os.urandom, _NAME_BYTES))

    @classmethod
    def open(cls, data_dir: Path, *, create: bool) -> Self:
        """Opens the log in `data_dir`. Raises OSError, sqlite3.Error, SchemaTooNew, LogUnwritable."""
        path = data_dir / DATABASE_NAME
        lock_fd = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        connections: list[sqlite3.Connection] = []
        wal_fd = -1
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            writer = schema.connect(path, create=create)
            connections.append(writer)
            schema.prepare(writer, path, create=create)
            reader = schema.connect(path)
            connections.append(reader)
            _sync_folder(data_dir)
            # From now on: the kernel tells a write-back error to the descriptors that were open then.
            wal_fd = os.open(wal_path(data_dir), os.O_RDONLY | os.O_CLOEXEC)
            handles = cls(writer, reader, wal_fd, path, wal_path(data_dir), Files(data_dir), lock_fd)
            fcntl.flock(lock_fd, fcntl.LOCK_UN)
            return handles
        except BaseException:
            for connection in connections:
                connection.close()
            if wal_fd >= 0:
                os.close(wal_fd)
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

    def lost(self) -> list[str]:
        """The names of the open files that were deleted or replaced. Raises OSError if that can't be told."""
        return self._files.lost()

    def rescue(self) -> None:
        """Brings into the database what a deleted write-ahead log holds, which no other can read any more.

        Only while nobody has begun another one: the shared index tells of one of them only. The caller keeps
        this process's other threads from writing. Raises sqlite3.Error, OSError.
        """
        self.take_turn()
        try:
            if self.lost() == [self._wal_path.name] and not self._wal_path.exists():
                self.writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            self.end_turn()

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
        """Closes everything. The last one to leave a log brings its write-ahead log into the database.

        Not if a file was lost: that write-ahead log might not be the database's any more. Then everything
        stays open until the process ends.
        """
        if not self._sound():
            _abandoned.append(self)
            return
        # Who opens the log meanwhile waits at the lock, not in SQLite's short sleep.
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self.reader.close()
            self.writer.close()
        finally:
            os.close(self._lock_fd)
            os.close(self.wal_fd)

    def _sound(self) -> bool:
        with suppress(OSError):
            return not self.lost()
        return False


# A connection that nothing refers to is closed.
_abandoned: Final[list[Handles]] = []


def _sync_folder(data_dir: Path) -> None:
    # A file whose name isn't in its folder yet is lost with the power, however often it was synced itself.
    fd = os.open(data_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
