"""Whether log time stands still: the clock came back after it had jumped ahead, and the log waits for it."""

from datetime import UTC, datetime
from typing import Final

AHEAD_US: Final = 5_000_000
"""From here on it is said. A row is stamped before it is read, so any lead is a clock that was set back."""


class Standstill:
    """Watches how far the log's last row is ahead of the wall clock, and says when that begins and ends."""

    def __init__(self) -> None:
        self.detail = ""
        """What health says; empty while log time moves."""
        self.ahead_us = 0
        """By how much, at the last look; 0 if it is not ahead."""

    def look(self, head_us: int, now_us: int) -> bool:
        """Takes the last row's time and the clock's, both since the epoch; whether `detail` changed."""
        before = self.detail
        self.ahead_us = max(0, head_us - now_us)
        if not self.ahead_us:
            self.detail = ""
        elif self.ahead_us > AHEAD_US or before:
            until = datetime.fromtimestamp(head_us / 1e6, UTC)
            self.detail = (
                f"log time stands still until {until:%Y-%m-%d %H:%M:%S} UTC, when the clock reaches the "
                "log's last row: it was ahead once. Until then no window ends; all else goes on"
            )
        return self.detail != before
