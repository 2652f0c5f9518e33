"""Sorts more records by time than fit in memory: sorted runs in files, merged when they are read.

Records of the same time keep the order in which they came. What comes in order makes a single run.
"""

import heapq
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

RUN_BYTES: Final = 32 * 1024 * 1024
"""A run is sorted and written when its records are together this big."""

_HEAD = struct.Struct("<qqI")
_RECORD_OVERHEAD_BYTES = 200

Record = tuple[int, int, bytes]
"""Time, number (both not negative), and whatever else."""


class Spool:
    """Takes records, then gives them back in order of (time, number)."""

    def __init__(self, folder: Path, run_bytes: int = RUN_BYTES) -> None:
        """`folder` is for the runs alone, and the caller's to remove."""
        self._folder = folder
        self._run_bytes = run_bytes
        self._records: list[Record] = []
        self._size = 0
        self._last: tuple[int, int] = (-1, -1)
        self._runs: list[Path] = []
        self.count = 0
        self.late = 0
        """How many records came after one with a later time."""
        self._latest = -1

    def add(self, at_us: int, number: int, body: bytes) -> None:
        """Takes a record. Numbers go up. Raises OSError."""
        if at_us < self._latest:
            self.late += 1
        else:
            self._latest = at_us
        self._records.append((at_us, number, body))
        self._size += len(body) + _RECORD_OVERHEAD_BYTES
        self.count += 1
        if self._size >= self._run_bytes:
            self._write()

    def sorted(self) -> Iterator[Record]:
        """All records in order; may be called more than once. Raises OSError."""
        self._write()
        files: list[BinaryIO] = []
        try:
            for path in self._runs:
                files.append(path.open("rb"))
            # No two records have the same number, so bodies are never compared.
            yield from heapq.merge(*(_read(file) for file in files))
        finally:
            for file in files:
                file.close()

    def _write(self) -> None:
        records, self._records, self._size = self._records, [], 0
        if not records:
            return
        records.sort()
        # A run that follows the one before is its end, so there are few files where there is little disorder.
        if not self._runs or records[0][:2] < self._last:
            self._runs.append(self._folder / f"run-{len(self._runs):06d}")
        self._last = records[-1][:2]
        with self._runs[-1].open("ab") as file:
            for at_us, number, body in records:
                file.write(_HEAD.pack(at_us, number, len(body)))
                file.write(body)


def _read(file: BinaryIO) -> Iterator[Record]:
    while head := file.read(_HEAD.size):
        at_us, number, size = _HEAD.unpack(head)
        yield at_us, number, file.read(size)
