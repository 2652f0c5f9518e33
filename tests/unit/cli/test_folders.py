import os
import subprocess
import sys

import pytest


def banditd(*arguments):
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-m", "bandit", *map(str, arguments)], capture_output=True, text=True, env=plain
    )


def on(command, folder):
    """The arguments of a command on a folder."""
    serve = ("--experiments", folder.parent / "none.yaml", "--listen", "127.0.0.1:0")
    return (command, "--data-dir", folder, *(serve if command == "serve" else ()))


@pytest.mark.parametrize("command", ["serve", "learn"])
def test_a_file_is_no_data_folder(tmp_path, command):
    (tmp_path / "file").touch()
    ran = banditd(*on(command, tmp_path / "file"))
    assert ran.returncode == 1
    told = f"{tmp_path / 'file'} is not a folder; choose another --data-dir"
    assert ran.stderr == f"banditd {command}: {told}\n"


@pytest.mark.parametrize("command", ["serve", "learn"])
def test_a_file_in_place_of_the_snapshots_is_told(tmp_path, command):
    (tmp_path / "snapshots").touch()
    ran = banditd(*on(command, tmp_path))
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"banditd {command}: {tmp_path / 'snapshots'} is not a folder; remove it")


def test_a_data_folder_that_can_not_be_made_is_told_with_what_to_do():
    ran = banditd("serve", "--data-dir", "/proc/none", "--experiments", "none.yaml")
    assert ran.returncode == 1
    assert "the data folder /proc/none can't be used" in ran.stderr
    assert "Errno" not in ran.stderr


def test_learning_from_a_folder_that_is_not_there_is_told(tmp_path):
    ran = banditd("learn", "--data-dir", tmp_path / "none")
    assert ran.returncode == 1
    assert f"there is no folder {tmp_path / 'none'}; is it a --data-dir of banditd serve?" in ran.stderr


def test_an_export_into_a_folder_that_is_not_there_is_told(tmp_path):
    output = tmp_path / "none" / "file"
    ran = banditd("log", "export", "--data-dir", tmp_path, "--format", "jsonl", "--output", output)
    assert ran.returncode == 1
    assert ran.stderr == f"banditd log export: {output.parent} is not a folder; make it first\n"
