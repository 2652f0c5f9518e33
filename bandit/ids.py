"""Time-ordered ids (UUIDv7, RFC 9562), so that the event log's index grows at its end."""

import itertools
import os
import time
from collections.abc import Callable


def wall_clock_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class TimeOrderedIds:
    """Makes ids that never go backwards within a process, whatever the clock does.

    One a process: the 12 bits after the time count up from a random start within a millisecond, the last 62
    are random, so that processes never meet.
    """

    def __init__(
        self,
        clock_ms: Callable[[], int] = wall_clock_ms,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`clock_ms` and `random_bytes` come from outside so that a simulation can be repeated."""
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes
        self._last_ms = 0
        self._count = itertools.count()

    def __call__(self) -> str:
        """The next id, in the usual 36 characters."""
        now = self._clock_ms()
        random = int.from_bytes(self._random_bytes(9), "big")
        if now > self._last_ms:
            self._last_ms = now
            self._count = itertools.count(random >> 62 & 0x3FF)
        count = next(self._count)
        if count > 0xFFF:
            # More than 3,000 ids in one millisecond: borrow the next one instead of repeating.
            self._last_ms += 1
            self._count = itertools.count(1)
            count = 0
        value = (
            (self._last_ms & (1 << 48) - 1) << 80
            | 0x7 << 76
            | count << 64
            | 0b10 << 62
            | random & (1 << 62) - 1
        )
        digits = f"{value:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
