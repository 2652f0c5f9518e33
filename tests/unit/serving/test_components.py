import threading

import pytest

from bandit.serving.components import changed_ns, read_components, write_components

WELL = {"log": {"ok": True, "detail": ""}, "learner": {"ok": True, "detail": ""}}
ILL = {"log": {"ok": False, "detail": "No space left on device"}, "learner": {"ok": False, "detail": "down"}}


def no_file_can_be_made(folder):
    """As on a disk without space or inodes, for the superuser too."""
    (folder / ".status.json").mkdir()


def test_what_was_written_last_is_read(tmp_path):
    write_components(tmp_path, WELL)
    write_components(tmp_path, ILL)
    assert read_components(tmp_path) == ILL
    assert not (tmp_path / ".status.json").exists()


def test_where_no_other_file_can_be_made_the_state_still_reaches_readers_and_takes_no_space(tmp_path):
    write_components(tmp_path, WELL)
    size, changed = (tmp_path / "status.json").stat().st_size, changed_ns(tmp_path)
    no_file_can_be_made(tmp_path)
    write_components(tmp_path, ILL)
    assert read_components(tmp_path) == ILL
    assert changed_ns(tmp_path) != changed
    write_components(tmp_path, WELL)
    assert read_components(tmp_path) == WELL
    assert (tmp_path / "status.json").stat().st_size == size


def test_there_a_detail_that_is_too_long_is_cut_and_the_state_is_told(tmp_path):
    write_components(tmp_path, WELL)
    no_file_can_be_made(tmp_path)
    write_components(tmp_path, {"log": {"ok": False, "detail": "x" * 10_000}})
    read = read_components(tmp_path)["log"]
    assert not read["ok"]
    assert read["detail"].startswith("xxx")


def test_where_nothing_at_all_can_be_written_the_error_says_so(tmp_path):
    no_file_can_be_made(tmp_path)
    (tmp_path / "status.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_components(tmp_path, WELL)


def test_a_reader_never_sees_half_of_it(tmp_path):
    write_components(tmp_path, WELL)
    no_file_can_be_made(tmp_path)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            write_components(tmp_path, ILL)
            write_components(tmp_path, WELL)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(read_components(tmp_path) in (WELL, ILL) for _ in range(500))
    finally:
        stop.set()
        writer.join()
