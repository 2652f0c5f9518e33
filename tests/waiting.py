"""Waiting for what another process does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SECONDS_MAX = 40.0
LOOK_SECONDS = 0.02


def until(holds: Callable[[], T | None], what: str = "it", seconds_max: float = SECONDS_MAX) -> T:
    """What `holds` says once it says something true. It is asked at least once; what it raises is raised."""
    give_up_s = time.monotonic() + seconds_max
    while not (answer := holds()):
        assert time.monotonic() < give_up_s, f"{what} did not come to pass within {seconds_max:g} s"
        time.sleep(LOOK_SECONDS)
    return answer
