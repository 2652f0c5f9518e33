"""log export and log import as commands: each format out and in again, and what is said on the way."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLAIN = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
FIXTURES = Path(__file__).parents[2] / "fixtures" / "dsjson"
SOUND = (FIXTURES / "sound.dsjson").read_text()


def banditd(*arguments):
    command = [sys.executable, "-m", "bandit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=PLAIN)


def in_json(*arguments, code=0):
    ran = banditd(*arguments, "--json")
    assert (ran.returncode, ran.stderr) == (code, "")
    assert ran.stdout.count("\n") == 1
    return json.loads(ran.stdout)


@pytest.fixture
def learned(folder, shop):
    experiment = shop()
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    folder.learn()
    return folder


def test_a_jsonl_export_imported_again_is_the_log_that_its_models_came_from(learned, tmp_path):
    lines, copy = tmp_path / "log.jsonl", tmp_path / "copy"
    assert (
        banditd("log", "export", "--data-dir", learned.path, "--format", "jsonl", "--output", lines).stdout
        == ""
    )
    done = in_json("log", "import", lines, "--data-dir", copy)
    assert (done["format"], done["bad_lines"]) == ("jsonl", 0)
    shutil.copytree(learned.path / "snapshots", copy / "snapshots")
    found = in_json("verify", "--data-dir", copy)
    assert found["ok"]
    assert found["experiments"][0]["snapshot_id"]
    again = banditd("log", "export", "--data-dir", copy, "--format", "jsonl")
    assert again.stdout == lines.read_text()


@pytest.mark.parametrize("to_format", ["dsjson", "parquet"])
def test_joined_events_go_out_and_come_in_again(learned, tmp_path, to_format):
    target, copy = tmp_path / f"log.{to_format}", tmp_path / "copy"
    arguments = ["log", "export", "--data-dir", learned.path, "--format", to_format, "--output", target]
    ran = banditd(*arguments)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    done = in_json("log", "import", target, "--data-dir", copy)
    assert done["format"] == to_format
    assert done["experiments"][0]["decisions"] == 10
    shown = in_json("log", "inspect", "--data-dir", copy)
    assert shown["imported_from"] == [f"{to_format} log.{to_format}"]
    assert "imported from" in banditd("log", "inspect", "--data-dir", copy).stdout
    assert in_json("verify", "--data-dir", copy)["ok"]


def test_vw_goes_to_stdout_or_a_file(learned, tmp_path):
    arguments = ["log", "export", "--data-dir", learned.path, "--format", "vw"]
    ran = banditd(*arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count("shared |U") == 10
    assert ran.stdout.endswith("\n\n")
    banditd(*arguments, "--output", tmp_path / "log.vw")
    assert (tmp_path / "log.vw").read_text() == ran.stdout


def test_a_format_of_one_experiment_asks_which(learned, shop):
    learned.define(shop(id="other"))
    for to_format in ("dsjson", "vw"):
        ran = banditd("log", "export", "--data-dir", learned.path, "--format", to_format)
        assert ran.returncode == 2
        assert "--experiment" in ran.stderr
        named = [*["log", "export", "--data-dir", learned.path], "--format", to_format, "--experiment"]
        assert banditd(*named, "front-page").stdout
        assert banditd(*named, "other").stdout == ""
        assert banditd(*named, "nobody").returncode == 2


def test_parquet_is_a_folder_of_its_own(learned, tmp_path):
    arguments = ["log", "export", "--data-dir", learned.path, "--format", "parquet"]
    assert banditd(*arguments).returncode == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    ran = banditd(*arguments, "--output", tmp_path / "full")
    assert (ran.returncode, "not empty" in ran.stderr) == (1, True)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert banditd(*arguments, "--output", tmp_path / "empty").returncode == 0
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["experiment_id=front-page"]


def test_bad_lines_are_shown_by_reason_with_their_numbers(tmp_path):
    path = tmp_path / "log.dsjson"
    path.write_text(SOUND + "nonsense\n" + SOUND.replace('"e1"', '"e2"') + SOUND[:40])
    done = in_json("log", "import", path, "--data-dir", tmp_path / "data")
    assert done["bad_lines"] == 2
    assert done["bad_lines_by_reason"] == {
        "INVALID_JSON": {"count": 1, "first_lines": [2]},
        "TRUNCATED_LINE": {"count": 1, "first_lines": [4]},
    }
    assert (done["experiments"], done["definition_made_up"]) == (
        [{"id": "imported", "decisions": 2, "rewards": 2}],
        True,
    )
    ran = banditd("log", "import", path, "--data-dir", tmp_path / "people", "--experiment", "[red]x[/red]")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "[red]x[/red]" in ran.stdout
    assert "TRUNCATED_LINE" in ran.stdout


def test_strict_stops_at_the_first_and_leaves_nothing(tmp_path):
    path = tmp_path / "log.dsjson"
    path.write_text(SOUND + "nonsense\n")
    ran = banditd("log", "import", path, "--data-dir", tmp_path / "data", "--strict", "--json")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "line 2: is not JSON (INVALID_JSON). Nothing was imported." in ran.stderr
    assert not (tmp_path / "data").exists()


def test_the_range_of_rewards_can_be_said_or_come_from_an_experiment_file(tmp_path):
    path = tmp_path / "log.dsjson"
    path.write_text(SOUND.replace('"_label_cost":-1.0', '"_label_cost":5'))
    missing = banditd("log", "import", path, "--data-dir", tmp_path / "a")
    assert (missing.returncode, "--reward-range" in missing.stderr) == (1, True)
    ranged = ["log", "import", path, "--data-dir", tmp_path / "a", "--reward-range"]
    assert in_json(*ranged, "-5,0")["experiments"][0]["rewards"] == 1
    for wrong in ("1", "1,0", "a,b", "0,inf", "0,1,2", "nan,1"):
        assert banditd(*ranged, wrong).returncode == 2
    file = tmp_path / "experiments.yaml"
    file.write_text(
        "experiments:\n  - id: own\n    owner: me\n    variants: [{id: x}, {id: y}]\n    baseline: x\n"
        "    signals: open\n    reward: {metric: visit, range: [-10, 0], default: 0}\n"
    )
    given = ["log", "import", path, "--data-dir", tmp_path / "b", "--experiments", file]
    assert banditd(*given, "--experiment", "other").returncode == 2
    assert banditd(*given, "--reward-range", "0,1").returncode == 2
    done = in_json(*given, "--experiment", "own")
    assert (done["experiments"], done["definition_made_up"]) == (
        [{"id": "own", "decisions": 1, "rewards": 1}],
        False,
    )


def test_jsonl_brings_its_own_definitions(learned, tmp_path):
    path = tmp_path / "log.jsonl"
    banditd("log", "export", "--data-dir", learned.path, "--format", "jsonl", "--output", path)
    ran = banditd("log", "import", path, "--data-dir", tmp_path / "data", "--reward-range", "0,1")
    assert ran.returncode == 2


def test_a_missing_package_is_named_by_its_extra(tmp_path, learned):
    # A module of that name that can't be found, as where the extra was not installed.
    code = (
        "import sys; sys.modules['orjson'] = sys.modules['pyarrow'] = None; "
        "from bandit.cli.main import main; main()"
    )
    data = ["--data-dir", str(learned.path)]
    for arguments in (
        ["log", "import", str(FIXTURES / "sound.dsjson"), "--data-dir", str(tmp_path / "new")],
        ["log", "export", *data, "--format", "dsjson"],
        ["log", "export", *data, "--format", "parquet", "--output", str(tmp_path / "set")],
    ):
        ran = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=PLAIN
        )
        assert ran.returncode == 1
        assert ran.stderr.endswith("needs the extra `replay`: pip install 'banditd[replay]'\n")
        assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
