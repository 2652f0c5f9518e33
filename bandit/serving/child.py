"""One process of a server, as its supervisor sees it: its fork, what it reports, and when it may start again.

A child reports its components' health, and what it dies of, as lines of JSON on a pipe of its own.
"""

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import structlog

from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
from bandit.process import FolderBusy
from bandit.secret import BadKey
from bandit.serving import components, metrics

BACKOFF_FIRST_SECONDS: Final = 0.1
BACKOFF_MAX_SECONDS: Final = 20.0
BACKOFF_WORKED_SECONDS: Final = 2.0
"""The longest for a child that came as far as to report: however often it is killed, it is soon back."""

BACKOFF_NO_FORK_SECONDS: Final = 1.0
STEADY_SECONDS: Final = 30.0
"""A child that lived this long is not failing in a loop; its next restart is immediate again."""

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""The signals for which the supervisor may have handlers, which no child shares."""

_TOLD: Final = (BadKey, CorruptRecord, FolderBusy, LogUnwritable, OSError, SchemaTooNew)
"""Errors whose texts are meant for operators; of others the log alone has the text."""

_FAILURE: Final = ""
"""The name under which a child reports what it dies of, as no component has it."""

_WORKER: Final = "worker-"

Body = Callable[[components.Report], None]


def worker_name(index: int) -> str:
    """What the worker with this index, from 0 on, is called."""
    return f"{_WORKER}{index}"


@dataclass(slots=True)
class Child:
    """`pid` is 0 while it is down; `start_at_s`, by the monotonic clock, is when it may start again, which is
    `backoff_s` after its last process died.

    `states` are its components by name, as it reported them; `failure` is what its last process died of. The
    pipe of its reports is in the selector, with this object as data, as long as anybody writes to it.
    """

    name: str
    body: Body
    _selector: selectors.BaseSelector
    pid: int = 0
    start_at_s: float = 0.0
    backoff_s: float = 0.0
    deaths: int = 0
    failure: str = ""
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    _started_s: float = 0.0
    _reports: int = -1
    _heard: bytes = b""

    @property
    def is_worker(self) -> bool:
        return self.name.startswith(_WORKER)

    @property
    def steady(self) -> bool:
        """Whether it is up, and has been for long enough not to be failing in a loop."""
        return bool(self.pid) and self._age_s() >= STEADY_SECONDS

    def start(self, leave_parent: Callable[["Child"], None]) -> None:
        """Forks. In the new process `leave_parent` runs first: it drops what is the parent's.

        If no process can be had just now, it is to be tried again later.
        """
        logger = structlog.get_logger("supervisor")
        read, write = os.pipe()
        os.set_blocking(read, False)
        _flush()
        # A signal that reached the child before it has handlers of its own would be lost in the parent's.
        unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(read)
                self._become(write, unmasked, leave_parent)
        except OSError as error:
            # No process or memory to be had just now. The others serve on.
            os.close(read)
            os.close(write)
            self.start_at_s = time.monotonic() + BACKOFF_NO_FORK_SECONDS
            logger.error("child not started", child=self.name, error=str(error))
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        os.close(write)
        self.pid, self._reports, self._heard = pid, read, b""
        self._started_s = time.monotonic()
        self._selector.register(read, selectors.EVENT_READ, self)
        logger.info("child started", child=self.name, pid=pid)

    def _become(
        self, reports: int, unmasked: set[int | signal.Signals], leave_parent: Callable[["Child"], None]
    ) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # Ctrl-C and the end of a session reach the whole group; the supervisor decides what they mean.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
            leave_parent(self)

            def report(name: str, ok: bool, detail: str) -> None:
                line = json.dumps({"name": name, "ok": ok, "detail": detail}) + "\n"
                os.write(reports, line.encode())

            try:
                self.body(report)
                code = 0
            except BaseException as error:
                told = f": {error}" if isinstance(error, _TOLD) else "; the log says more"
                report(_FAILURE, False, f"{type(error).__name__}{told}")
                raise
        except BaseException:
            structlog.get_logger("supervisor").exception("child failed", child=self.name)
        finally:
            try:
                _flush()
            finally:
                # Whatever happens, the child must not go on as a second supervisor.
                os._exit(code)

    def hear(self) -> None:
        """Takes what it has reported since the last time."""
        try:
            heard = os.read(self._reports, 65_536)
        except BlockingIOError:
            return
        if not heard:
            self._deafen()
            return
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            state = json.loads(line)
            self.states[state.pop("name")] = state

    def forget_reports(self) -> None:
        """In another child: closes its copy of the pipe's end; leaves the selector, which is shared."""
        if self._reports >= 0:
            os.close(self._reports)

    def reap(self) -> int | None:
        """Its exit code, or minus the signal, if it has died since the last time."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        if self._reports >= 0:
            self.hear()
        self.failure = self.states.pop(_FAILURE, {}).get("detail", "")
        self.deaths = 1 if self._age_s() >= STEADY_SECONDS else self.deaths + 1
        most_s = BACKOFF_WORKED_SECONDS if self.states else BACKOFF_MAX_SECONDS
        if self._reports >= 0:
            self._deafen()
        metrics.forget_process(pid)
        # The exponent is bounded too: after a night of failures the power would be too large for a float.
        self.backoff_s = min(most_s, BACKOFF_FIRST_SECONDS * 2 ** min(self.deaths - 1, 16))
        self.pid, self.start_at_s, self.states = 0, time.monotonic() + self.backoff_s, {}
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Ends it for good, at once."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0

    def _age_s(self) -> float:
        return time.monotonic() - self._started_s

    def _deafen(self) -> None:
        self._selector.unregister(self._reports)
        os.close(self._reports)
        self._reports = -1


def _flush() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
