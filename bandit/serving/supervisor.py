"""The parent of a server's processes: starts, restarts and stops them, and puts experiments in force.

It is one thread and never creates a gRPC object, opens a lasting connection or keeps a file locked by SQLite:
so forking a child from it is safe at any time, starts it within milliseconds, and shares its memory.

Children hold the read end of a pipe, the lifeline, whose other end only the supervisor has: however it ends,
they see the pipe end and go.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from typing import Final

import structlog

from bandit.eventlog.files import Database
from bandit.eventlog.log import LogUnwritable
from bandit.eventlog.sqlite import SqliteEventLog, checkpoint_due
from bandit.logs import configure
from bandit.process import FolderLock, end_with
from bandit.serving import components, metrics
from bandit.serving.address import Reserved
from bandit.serving.child import HANDLED, Body, Child, worker_name
from bandit.serving.definitions import Signature, apply_file, signature
from bandit.serving.health import Status, states_of
from bandit.settings import Settings

LOOK_SECONDS: Final = 0.5
"""How often the experiments file, the log's size and dead children are looked at."""

STOP_SHARE_SPARE: Final = 0.05
STOP_SECONDS_SPARE_MAX: Final = 0.5
"""What is left of the drain time for the end of this process itself, once the last child is gone."""

STOP_SHARE_LEARNER: Final = 0.15
"""What is left of it to the learner, which publishes, once the last worker is gone."""

_PAGE: Final = "page"


class _StopLooking(BaseException):
    """Ends a look in its middle, which is harmless: what a file puts in force is one transaction."""


class Supervisor:
    """The processes of one data folder."""

    def __init__(
        self,
        settings: Settings,
        lock: FolderLock,
        reserved: Reserved,
        page: socket.socket | None,
        applied: Signature | None,
    ) -> None:
        """Forks nothing yet. `page` is a listening socket for the metrics page, or None; `applied` what the
        experiments file looked like before it was applied. Raises OSError if there is no log.
        """
        self._settings = settings
        self._lock = lock
        self._reserved = reserved
        # Children of any age open this log or none, as those have it open that were there from the start.
        self._database = Database(settings.data_dir)
        self._selector = selectors.DefaultSelector()
        self._lifeline_read, self._lifeline_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._stopping = False
        self._looking = False
        self._logger = structlog.get_logger("supervisor")
        self._signature = applied
        self._problems: tuple[str, ...] = ()
        self._status = Status(settings.data_dir)
        self._page = page
        self._children = [Child(name, body, self._selector) for name, body in self._bodies().items()]

    def run(self) -> int:
        """Supervises until SIGTERM, SIGINT, or SIGHUP where that is not ignored; returns the exit code."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in HANDLED:
            # Under nohup the end of a session must change nothing.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        if self._page is None:
            # A server that had a page may have been killed.
            metrics.remove(self._settings.data_dir)
        self._tell()
        looked_s = 0.0
        while not self._stopping:
            now = time.monotonic()
            for child in self._children:
                if not child.pid and now >= child.start_at_s:
                    child.start(self._leave)
            self._wait(LOOK_SECONDS)
            self._reap()
            if time.monotonic() - looked_s >= LOOK_SECONDS:
                looked_s = time.monotonic()
                # A stop must not wait for the disk, as a look may.
                with contextlib.suppress(_StopLooking):
                    self._look()
            self._tell()
        return self._stop()

    def _bodies(self) -> dict[str, Body]:
        settings, address, database = self._settings, self._reserved.address, self._database
        page = self._page

        def worker(index: int) -> Body:
            def body(report: components.Report) -> None:
                from bandit.serving import app

                app.run(settings, index, address, database, report)

            return body

        def learner(report: components.Report) -> None:
            from bandit.serving import learner as process

            process.run(settings, report, database)

        def metrics_page(report: components.Report) -> None:
            from bandit.serving import page as process

            del report
            if page is not None:
                process.run(page, settings.data_dir)

        bodies = {worker_name(index): worker(index) for index in range(settings.workers)}
        if settings.learner:
            bodies[components.LEARNER] = learner
        if page is not None:
            bodies[_PAGE] = metrics_page
        return bodies

    def _leave(self, child: Child) -> None:
        """In a forked child: drops what is the supervisor's, and ends with it."""
        os.close(self._lifeline_write)
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._selector.close()
        for other in self._children:
            other.forget_reports()
        self._lock.forget()
        self._reserved.forget()
        if self._page is not None and child.name != _PAGE:
            self._page.close()
        end_with(self._lifeline_read)
        configure(self._settings.log_level, process=child.name)

    def _wait(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                os.read(self._wake_read, 4096)
            else:
                key.data.hear()

    def _reap(self) -> None:
        for child in self._children:
            code = child.reap()
            if code is not None and not self._stopping:
                self._logger.warning(
                    "child died", child=child.name, exit=code, restart_in_seconds=child.backoff_s
                )

    def _look(self) -> None:
        """The experiments file, then the log's size."""
        settings = self._settings
        self._looking = True
        try:
            now = signature(settings.experiments)
            if now != self._signature:
                outcome = apply_file(settings.experiments, settings.data_dir)
                # Kept only now, so that a file that could not be logged is tried again.
                self._signature = now
                self._problems = outcome.problems
                for problem in outcome.problems:
                    self._logger.error("experiments file refused; the old one stays", problem=problem)
            # Opened only if need be: whoever opens the log waits for its writers, and syncs its folder.
            if checkpoint_due(settings.data_dir):
                log = SqliteEventLog(settings.data_dir, create=False)
                try:
                    log.checkpoint_if_large()
                finally:
                    log.close()
        except (LogUnwritable, OSError) as error:
            self._logger.error("log not writable by the supervisor", error=str(error))
        except Exception:
            # Whatever a file or the log holds, the processes must be supervised on.
            self._logger.exception("look failed")
        finally:
            self._looking = False

    def _tell(self) -> None:
        self._status.tell(
            states_of(self._children, self._settings.experiments, self._problems, self._reserved.address)
        )

    def _on_signal(self, number: int, frame: object) -> None:
        del frame
        if number != signal.SIGCHLD:
            self._stopping = True
            if self._looking:
                self._looking = False
                raise _StopLooking

    def _stop(self) -> int:
        """Workers drain, then the learner publishes, then all are gone; whoever is late is killed."""
        self._logger.info("stopping")
        workers_s, all_s = stop_deadlines_s(time.monotonic(), self._settings.drain_seconds)
        self._end([child for child in self._children if child.is_worker], workers_s)
        self._end([child for child in self._children if not child.is_worker], all_s)
        metrics.remove(self._settings.data_dir)
        self._reserved.close()
        self._logger.info("stopped")
        return 0

    def _end(self, children: Sequence[Child], deadline_s: float) -> None:
        for child in children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
        while any(child.pid for child in children) and time.monotonic() < deadline_s:
            self._wait(min(0.05, max(0.0, deadline_s - time.monotonic())))
            self._reap()
        for child in children:
            if child.pid:
                self._logger.warning("child killed: it did not stop in time", child=child.name)
                child.kill()


def stop_deadlines_s(now_s: float, drain_seconds: float) -> tuple[float, float]:
    """When workers that have not stopped by themselves are killed, and when all else is; both inside the time
    that a stop which begins now may take.
    """
    spare_s = min(STOP_SECONDS_SPARE_MAX, STOP_SHARE_SPARE * drain_seconds)
    all_s = now_s + drain_seconds - spare_s
    return all_s - STOP_SHARE_LEARNER * drain_seconds, all_s
