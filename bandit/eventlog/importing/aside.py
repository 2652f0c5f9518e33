"""A new log is made aside, in a folder within its data folder, and linked to its place once it is whole.

An import that fails or is killed leaves nothing that could be taken for a log.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bandit.eventlog.handles import DATABASE_NAME

_ASIDE: Final = ".import"
_LOCK: Final = "lock"
_NOT_THERE: Final = frozenset({_ASIDE, "lost+found"})
"""What an empty data folder may hold: the rest of an import that was killed, and what a file system makes."""


class BadImport(Exception):
    """Nothing was imported. The message says why and what to do."""


@contextmanager
def aside_of(data_dir: Path) -> Iterator[Path]:
    """A folder within the empty data folder, which goes again whatever happens. Raises BadImport, OSError."""
    there = data_dir.exists()
    data_dir.mkdir(parents=True, exist_ok=True)
    strange = sorted(path.name for path in data_dir.iterdir() if path.name not in _NOT_THERE)
    if strange:
        raise BadImport(
            f"{data_dir} is not empty ({', '.join(strange[:3])}). An import makes a log of its own: name a "
            "new folder."
        )
    aside = data_dir / _ASIDE
    aside.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(aside / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadImport(f"Another import into {data_dir} is at work.") from None
        try:
            for leftover in aside.iterdir():
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                elif leftover.name != _LOCK:
                    leftover.unlink()
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            if not there and not any(data_dir.iterdir()):
                data_dir.rmdir()
    finally:
        os.close(fd)


def commit(aside: Path, data_dir: Path, *further: str) -> None:
    """Puts the log in its place, which makes the import count, then what else is named: caches of the log.

    Raises BadImport if there is a log by now, OSError.
    """
    target = data_dir / DATABASE_NAME
    try:
        # Unlike a rename, a link never takes the place of a log that a server has started meanwhile.
        os.link(aside / DATABASE_NAME, target)
    except FileExistsError:
        raise BadImport(
            f"{data_dir} got a log while the import was made: is a server running on it? Name a new folder."
        ) from None
    except OSError:
        # A file system without links.
        os.replace(aside / DATABASE_NAME, target)
    for name in further:
        # Whoever misses a cache makes it again from the log.
        with suppress(OSError):
            (aside / name).rename(data_dir / name)
    _sync(data_dir)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
