"""The rows of a log by the value of one signal."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from bandit.core.records import FeatureValue, JoinedEvent
from bandit.replay.chunks import CHUNK_ROWS, Columns
from bandit.replay.columns import BOOL, F64, I32

SEGMENTS_MAX: Final = 12
"""So many of the most frequent values have a row of their own; the rest is one row, `(other)`."""

VALUES_MAX: Final = 10_000
"""So many values are told apart; later ones are among the others."""

ABSENT: Final = "(absent)"
OTHER: Final = "(other)"


class Segments:
    """Gathers one signal's value a judged row. Numbers of many values are cut at their quartiles."""

    def __init__(self, signal: str) -> None:
        """`signal` is its name in the context."""
        self._signal = signal
        self._columns = Columns(np.int32, np.float64)
        self._codes: dict[str, int] = {ABSENT: 0, OTHER: 1}
        self._numbers = True
        self.found = False
        """Whether any row had the signal."""

    def take(self, event: JoinedEvent) -> None:
        """Takes a judged row."""
        value = event.decision.context.get(self._signal)
        if value is None:
            self._columns.append((0, 0.0))
        else:
            self.found = True
            is_number = isinstance(value, float)
            self._numbers = self._numbers and is_number
            self._columns.append((self._code(_text(value)), value if isinstance(value, float) else 0.0))
        if len(self._columns.pending) >= CHUNK_ROWS:
            self._columns.put_away()

    def clear(self) -> None:
        """Forgets all rows."""
        self._columns.clear()

    def masks(self) -> Mapping[str, BOOL]:
        """Which rows are of each segment, the largest first; no row can be taken afterwards."""
        codes, numbers = self._columns.arrays()
        if self._numbers and len(self._codes) > SEGMENTS_MAX + 2:
            return _quartiles(codes, numbers)
        names = list(self._codes)
        sizes = np.bincount(codes, minlength=len(names))
        ranked = [int(code) for code in np.argsort(-sizes, kind="stable") if code != 1 and sizes[code]]
        masks = {names[code]: codes == code for code in ranked[:SEGMENTS_MAX]}
        rest = np.isin(codes, [1, *ranked[SEGMENTS_MAX:]])
        return masks | ({OTHER: rest} if rest.any() else {})

    def _code(self, text: str) -> int:
        code = self._codes.get(text)
        if code is None:
            if len(self._codes) >= VALUES_MAX:
                return 1
            code = self._codes[text] = len(self._codes)
        return code


def _text(value: FeatureValue) -> str:
    if isinstance(value, tuple):
        return ", ".join(sorted(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else value


def _quartiles(codes: I32, numbers: F64) -> Mapping[str, BOOL]:
    present = codes != 0
    edges = np.unique(np.quantile(numbers[present], [0.0, 0.25, 0.5, 0.75, 1.0]))
    bins = np.searchsorted(edges[1:-1], numbers, side="left")
    masks = {}
    for index in range(len(edges) - 1):
        mask = present & (bins == index)
        if mask.any():
            opening = "[" if index == 0 else "("
            masks[f"{opening}{edges[index]:g}, {edges[index + 1]:g}]"] = mask
    return masks | ({ABSENT: ~present} if not present.all() else {})
