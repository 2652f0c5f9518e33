"""Processes of one data folder: who may run, and when a child must end."""

import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType


def end_with(lifeline: int) -> None:
    """Ends this process as soon as no process holds the writing end of the pipe `lifeline`.

    A thread waits for it, so that no work, however long, and no lock holds it up. Call it after a fork.
    """

    def wait() -> None:
        while os.read(lifeline, 1):
            pass
        # Nobody would restart or stop this process any more. What was acknowledged is committed.
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


class FolderBusy(RuntimeError):
    """Another process holds the lock. The message says which lock, and what to do."""


class FolderLock:
    """An exclusive lock on a data folder, freed by the kernel when its process ends, however it ends.

    A forked child must call `forget` at once: a lock lives as long as any copy of its descriptor.
    """

    def __init__(self, path: Path, what: str, *, wait_s: float = 0.0) -> None:
        """Takes the lock at `path`, waiting at most `wait_s`. Raises FolderBusy."""
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._fd)
                    raise FolderBusy(
                        f"{what} already runs on {path.parent}. Stop it, or give this one another --data-dir."
                    ) from None
                time.sleep(0.02)

    def forget(self) -> None:
        """Closes this process's copy of the descriptor; frees the lock if it was the last."""
        os.close(self._fd)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()
