"""The parent of a server's processes: starts, restarts and stops them, and puts experiments in force.

It is one thread and never creates a gRPC object, opens a lasting connection or keeps a file locked by SQLite:
so forking a child from it is safe at any time, starts it within milliseconds, and shares its memory.

Children hold the read end of a pipe, the lifeline, whose other end only the supervisor has: however it ends,
they see the pipe end and go. Each child reports its components' health as lines on a pipe of its own.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
from bandit.eventlog.sqlite import SqliteEventLog, checkpoint_due
from bandit.logs import configure
from bandit.process import FolderBusy, FolderLock, end_with
from bandit.secret import BadKey
from bandit.serving import components
from bandit.serving.address import Reserved
from bandit.serving.definitions import Signature, apply_file, signature
from bandit.settings import Settings

LOOK_SECONDS: Final = 0.5
"""How often the experiments file, the log's size and dead children are looked at."""

BACKOFF_FIRST_SECONDS: Final = 0.1
BACKOFF_MAX_SECONDS: Final = 20.0
BACKOFF_WORKED_SECONDS: Final = 2.0
"""The longest for a child that came as far as to report: however often it is killed, it is soon back."""

BACKOFF_NO_FORK_SECONDS: Final = 1.0
STEADY_SECONDS: Final = 30.0
"""A child that lived this long is not failing in a loop; its next restart is immediate again."""

STOP_SHARE_SPARE: Final = 0.05
STOP_SECONDS_SPARE_MAX: Final = 0.5
"""What is left of the drain time for the end of this process itself, once the last child is gone."""

_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_TOLD: Final = (BadKey, CorruptRecord, FolderBusy, LogUnwritable, OSError, SchemaTooNew)
"""Errors whose texts are meant for operators; of others the log alone has the text."""

_PAGE: Final = "page"

_FAILURE: Final = ""
"""The name under which a child reports what it dies of, as no component has it."""

Body = Callable[[components.Report], None]


