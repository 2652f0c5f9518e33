"""What can be asked of the embedded log, whoever has the connection to it.

An answer that takes long is put together out of short queries: no transaction and no lock outlives one.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

from bandit.core.records import Position, Reward, Variant
from bandit.eventlog import reading
from bandit.eventlog.codec import decode_decision, decode_digest
from bandit.eventlog.log import Closing, Count, Definition, Event, StoredDecision

_SCAN_ROWS: Final = 50_000
_SEARCH_ENTRIES: Final = 1_000
_NEVER_US: Final = 2**63 - 1

_T = TypeVar("_T")


class Readable(ABC):
    """The reading half of an event log. Every method raises what `_read` does."""

    def __init__(self) -> None:
        self._definitions: dict[tuple[str, int], Definition] = {}

    @abstractmethod
    def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs a query on a connection for reading. Any thread may call it."""

    def head(self) -> tuple[int, int]:
        """(seq, at_us) of the last row; (0, 0) if there is none."""
        return self._read(reading.head)

    def definitions(self, after_seq: int = 0) -> list[Definition]:
        """The definitions that came into force after `after_seq`, in seq order. Raises CorruptRecord."""
        found = self._read(lambda connection: reading.definitions(connection, after_seq))
        return [self._remember(definition) for definition in found]

    def definition(self, experiment_id: str, version: int) -> Definition:
        """One version of an experiment, always the same object. Raises CorruptRecord if the log has none."""
        known = self._definitions.get((experiment_id, version))
        if known is not None:
            return known
        return self._remember(
            self._read(lambda connection: reading.definition(connection, experiment_id, version))
        )

    def decision(self, decision_id: str) -> StoredDecision | None:
        """The decision with this id, of whichever experiment. Raises CorruptRecord."""
        return self._stored_decisions([decision_id]).get(decision_id)

    def events(
        self, after_seq: int = 0, kinds: Collection[str] | None = None, batch: int = 1000
    ) -> Iterator[Event]:
        """The rows after `after_seq`, read `batch` seqs at a time, up to the last one when it starts."""
        last, _ = self.head()
        while after_seq < last:
            up_to = min(after_seq + batch, last)
            rows, after_seq = self._read(
                partial(reading.page, after_seq=after_seq, up_to_seq=up_to, kinds=kinds)
            )
            yield from rows

    def experiments_touched(self, after_seq: int) -> set[str]:
        """The experiments that have rows after `after_seq`."""
        touched: set[str] = set()
        last, _ = self.head()
        for low in range(after_seq, last, _SCAN_ROWS):
            touched |= self._read(
                partial(reading.experiments_touched, after_seq=low, up_to_seq=low + _SCAN_ROWS)
            )
        return touched

    def counts(self) -> list[Count]:
        """How many rows of each kind each experiment has, and their first and last time."""
        found: dict[tuple[str, str], Count] = {}
        last, _ = self.head()
        for low in range(0, last, _SCAN_ROWS):
            high = min(low + _SCAN_ROWS, last)
            for row in self._read(partial(reading.counts, after_seq=low, up_to_seq=high)):
                one = Count(*row)
                before = found.get(one[:2], Count(*one[:2], 0, one.first_us, one.last_us))
                found[one[:2]] = Count(*one[:2], before.rows + one.rows, before.first_us, one.last_us)
        return [found[key] for key in sorted(found)]

    def open_decisions(self, experiment_id: str) -> int:
        """How many decisions of an experiment are not closed at the time of the last row."""
        _, now_us = self.head()
        after: Position | None = Position(now_us, -1)
        total = 0
        while after is not None:
            count, after = self.count_closings(experiment_id, after, _NEVER_US, _SEARCH_ENTRIES)
            total += count
        return total

    def count_closings(
        self, experiment_id: str, after: Position, before_us: int, entries: int
    ) -> tuple[int, Position | None]:
        """How many of the next `entries` of the joined order that close before `before_us` are events.

        Also answers with the last entry; None if there is none.
        """
        return self._read(
            lambda connection: reading.count_closings(connection, experiment_id, after, before_us, entries)
        )

    def closings(self, experiment_id: str, after: Position, before_us: int, limit: int) -> list[Closing]:
        """The entries of the joined order after `after` and before `before_us`; empty only at its end."""
        return self._read(
            lambda connection: reading.closings(connection, experiment_id, after, before_us, limit)
        )

    def rewards_of(self, decision_ids: Sequence[str]) -> dict[str, list[Reward]]:
        """The rewards of each decision that has any. Raises CorruptRecord."""
        return self._read(lambda connection: reading.rewards_of(connection, decision_ids))

    def next_due_us(self, experiment_id: str, after: Position) -> int | None:
        """A time before which no event after `after` closes; None if nothing is open.

        It is exact if it is before the last row's time. Ahead of that it may be too early: a reward may have
        closed any number of decisions whose windows have not ended, and only some are looked at.
        """
        _, now_us = self.head()
        last: Position | None = after
        while last is not None:
            due_us, last = self._read(
                partial(
                    reading.next_closing, experiment_id=experiment_id, after=last, entries=_SEARCH_ENTRIES
                )
            )
            if due_us is None and last is not None and last.closing_us >= now_us:
                return last.closing_us
        return due_us

    def _stored_decisions(self, decision_ids: Sequence[str]) -> dict[str, StoredDecision]:
        rows = self._read(lambda connection: reading.decisions(connection, decision_ids))
        found: dict[str, StoredDecision] = {}
        for experiment_id, decision_id, subject, record, seq, at_us in rows:
            catalogue = partial(self._catalogue, experiment_id)
            decision = decode_decision(experiment_id, decision_id, subject, record, catalogue)
            found[decision_id] = StoredDecision(decision, decode_digest(record), seq, at_us)
        return found

    def _catalogue(self, experiment_id: str, version: int) -> tuple[Variant, ...]:
        return self.definition(experiment_id, version).catalogue

    def _remember(self, definition: Definition) -> Definition:
        # The first one stays: what is computed once for a catalogue is found by the object.
        return self._definitions.setdefault((definition.experiment.id, definition.version), definition)
