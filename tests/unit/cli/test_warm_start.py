"""learn --from: a historic log becomes the log and the first model of a new experiment, or nothing does."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from bandit.core.records import ORIGIN
from bandit.eventlog.joined import read_joined
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.snapshots.store import SnapshotStore

PLAIN = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
THIRD = 1 / 3
START = datetime(2024, 5, 1, tzinfo=UTC)
FILE = """
experiments:
  - id: shop
    owner: growth@shop.example
    variants: [{id: a}, {id: b}, {id: c}]
    baseline: a
    signals: {age: {type: number}, channel: {type: category}}
    reward: {metric: visit, range: [0, 1], window: 10m, default: none, learn: on_reward}
"""


def banditd(*arguments):
    command = [sys.executable, "-m", "bandit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=PLAIN)


def in_json(*arguments, code=0):
    ran = banditd(*arguments, "--json")
    assert ran.returncode == code, ran.stderr
    assert ran.stdout.count("\n") == 1
    return json.loads(ran.stdout)


def line(number, **changes):
    """A decision among a, b and c; b pays on the Web, and c elsewhere."""
    first = number % 3
    rest = [1 + n for n in range(3) if n != first]
    channel = "Web" if number % 2 else "Shop"
    found = {
        "_label_cost": -float(first == (1 if channel == "Web" else 2)),
        "_label_probability": THIRD,
        "_label_Action": first + 1,
        "_labelIndex": first,
        "Timestamp": (START + timedelta(seconds=number)).isoformat(),
        "Version": "1",
        "EventId": f"e{number}",
        "a": [first + 1, *rest],
        "c": {"age": 20.0 + number % 7, "channel": channel, "_multi": [{"id": n} for n in "abc"]},
        "p": [THIRD, THIRD, THIRD],
    }
    return {**found, **changes}


def in_context(number, **signals):
    """A decision with further, or other, signals."""
    found = line(number)
    return {**found, "c": {**found["c"], **signals}}


@pytest.fixture
def start(tmp_path):
    """Writes a log of lines and an experiment file; what `banditd learn` needs to start from them."""
    count = 0

    def made(lines, changed=None, name="log.dsjson"):
        nonlocal count
        count += 1
        log, file = tmp_path / name, tmp_path / f"experiments-{count}.yaml"
        log.write_text("".join(f"{one if type(one) is str else json.dumps(one)}\n" for one in lines))
        text = FILE
        for old, new in (changed or {}).items():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        return ["learn", "--from", log, "--data-dir", tmp_path / f"data-{count}", "--experiments", file]

    return made


def data_dir(arguments):
    return arguments[arguments.index("--data-dir") + 1]


def refused(arguments, *said):
    """Refused with a reason that says what to do, and nothing is left behind."""
    ran = banditd(*arguments, "--json")
    assert ran.returncode == 1
    found = json.loads(ran.stdout)
    assert found["exit"] == 1
    for text in said:
        assert text in ran.stderr
        assert text in found["error"]
    assert "Traceback" not in ran.stderr
    assert not data_dir(arguments).exists()


def events(folder, experiment_id="shop"):
    log = SqliteEventLog(folder, create=False)
    try:
        return read_joined(log, experiment_id, ORIGIN, log.head()[1], 1_000)
    finally:
        log.close()


def model(folder, experiment_id="shop"):
    """Everything of the newest snapshot."""
    store = SnapshotStore(folder)
    names = store.names(experiment_id)
    home, _ = store.read(experiment_id, names[0])
    return names, {path.name: path.read_bytes() for path in home.iterdir()}


def test_a_log_becomes_events_with_true_propensities_and_a_model_that_verify_finds_equal(start):
    arguments = start([line(number) for number in reversed(range(60))])
    done = in_json(*arguments)
    folder = data_dir(arguments)
    assert (done["exit"], done["decisions"], done["joined"], done["learned"]) == (0, 60, 60, 60)
    assert (done["experiment"], done["format"], done["out_of_order"]) == ("shop", "dsjson", 59)
    assert (done["bad_lines"], done["still_open"], done["variants_never_served"]) == (0, 0, [])
    found = events(folder)
    assert [event.decision.decision_id for event in found] == [f"e{number}" for number in range(60)]
    assert {event.decision.propensity for event in found} == {THIRD}
    assert [event.reward for event in found] == [-line(number)["_label_cost"] for number in range(60)]
    assert {event.decision.call_variants for event in found} == {False}
    verified = in_json("verify", "--data-dir", folder)
    assert verified["ok"]
    [experiment] = verified["experiments"]
    assert (experiment["joined"], experiment["snapshot_id"]) == (60, done["snapshot_id"])
    [listed] = in_json("experiment", "list", "--data-dir", folder)["experiments"]
    assert (listed["joined"], listed["snapshot_id"]) == (60, done["snapshot_id"])
    # The decisions to come are of a version that is not marked as imported.
    log = SqliteEventLog(folder, create=False)
    assert [(one.version, one.imported_from) for one in log.definitions()] == [
        (1, "dsjson log.dsjson"),
        (2, ""),
    ]
    assert {event.decision.version for event in found} == {1}
    log.close()
    assert sorted(path.name for path in folder.iterdir() if path.name[0] == ".") == []


def test_the_same_log_and_file_give_the_same_snapshot(start):
    lines = [line(number) for number in range(40)]
    one, two = start(lines), start(lines)
    assert in_json(*one)["snapshot_id"] == in_json(*two)["snapshot_id"]
    assert model(data_dir(one)) == model(data_dir(two))


def test_what_was_started_can_be_judged_and_replayed(start):
    arguments = start([line(number) for number in range(200)])
    in_json(*arguments)
    judged = in_json("evaluate", data_dir(arguments), "--policy", "uniform")
    found = judged["policies"][0]["estimates"]["snips"]
    assert (found["n"], judged["policies"][0]["headline"]) == (200, found)
    # What was decided elsewhere is learned from, but can't be decided again.
    ran = banditd("replay", data_dir(arguments), "--policy", "squarecb", "--policy", "logged")
    assert "live run: 0 of 0 decisions came out as logged, the last snapshot is equal" in ran.stdout


@pytest.mark.parametrize("form", ["folder", "jsonl", "parquet", "dsjson"])
def test_each_form_of_a_log_of_banditd_gives_the_same_model(start, folder, shop, tmp_path, form):
    experiment = shop(reward={"metric": "visit", "window": "10m", "default": 0})
    folder.define(experiment)
    folder.play(experiment, 40)
    folder.pass_seconds(700)
    source = folder.path
    if form != "folder":
        source = tmp_path / f"export.{form}"
        command = ["log", "export", "--data-dir", folder.path, "--format", form, "--output", source]
        assert banditd(*command).returncode == 0
    arguments = start([], {"default: none, learn: on_reward": "default: 0"})
    arguments[2] = source
    done = in_json(*arguments)
    assert (done["joined"], done["rewards"]) == (40, 20)
    assert done["source_experiment"] == ("" if form == "dsjson" else "front-page")
    mine, theirs = events(data_dir(arguments)), read_joined(folder.log, "front-page", ORIGIN, 2**60, 1_000)
    assert [event.reward for event in mine] == [event.reward for event in theirs]
    assert [event.decision.arm for event in mine] == [event.decision.arm for event in theirs]
    assert in_json("verify", "--data-dir", data_dir(arguments))["ok"]
    assert form != "folder" or folder.log.check_chain() is None


def test_variants_that_are_gone_stay_in_the_log_and_are_told(start):
    arguments = start(
        [line(number) for number in range(60)],
        {"[{id: a}, {id: b}, {id: c}]": "[{id: a}, {id: b, features: {new: true}}, {id: d}]"},
    )
    done = in_json(*arguments)
    assert done["variants_gone"] == {"c": 20}
    assert done["variants_never_served"] == ["d"]
    assert done["variants_with_other_features"] == {"b": 20}
    assert done["joined"] == 60
    assert [variant.id for variant in events(data_dir(arguments))[0].decision.variants] == ["a", "b", "c"]
    assert in_json("verify", "--data-dir", data_dir(arguments))["ok"]


def test_a_log_of_other_variants_alone_is_refused(start):
    changed = {"[{id: a}, {id: b}, {id: c}]": "[{id: x}, {id: y}]", "baseline: a": "baseline: x"}
    refused(start([line(number) for number in range(9)], changed), "a, b, c", "x, y", "ids that the log has")


def test_undeclared_signals_are_refused_unless_they_are_left_out(start):
    lines = [in_context(number, zip="x") for number in range(20)]
    arguments = start(lines)
    refused(arguments, "Not declared: zip.", "--without zip")
    done = in_json(*arguments, "--without", "zip")
    assert (done["signals_left_out"], done["joined"]) == ({"zip": 20}, 20)
    assert b"zip" not in b"".join(
        path.read_bytes() for path in data_dir(arguments).rglob("*") if path.is_file()
    )


def test_signals_of_another_type_are_refused_where_they_are_many_and_left_out_where_few(start):
    many = [line(number) for number in range(60)] + [in_context(60, age="old")]
    refused(start(many), "1 of 61 decisions", "Of another type or range: age.")
    few = [line(number) for number in range(150)] + [in_context(150, age="old")]
    done = in_json(*start(few))
    assert done["joined"] == 150
    assert done["bad_lines_by_reason"]["WRONG_TYPE"] == {
        "count": 1,
        "first_lines": [151],
        "advice": "declare the signals as the log has them",
    }


def test_rewards_outside_the_range_are_refused_with_the_range_that_holds_them(start):
    lines = [line(number) for number in range(500)] + [line(500, _label_cost=-7.5), line(501, _label_cost=2)]
    refused(start(lines), "2 rewards are outside the declared range [0, 1]", "such as [-2, 7.5]")
    assert in_json(*start(lines, {"[0, 1]": "[-2, 7.5]"}))["joined"] == 502


def test_decisions_without_a_reward_are_refused_where_the_definition_gives_one(start):
    lines = [line(number) for number in range(9)] + [line(9, _skipLearn=True)]
    refused(
        start(lines, {"default: none, learn: on_reward": "default: 0.5"}),
        "would give them 0.5",
        "default: none",
    )
    done = in_json(*start(lines))
    assert (done["decisions"], done["rewards"], done["learned"]) == (10, 9, 9)


def without_probabilities(number):
    return {key: value for key, value in line(number).items() if key not in ("p", "_label_probability")}


def test_decisions_without_a_propensity_are_left_out_and_a_log_of_them_is_refused(start):
    none = [without_probabilities(number) for number in range(5)]
    refused(start(none), "how probable", "banditd log import")
    done = in_json(*start([*none, *(line(number) for number in range(5, 15))]))
    assert (done["joined"], done["bad_lines_by_reason"]["PROPENSITY_MISSING"]["count"]) == (10, 5)


def test_no_log_time_is_ahead_of_the_clock(start):
    now = datetime.now(UTC)
    lines = [line(number) for number in range(10)]
    lines += [line(10, Timestamp=now.isoformat()), line(11, Timestamp=(now + timedelta(days=1)).isoformat())]
    # Closed by rewards, all that came are learned; in windows of ten minutes, the last one has to wait.
    for changed, still_open in (({}, 0), ({"default: none, learn: on_reward": "default: 0"}, 1)):
        arguments = start(lines, changed)
        done = in_json(*arguments)
        assert done["bad_lines_by_reason"]["IN_THE_FUTURE"]["first_lines"] == [12]
        assert done["still_open"] == still_open
        log = SqliteEventLog(data_dir(arguments), create=False)
        assert log.head()[1] <= datetime.now(UTC).timestamp() * 1e6
        log.close()
        assert in_json("verify", "--data-dir", data_dir(arguments))["ok"]
    recent = [line(number, Timestamp=now.isoformat()) for number in range(5)]
    refused(start(recent, {"default: none, learn: on_reward": "default: 0"}), "within their reward windows")


def test_a_log_that_was_open_gives_only_what_had_settled_there(start, folder, shop):
    # Rewards close their decisions at once, so among the newest only the rewarded ones have closed.
    experiment = shop(reward={"metric": "visit", "window": "10m", "default": 0, "learn": "on_reward"})
    folder.define(experiment)
    folder.play(experiment, 20)
    folder.pass_seconds(700)
    folder.play(experiment, 20)
    folder.pass_seconds(1)
    arguments = start([], {"default: none, learn: on_reward": "default: 0"})
    arguments[2] = folder.path
    done = in_json(*arguments)
    # The 21st has no reward; the even ones after it have one.
    assert (done["joined"], done["bad_lines_by_reason"]["NOT_SETTLED"]["count"]) == (20, 10)


def test_bad_lines_are_told_and_strict_stops_at_the_first(start):
    lines = [line(0), "nonsense", line(1), line(1), line(2)]
    arguments = start(lines)
    refused([*arguments, "--strict"], "line 2: is not JSON (INVALID_JSON). Nothing was imported.")
    ran = banditd(*arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    for text in ("INVALID_JSON", "DUPLICATE_ID", "3 decisions", "banditd serve --data-dir"):
        assert text in ran.stdout
    assert [event.decision.decision_id for event in events(data_dir(arguments))] == ["e0", "e1", "e2"]
    refused(start([]), "is empty")


def test_a_folder_that_is_in_use_is_refused_and_stays_as_it_is(start):
    arguments = start([line(number) for number in range(5)])
    in_json(*arguments)
    before = model(data_dir(arguments))
    again = banditd(*arguments)
    assert (again.returncode, "5 decisions of 'shop' already" in again.stderr) == (1, True)
    assert "new folder" in again.stderr
    assert model(data_dir(arguments)) == before
    other = start([line(number) for number in range(5)])
    data_dir(other).mkdir()
    (data_dir(other) / "mine").touch()
    ran = banditd(*other)
    assert (ran.returncode, "is not empty (mine)" in ran.stderr) == (1, True)
    assert [path.name for path in data_dir(other).iterdir()] == ["mine"]


def test_a_log_of_several_experiments_needs_the_one_of_that_id(start, folder, shop):
    for experiment_id in ("shop", "other"):
        experiment = shop(id=experiment_id)
        folder.define(experiment)
        folder.play(experiment, 10 if experiment_id == "shop" else 30)
    folder.pass_seconds(1)
    arguments = start([])
    arguments[2] = folder.path
    assert in_json(*arguments)["joined"] == 5
    renamed = start([], {"id: shop": "id: fresh"})
    renamed[2] = folder.path
    refused(renamed, "no experiment 'fresh'", "shop, other", "banditd log export --experiment ID")


def test_wrong_usage_is_told(start, tmp_path):
    arguments = start([line(0)])
    usage = [
        arguments[:5],  # no --experiments
        [*arguments, "--experiment", "nobody"],
        ["learn", "--data-dir", tmp_path, "--experiments", arguments[-1]],
        ["learn", "--data-dir", tmp_path, "--without", "zip"],
        ["learn", "--from", tmp_path / "nowhere", *arguments[3:]],
    ]
    for given in usage:
        ran = banditd(*given)
        assert (ran.returncode, ran.stdout) == (2, ""), ran.stderr
    assert not data_dir(arguments).exists()
