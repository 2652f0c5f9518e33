"""Structured logs: JSON lines when nobody is looking at a terminal, one line a state change at info.

Context values, subject ids and payloads are never logged; nothing here could do it for you.
"""

import logging
import sys
from typing import Any, TextIO

import structlog

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str, *, process: str, stream: TextIO | None = None) -> None:
    """Sets the logs of this process up. `level` is one of LEVELS; `process` stands in every line."""
    out = stream if stream is not None else sys.stderr
    renderer: Any
    if out.isatty():
        renderer = structlog.dev.ConsoleRenderer()
        traces: list[Any] = []
    else:
        # JSON escapes control characters, so no text from outside can break a line.
        renderer = structlog.processors.JSONRenderer()
        traces = [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *traces,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process)
