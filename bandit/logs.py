"""Structured logs: JSON lines when nobody is looking at a terminal, one line a state change at info.

Context values, subject ids and payloads are never logged; nothing here could do it for you.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

LEVELS = ("debug", "info", "warning", "error")


class _Unfailing:
    """A stream whose failures are its own: a full disk or a reader that left must not stop who logs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._out.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._out.flush()


def configure(level: str, *, process: str, stream: TextIO | None = None) -> None:
    """Sets the logs of this process up. `level` is one of LEVELS; `process` stands in every line."""

    def name_process(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        # Not a context variable: callbacks that other threads scheduled would miss it.
        del logger, method
        return {"process": process, **event}

    out = stream if stream is not None else sys.stderr
    renderer: Any
    if out.isatty():
        # Not the one with local variables: they may be contexts and subjects.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        traces: list[Any] = []
    else:
        # JSON escapes control characters, so no text from outside can break a line.
        renderer = structlog.processors.JSONRenderer()
        traces = [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            name_process,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *traces,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # A line and its end in one write, since other processes write to the same file.
        # The type wants a whole file; a logger uses no more than this.
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Unfailing(out))),
        cache_logger_on_first_use=False,
    )
