"""A historic log as a new experiment's beginning: all of it, with what was learned, or nothing."""

import os
from pathlib import Path

import pytest

from bandit.eventlog.handles import DATABASE_NAME
from bandit.eventlog.importing.seeding import Seed, format_of, seed
from bandit.eventlog.sqlite import SqliteEventLog

SOUND = Path(__file__).parents[3] / "fixtures" / "dsjson" / "sound.dsjson"
NOW_US = 1_700_000_000_000_000


@pytest.fixture
def what(define):
    return Seed(
        path=SOUND,
        experiment=define(
            id="own",
            variants=[{"id": "x"}, {"id": "y"}],
            baseline="x",
            signals="open",
            reward={"metric": "visit", "default": "none", "learn": "on_reward"},
        ),
    )


def silent(what, done, total):
    """Nobody looks."""


def test_what_was_learned_comes_with_the_log(what, tmp_path):
    data_dir = tmp_path / "data"

    def learn(folder):
        assert not (data_dir / DATABASE_NAME).exists()
        log = SqliteEventLog(folder, create=False)
        assert log.check_chain() is None
        log.close()
        (folder / "snapshots").mkdir()
        (folder / "snapshots" / "mine").touch()

    done = seed(what, data_dir, NOW_US, learn, silent)
    assert (done.decisions, done.rewards, done.format) == (1, 1, "dsjson")
    assert sorted(path.name for path in data_dir.iterdir()) == ["events.db", "snapshots"]
    assert [path.name for path in (data_dir / "snapshots").iterdir()] == ["mine"]
    assert format_of(data_dir) == "data folder"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError, MemoryError])
def test_nothing_is_left_when_learning_is_stopped(what, tmp_path, stop):
    def learn(folder):
        (folder / "snapshots").mkdir()
        raise stop

    with pytest.raises(stop):
        seed(what, tmp_path / "data", NOW_US, learn, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_takes_the_log_too(what, tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    seed(what, tmp_path / "data", NOW_US, lambda folder: None, silent)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["events.db"]
