"""The checksum tells any two rows apart, and any two predecessors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.eventlog.chain import CHECKSUM_BYTES, START, checksum, is_sound

ROW = (5, "reward", "front-page", "d1", 1_700_000_000_000_000, b"record", "metric:visit", "subject", 2, 10, 3)
SHORT = st.text(st.sampled_from("ab"), max_size=3)
NUMBER = st.integers(0, 3)
ROWS = st.tuples(
    NUMBER,
    SHORT,
    SHORT,
    SHORT,
    NUMBER,
    SHORT.map(str.encode),
    *[st.none() | SHORT] * 2,
    *[st.none() | NUMBER] * 3,
)


def test_a_row_is_sound_with_its_own_checksum():
    assert len(checksum(START, ROW)) == CHECKSUM_BYTES
    assert is_sound(START, ROW, checksum(START, ROW))


@given(left=ROWS, right=ROWS)
def test_two_rows_have_the_same_checksum_only_if_they_are_the_same(left, right):
    assert (checksum(START, left) == checksum(START, right)) == (left == right)


def test_the_checksum_depends_on_the_row_before():
    assert checksum(START, ROW) != checksum(b"12345678", ROW)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (0, "5"),
        (0, -1),
        (1, b"reward"),
        (3, None),
        (4, 1.5),
        (5, "record"),
        (5, None),
        (6, 7),
        (7, b"subject"),
        (8, -1),
        (8, 2**70),
        (9, "10"),
        (2, "\udcff"),
    ],
)
def test_a_row_with_a_column_that_is_never_written_is_not_sound(column, value):
    row = (*ROW[:column], value, *ROW[column + 1 :])
    try:
        stored = checksum(START, row)
    except Exception:
        stored = checksum(START, ROW)
    assert not is_sound(START, row, stored)


def test_an_absent_number_is_not_taken_for_minus_one():
    absent = (*ROW[:8], None, None, None)
    assert not is_sound(START, (*ROW[:8], -1, -1, -1), checksum(START, absent))
    assert is_sound(START, absent, checksum(START, absent))
