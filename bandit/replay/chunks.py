"""Columns that grow a row at a time, in chunks: no object is kept a row."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

CHUNK_ROWS: Final = 1_024


class Columns:
    """Rows of numbers of one width, gathered in chunks and given as one array a column.

    `append` takes a row as a tuple. Whoever appends looks every so often whether the rows are to be
    `put_away`: once more than a few thousand are pending they cost more than they need.
    """

    def __init__(self, *kinds: type[np.generic]) -> None:
        """One kind of number a column."""
        self._kinds = kinds
        self._chunks: list[list[Any]] = [[] for _ in kinds]
        self.pending: list[tuple[float, ...]] = []
        self.append = self.pending.append

    def put_away(self) -> None:
        """Makes arrays of what is pending."""
        if self.pending:
            columns = zip(*self.pending, strict=True)
            for kind, chunks, values in zip(self._kinds, self._chunks, columns, strict=True):
                chunks.append(np.array(values, kind))
            self.pending.clear()

    def clear(self) -> None:
        """Forgets all rows."""
        self.pending.clear()
        for chunks in self._chunks:
            chunks.clear()

    def arrays(self) -> list[Any]:
        """One array a column, each of shape (n,), not to be written to. The rows are given away: none are
        left.
        """
        self.put_away()
        found = []
        for kind, chunks in zip(self._kinds, self._chunks, strict=True):
            found.append(_joined(chunks, kind))
            # Freed column by column: all of them twice would be the most that an evaluation needs.
            chunks.clear()
        return found


def _joined(chunks: Sequence[Any], kind: type[np.generic]) -> Any:
    if not chunks:
        return np.zeros(0, kind)
    size = sum(map(len, chunks))
    first = chunks[0][0]
    if all((chunk == first).all() for chunk in chunks):
        # One number is enough where all rows have the same: most logs drop nothing, and have one share.
        return np.broadcast_to(first, size)
    return np.concatenate(chunks)
