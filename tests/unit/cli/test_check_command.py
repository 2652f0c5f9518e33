import json
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures" / "experiments"


def banditd(*arguments):
    command = [sys.executable, "-m", "bandit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "experiments.yaml"
    path.write_text(
        "experiments:\n"
        "  - {id: mail, owner: o, variants: [{id: a}, {id: b}], baseline: a, reward: {metric: visit},\n"
        "     signals: {recency: {type: number}}}\n"
    )
    return path


def test_a_file_in_order_is_named_and_exits_with_0(good):
    ran = banditd("check", good)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ok: 1 experiment: mail\n", "")


def test_problems_are_printed_and_exit_with_1():
    path = FIXTURES / "window_without_a_unit.yaml"
    ran = banditd("check", path)
    assert ran.returncode == 1
    assert ran.stdout.splitlines() == [
        f"{path}:8: experiments[0].reward.window: is 10 without a unit; write a duration such as 10s or 10m",
        "1 problem",
    ]
    assert ran.stderr == ""


def test_warnings_are_printed_and_exit_with_0():
    ran = banditd("check", FIXTURES / "warns_of_no_floor.yaml")
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[0].endswith("(warning)")
    assert ran.stdout.splitlines()[-1] == "ok: 1 experiment: mail"


def test_json_is_one_object_and_nothing_else(good):
    ran = banditd("check", good, "--json")
    assert ran.returncode == 0
    assert json.loads(ran.stdout) == {"ok": True, "experiments": ["mail"], "problems": [], "warnings": []}


def test_json_of_a_broken_file_has_its_problems_and_exits_with_1():
    path = FIXTURES / "percent_over_a_hundred.yaml"
    ran = banditd("check", "--json", path)
    assert ran.returncode == 1
    assert json.loads(ran.stdout) == {
        "ok": False,
        "experiments": [],
        "problems": [
            {
                "file": str(path),
                "line": 9,
                "field": "experiments[0].rollout.percent",
                "message": "is 120; at most 100 is allowed",
            }
        ],
        "warnings": [],
    }


@pytest.mark.parametrize("arguments", [["check"], ["check", "nowhere.yaml"], ["check", "--wat"], ["chekc"]])
def test_bad_usage_exits_with_2_and_leaves_stdout_empty(arguments):
    ran = banditd(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr
