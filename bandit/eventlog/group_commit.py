"""Group commit: what many callers submit is written in one transaction, and synced once for all who wait.

Two threads and two queues, so that a slow sync holds back no commit:

    submit -> writer: append (one transaction a batch) -> deliver
                                                       -> syncer: sync (once for all waiting) -> deliver
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from bandit.eventlog.log import EventLog, Item, LogUnwritable, Result

BATCH_ITEMS = 512
"""How many items one transaction takes at most."""

Token = TypeVar("Token")
Delivery = list[tuple[Token, Result | Exception]]


class GroupCommit(Generic[Token]):
    """Commits what is submitted, in order, and delivers each result with the token it was submitted with.

    A result is the log's own, or the exception that its transaction raised: LogUnwritable while the log is
    dead, anything else if an item could not be encoded. A dead log is reopened every `reopen_every_s`
    seconds; `on_state` is told False when it dies and True when it is back.

    The callables run on the two threads: they must be quick and must not raise. `deliver` takes a list of
    (token, result), `on_commit` the items of a transaction and the seconds it took, `on_sync` seconds.
    """

    def __init__(
        self,
        log: EventLog,
        deliver: Callable[[Delivery[Token]], None],
        *,
        on_state: Callable[[bool], None],
        on_commit: Callable[[int, float], None] = lambda items, seconds: None,
        on_sync: Callable[[float], None] = lambda seconds: None,
        reopen_every_s: float = 1.0,
    ) -> None:
        self._log = log
        self._deliver = deliver
        self._on_state = on_state
        self._on_commit = on_commit
        self._on_sync = on_sync
        self._reopen_every_s = reopen_every_s
        self._state_lock = threading.Lock()
        self._failure: LogUnwritable | None = None
        self._closed = False
        # None ends a thread.
        self._submitted: SimpleQueue[tuple[Token, Item, bool] | None] = SimpleQueue()
        # An empty delivery only wakes the syncer, to see that the log died.
        self._committed: SimpleQueue[Delivery[Token] | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._syncer = threading.Thread(target=self._sync_all, name="log-syncer", daemon=True)
        self._writer.start()
        self._syncer.start()

    def submit(self, token: Token, item: Item, *, durable: bool) -> None:
        """Queues an item and returns at once. Its result comes after the commit, or if `durable` the sync.

        Raises RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("this group commit is closed")
        self._submitted.put((token, item, durable))

    def close(self) -> None:
        """Commits, syncs and delivers everything that was submitted before, then ends the threads.

        Does not close the log. Call it from the thread that submits, or after that has ended.
        """
        if not self._closed:
            self._closed = True
            self._submitted.put(None)
        self._writer.join()
        self._syncer.join()

    def _write_all(self) -> None:
        more = True
        while more:
            batch, more = self._next_batch()
            if batch:
                self._write(batch)
        self._committed.put(None)

    def _next_batch(self) -> tuple[list[tuple[Token, Item, bool]], bool]:
        batch: list[tuple[Token, Item, bool]] = []
        submitted = self._submitted.get()
        while submitted is not None:
            batch.append(submitted)
            if len(batch) == BATCH_ITEMS:
                return batch, True
            try:
                submitted = self._submitted.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _write(self, batch: Sequence[tuple[Token, Item, bool]]) -> None:
        failure = self._failure
        if failure is not None:
            self._deliver([(token, failure) for token, _, _ in batch])
            return
        started = time.perf_counter()
        try:
            results = self._log.append([item for _, item, _ in batch])
        except Exception as error:
            # Also one that is a bug in an item: its callers get it, and the thread lives for the next ones.
            if isinstance(error, LogUnwritable):
                self._died(error)
                self._committed.put([])
            self._deliver([(token, error) for token, _, _ in batch])
            return
        self._on_commit(len(batch), time.perf_counter() - started)
        done: Delivery[Token] = []
        to_sync: Delivery[Token] = []
        for (token, _, durable), result in zip(batch, results, strict=True):
            (to_sync if durable else done).append((token, result))
        if to_sync:
            self._committed.put(to_sync)
        if done:
            self._deliver(done)

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
                self._deliver_failure(waiting, self._failure)
                if more and time.monotonic() >= reopen_at:
                    self._reopen()
                    reopen_at = time.monotonic() + self._reopen_every_s

    def _next_waiting(self, timeout_s: float | None) -> tuple[Delivery[Token], bool]:
        waiting: Delivery[Token] = []
        try:
            delivery = self._committed.get(timeout=timeout_s)
            while delivery is not None:
                waiting += delivery
                delivery = self._committed.get_nowait()
        except Empty:
            return waiting, True
        return waiting, False

    def _sync(self, waiting: Delivery[Token]) -> None:
        if not waiting:
            return
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
        if failure is None:
            self._deliver(waiting)
        else:
            self._deliver_failure(waiting, failure)

    def _deliver_failure(self, waiting: Delivery[Token], failure: LogUnwritable) -> None:
        if waiting:
            self._deliver([(token, failure) for token, _ in waiting])

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
