"""How often each variant should have been served by the logged probabilities, and how often it was."""

from collections.abc import Sequence
from itertools import chain
from typing import TypeVar

import numpy as np

from bandit.replay.columns import F64, I64

Row = tuple[Sequence[int], Sequence[float], int]
"""The codes of the eligible variants, their probabilities, and the index of the served one among them."""

_Sums = TypeVar("_Sums", F64, I64)


class Calibration:
    """Sums over rows, a chunk at a time. Rows whose distribution is not known in full add nothing."""

    def __init__(self) -> None:
        """No rows."""
        self._expected: F64 = np.zeros(0)
        self._variance: F64 = np.zeros(0)
        self._served: I64 = np.zeros(0, np.int64)
        self._pending: list[Row] = []
        self.append = self._pending.append

    def sums(self, variants: int) -> tuple[F64, F64, I64]:
        """(expected, variance, served), each of shape (variants,), as `columns.Logged` has them."""
        self.put_away()
        self._grow(variants)
        return self._expected, self._variance, self._served

    def put_away(self) -> None:
        """Adds what is pending to the sums."""
        if not self._pending:
            return
        all_codes, distributions, chosen = zip(*self._pending, strict=True)
        self._pending.clear()
        sizes = np.fromiter(map(len, all_codes), np.int64, len(all_codes))
        total = int(sizes.sum())
        codes = np.fromiter(chain.from_iterable(all_codes), np.int64, total)
        p = np.fromiter(chain.from_iterable(distributions), np.float64, total)
        starts = np.cumsum(sizes) - sizes
        known = ~np.isnan(np.add.reduceat(p, starts))
        served = codes[starts + np.array(chosen)][known]
        if not known.all():
            among = np.repeat(known, sizes)
            p, codes = p[among], codes[among]
        size = max(len(self._expected), int(codes.max(initial=-1)) + 1)
        self._grow(size)
        self._expected += np.bincount(codes, p, size)
        self._variance += np.bincount(codes, p * (1.0 - p), size)
        self._served += np.bincount(served, minlength=size)

    def _grow(self, size: int) -> None:
        self._expected = _longer(self._expected, size)
        self._variance = _longer(self._variance, size)
        self._served = _longer(self._served, size)


def _longer(sums: _Sums, size: int) -> _Sums:
    """`sums` with zeros behind, up to `size`."""
    return np.pad(sums, (0, size - len(sums)))
