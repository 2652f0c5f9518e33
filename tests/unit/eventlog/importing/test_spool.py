"""Sorting on disk: the order of time, and of arrival within it, whatever fits in memory."""

import random

import pytest

from bandit.eventlog.importing.spool import Spool


@pytest.mark.parametrize("run_bytes", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_records_come_back_by_time_and_then_as_they_came(tmp_path, run_bytes, seed):
    chance = random.Random(seed)
    records = [(chance.randrange(20), number, chance.randbytes(number % 7)) for number in range(60)]
    spool = Spool(tmp_path, run_bytes)
    for record in records:
        spool.add(*record)
    assert list(spool.sorted()) == sorted(records)
    assert list(spool.sorted()) == sorted(records)
    assert spool.count == 60


def test_what_comes_in_order_makes_one_run(tmp_path):
    spool = Spool(tmp_path, 1)
    for number in range(50):
        spool.add(number // 3, number, b"")
    assert [number for _, number, _ in spool.sorted()] == list(range(50))
    assert len(list(tmp_path.iterdir())) == 1
    assert spool.late == 0


def test_what_comes_late_is_counted(tmp_path):
    spool = Spool(tmp_path)
    for number, at_us in enumerate([5, 6, 6, 4, 6, 5, 7]):
        spool.add(at_us, number, b"")
    assert spool.late == 2


def test_nothing_gives_nothing(tmp_path):
    assert list(Spool(tmp_path).sorted()) == []
