"""When a child that died may start again."""

import os
import selectors
import signal
from types import SimpleNamespace

import pytest

from bandit.serving import child as module
from bandit.serving.child import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_MAX_SECONDS,
    BACKOFF_WORKED_SECONDS,
    STEADY_SECONDS,
    Child,
)

PID = 4_000_000
NOW_S = 1_000.0


@pytest.fixture
def backoffs(monkeypatch: pytest.MonkeyPatch):
    """How long a child waits each time, one whose processes live so long and report that much."""
    monkeypatch.setattr(os, "waitpid", lambda pid, options: (pid, signal.SIGKILL))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: NOW_S))
    child = Child("worker-0", lambda report: None, selectors.DefaultSelector())

    def died(times: int, *, lived_s: float = 0.0, worked: bool = False) -> list[float]:
        waits = []
        for _ in range(times):
            child.pid, child._started_s = PID, NOW_S - lived_s
            child.states = {"log": {"ok": True, "detail": ""}} if worked else {}
            assert child.reap() == -signal.SIGKILL
            assert (child.pid, child.states) == (0, {})
            assert child.start_at_s == NOW_S + child.backoff_s
            waits.append(child.backoff_s)
        return waits

    return died


def test_a_child_that_fails_in_a_loop_waits_twice_as_long_each_time_up_to_a_limit(backoffs) -> None:
    first = BACKOFF_FIRST_SECONDS
    assert backoffs(4) == [first, 2 * first, 4 * first, 8 * first]
    assert backoffs(2_000)[-1] == BACKOFF_MAX_SECONDS


def test_one_that_came_as_far_as_to_report_is_soon_back_however_often_it_dies(backoffs) -> None:
    assert backoffs(100, worked=True)[-1] == BACKOFF_WORKED_SECONDS


def test_one_that_lived_for_long_starts_over(backoffs) -> None:
    backoffs(10)
    assert backoffs(1, lived_s=STEADY_SECONDS) == [BACKOFF_FIRST_SECONDS]
