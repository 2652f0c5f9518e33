"""`banditd evaluate` and `banditd replay` as commands."""

import json
import random

import pytest
from typer.testing import CliRunner

from bandit.cli.main import app_for


def banditd(*arguments):
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app_for(words), words, env={"NO_COLOR": "1", "COLUMNS": "100"})


def in_json(*arguments):
    ran = banditd(*arguments, "--json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout, parse_constant=pytest.fail)


@pytest.fixture
def log(line, log_of):
    rng = random.Random(3)
    return log_of(
        line(
            n,
            rng.choices(range(3), (0.5, 0.3, 0.2))[0],
            float(rng.random() < 0.4),
            context={"k": "xy"[n % 2]},
        )
        for n in range(1_000)
    )


def test_evaluate_prints_one_object(log):
    found = in_json("evaluate", log, "--policy", "uniform", "--policy", "fixed:v1")
    assert found["experiment_id"] == "imported"
    assert found["source"] == "dsjson"
    assert [one["policy"] for one in found["policies"]] == ["uniform", "fixed:v1"]
    uniform = found["policies"][0]
    assert uniform["headline"] == uniform["estimates"]["snips"]
    assert uniform["headline"]["low"] < uniform["headline"]["value"] < uniform["headline"]["high"]
    assert uniform["reason"] == ""
    assert {check["name"] for check in uniform["diagnostics"]} >= {"effective_sample_size", "support"}
    assert found["counts"]["joined"] == found["logged"]["n"] == 1_000


def test_a_failed_diagnostic_takes_the_headline_away_and_exits_0(line, log_of):
    path = log_of([line(n) for n in range(20)])
    found = in_json("evaluate", path, "--policy", "uniform")
    assert found["headline"] is None
    assert "information is left" in found["reason"]
    shown = banditd("evaluate", path, "--policy", "uniform")
    assert shown.exit_code == 0
    assert "uniform: no value." in shown.output


def test_segments_and_options_reach_the_runner(log):
    found = in_json(
        *(
            "evaluate",
            log,
            "--policy",
            "uniform",
            "--segment",
            "k",
            "--estimator",
            "dr",
            "--reward-model",
            "vw",
        ),
        *("--since", "2026-01-01T00:05:00Z", "--until", "2026-01-01T01:10:00+01:00", "--alpha", "0.2"),
    )
    assert found["counts"]["joined"] == 300
    assert {one["value"] for one in found["segments"]} == {"x", "y"}
    assert found["policies"][0]["headline_estimator"] == "dr"
    assert found["alpha"] == 0.2


def test_replay_learns_along_the_log(log):
    found = in_json("replay", log, "--policy", "squarecb", "--policy", "epsilon_greedy:epsilon=0.2")
    assert [one["policy"] for one in found["policies"]] == ["squarecb", "epsilon_greedy:epsilon=0.2"]
    assert all(one["headline"] for one in found["policies"])


def test_replay_of_the_live_run_says_what_was_reproduced(live):
    path = live("squarecb", rounds=60)
    found = in_json("replay", path, "--policy", "logged")
    assert found["live_run"] == {
        "reproduced": 60,
        "of": 60,
        "final_snapshot_equal": True,
        "differs": "",
        "other_release": 0,
    }
    assert found["logged"]["n"] == 60
    shown = banditd("replay", path, "--policy", "logged")
    assert "60 of 60 decisions came out as logged, the last snapshot is equal" in shown.output.replace(
        "\n", " "
    )


def test_a_table_is_shown_to_people(log):
    shown = banditd("evaluate", log, "--policy", "uniform", "--segment", "k")
    assert shown.exit_code == 0
    for text in ("as logged", "uniform", "95 % interval", "k = x", "1,000 joined"):
        assert text in shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "nonsense"], "is not a policy to evaluate"),
        (["--policy", "uniform", "--propensity", "both"], "own or marginal"),
        (["--policy", "uniform", "--reward-model", "tree"], "none, vw or column:NAME"),
        (["--policy", "uniform", "--since", "yesterday"], "ISO 8601"),
        (["--policy", "uniform", "--reward-range", "1,0"], "LOW,HIGH"),
        (["--policy", "uniform", "--estimator", "magic"], "is not an estimator"),
        (["--policy", "uniform", "--alpha", "1"], "alpha is 1"),
        (["--policy", "uniform", "--metric", "spend"], "metric 'spend' is not declared"),
        ([], "--policy"),
    ],
)
def test_bad_usage_exits_2(arguments, message, log):
    ran = banditd("evaluate", log, *arguments)
    assert ran.exit_code == 2
    assert message in ran.output


def test_a_log_that_can_not_be_used_exits_1(tmp_path, log):
    ran = banditd("evaluate", tmp_path / "none", "--policy", "uniform")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "does not exist" in ran.stderr
    ran = banditd("replay", log, "--policy", "squarecb", "--experiment", "other")
    assert ran.exit_code == 1
    assert "'other' is not in the log" in ran.stderr


def test_several_experiments_need_a_choice(tmp_path, live):
    from bandit import LocalBandit
    from bandit.core.experiment import Experiment

    path = live("uniform", rounds=3)
    other = Experiment(id="other", owner="x@y.example", variants=(), signals="open", reward={"metric": "m"})
    LocalBandit(other, data_dir=path).close()
    ran = banditd("evaluate", path, "--policy", "uniform")
    assert ran.exit_code == 2
    assert "--experiment (mail, other)" in ran.stderr
    assert in_json("evaluate", path, "--policy", "uniform", "--experiment", "mail")["logged"]["n"] == 3
