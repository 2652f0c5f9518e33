import os
import subprocess
import sys

import pytest

from bandit.local import LocalBandit
from bandit.secret import KEY_VARIABLE, BadKey, ensure_key, read_key

EXPERIMENT = """
experiments:
  - id: front-page
    owner: growth@shop.example
    variants: [{id: a}, {id: b}]
    baseline: a
    reward: {metric: visit, default: none, learn: on_reward}
"""


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def used(tmp_path):
    """A folder whose log holds decisions."""
    folder = tmp_path / "it's a folder"
    bandit = LocalBandit.from_yaml(EXPERIMENT, "front-page", data_dir=folder)
    for _ in range(4):
        bandit.reward(bandit.choose({}, subject_id="u1").decision_id, 1.0)
    bandit.close()
    return folder


def test_a_folder_without_decisions_gets_a_key_of_its_own(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ensure_key(tmp_path / name)
    assert read_key(tmp_path / "one") != read_key(tmp_path / "two")


def test_a_key_stays(used):
    before = read_key(used)
    ensure_key(used)
    assert read_key(used) == before


def test_a_lost_key_is_not_replaced_beside_a_log_that_was_written_under_it(used):
    (used / "subject.key").unlink()
    with pytest.raises(BadKey, match="Restore it from the backup"):
        ensure_key(used)
    with pytest.raises(BadKey):
        LocalBandit.from_yaml(EXPERIMENT, "front-page", data_dir=used)
    assert not (used / "subject.key").exists()


def test_an_import_gets_a_key_of_its_own_and_can_be_served(used, tmp_path):
    def banditd(*arguments):
        command = [sys.executable, "-m", "bandit", "log", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True)

    exported, imported = tmp_path / "log.jsonl", tmp_path / "imported"
    banditd("export", "--data-dir", used, "--format", "jsonl", "--output", exported)
    assert "copy subject.key of the folder" in banditd("import", exported, "--data-dir", imported).stdout
    ensure_key(imported)
    assert read_key(imported) != read_key(used)


def test_the_newest_decisions_tell_however_much_of_other_kinds_follows_them(used, monkeypatch):
    monkeypatch.setattr("bandit.secret._LOOK_SEQS", 1)
    (used / "subject.key").unlink()
    with pytest.raises(BadKey):
        ensure_key(used)


def test_the_command_that_the_error_names_makes_a_key_to_go_on_with(used):
    (used / "subject.key").unlink()
    with pytest.raises(BadKey) as raised:
        ensure_key(used)
    subprocess.run(["sh", "-c", str(raised.value).partition("new one: ")[2]], check=True)
    ensure_key(used)
    assert (used / "subject.key").stat().st_mode & 0o777 == 0o600
    assert len(read_key(used)) == 32


def test_a_key_from_the_environment_needs_no_file(used, monkeypatch):
    (used / "subject.key").unlink()
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    ensure_key(used)
    assert read_key(used) == b"\xab" * 32


@pytest.mark.parametrize("content", [b"ab" * 16, b"no hex", b"\xff" * 64, b""])
def test_a_damaged_key_file_is_to_be_restored(tmp_path, content):
    (tmp_path / "subject.key").write_bytes(content)
    with pytest.raises(BadKey, match=r"restore .*subject\.key from the backup"):
        ensure_key(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read every file")
def test_a_key_that_can_not_be_read_says_what_to_do(tmp_path):
    ensure_key(tmp_path)
    (tmp_path / "subject.key").chmod(0)
    with pytest.raises(BadKey, match="can't be read"):
        ensure_key(tmp_path)
