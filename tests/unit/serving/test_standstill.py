"""When health says that log time stands still, and until when."""

from bandit.serving.standstill import AHEAD_US, Standstill

NOON_US = 1_767_268_800_000_000
"""2026-01-01 12:00 UTC."""


def test_it_is_said_once_with_its_end_and_taken_back_when_the_clock_gets_there() -> None:
    standstill, head_us = Standstill(), NOON_US
    assert standstill.look(head_us, head_us - 7_200_000_000)
    assert "stands still until 2026-01-01 12:00:00 UTC" in standstill.detail
    for left_us in (3_600_000_000, AHEAD_US, 1):
        assert not standstill.look(head_us, head_us - left_us)
        assert standstill.detail
        assert standstill.ahead_us == left_us
    assert standstill.look(head_us, head_us)
    assert standstill.detail == ""


def test_a_later_end_is_a_change() -> None:
    standstill = Standstill()
    assert standstill.look(NOON_US, NOON_US - 60_000_000)
    assert standstill.look(NOON_US + 60_000_000, NOON_US)
    assert "12:01:00" in standstill.detail


def test_clocks_that_differ_by_a_little_are_not_worth_a_word() -> None:
    standstill = Standstill()
    for lead_us in (AHEAD_US, -1_000_000, 0):
        assert not standstill.look(NOON_US + lead_us, NOON_US)
        assert standstill.ahead_us == max(0, lead_us)
    assert standstill.detail == ""
