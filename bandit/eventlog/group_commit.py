"""Group commit: batches are written at once where that holds up nobody, and synced once for all who wait.

    append: written on the caller's thread if no other process is writing; else by the writer
    sync:   the syncer syncs once for all who wait

To hand a batch to a thread and its results back costs more than to write it, so the writer only does what
would have to wait. A sync always waits, for the disk.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from bandit.eventlog.log import EventLog, Item, LogBusy, LogUnwritable, Result

Appended = Callable[[Sequence[Result] | Exception], None]
"""Told the results of a batch, one an item, or why there are none."""

Synced = Callable[[LogUnwritable | None], None]
"""Told that what was appended before is durable, or why it may not be."""


class GroupCommit:
    """Appends to a log and syncs it, for callers on one thread, who never wait.

    A batch fails with LogUnwritable while the log is dead, and with anything else if an item can't be
    encoded. A dead log is reopened every `reopen_every_s` seconds; `on_state` is told False when it dies and
    True when it is back.

    `post` makes the callers' thread call something; the other callables may run on any thread. All must be
    quick and must not raise. `on_commit` takes the items of a transaction and the seconds it took, `on_sync`
    seconds.
    """

    def __init__(
        self,
        log: EventLog,
        post: Callable[[Callable[[], None]], None],
        *,
        on_state: Callable[[bool], None],
        on_commit: Callable[[int, float], None] = lambda items, seconds: None,
        on_sync: Callable[[float], None] = lambda seconds: None,
        reopen_every_s: float = 1.0,
    ) -> None:
        self._log = log
        self._post = post
        self._on_state = on_state
        self._on_commit = on_commit
        self._on_sync = on_sync
        self._reopen_every_s = reopen_every_s
        self._state_lock = threading.Lock()
        self._failure: LogUnwritable | None = None
        self._closed = False
        # Batches that the writer has, or whose results are on their way back.
        self._behind = 0
        # None ends a thread; an empty list only wakes the syncer, to see that the log died.
        self._handed: SimpleQueue[tuple[Sequence[Item], Appended] | None] = SimpleQueue()
        self._waiting: SimpleQueue[list[Synced] | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._syncer = threading.Thread(target=self._sync_all, name="log-syncer", daemon=True)
        self._writer.start()
        self._syncer.start()

    def append(self, batch: Sequence[Item], then: Appended) -> None:
        """Commits a batch as one transaction, before or after batches of a moment ago; `then` is told, now or
        later. Raises RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("this group commit is closed")
        if not self._behind:
            try:
                then(self._append(batch, wait=False))
                return
            except LogBusy:
                pass
        self._behind += 1
        self._handed.put((batch, then))

    @property
    def failure(self) -> LogUnwritable | None:
        """Why the log died; None while it lives."""
        return self._failure

    def sync(self, then: Synced) -> None:
        """Tells `then`, later, once all of which an Appended was told is durable, or can't be."""
        if self._closed:
            then(LogUnwritable("The event log was closed before it was synced."))
        else:
            self._waiting.put([then])

    def close(self) -> None:
        """Commits and syncs everything that was handed over before, posts it, and ends the threads.

        Does not close the log. Call it from the callers' thread, or while that hands over nothing.
        """
        if not self._closed:
            self._closed = True
            self._handed.put(None)
            self._writer.join()
            self._waiting.put(None)
        self._writer.join()
        self._syncer.join()

    def _append(self, batch: Sequence[Item], *, wait: bool) -> Sequence[Result] | Exception:
        # Not the log's own word: while the syncer reopens a dead log, a write would wait for that.
        failure = self._failure
        if failure is not None:
            return failure
        started = time.perf_counter()
        try:
            results = self._log.append(batch, wait=wait)
        except LogBusy:
            raise
        except LogUnwritable as error:
            self._died(error)
            self._waiting.put([])
            return error
        except Exception as error:
            # A bug in an item: its callers get it, and the next batches go on.
            return error
        self._on_commit(len(batch), time.perf_counter() - started)
        return results

    def _write_all(self) -> None:
        while (handed := self._handed.get()) is not None:
            batch, then = handed
            self._post(partial(self._appended, then, self._append(batch, wait=True)))

    def _appended(self, then: Appended, results: Sequence[Result] | Exception) -> None:
        self._behind -= 1
        then(results)

    def _sync_all(self) -> None:
        more = True
        reopen_at = 0.0
        while more:
            if self._failure is None:
                waiting, more = self._next_waiting(None)
                self._sync(waiting)
                reopen_at = time.monotonic() + self._reopen_every_s
            else:
                waiting, more = self._next_waiting(max(0.0, reopen_at - time.monotonic()))
                self._told(waiting, self._failure)
                if more and time.monotonic() >= reopen_at:
                    self._reopen()
                    reopen_at = time.monotonic() + self._reopen_every_s

    def _next_waiting(self, timeout_s: float | None) -> tuple[list[Synced], bool]:
        waiting: list[Synced] = []
        try:
            some = self._waiting.get(timeout=timeout_s)
            while some is not None:
                waiting += some
                some = self._waiting.get_nowait()
        except Empty:
            return waiting, True
        return waiting, False

    def _sync(self, waiting: Sequence[Synced]) -> None:
        if not waiting:
            return
        # The log may have died since: what a dead log holds is not known to be durable.
        failure = self._failure
        if failure is None:
            started = time.perf_counter()
            try:
                self._log.sync()
            except LogUnwritable as error:
                failure = error
                self._died(error)
            else:
                self._on_sync(time.perf_counter() - started)
        self._told(waiting, failure)

    def _told(self, waiting: Sequence[Synced], failure: LogUnwritable | None) -> None:
        if waiting:
            self._post(partial(_tell, waiting, failure))

    def _reopen(self) -> None:
        try:
            self._log.reopen()
        except LogUnwritable:
            return
        with self._state_lock:
            self._failure = None
            self._on_state(True)

    def _died(self, failure: LogUnwritable) -> None:
        with self._state_lock:
            if self._failure is None:
                self._failure = failure
                self._on_state(False)


def _tell(waiting: Sequence[Synced], failure: LogUnwritable | None) -> None:
    for then in waiting:
        then(failure)
