"""sweep, run as a command on a data folder that is already there."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from waiting import until

PLAIN = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}

GRID = """
policies: [squarecb, uniform]
options:
  squarecb: {gamma_scale: [3, 30]}
"""


def command(*arguments):
    return [sys.executable, "-m", "bandit", "sweep", *map(str, arguments)]


def ran(tmp_path, *arguments, code=0):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=PLAIN, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def played(folder, shop, tmp_path):
    experiment = shop(reward={"metric": "visit", "window": "10m"})
    folder.define(experiment)
    folder.play(experiment, 400)
    folder.pass_seconds(3600)
    (tmp_path / "grid.yaml").write_text(GRID)
    return folder


def test_a_sweep_ranks_its_cells_and_the_next_one_takes_what_is_kept(played, tmp_path):
    done = ran(tmp_path, played.path, "--grid", "grid.yaml", "--workers", 2, "--json")
    found = json.loads(done.stdout)
    assert (found["experiment_id"], found["cells"], found["reused"]) == ("front-page", 3, 0)
    assert found["cell_alpha"] == pytest.approx(0.05 / 3)
    assert {result["policy"] for result in found["results"]} == {
        "squarecb:gamma_scale=3",
        "squarecb:gamma_scale=30",
        "uniform",
    }
    values = [result["headline"]["value"] for result in found["results"]]
    assert values == sorted(values, reverse=True)
    assert found["winner"]["policy"] == found["results"][0]["policy"] == found["best"][0]
    assert found["failed"] == []
    assert len(list((tmp_path / "data.sweep").iterdir())) == 3

    again = json.loads(ran(tmp_path, played.path, "--grid", "grid.yaml", "--json").stdout)
    assert again["reused"] == 3
    for result in (*found["results"], *again["results"]):
        result.pop("reused")
    assert again["results"] == found["results"]

    told = ran(tmp_path, played.path, "--grid", "grid.yaml").stdout
    assert "0 cells replayed, 3 kept from before, in data.sweep" in told
    assert "hold together with probability 95 %" in told


def test_a_cell_is_what_replay_says_at_its_level(played, tmp_path):
    found = json.loads(ran(tmp_path, played.path, "--grid", "grid.yaml", "--json").stdout)
    one = next(result for result in found["results"] if result["policy"] == "squarecb:gamma_scale=3")
    replayed = subprocess.run(
        [
            *(sys.executable, "-m", "bandit", "replay", str(played.path), "--json"),
            *("--policy", "squarecb:gamma_scale=3", "--alpha", str(0.05 / 3)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(replayed.stdout)["policies"][0]["estimates"] == one["estimates"]


def test_a_grid_that_cannot_be_used_is_bad_usage_with_its_line(played, tmp_path):
    (tmp_path / "grid.yaml").write_text("policies:\n  - squarcb\n")
    done = ran(tmp_path, played.path, "--grid", "grid.yaml", code=2)
    assert done.stderr.startswith("grid.yaml:2: policies[0]: is 'squarcb', not a preset")
    assert done.stdout == ""


def test_a_fixed_variant_that_is_not_in_the_catalogue_is_bad_usage(played, tmp_path):
    (tmp_path / "grid.yaml").write_text("policies: [fixed:nowhere]")
    assert "nowhere" in ran(tmp_path, played.path, "--grid", "grid.yaml", code=2).stderr


def test_a_log_that_is_not_there_is_a_failure(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    done = ran(tmp_path, "nowhere", "--grid", "grid.yaml", code=1)
    assert done.stderr.startswith("banditd sweep: nowhere does not exist.")


def test_ctrl_c_keeps_what_is_finished_and_leaves_no_process(played, tmp_path):
    scales = list(range(1, 401))
    (tmp_path / "grid.yaml").write_text(
        f"policies: [squarecb]\noptions: {{squarecb: {{gamma_scale: {scales}}}}}"
    )
    arguments = [played.path, "--grid", "grid.yaml", "--workers", 2, "--output", "kept", "--json"]
    sweep = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PLAIN,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        until(lambda: list(tmp_path.glob("kept/*.json")) or sweep.poll() is not None)
        assert sweep.poll() is None, sweep.stderr.read()
        children = psutil.Process(sweep.pid).children(recursive=True)
        assert children
        os.killpg(sweep.pid, signal.SIGINT)
        out, errors = sweep.communicate(timeout=20)
    finally:
        sweep.kill()
        sweep.wait()
    assert sweep.returncode == 130
    assert out == ""
    assert errors.startswith("banditd sweep: stopped. "), errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    kept = {path.name for path in tmp_path.glob("kept/*")}
    assert kept
    assert all(name.endswith(".json") for name in kept)
    assert len(kept) < 400


def test_a_remark_names_the_cells_that_it_is_about(played, tmp_path):
    (tmp_path / "grid.yaml").write_text(
        "policies: [squarecb]\noptions: {squarecb: {gamma_scale: [1, 2, 3, 4, 5]}}"
    )
    told = ran(tmp_path, played.path, "--grid", "grid.yaml", "--until", "2001-01-01", code=1).stdout
    named = ", ".join(f"squarecb:gamma_scale={scale}" for scale in (1, 2, 3))
    assert f"{named} and 2 more: failed: No decision of the log lies in that time." in told


def test_a_cell_without_a_value_is_named(folder, shop, tmp_path):
    experiment = shop(reward={"metric": "visit", "window": "10m"})
    folder.define(experiment)
    folder.play(experiment, 3)
    folder.pass_seconds(3600)
    (tmp_path / "grid.yaml").write_text("policies: [squarecb, uniform]")
    told = ran(tmp_path, folder.path, "--grid", "grid.yaml").stdout
    assert "\nuniform: no value. " in told or "\nsquarecb, uniform: no value. " in told


def test_a_log_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "events.db").write_text("no database")
    done = ran(tmp_path, "data", "--grid", "grid.yaml", code=1)
    assert done.stderr.startswith("banditd sweep: The event log in data can't be used")
    assert done.stderr.count("\n") == 1
