"""How the commands that judge policies tell of misspelt policies and of logs that they can't read."""

import os
import subprocess
import sys

import pytest

from bandit.cli.spelling import meant


@pytest.mark.parametrize(
    ("command", "policy", "question"),
    [
        ("evaluate", "squarecb", "did you mean preset:squarecb?"),
        ("evaluate", "squarecb:gamma_scale=3", "did you mean preset:squarecb:gamma_scale=3?"),
        ("evaluate", "squarcb", "did you mean preset:squarecb?"),
        ("evaluate", "unifrom", "did you mean uniform?"),
        ("evaluate", "fixd:a", "did you mean fixed:a?"),
        ("evaluate", "preset:squarecb", ""),
        ("evaluate", "something else", ""),
        ("replay", "preset:squarecb", "did you mean squarecb?"),
        ("replay", "squarcb:gamma_scale=3", "did you mean squarecb:gamma_scale=3?"),
        ("replay", "snapshot:x", "banditd evaluate judges snapshot:…"),
        ("replay", "squarecb", ""),
        ("report", "epsilongreedy", "did you mean epsilon_greedy?"),
    ],
)
def test_what_was_meant_is_asked(command, policy, question):
    assert meant(command, ["uniform", policy]) == question


def evaluate(*arguments):
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    command = [sys.executable, "-m", "bandit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=plain)


@pytest.fixture
def played(folder, shop):
    experiment = shop(reward={"metric": "visit", "window": "10m"})
    folder.define(experiment)
    folder.play(experiment, 40)
    folder.pass_seconds(3600)
    return folder.path


def test_a_misspelt_policy_is_bad_usage_with_the_question(played):
    ran = evaluate("evaluate", played, "--policy", "squarecb")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith("; did you mean preset:squarecb?\n")
    ran = evaluate("replay", played, "--policy", "preset:squarecb")
    assert (ran.returncode, ran.stderr.endswith("; did you mean squarecb?\n")) == (2, True)
    # Where all policies are known, something else is wrong.
    ran = evaluate("evaluate", played, "--policy", "uniform", "--alpha", "2")
    assert (ran.returncode, "did you mean" in ran.stderr) == (2, False)


@pytest.mark.parametrize("name", ["our.jsonl", "our.log"])
def test_a_jsonl_export_is_told_with_what_to_do(played, tmp_path, name):
    export = tmp_path / name
    assert (
        evaluate("log", "export", "--data-dir", played, "--format", "jsonl", "--output", export).returncode
        == 0
    )
    for command in ("evaluate", "replay"):
        ran = evaluate(command, export, "--policy", "uniform")
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
        assert ran.stderr.startswith(
            f"banditd {command}: {export} is a jsonl export, event by event; make a data"
        )
        assert f"banditd log import {export} --data-dir NEW" in ran.stderr


def test_the_database_of_a_data_folder_is_told_with_what_to_do(played, tmp_path):
    ran = evaluate("evaluate", played / "events.db", "--policy", "uniform")
    assert ran.returncode == 1
    assert ran.stderr.endswith("is the database of a data folder; give the folder that it stands in\n")
    ran = evaluate("log", "import", played, "--data-dir", tmp_path / "new")
    assert (ran.returncode, f"{played} is a data folder" in ran.stderr) == (2, True)


@pytest.mark.parametrize("command", [("verify",), ("log", "inspect"), ("experiment", "list")])
def test_a_folder_without_a_log_is_told_by_its_whole_path(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    ran = evaluate(*command, "--data-dir", ".")
    assert ran.returncode == 1
    told = f"There is no event log in {tmp_path}. Is it a --data-dir of banditd serve?"
    assert told in ran.stdout + ran.stderr
