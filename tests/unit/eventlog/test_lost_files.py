"""A log whose files are deleted or replaced while it is open: it acknowledges nothing more."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bandit.eventlog import sqlite
from bandit.eventlog.files import Database
from bandit.eventlog.log import LogUnwritable, Tick

LOST = "deleted or replaced under the running process"
VACUUM = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM')"
FILES = ("events.db", "events.db-wal", "events.db-shm")


@pytest.fixture(autouse=True)
def look_always(monkeypatch):
    monkeypatch.setattr(sqlite, "LOOK_SECONDS", 0.0)


def seqs_in(path):
    with closing(sqlite3.connect(path)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM events ORDER BY seq")]


def backup(folder, name):
    """A copy as a tool of its own makes it: a process with the log open may not open its files otherwise."""
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, folder / "events.db", folder / name], check=True)
    return folder / name


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "call",
    [
        lambda log: log.sync(),
        lambda log: log.append([Tick()]),
        lambda log: log.head(),
        lambda log: log.checkpoint("PASSIVE"),
        lambda log: log.reopen(),
    ],
    ids=["sync", "append", "read", "checkpoint", "reopen"],
)
def test_a_log_with_a_deleted_file_is_dead_and_names_it(open_log, tmp_path, name, call):
    log = open_log()
    log.append([Tick()])
    (tmp_path / name).unlink()
    for _ in range(2):
        with pytest.raises(LogUnwritable, match=f"{name} was {LOST}"):
            call(log)


def test_a_sync_sees_it_however_lately_it_was_looked(open_log, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "LOOK_SECONDS", 1e9)
    log = open_log()
    log.append([Tick()])
    (tmp_path / "events.db-wal").unlink()
    log.append([Tick()])
    with pytest.raises(LogUnwritable, match=LOST):
        log.sync()
    with pytest.raises(LogUnwritable, match=LOST):
        log.append([Tick()])


def test_what_a_deleted_folder_held_is_never_begun_anew(open_log, tmp_path):
    folder = tmp_path / "data"
    log = open_log(data_dir=folder)
    log.append([Tick()])
    shutil.rmtree(folder)
    with pytest.raises(LogUnwritable, match=LOST):
        log.sync()
    open_log(data_dir=folder).append([Tick()])
    with pytest.raises(LogUnwritable, match=LOST):
        log.reopen()


def test_a_restored_backup_is_another_log_and_the_first_may_come_back(open_log, tmp_path):
    log = open_log()
    log.append([Tick(), Tick()])
    restored = backup(tmp_path, "restored.db")
    (tmp_path / "events.db").rename(tmp_path / "aside.db")
    restored.rename(tmp_path / "events.db")
    for _ in range(2):
        with pytest.raises(LogUnwritable, match=f"events.db was {LOST}"):
            log.reopen()
    (tmp_path / "aside.db").replace(tmp_path / "events.db")
    log.reopen()
    assert [event.seq for event in log.events()] == [1, 2, 3]
    assert log.check_chain() is None


def test_what_a_deleted_write_ahead_log_held_is_brought_into_the_database_once(open_log, tmp_path):
    log, other = open_log(), open_log()
    log.append([Tick(), Tick()])
    (tmp_path / "events.db-wal").unlink()
    with pytest.raises(LogUnwritable):
        log.reopen()
    assert not (tmp_path / "events.db-wal").exists()
    shutil.copy(tmp_path / "events.db", tmp_path / "alone.db")
    assert seqs_in(tmp_path / "alone.db") == [1, 2]
    with pytest.raises(LogUnwritable):
        other.append([Tick()])


def test_a_write_ahead_log_that_was_begun_anew_is_left_alone(open_log, tmp_path):
    log = open_log()
    log.append([Tick(), Tick()])
    (tmp_path / "events.db-wal").rename(tmp_path / "aside")
    (tmp_path / "events.db-wal").touch()
    before = (tmp_path / "events.db").read_bytes()
    with pytest.raises(LogUnwritable, match=r"events\.db-wal was"):
        log.reopen()
    log.close()
    assert (tmp_path / "events.db").read_bytes() == before
    assert (tmp_path / "events.db-wal").stat().st_size == 0


def test_a_file_that_gets_the_number_of_a_deleted_one_is_not_taken_for_it(tmp_path):
    path = tmp_path / "events.db"
    path.touch()
    database = Database(tmp_path)
    # Many file systems give the number of a deleted file to the next one, unless someone still has it.
    for _ in range(20):
        path.unlink()
        path.touch()
        assert database.lost() == ["events.db"]
    database.close()


@pytest.mark.parametrize("replace", [True, False])
def test_a_log_that_is_opened_as_a_known_one_is_that_or_none(open_log, tmp_path, replace):
    open_log().close()
    known = Database(tmp_path)
    log = open_log(create=False, database=known)
    log.append([Tick()])
    log.close()
    restored = backup(tmp_path, "restored.db")
    (tmp_path / "events.db").rename(tmp_path / "aside.db")
    if replace:
        restored.rename(tmp_path / "events.db")
    with pytest.raises(LogUnwritable, match=f"events.db was {LOST}"):
        open_log(create=False, database=known)
    assert (tmp_path / "events.db").exists() == replace
    (tmp_path / "aside.db").replace(tmp_path / "events.db")
    open_log(create=False, database=known).append([Tick()])
    known.close()


def test_a_failed_disk_on_which_a_backup_was_put_is_not_taken_for_the_log(open_log, tmp_path):
    log = open_log()
    log.append([Tick()])
    path = tmp_path / "events.db"
    copy = backup(tmp_path, "restored.db")
    # The reopening fails half-way: nothing of the log is open any more.
    (tmp_path / "writer.lock").unlink()
    (tmp_path / "writer.lock").mkdir()
    with pytest.raises(LogUnwritable, match="IsADirectory"):
        log.reopen()
    (tmp_path / "writer.lock").rmdir()
    path.unlink()
    shutil.copy(copy, path)
    with pytest.raises(LogUnwritable, match=LOST):
        log.reopen()


@pytest.mark.parametrize("mode", ["PASSIVE", "RESTART", "TRUNCATE"])
def test_checkpoints_a_vacuum_and_processes_that_come_and_go_are_no_loss(open_log, tmp_path, mode):
    log = open_log()
    log.append([Tick()])
    for _ in range(5):
        other = open_log()
        other.append([Tick()])
        other.sync()
        other.checkpoint(mode)
        log.append([Tick()])
        log.sync()
        other.close()
        subprocess.run([sys.executable, "-c", VACUUM, tmp_path / "events.db"], check=True)
        backup(tmp_path, "backup.db")
        log.sync()
    log.reopen()
    assert log.check_chain() is None


def test_a_log_that_is_linked_to_from_the_folder_is_watched_where_it_lies(open_log, tmp_path):
    there, folder = tmp_path / "there", tmp_path / "data"
    open_log(data_dir=there).close()
    folder.mkdir()
    (folder / "events.db").symlink_to(there / "events.db")
    log = open_log(data_dir=folder)
    log.append([Tick()])
    log.sync()
    assert sqlite.wal_path(folder) == Path(there / "events.db-wal")
    (there / "events.db-wal").unlink()
    with pytest.raises(LogUnwritable, match=r"events\.db-wal was"):
        log.sync()
