"""Files of lines that came from elsewhere: read one line at a time, and every line that is no use counted.

Plain or gzip, told by the first bytes. A byte order mark is taken off, CRLF ends a line as LF does, and blank
lines are passed over; line numbers count them. No line is held in memory beyond LINE_BYTES_MAX.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer line is a bad one. A call of banditd takes 4 MiB; JSON is up to four times as long."""

FIRST_NUMBERS: Final = 5
"""So many line numbers are kept of each reason."""

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
BLOCK_BYTES: Final = 64 * 1024


class BadLine(ValueError):
    """A line that can't be taken. `reason` is UPPER_SNAKE, from a fixed list; the message says what is wrong.

    The message never repeats what the line holds beyond names of fields.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoppedAtBadLine(Exception):
    """The first bad line, where none is allowed. The message names its number, reason and trouble."""


class BadLines:
    """Counts the bad lines by reason and keeps the first numbers of each. `strict`: the first one raises."""

    def __init__(self, *, strict: bool = False) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, list[int]] = {}
        self._strict = strict

    def __call__(self, number: int, bad: BadLine) -> None:
        """Takes one. Raises StoppedAtBadLine if `strict`."""
        if self._strict:
            raise StoppedAtBadLine(f"line {number}: {bad} ({bad.reason})")
        self.counts[bad.reason] = self.counts.get(bad.reason, 0) + 1
        numbers = self.first.setdefault(bad.reason, [])
        if len(numbers) < FIRST_NUMBERS:
            numbers.append(number)

    @property
    def total(self) -> int:
        """How many lines were bad."""
        return sum(self.counts.values())


OnBad = Callable[[int, BadLine], None]
"""Takes the number of a bad line, and what is wrong with it."""

Bytes = Callable[[int, int], None]
"""Takes how many bytes of a file were read, and its size."""


def read(path: Path, on_bad: OnBad, progress: Bytes | None = None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its end) of each line that isn't blank. Raises OSError.

    LINE_TOO_LONG and, for gzip, TRUNCATED_FILE (where reading ends) go to `on_bad`.
    """
    total = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        # Closing a gzip file leaves the file below it open, so both are closed by this block.
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        number = 0
        rest = b""  # the beginning of a line, whose end was not read yet
        too_long = False
        try:
            for block in iter(partial(file.read1, BLOCK_BYTES), b""):
                if progress is not None:
                    progress(raw.tell(), total)
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    number += 1
                    if number == 1:
                        line = line.removeprefix(_BOM)
                    if too_long or len(line) > LINE_BYTES_MAX:
                        too_long = False
                        on_bad(number, _too_long())
                    elif line and not line.isspace():
                        yield number, line.rstrip(b"\r")
                if len(rest) > LINE_BYTES_MAX:
                    rest, too_long = b"", True
            if too_long:
                on_bad(number + 1, _too_long())
            elif rest and not rest.isspace():
                yield number + 1, rest.removeprefix(b"" if number else _BOM).rstrip(b"\r")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            message = f"the compressed file ends or breaks here ({error})"
            on_bad(number + 1, BadLine("TRUNCATED_FILE", message))
        finally:
            if packed:
                file.close()
    if progress is not None:
        progress(total, total)


def _too_long() -> BadLine:
    return BadLine("LINE_TOO_LONG", f"is longer than {LINE_BYTES_MAX} bytes")
