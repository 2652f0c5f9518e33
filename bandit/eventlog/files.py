"""Whether the files of an open log are still the ones that their names lead to.

A process that has a file open goes on reading and writing it after it was deleted or replaced, and nothing
fails: everything is lost when the last such process ends.
"""

import os
from pathlib import Path
from typing import Final

DATABASE_NAME: Final = "events.db"

Identity = tuple[int, int]
"""Device and inode. No other file gets them as long as this one has a name or is open anywhere."""

# Such a descriptor keeps a file from being another's inode, and unlike others it may be closed: none of
# SQLite's locks go with it. macOS has none, and doesn't give inodes twice.
_O_PATH: Final[int | None] = getattr(os, "O_PATH", None)


def wal_path(data_dir: Path) -> Path:
    """Where SQLite keeps the write-ahead log: beside the database itself, should that be a link."""
    return _beside(data_dir, "-wal")


def _beside(data_dir: Path, suffix: str) -> Path:
    path = (data_dir / DATABASE_NAME).resolve()
    return path.with_name(path.name + suffix)


def identity(path: Path) -> Identity:
    """Which file a path leads to. Raises OSError."""
    now = path.stat()
    return now.st_dev, now.st_ino


class Database:
    """The database's file, known again for as long as this object is open."""

    def __init__(self, data_dir: Path) -> None:
        """Raises OSError."""
        self._path = data_dir / DATABASE_NAME
        self._fd = None if _O_PATH is None else os.open(self._path, _O_PATH | os.O_CLOEXEC)
        self._identity = identity(self._path)

    def lost(self) -> list[str]:
        """The name of the file if it was deleted or replaced. Raises OSError if that can't be told."""
        return _lost({DATABASE_NAME: (self._path, self._identity)})

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Files:
    """The database, its write-ahead log and the index of that, which SQLite has open.

    SQLite deletes the last two only when the last process closes the log, and keeps them at every checkpoint.
    """

    def __init__(self, data_dir: Path) -> None:
        """Those that the paths lead to now. Raises OSError."""
        paths = (data_dir / DATABASE_NAME, wal_path(data_dir), _beside(data_dir, "-shm"))
        self._known = {path.name: (path, identity(path)) for path in paths}

    def lost(self) -> list[str]:
        """The names of those that were deleted or replaced. Raises OSError if that can't be told."""
        return _lost(self._known)


def _lost(known: dict[str, tuple[Path, Identity]]) -> list[str]:
    lost = []
    for name, (path, was) in known.items():
        try:
            if identity(path) != was:
                lost.append(name)
        except (FileNotFoundError, NotADirectoryError):
            lost.append(name)
    return lost
