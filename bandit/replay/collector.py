"""Python's cycle collector, paused while events stream by.

Events are many small objects without cycles: they go when nobody holds them. The collector would look through
them all the same, every few hundred objects, which took a seventh of the time of an evaluation.
"""

import gc
from types import TracebackType
from typing import Final

COLLECT_EVERY: Final = 200
"""Ticks between collections, in case something did make cycles."""


class PausedCollector:
    """A block in which the collector runs only every so many ticks; afterwards it is as it was."""

    def __init__(self) -> None:
        self._was_enabled = False
        self._ticks = 0

    def tick(self) -> None:
        """Says that another thousand or so of events went by."""
        self._ticks += 1
        if self._ticks % COLLECT_EVERY == 0:
            gc.collect()

    def __enter__(self) -> "PausedCollector":
        self._was_enabled = gc.isenabled()
        gc.disable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._was_enabled:
            gc.enable()