@dataclass(slots=True)
class _Child:
    """One supervised process. `pid` is 0 while it is down; `start_at` is when it may start again."""

    name: str
    body: Body
    pid: int = 0
    started_s: float = 0.0
    start_at_s: float = 0.0
    deaths: int = 0
    reports: int = -1
    heard: bytes = b""
    failure: str = ""
    states: dict[str, dict[str, Any]] = field(default_factory=dict)


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
        experiments file looked like before it was applied.
        """
        self._settings = settings
        self._lock = lock
        self._reserved = reserved
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
        self._written = ""
        self._unwritten = False
        self._page = page
        self._children = self._plan()

    def run(self) -> int:
        """Supervises until SIGTERM, SIGINT, or SIGHUP where that is not ignored; returns the exit code."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in _HANDLED:
            # Under nohup the end of a session must change nothing.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._write_components()
        looked_s = 0.0
        while not self._stopping:
            now = time.monotonic()
            for child in self._children:
                if not child.pid and now >= child.start_at_s:
                    self._start(child)
            self._wait(LOOK_SECONDS)
            self._reap()
            if time.monotonic() - looked_s >= LOOK_SECONDS:
                looked_s = time.monotonic()
                # A stop must not wait for the disk, as a look may.
                with contextlib.suppress(_StopLooking):
                    self._look()
            self._write_components()
        return self._stop()

    def _plan(self) -> list[_Child]:
        settings, address, page = self._settings, self._reserved.address, self._page
        workers = settings.workers

        def worker(index: int) -> Body:
            def body(report: components.Report) -> None:
                from bandit.serving import app

                app.run(settings, index, address, report)

            return body

        def learner(report: components.Report) -> None:
            from bandit.serving import learner as process

            process.run(settings, report)

        def metrics_page(report: components.Report) -> None:
            from bandit.serving import page as process

            del report
            if page is not None:
                process.run(page, settings.data_dir)

        children = [_Child(f"worker-{index}", worker(index)) for index in range(workers)]
        if settings.learner:
            children.append(_Child(components.LEARNER, learner))
        if page is not None:
            children.append(_Child(_PAGE, metrics_page))
        return children

    def _start(self, child: _Child) -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        _flush()
        # A signal that reached the child before it has handlers of its own would be lost in the parent's.
        unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(read)
                self._become(child, write, unmasked)
        except OSError as error:
            # No process or memory to be had just now. The others serve on.
            os.close(read)
            os.close(write)
            child.start_at_s = time.monotonic() + BACKOFF_NO_FORK_SECONDS
            self._logger.error("child not started", child=child.name, error=str(error))
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        os.close(write)
        child.pid, child.reports, child.heard = pid, read, b""
        child.started_s = time.monotonic()
        self._selector.register(read, selectors.EVENT_READ, child)
        self._logger.info("child started", child=child.name, pid=pid)

    def _become(self, child: _Child, reports: int, unmasked: set[int | signal.Signals]) -> None:
        """In the forked child: drop what is the parent's, run, and never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # Ctrl-C and the end of a session reach the whole group; the supervisor decides what they mean.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
            os.close(self._lifeline_write)
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._selector.close()
            for other in self._children:
                if other.reports >= 0:
                    os.close(other.reports)
            self._lock.forget()
            self._reserved.forget()
            if self._page is not None and child.name != _PAGE:
                self._page.close()
            end_with(self._lifeline_read)
            configure(self._settings.log_level, process=child.name)

            def report(name: str, ok: bool, detail: str) -> None:
                line = json.dumps({"name": name, "ok": ok, "detail": detail}) + "\n"
                os.write(reports, line.encode())

            try:
                child.body(report)
                code = 0
            except BaseException as error:
                told = f": {error}" if isinstance(error, _TOLD) else "; the log says more"
                report(_FAILURE, False, f"{type(error).__name__}{told}")
                raise
        except BaseException:
            self._logger.exception("child failed", child=child.name)
        finally:
            try:
                _flush()
            finally:
                # Whatever happens, the child must not go on as a second supervisor.
                os._exit(code)

    def _wait(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                os.read(self._wake_read, 4096)
            else:
                self._hear(key.data)

    def _hear(self, child: _Child) -> None:
        try:
            heard = os.read(child.reports, 65_536)
        except BlockingIOError:
            return
        if not heard:
            self._selector.unregister(child.reports)
            os.close(child.reports)
            child.reports = -1
            return
        *lines, child.heard = (child.heard + heard).split(b"\n")
        for line in lines:
            state = json.loads(line)
            child.states[state.pop("name")] = state

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._buried(child, status)

    def _buried(self, child: _Child, status: int) -> None:
        now = time.monotonic()
        if child.reports >= 0:
            self._hear(child)
        child.failure = child.states.pop(_FAILURE, {}).get("detail", "")
        child.deaths = 1 if now - child.started_s >= STEADY_SECONDS else child.deaths + 1
        most_s = BACKOFF_WORKED_SECONDS if child.states else BACKOFF_MAX_SECONDS
        # The exponent is bounded too: after a night of failures the power would be too large for a float.
        backoff_s = min(most_s, BACKOFF_FIRST_SECONDS * 2 ** min(child.deaths - 1, 16))
        if child.reports >= 0:
            self._selector.unregister(child.reports)
            os.close(child.reports)
            child.reports = -1
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from prometheus_client.multiprocess import mark_process_dead

            with contextlib.suppress(OSError):
                mark_process_dead(child.pid)  # type: ignore[no-untyped-call]  # untyped upstream
        child.pid, child.start_at_s, child.states = 0, now + backoff_s, {}
        if not self._stopping:
            self._logger.warning(
                "child died",
                child=child.name,
                exit=os.waitstatus_to_exitcode(status),
                restart_in_seconds=backoff_s,
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

    def _write_components(self) -> None:
        logs = [c.states[components.LOG] for c in self._children if components.LOG in c.states]
        failures = [c.failure for c in self._children if c.failure and c.name.startswith("worker")]
        state: dict[str, dict[str, Any]] = {
            components.LOG: next(
                (s for s in logs if not s["ok"]),
                logs[0] if logs else {"ok": False, "detail": failures[0] if failures else "starting"},
            ),
            components.EXPERIMENTS: {
                "ok": not self._problems,
                "detail": "\n".join(self._problems),
                "file": str(self._settings.experiments),
            },
        }
        if self._settings.learner:
            learner = next(c for c in self._children if c.name == components.LEARNER)
            state[components.LEARNER] = _state_of(learner)
        state["processes"] = {
            "ok": all(child.pid for child in self._children),
            "detail": "",
            "supervisor": os.getpid(),
            "address": self._reserved.address,
            **{child.name: child.pid for child in self._children},
        }
        text = json.dumps(state)
        if text != self._written:
            try:
                components.write_components(self._settings.data_dir, state)
                self._written = text
                if self._unwritten:
                    self._unwritten = False
                    self._logger.info("status written again")
            except OSError as error:
                # It is tried again with every look: told once is enough.
                if not self._unwritten:
                    self._unwritten = True
                    self._logger.error("status not written", error=str(error))

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
        drain_s = self._settings.drain_seconds
        deadline = time.monotonic() + drain_s - min(STOP_SECONDS_SPARE_MAX, STOP_SHARE_SPARE * drain_s)
        workers = [child for child in self._children if child.name.startswith("worker")]
        others = [child for child in self._children if child not in workers]
        # The last share of the time is the learner's.
        self._end(workers, deadline - 0.15 * drain_s)
        self._end(others, deadline)
        self._reserved.close()
        self._logger.info("stopped")
        return 0

    def _end(self, children: list[_Child], deadline_s: float) -> None:
        for child in children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
        while any(child.pid for child in children) and time.monotonic() < deadline_s:
            self._wait(min(0.05, max(0.0, deadline_s - time.monotonic())))
            self._reap()
        for child in children:
            if child.pid:
                self._logger.warning("child killed: it did not stop in time", child=child.name)
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                child.pid = 0


def _state_of(learner: _Child) -> dict[str, Any]:
    """The learner's state. One that failed and failed again is not well because it is up for a moment."""
    steady = bool(learner.pid) and time.monotonic() - learner.started_s >= STEADY_SECONDS
    if learner.failure and not steady and (not learner.pid or learner.deaths > 1):
        return {"ok": False, "detail": f"it failed and is restarted; {learner.failure}"}
    up = bool(learner.pid)
    return learner.states.get(
        components.LEARNER, {"ok": up, "detail": "" if up else "down; it will be restarted"}
    )


def _flush() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
