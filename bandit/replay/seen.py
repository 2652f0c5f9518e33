"""Which ids have come before, in 8 bytes each: an id that comes twice must not count twice.

Sums of 64 bits stand for the ids, in sorted runs of growing length; so millions of ids cost no Python
objects. Two different ids among n are taken for one with probability n ** 2 / 2 ** 65: 7e-7 for five
millions.
"""

from collections.abc import Sequence

import numpy as np

from bandit.replay.columns import BOOL, I64


class Seen:
    """A set that grows by batches and is asked by batches."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self._runs: list[I64] = []

    def fresh(self, ids: Sequence[str]) -> BOOL | None:
        """Which of `ids` came for the first time, in a batch or within this one; None if all did."""
        sums = np.fromiter(map(hash, ids), np.int64, len(ids))
        ordered, first = np.unique(sums, return_index=True)
        known = np.zeros(len(ordered), np.bool_)
        for run in self._runs:
            places = np.searchsorted(run, ordered)
            known |= run[np.minimum(places, len(run) - 1)] == ordered
        new = ordered[~known]
        if len(new):
            self._add(new)
        if len(new) == len(sums):
            return None
        mask = np.zeros(len(sums), np.bool_)
        mask[first[~known]] = True
        return mask

    def _add(self, run: I64) -> None:
        # Runs of like length are merged, so that there are few of them and each id is moved seldom.
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
