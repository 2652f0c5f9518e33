"""How many joined events of an experiment are still to be learned: each is counted once, a page at a time."""

from typing import Final

from bandit.core.records import Position
from bandit.eventlog.sqlite import SqliteEventLog

PAGE_ENTRIES: Final = 2_500
"""So many entries of the joined order are looked at in one go; it takes a fraction of a batch's learning."""


class Backlog:
    """The events after a fold's position that have closed.

    Where there are many, `events` is too small until all are counted: nobody waits for that.
    """

    def __init__(self, position: Position) -> None:
        """`position` is the fold's."""
        self.events = 0
        self._counted_to = position

    def learned(self, events: int, position: Position) -> None:
        """The fold took so many events, and stands at `position` now."""
        if position <= self._counted_to:
            self.events -= events
        else:
            # All that was counted, and more.
            self.events = 0
            self._counted_to = position

    def count(self, log: SqliteEventLog, experiment_id: str, before_us: int) -> None:
        """Counts the next page of what closes before `before_us`. Raises LogUnwritable."""
        events, last = log.count_closings(experiment_id, self._counted_to, before_us, PAGE_ENTRIES)
        if last is not None:
            self.events += events
            self._counted_to = last
