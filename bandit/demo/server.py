"""A real `banditd serve` as a child process, on a free port of the loopback interface."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

READY_SECONDS_MAX: Final = 60.0
"""A start takes a second or two; on a busy machine, more."""

STOP_SECONDS_MAX: Final = 20.0
"""The server's own drain takes at most 10 s."""

_POLL_SECONDS: Final = 0.02


class ServerFailed(Exception):
    """The server ended, or did not come up in time. The message holds the end of its log."""


@contextmanager
def running(
    data_dir: Path, experiments: Path, log: Path, *, stopping: Callable[[], bool]
) -> Iterator[str | None]:
    """The address of a server on `data_dir` that lives as long as the block; None if `stopping` came first.

    Its output goes to `log`. Raises ServerFailed.
    """
    # Settings of another server in the environment are not meant for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BANDITD_")}
    command = [sys.executable, "-m", "bandit", "serve", "--listen", "127.0.0.1:0"]
    command += ["--data-dir", str(data_dir), "--experiments", str(experiments)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            # Ctrl-C goes to the whole foreground group; the server must outlive the last awaited reply.
            start_new_session=True,
        )
    try:
        yield _address(process, log, stopping)
    finally:
        _stop(process)


def _address(process: "subprocess.Popen[bytes]", log: Path, stopping: Callable[[], bool]) -> str | None:
    give_up_s = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < give_up_s:
        if stopping():
            return None
        for line in log.read_text(errors="replace").splitlines():
            if address := _serving(line):
                return address
        if process.poll() is not None:
            raise ServerFailed(f"The server ended with exit code {process.returncode}.{_end_of(log)}")
        time.sleep(_POLL_SECONDS)
    raise ServerFailed(f"The server was not ready after {READY_SECONDS_MAX:g} s.{_end_of(log)}")


def _serving(line: str) -> str:
    """The address in the log line that says that the server is serving; empty for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or entry.get("event") != "serving":
        return ""
    return str(entry["address"])


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-10:]
    return "\n".join([f" Its log, {log}, ends with:", *lines])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
