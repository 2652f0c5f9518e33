"""report, run as a command on a data folder that is already there."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest


def ran(*arguments, code=0):
    command = [sys.executable, "-m", "bandit", "report", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def played(folder, shop):
    experiment = shop(reward={"metric": "visit", "window": "10m"})
    folder.define(experiment)
    folder.play(experiment, 400)
    folder.pass_seconds(3600)
    return folder


def test_a_report_is_one_page_and_the_same_bytes_for_the_same_log(played, tmp_path):
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    policies = ["--policy", "uniform", "--policy", "squarecb", "--segment", "channel"]
    found = json.loads(ran(played.path, "-o", first, *policies, "--json").stdout)
    told = ran(played.path, "--output", second, *policies).stdout
    assert first.read_bytes() == second.read_bytes()
    assert found["bytes"] == len(first.read_bytes())
    assert [one["policy"] for one in found["policies"]] == ["uniform", "squarecb"]
    assert set(found["segments"]) == {"x", "y", "z"}
    assert f"wrote {second}" in told.replace("\n", "")
    root = ElementTree.fromstring(first.read_text().partition("\n")[2])  # noqa: S314  (our own page)
    assert root.find("body/header/h1").text == "What other policies would have earned: front-page"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "first.html", "second.html"]


def test_a_policy_that_there_is_not_is_bad_usage(played, tmp_path):
    done = ran(played.path, "-o", tmp_path / "r.html", "--policy", "squarcb", code=2)
    assert done.stderr.startswith("banditd report: 'squarcb' is not a policy")
    assert not (tmp_path / "r.html").exists()


def test_a_log_that_is_not_there_and_a_page_that_cannot_be_written_are_failures(played, tmp_path):
    assert "does not exist" in ran(tmp_path / "nowhere", "-o", tmp_path / "r.html", code=1).stderr
    done = ran(played.path, "-o", tmp_path / "no" / "r.html", code=1)
    assert "can't be written: No such file or directory" in done.stderr
