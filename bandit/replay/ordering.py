"""Rows as files hold them -> rows as a fold takes them: in an order of their own, and none twice."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import compress, islice
from typing import Final

from bandit.core.records import ORIGIN, Position
from bandit.replay.seen import Seen
from bandit.replay.sources import Row

BATCH_ROWS: Final = 64
"""So few that what is read stays in the processor's caches until it is judged."""


def put_right(rows: Iterable[Row], trouble: Counter[str]) -> Iterator[Row]:
    """The rows in the order they come in, less decisions that came before; counts both in `trouble`.

    A row that is older than one before it is counted as `out_of_order`: it keeps its place, at a position
    behind that one's. A decision that came before is left out and counted in `duplicates`.
    """
    seen = Seen()
    last = ORIGIN
    stream = iter(rows)
    while batch := list(islice(stream, BATCH_ROWS)):
        for index, (event, values) in enumerate(batch):
            if event.position <= last:
                trouble["out_of_order"] += 1
                event = event._replace(position=Position(last.closing_us, last.seq + 1))
                batch[index] = event, values
            last = event.position
        fresh = seen.fresh([event.decision.decision_id for event, _ in batch])
        if fresh is not None:
            trouble["duplicates"] += len(batch) - int(fresh.sum())
            batch = list(compress(batch, fresh))
        yield from batch
