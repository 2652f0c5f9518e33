"""verify, log and experiment list, run as commands on a data folder that is already there."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from bandit.eventlog.log import NewReward
from bandit.learning.overview import overview
from bandit.serving.components import write_components
from bandit.snapshots.store import MODEL
from other_format import as_format

PLAIN = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
ODD_ID = "[red]x[/red]"


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
    """Two experiments, one of them with a name like markup, and one that has nothing yet."""
    for experiment in (shop(), shop(id=ODD_ID)):
        folder.define(experiment)
        folder.play(experiment, 20)
        folder.pass_seconds(1)
        folder.learn()
    folder.define(shop(id="new"))
    return folder


def spoil(learned):
    path = learned.snapshot("front-page") / MODEL
    path.write_bytes(path.read_bytes()[:-1])


def test_verify_of_a_sound_folder_is_ok(learned):
    found = in_json("verify", "--data-dir", learned.path)
    seq, _ = learned.log.head()
    assert found["ok"] is True
    assert found["log"] == {"ok": True, "events": seq, "reason": ""}
    by_id = {one["id"]: one for one in found["experiments"]}
    assert list(by_id) == [ODD_ID, "front-page", "new"]
    assert by_id["new"] == {
        "id": "new",
        "position": None,
        "joined": 0,
        "snapshot_id": "",
        "equal": True,
        "reason": "",
        "not_compared": [],
        "warnings": [],
    }
    name = learned.store.names("front-page")[0]
    _, manifest = learned.store.read("front-page", name)
    assert by_id["front-page"] == {
        "id": "front-page",
        "position": {"closing_us": manifest.position.closing_us, "seq": manifest.position.seq},
        "joined": 10,
        "snapshot_id": name,
        "equal": True,
        "reason": "",
        "not_compared": [],
        "warnings": [],
    }


def test_verify_of_a_spoilt_model_names_it_and_exits_with_1(learned):
    spoil(learned)
    found = in_json("verify", "--data-dir", learned.path, code=1)
    assert found["ok"] is False
    assert {one["id"]: one["equal"] for one in found["experiments"]} == {
        ODD_ID: True,
        "front-page": False,
        "new": True,
    }
    ran = banditd("verify", "--data-dir", learned.path)
    assert ran.returncode == 1
    assert "NOT equal" in ran.stdout
    assert ODD_ID in ran.stdout
    assert "sum of the model's files does not match" in ran.stdout


def test_verify_for_people_says_what_was_proven(learned):
    ran = banditd("verify", "--data-dir", learned.path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1].startswith("ok: ")
    assert "none yet" in ran.stdout


def test_verify_shows_what_is_not_equal_and_warns_of_what_was_not_compared(learned):
    [newest] = learned.store.names("front-page")
    home = learned.path / "snapshots" / "e-front-page"
    (home / "garbage").mkdir()
    shutil.copytree(home / newest, learned.path / "kept")
    earlier = as_format(home / newest, 3)
    ran = banditd("verify", "--data-dir", learned.path)
    assert ran.returncode == 0
    assert "not compared" in next(line for line in ran.stdout.splitlines() if "front-page" in line)
    assert f"warning: front-page: snapshot {earlier}: made by an earlier release" in ran.stdout
    assert "warning: front-page: the folder 'garbage' beside the snapshots" in ran.stdout
    assert ran.stdout.splitlines()[-1].endswith("every model that can be compared is what they give")

    shutil.copytree(learned.path / "kept", home / newest)
    assert "warning" in banditd("verify", "--data-dir", learned.path).stdout
    found = in_json("verify", "--data-dir", learned.path)
    [one] = [one for one in found["experiments"] if one["id"] == "front-page"]
    assert (one["equal"], one["snapshot_id"], one["not_compared"]) == (True, newest, [earlier])
    assert len(one["warnings"]) == 2

    broken = home / "0000000000000001-0000000001-0a1b2c3d"
    broken.mkdir()
    ran = banditd("verify", "--data-dir", learned.path)
    assert ran.returncode == 1
    row = next(line for line in ran.stdout.splitlines() if "front-page" in line)
    assert row.split()[1:] == ["-", broken.name, "NOT", "equal"]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_log_file_that_was_cut_off_is_found(learned, share):
    learned.log.close()
    path = learned.path / "events.db"
    os.truncate(path, int(path.stat().st_size * share))
    found = in_json("verify", "--data-dir", learned.path, code=1)
    assert (found["ok"], found["log"]["ok"]) == (False, False)
    assert found["log"]["reason"]
    assert not any(one["equal"] for one in found["experiments"])


@pytest.mark.parametrize("command", [["verify"], ["log", "inspect"], ["experiment", "list"]])
def test_a_folder_without_a_log_exits_with_1_and_says_so(tmp_path, command):
    ran = banditd(*command, "--data-dir", tmp_path)
    assert ran.returncode == 1
    assert "There is no event log in" in ran.stdout + ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_verify_of_a_folder_without_a_log_is_still_one_json_object(tmp_path):
    found = in_json("verify", "--data-dir", tmp_path, code=1)
    assert (found["ok"], found["experiments"], found["log"]["ok"]) == (False, [], False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "--data-dir", "/nowhere/at/all"],
        ["log", "inspect"],
        ["log", "wat"],
        ["log", "export", "--data-dir", "."],
        ["log", "export", "--data-dir", ".", "--format", "csv"],
        ["experiment", "list"],
        ["experiment", "lits"],
    ],
)
def test_bad_usage_exits_with_2_and_leaves_stdout_empty(arguments):
    ran = banditd(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr


def test_inspect_counts_what_is_in_the_log(learned):
    learned.log.append([NewReward("nobody", "", 1.0, "", None)])
    found = in_json("log", "inspect", "--data-dir", learned.path)
    seq, at_us = learned.log.head()
    events = list(learned.log.events())
    assert found["schema_version"] == 1
    assert (found["seq"], found["last_at_us"], found["first_at_us"]) == (seq, at_us, events[0].at_us)
    assert found["size_bytes"] == learned.log.size_bytes()
    expected = {}
    for event in events:
        times = expected.setdefault((event.kind, event.experiment_id), [])
        times.append(event.at_us)
    assert found["events"] == [
        {"kind": kind, "experiment_id": name, "rows": len(times), "first_us": times[0], "last_us": times[-1]}
        for (kind, name), times in sorted(expected.items())
    ]
    assert found["open_decisions"] == {ODD_ID: 10, "front-page": 10, "new": 0}
    learned.pass_seconds(700)
    assert in_json("log", "inspect", "--data-dir", learned.path)["open_decisions"]["front-page"] == 0


def test_inspect_for_people_is_a_table(learned):
    ran = banditd("log", "inspect", "--data-dir", learned.path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ODD_ID in ran.stdout
    assert "20 decisions not yet closed" in ran.stdout
    assert "2023-11-14 22:13:20Z" in ran.stdout


def test_inspect_of_an_empty_log_has_no_times(folder):
    found = in_json("log", "inspect", "--data-dir", folder.path)
    assert (found["seq"], found["first_at_us"], found["last_at_us"], found["events"]) == (0, None, None, [])
    assert banditd("log", "inspect", "--data-dir", folder.path).returncode == 0


def test_export_prints_one_event_a_line(learned):
    ran = banditd("log", "export", "--data-dir", learned.path, "--format", "jsonl")
    assert (ran.returncode, ran.stderr) == (0, "")
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    seq, _ = learned.log.head()
    assert [row["seq"] for row in rows] == list(range(1, seq + 1))
    assert set(rows[0]) == {"seq", "kind", "experiment_id", "decision_id", "at_us", "record"}


def test_export_to_a_file_leaves_the_file_alone_in_its_folder(learned, tmp_path):
    target = tmp_path / "out" / "events.jsonl"
    target.parent.mkdir()
    target.write_text("an older export")
    arguments = ["log", "export", "--data-dir", learned.path, "--format", "jsonl"]
    ran = banditd(*arguments, "--output", target)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert target.read_text() == banditd(*arguments).stdout
    assert list(target.parent.iterdir()) == [target]


def test_an_export_that_fails_leaves_the_older_one(learned, tmp_path):
    target = tmp_path / "out" / "events.jsonl"
    target.parent.mkdir()
    target.write_text("an older export")
    with learned.log._read_lock:  # the file is altered as someone with it in hand could
        writer = learned.log._handles.writer
        writer.execute("UPDATE events SET record = x'ff' WHERE seq = 30")
    ran = banditd("log", "export", "--data-dir", learned.path, "--format", "jsonl", "--output", target)
    assert ran.returncode == 1
    assert "banditd verify" in ran.stderr
    assert target.read_text() == "an older export"
    assert list(target.parent.iterdir()) == [target]


def test_an_export_into_a_folder_that_is_not_there_exits_with_1(learned, tmp_path):
    target = tmp_path / "nowhere" / "events.jsonl"
    ran = banditd("log", "export", "--data-dir", learned.path, "--format", "jsonl", "--output", target)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr


def test_a_reader_that_has_had_enough_ends_an_export_silently(learned, shop):
    for number in range(20):  # more than any pipe takes
        learned.define(shop(hypothesis=str(number) * 200_000))
    command = [sys.executable, "-m", "bandit", "log", "export", "--format", "jsonl"]
    command += ["--data-dir", str(learned.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 1


def test_list_shows_the_definitions_in_force_and_what_closed(learned, shop):
    learned.define(shop(owner="new@owner", rollout={"stage": "ramp", "percent": 20, "holdout_percent": 5}))
    learned.play(shop(), 10)  # not learned yet
    learned.pass_seconds(1)
    found = in_json("experiment", "list", "--data-dir", learned.path)
    assert found["problems"] == []
    by_id = {one["id"]: one for one in found["experiments"]}
    assert list(by_id) == [ODD_ID, "front-page", "new"]
    page = by_id["front-page"]
    assert (page["owner"], page["version"], page["stage"]) == ("new@owner", 2, "ramp")
    assert (page["percent"], page["holdout_percent"]) == (20, 5)
    assert page["snapshot_id"] == learned.store.names("front-page")[0]
    assert (page["joined"], page["outcomes"]) == (15, {"rewarded": 15, "defaulted": 0, "unrewarded": 0})
    assert sum(row["joined"] for row in page["arms"].values()) == 15
    assert sum(row["joined"] for row in page["variants"].values()) == 15
    assert sum(row["share"] for row in page["variants"].values()) == pytest.approx(1)
    rewards = [(row["mean_reward"] or 0) * row["counted"] for row in page["variants"].values()]
    assert page["mean_reward"] == pytest.approx(sum(rewards) / 15)
    assert (by_id["new"]["joined"], by_id["new"]["mean_reward"], by_id["new"]["snapshot_id"]) == (0, None, "")


@pytest.mark.parametrize("lose", ["nothing", "a model", "all snapshots", "the policy"])
def test_the_counts_are_the_same_wherever_they_are_continued_from(learned, shop, lose):
    learned.play(shop(), 10)
    learned.pass_seconds(1)
    if lose == "a model":
        spoil(learned)
    elif lose == "all snapshots":
        for name in learned.store.names("front-page"):
            learned.store.discard("front-page", name)
    elif lose == "the policy":
        learned.define(shop(policy={"preset": "uniform"}))
    read = []
    standings = overview(learned.log, learned.store, lambda what, done, total: read.append(what))
    page = next(one for one in standings if one.definition.experiment.id == "front-page")
    assert page.summary.joined == 15
    assert bool(page.snapshot_id) == (lose == "nothing")
    assert "front-page" in read
    assert page.summary.report()["mean_reward"] == pytest.approx(0.6, abs=0.4)


def test_list_shows_how_far_a_changed_policy_is_and_what_is_pinned(learned, shop):
    old = learned.store.names("front-page")[0]

    def page():
        found = in_json("experiment", "list", "--data-dir", learned.path)
        shown = banditd("experiment", "list", "--data-dir", learned.path).stdout
        return next(one for one in found["experiments"] if one["id"] == "front-page"), shown

    found, shown = page()
    assert (found["retraining"], found["pinned"]) == (None, None)
    assert "retraining" not in shown
    assert "pinned" not in shown

    learned.play(shop(), 1_200)  # not learned when the policy changes
    learned.define(shop(policy={"preset": "epsilon_greedy", "snapshot": old}))
    learned.pass_seconds(10)
    found, shown = page()
    assert found["retraining"] == {"learned": 0, "of": 610, "share": 0.0}
    assert found["pinned"] == {"snapshot_id": old, "problem": "", "ok": True}
    assert "retraining: 0 of 610 joined events learned (0.0%); the pinned snapshot serves" in shown
    assert f"pinned: {old}\n" in shown

    spoil(learned)
    _, shown = page()
    assert f"pinned: {old}, which can't serve: " in shown
    trainer = learned.trainer()
    while trainer.step(lambda: False):
        pass
    trainer.finish()
    found, shown = page()
    assert found["retraining"] is None
    assert found["snapshot_id"] == learned.store.names("front-page")[0]


def test_list_shows_how_much_is_learned_anew(learned, shop):
    learned.play(shop(), 1_200)
    learned.pass_seconds(10)
    learned.learn()
    learned.define(shop(policy={"preset": "epsilon_greedy"}))
    trainer = learned.trainer()
    trainer.step(lambda: False)
    [found] = [
        one
        for one in in_json("experiment", "list", "--data-dir", learned.path)["experiments"]
        if one["id"] == "front-page"
    ]
    assert found["retraining"] == {"learned": 500, "of": 610, "share": pytest.approx(500 / 610)}
    shown = banditd("experiment", "list", "--data-dir", learned.path).stdout
    assert "500 of 610 joined events learned (82.0%); the model before serves meanwhile" in shown
    trainer.finish()


def test_list_for_people_is_readable(learned):
    ran = banditd("experiment", "list", "--data-dir", learned.path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"{ODD_ID}: full (100 % treatment, 0 % holdout), version 1, squarecb on visit" in ran.stdout
    assert "closed: nothing yet; snapshot: none yet" in ran.stdout
    assert "treatment arm" in ran.stdout


def test_list_of_an_empty_log_says_so(folder):
    assert banditd("experiment", "list", "--data-dir", folder.path).stdout == "no experiments yet\n"


def test_list_shows_the_problems_of_a_broken_file(learned):
    problem = "experiments.yaml:3: experiments[0].owner: is missing; name who decides"
    write_components(learned.path, {"experiments": {"ok": False, "detail": f"{problem}\nand another"}})
    found = in_json("experiment", "list", "--data-dir", learned.path)
    assert found["problems"] == [problem, "and another"]
    assert problem in banditd("experiment", "list", "--data-dir", learned.path).stdout
    write_components(learned.path, {"experiments": {"ok": True, "detail": ""}})
    assert in_json("experiment", "list", "--data-dir", learned.path)["problems"] == []
