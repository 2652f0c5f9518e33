"""LocalBandit: the service's choices, joining and learning without its server."""

import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from enum import Enum

import pytest

import bandit
from bandit import LocalBandit
from bandit.core.errors import Reason, Refused
from bandit.core.records import ORIGIN, Arm, RewardStatus, Source, Variant
from bandit.eventlog.joined import read_joined
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.fold import ModelFold
from bandit.local import journal
from bandit.policies.model import ModelSpec
from bandit.process import FolderBusy
from bandit.snapshots.store import SnapshotStore

SALT = b"a salt for tests"
START_US = 1_700_000_000_000_000
BEST = {"x": "a", "y": "b", "z": "c"}


def experiment(*changes):
    """YAML of an experiment of three variants; a change is a line that stands for the one of its key."""
    lines = {
        "variants": "variants: [{id: a, payload: {t: 1}}, {id: b}, {id: c, features: {size: 2}}]",
        "baseline": "baseline: a",
        "signals": "signals: {kind: {type: category}, n: {type: number}}",
        "reward": "reward: {metric: visit, window: 10m}",
    }
    lines.update({change.partition(":")[0]: change for change in changes})
    body = "".join(f"    {line}\n" for line in lines.values())
    return f"experiments:\n  - id: page\n    owner: growth@shop.example\n{body}"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.us = START_US

    def __call__(self):
        return self.us


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "folder"])
def opened(request, tmp_path, clock):
    """Opens an experiment's LocalBandit, in memory and in a data folder; closes it after the test."""
    bandits = []

    def opening(*changes):
        folder = None if request.param == "memory" else tmp_path / f"data-{len(bandits)}"
        bandits.append(LocalBandit.from_yaml(experiment(*changes), "page", folder, salt=SALT, clock_us=clock))
        return bandits[-1]

    yield opening
    for each in bandits:
        each.close()


def seeded(seed=7):
    print(f"seed {seed}")
    return random.Random(seed)


def play(local, clock, rounds, reward_of, chance=None):
    """Plays a world in which the kind of the context decides; returns the choices and the share of hits."""
    chance = chance or seeded()
    choices, hits = [], 0
    for number in range(rounds):
        kind = chance.choice("xyz")
        clock.us += 1_000
        choice = local.choose({"kind": kind, "n": number % 10}, subject_id=f"u{number % 50}")
        hit = BEST[kind] == choice.variant_id
        local.reward(choice.decision_id, reward_of(hit, chance))
        choices.append(choice)
        hits += hit
    return choices, hits / rounds


def zero_or_one(hit, chance):
    return 1 if hit else 0


def refusal(call, *arguments, **keywords):
    with pytest.raises(Refused) as caught:
        call(*arguments, **keywords)
    return caught.value.reason


def fingerprint(folder, spec_of="page"):
    """The sum of the newest published model."""
    store = SnapshotStore(folder)
    snapshot, manifest = store.read(spec_of, store.names(spec_of)[0])
    fold = ModelFold.resume(manifest, snapshot)
    try:
        return manifest.position, fold.learner.fingerprint()
    finally:
        fold.close()


def test_it_learns_which_variant_suits_which_context(clock):
    local = LocalBandit.from_yaml(experiment(), "page", salt=SALT, clock_us=clock)
    choices, hits = play(local, clock, 2_000, zero_or_one)
    late = choices[1_000:]
    assert hits > 0.8  # uniform has a third
    assert len({choice.variant_id for choice in late}) == 3
    assert all(choice.source is Source.LEARNED and choice.arm is Arm.TREATMENT for choice in late)


@pytest.mark.parametrize(
    ("bounds", "reward_of"),
    [
        ("[-10, -1]", lambda hit, chance: -1.0 - chance.random() if hit else -9.0 - chance.random()),
        ("[0, 500]", lambda hit, chance: 400.0 + 100 * chance.random() if hit else 50.0 * chance.random()),
    ],
)
def test_it_learns_whatever_the_range_of_rewards(clock, bounds, reward_of):
    rule = f"reward: {{metric: gain, window: 10m, range: {bounds}, default: none}}"
    local = LocalBandit.from_yaml(experiment(rule), "page", salt=SALT, clock_us=clock)
    _, hits = play(local, clock, 1_500, reward_of)
    assert hits > 0.75


def test_the_same_salt_clock_and_calls_give_the_same_choices_in_memory_and_in_a_folder(tmp_path):
    runs = []
    for folder in (None, None, tmp_path):
        clock = Clock()
        with LocalBandit.from_yaml(experiment(), "page", folder, salt=SALT, clock_us=clock) as local:
            choices, _ = play(local, clock, 120, zero_or_one)
        runs.append([(c.decision_id, c.variant_id, c.source, pytest.approx(c.distribution)) for c in choices])
    first, second, in_folder = ([each[:3] for each in run] for run in runs)
    assert first == second == in_folder
    assert len({decision_id for decision_id, _, _ in first}) == 120


def test_it_has_learned_before_reward_returns(opened):
    local = opened()
    first = local.choose({"kind": "x"})
    assert (first.source, first.snapshot_id) == (Source.UNTRAINED, "")
    assert local.reward(first.decision_id, 1) is RewardStatus.RECORDED
    second = local.choose({"kind": "x"})
    assert (second.source, second.snapshot_id) == (Source.LEARNED, "local-1")
    assert sum(second.distribution.values()) == pytest.approx(1.0)
    assert list(second.distribution) == ["a", "b", "c"]
    assert second.propensity == second.distribution[second.variant_id]


def test_a_decision_without_a_reward_is_learned_as_the_default_when_its_window_has_passed(opened):
    local = opened()
    ids = [local.choose({"kind": "x"}).decision_id for _ in range(3)]
    assert local.advance(timedelta(minutes=9)) == 0
    assert local.choose({}).source is Source.UNTRAINED
    assert local.advance(timedelta(minutes=1)) == 3
    assert local.choose({}).snapshot_id == "local-3"
    assert local.reward(ids[0], 1.0) is RewardStatus.LATE
    assert local.reward(ids[0], 1.0) is RewardStatus.DUPLICATE


def test_what_is_due_is_learned_with_the_next_choice_as_the_clock_goes_on(opened, clock):
    local = opened()
    local.choose({})
    clock.us += 11 * 60_000_000
    assert local.choose({}).snapshot_id == "local-1"


def test_without_a_default_such_decisions_teach_nothing(opened):
    local = opened("reward: {metric: visit, window: 10m, default: none}")
    local.choose({})
    assert local.advance(timedelta(minutes=10)) == 1
    assert local.choose({}).source is Source.UNTRAINED


@pytest.mark.parametrize(
    "to",
    [
        timedelta(minutes=10),
        datetime.fromtimestamp(START_US / 1e6, UTC) + timedelta(minutes=11),
        START_US + 660_000_000,
    ],
    ids=["span", "time", "microseconds"],
)
def test_time_advances_to_a_time_by_a_span_or_to_microseconds(opened, to):
    local = opened()
    local.choose({})
    assert local.advance(to) == 1


def test_time_never_goes_back(opened):
    local = opened()
    local.advance(timedelta(hours=1))
    local.choose({})
    assert local.advance(START_US) == 0
    assert local.advance(timedelta(minutes=10)) == 1


@pytest.mark.parametrize(
    ("to", "error"),
    [(datetime(2030, 1, 1), ValueError), (10**30, ValueError), (1.5, TypeError), (True, TypeError)],
)
def test_a_time_without_a_zone_or_beyond_all_dates_or_of_another_type_is_refused(opened, to, error):
    with pytest.raises(error, match="to: "):
        opened().advance(to)


def test_rewards_that_are_summed_close_their_decision_by_its_window_alone(opened):
    local = opened("reward: {metric: visit, window: 10m, range: [0, 5], aggregate: sum}")
    choice = local.choose({})
    for number in range(3):
        assert local.reward(choice.decision_id, 1.5, reward_id=f"r{number}") is RewardStatus.RECORDED
    assert local.choose({}).source is Source.UNTRAINED
    assert local.advance(timedelta(minutes=10)) == 2
    assert local.choose({}).snapshot_id == "local-2"


def test_a_repeat_is_a_duplicate_and_another_value_a_conflict(opened):
    local = opened()
    choice = local.choose({})
    assert local.reward(choice.decision_id, 1.0) is RewardStatus.RECORDED
    assert local.reward(choice.decision_id, 1.0, metric="visit") is RewardStatus.DUPLICATE
    assert refusal(local.reward, choice.decision_id, 0.5) is Reason.REWARD_ID_CONFLICT
    assert local.reward(choice.decision_id, 0.5, reward_id="later") is RewardStatus.LATE
    assert local.reward("nobody", 7.0) is RewardStatus.UNKNOWN_DECISION
    assert local.choose({}).snapshot_id == "local-1"


def test_a_repeated_call_answers_with_its_decision_and_another_one_is_refused(opened):
    local = opened()
    again = {"decision_id": "d1", "subject_id": "u1", "consents": {"b", "a"}}
    first = local.choose({"kind": "x", "n": 1}, **again)
    local.reward("d1", 1.0)
    second = local.choose({"n": 1.0, "kind": "x"}, **again)
    assert second == first
    assert refusal(local.choose, {"kind": "y", "n": 1}, **again) is Reason.DECISION_ID_CONFLICT
    assert refusal(local.choose, {"kind": "x", "n": 1}, decision_id="d1") is Reason.DECISION_ID_CONFLICT


def test_a_call_may_bring_its_own_variants(opened):
    local = opened("variants: []", "baseline: ''")
    given = [
        "n1",
        {"id": "n2", "features": {"topic": "tea", "tags": ["p", "q"]}, "payload": [2]},
        Variant("n3"),
    ]
    choices = [
        local.choose({"kind": "x"}, variants=given, decision_id=f"d{n}", excluded=["n1"]) for n in range(60)
    ]
    assert {choice.variant_id for choice in choices} == {"n2", "n3"}
    assert all(choice.payload == ([2] if choice.variant_id == "n2" else None) for choice in choices)
    again = [
        local.choose({"kind": "x"}, variants=given, decision_id=f"d{n}", excluded=["n1"]) for n in range(60)
    ]
    assert again == choices
    local.reward("d0", 1.0)
    assert list(local.choose({}, variants=given).distribution) == ["n1", "n2", "n3"]
    assert refusal(local.choose, {}) is Reason.NO_VARIANTS


def test_members_of_an_enumeration_are_the_texts_that_they_stand_for(opened):
    class Kind(str, Enum):  # noqa: UP042  # what `str` makes the name of
        X = "x"

    told = [
        opened().choose({"kind": kind}, subject_id=kind, decision_id=kind, variants=[kind, "b"])
        for kind in (Kind.X, Kind.X.value)
    ]
    assert told[0] == told[1]
    assert type(told[0].decision_id) is str
    assert [type(name) for name in told[0].distribution] == [str, str]


def test_a_signal_without_its_consent_is_dropped_unseen(opened):
    local = opened("signals: {kind: {type: category, consent: marketing}}")
    local.choose({"kind": 12})
    assert refusal(local.choose, {"kind": 12}, consents=["marketing"]) is Reason.WRONG_TYPE


def test_control_gets_the_baseline_with_certainty(opened):
    choice = opened("rollout: {stage: shadow}").choose({"kind": "x"})
    assert (choice.arm, choice.source, choice.variant_id) == (Arm.CONTROL, Source.BASELINE, "a")
    assert (choice.propensity, choice.snapshot_id, choice.payload) == (1.0, "", {"t": 1})


@pytest.mark.parametrize("preset", ["uniform", "fixed:b"])
def test_a_policy_that_does_not_learn_chooses_as_ever(opened, preset):
    local = opened(f'policy: {{preset: "{preset}"}}')
    local.reward(local.choose({}).decision_id, 1.0)
    choice = local.choose({})
    assert choice.source is Source.UNTRAINED
    assert choice.distribution["b"] == pytest.approx(1 / 3 if preset == "uniform" else 0.99 + 0.01 / 3)


@pytest.mark.parametrize(
    ("reason", "context", "keywords"),
    [
        (Reason.UNDECLARED_SIGNAL, {"other": 1}, {}),
        (Reason.WRONG_TYPE, {"kind": 1}, {}),
        (Reason.WRONG_TYPE, {"n": True}, {}),
        (Reason.WRONG_TYPE, {"n": object()}, {}),
        (Reason.WRONG_TYPE, {"kind": [1]}, {}),
        (Reason.WRONG_TYPE, {1: "x"}, {}),
        (Reason.WRONG_TYPE, {}, {"decision_id": 5}),
        (Reason.WRONG_TYPE, {}, {"excluded": "a"}),
        (Reason.WRONG_TYPE, {}, {"variants": [{"id": "a", "feature": {}}]}),
        (Reason.MISSING_VALUE, {"n": None}, {}),
        (Reason.MISSING_VALUE, {}, {"variants": [{"id": "a", "features": {"f": None}}]}),
        (Reason.NON_FINITE_VALUE, {"n": float("nan")}, {}),
        (Reason.NON_FINITE_VALUE, {"n": 10**400}, {}),
        (Reason.NON_FINITE_VALUE, {}, {"variants": [{"id": "a", "features": {"f": float("inf")}}]}),
        (Reason.LIMIT_EXCEEDED, {"kind": "x" * 1025}, {}),
        (Reason.LIMIT_EXCEEDED, {"k" * 65: "x"}, {}),
        (Reason.LIMIT_EXCEEDED, {"kind": ["x"] * 65}, {}),
        (Reason.LIMIT_EXCEEDED, {}, {"decision_id": "d" * 65}),
        (Reason.LIMIT_EXCEEDED, {}, {"subject_id": "u" * 257}),
        (Reason.LIMIT_EXCEEDED, {}, {"consents": ["c"] * 33}),
        (Reason.LIMIT_EXCEEDED, {}, {"variants": [f"v{n}" for n in range(1001)]}),
        (Reason.LIMIT_EXCEEDED, {}, {"variants": [{"id": "a", "payload": "p" * 70_000}]}),
        (Reason.INVALID_ID, {}, {"decision_id": "d\n"}),
        (Reason.INVALID_ID, {"\x00": 1}, {}),
        (Reason.MISSING_ID, {}, {"variants": [""]}),
        (Reason.MISSING_ID, {}, {"variants": [""], "consents": ["x\n"]}),
        (Reason.DUPLICATE_VARIANT_ID, {}, {"variants": ["a", "a"]}),
        (Reason.NO_VARIANTS, {}, {"excluded": {"a", "b", "c"}}),
        (Reason.MALFORMED_MESSAGE, {"kind": "\ud800"}, {}),
        (Reason.MALFORMED_MESSAGE, {}, {"subject_id": "\ud800"}),
    ],
)
def test_a_wrong_call_is_refused_with_the_reason_of_the_api(clock, reason, context, keywords):
    local = LocalBandit.from_yaml(experiment(), "page", salt=SALT, clock_us=clock)
    assert refusal(local.choose, context, **keywords) is reason


@pytest.mark.parametrize(
    ("context", "keywords", "field", "told"),
    [
        (
            {},
            {"variants": [{"id": "a", "feature": {}}]},
            "variants[0]",
            "has the unknown key 'feature'. Give an id",
        ),
        (
            {},
            {"variants": ["b", ("a", {})]},
            "variants[1]",
            "or a mapping with the keys id, features, payload.",
        ),
        (
            {},
            {"variants": [{"id": "a", "features": [{"x": 1}]}]},
            "variants[0].features",
            "Give one mapping of",
        ),
        (
            {},
            {"variants": [{"id": "a", "features": {1: 2}}]},
            "variants[0].features[1]",
            "a str for the name.",
        ),
        (
            {},
            {"variants": [{"id": "a", "payload": object()}]},
            "variants[0].payload",
            "is not JSON; use texts",
        ),
        (
            {},
            {"variants": {"a": {"x": 1}}},
            "variants",
            "is of type dict. Give a list, each item an id, or a mapping",
        ),
        ({}, {"variants": "ab"}, "variants", "is of type str. Give a list"),
        ({}, {"variants": 5}, "variants", "is of type int. Give a list"),
        (
            {},
            {"excluded": None},
            "excluded_variant_ids",
            "is of type NoneType. Give a list, tuple or set of str.",
        ),
        (None, {}, "context", "is of type NoneType. Give one mapping of names to values"),
        ([("n", 1)], {}, "context", "is of type list. Give one mapping of names to values"),
    ],
)
def test_a_call_of_another_shape_is_refused_with_the_shape_that_is_right(
    clock, context, keywords, field, told
):
    local = LocalBandit.from_yaml(experiment(), "page", salt=SALT, clock_us=clock)
    with pytest.raises(Refused) as raised:
        local.choose(context, **keywords)
    assert raised.value.reason is Reason.WRONG_TYPE
    assert raised.value.metadata["field"] == field
    assert raised.value.message.startswith(f"{field} ")
    assert told in raised.value.message


@pytest.mark.parametrize(
    ("reason", "value", "keywords"),
    [
        (Reason.MISSING_VALUE, None, {}),
        (Reason.WRONG_TYPE, "1", {}),
        (Reason.NON_FINITE_VALUE, float("inf"), {}),
        (Reason.REWARD_OUT_OF_RANGE, 1.5, {}),
        (Reason.UNKNOWN_METRIC, 1.0, {"metric": "clicks"}),
        (Reason.INVALID_ID, 1.0, {"reward_id": "r\t"}),
        (Reason.LIMIT_EXCEEDED, 1.0, {"metric": "m" * 65}),
    ],
)
def test_a_wrong_reward_is_refused_and_nothing_is_learned(opened, reason, value, keywords):
    local = opened()
    choice = local.choose({})
    assert refusal(local.reward, choice.decision_id, value, **keywords) is reason
    assert refusal(local.reward, "", 1.0) is Reason.MISSING_ID
    assert local.choose({}).source is Source.UNTRAINED


def test_closed_decisions_are_forgotten_beyond_a_number_of_them(clock, monkeypatch):
    monkeypatch.setattr(journal, "CLOSED_KEPT", 3)
    local = LocalBandit.from_yaml(experiment(), "page", salt=SALT, clock_us=clock)
    for number in range(5):
        local.choose({}, decision_id=f"d{number}")
        local.reward(f"d{number}", 1.0)
    assert local.reward("d2", 1.0) is RewardStatus.DUPLICATE
    assert local.reward("d1", 1.0) is RewardStatus.UNKNOWN_DECISION
    # The id is free again, and what was due of the old decision does not close the new one.
    clock.us += 300_000_000
    local.choose({"kind": "y"}, decision_id="d1")
    assert local.advance(timedelta(minutes=6)) == 0
    assert local.reward("d1", 1.0) is RewardStatus.RECORDED


def test_a_file_and_a_text_are_read_alike(tmp_path):
    path = tmp_path / "experiments.yaml"
    path.write_text(experiment())
    for source in (path, str(path), experiment()):
        with LocalBandit.from_yaml(source, "page") as local:
            assert local.choose({}).variant_id in "abc"


def test_a_broken_definition_is_refused_with_every_problem_in_it():
    with pytest.raises(ValueError, match="baseline") as caught:
        LocalBandit.from_yaml(experiment("baseline: q", "reward: {metric: visit, window: 10}"), "page")
    assert "reward.window" in str(caught.value)
    with pytest.raises(ValueError, match=r"no-such\.yaml"):
        LocalBandit.from_yaml("no-such.yaml", "page")


def test_an_experiment_that_is_not_in_the_file_is_unknown():
    assert refusal(LocalBandit.from_yaml, experiment(), "other") is Reason.UNKNOWN_EXPERIMENT


def test_a_closed_one_refuses_every_call(opened):
    local = opened()
    local.close()
    local.close()
    with pytest.raises(RuntimeError, match="closed"):
        local.choose({})


def test_a_restart_goes_on_as_if_there_had_been_none(tmp_path):
    runs = []
    for folder, parts in ((tmp_path / "once", [150]), (tmp_path / "twice", [60, 90])):
        clock, chance, choices = Clock(), seeded(), []
        for rounds in parts:
            with LocalBandit.from_yaml(experiment(), "page", folder, salt=SALT, clock_us=clock) as local:
                choices += play(local, clock, rounds, zero_or_one, chance)[0]
        assert_the_log_gives_the_published_model(folder)
        runs.append((choices, fingerprint(folder)[1]))
    assert runs[0] == runs[1]
    # It went on from its first snapshot instead of learning everything again.
    store = SnapshotStore(folder)
    last, first = store.names("page")
    assert store.read("page", last)[1].parent == first


def test_what_is_pinned_for_a_server_is_not_pruned(tmp_path, clock):
    chance = seeded()
    with LocalBandit.from_yaml(experiment(), "page", tmp_path, salt=SALT, clock_us=clock) as local:
        play(local, clock, 4, zero_or_one, chance)
    [first] = SnapshotStore(tmp_path).names("page")
    pinned = experiment(f"policy: {{snapshot: {first}}}")
    for _ in range(6):
        with LocalBandit.from_yaml(pinned, "page", tmp_path, clock_us=clock) as local:
            choices, _ = play(local, clock, 4, zero_or_one, chance)
            assert choices[-1].snapshot_id.startswith("local-")
    names = SnapshotStore(tmp_path).names("page")
    assert len(names) == 6
    assert names[-1] == first


def test_what_was_learned_before_a_crash_is_learned_from_the_log(tmp_path, clock):
    live, image = tmp_path / "live", tmp_path / "image"
    with LocalBandit.from_yaml(experiment(), "page", live, salt=SALT, clock_us=clock) as local:
        play(local, clock, 50, zero_or_one)
        shutil.copytree(live, image)  # what a killed process leaves behind
    with LocalBandit.from_yaml(experiment(), "page", image, clock_us=clock) as local:
        assert local.choose({}).snapshot_id == "local-50"
    assert fingerprint(image) == fingerprint(live)
    assert_the_log_gives_the_published_model(image)


def test_a_damaged_snapshot_is_made_again_from_the_log(tmp_path, clock):
    with LocalBandit.from_yaml(experiment(), "page", tmp_path, salt=SALT, clock_us=clock) as local:
        play(local, clock, 30, zero_or_one)
    before = fingerprint(tmp_path)
    (model,) = tmp_path.glob("snapshots/*/*/model.vw")
    model.write_bytes(model.read_bytes()[:-1])
    with LocalBandit.from_yaml(experiment(), "page", tmp_path, clock_us=clock) as local:
        assert local.choose({}).snapshot_id == "local-30"
    assert fingerprint(tmp_path) == before


def test_the_log_says_that_decisions_closed_at_their_reward(tmp_path, clock):
    text = experiment("reward: {metric: visit, window: 10m, learn: at_close}")
    for _ in range(2):
        LocalBandit.from_yaml(text, "page", tmp_path, salt=SALT, clock_us=clock).close()
    log = SqliteEventLog(tmp_path)
    (definition,) = log.definitions()
    log.close()
    assert (definition.experiment.reward.learn, definition.salt) == ("on_reward", SALT)


def test_a_folder_is_used_by_one_at_a_time(tmp_path):
    with LocalBandit.from_yaml(experiment(), "page", tmp_path), pytest.raises(FolderBusy):
        LocalBandit.from_yaml(experiment(), "page", tmp_path)
    LocalBandit.from_yaml(experiment(), "page", tmp_path).close()


def test_a_folder_is_free_again_when_opening_it_failed(tmp_path):
    with pytest.raises(ZeroDivisionError):
        LocalBandit.from_yaml(experiment(), "page", tmp_path, clock_us=lambda: 1 // 0)
    LocalBandit.from_yaml(experiment(), "page", tmp_path).close()


def test_importing_the_package_or_the_client_loads_no_model_library():
    code = (
        "import sys, bandit, bandit.client; "
        "print([name for name in ('vowpalwabbit', 'sqlite3', 'bandit.local') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert bandit.LocalBandit is LocalBandit
    assert not hasattr(bandit, "NoSuchThing")


def assert_the_log_gives_the_published_model(folder):
    log = SqliteEventLog(folder)
    position, published = fingerprint(folder)
    definition = log.definitions()[-1].experiment
    fold = ModelFold.start(ModelSpec.of(definition))
    try:
        assert position > ORIGIN
        assert log.check_chain() is None
        while events := read_joined(log, definition.id, fold.position, log.head()[1], 100):
            fold.take(events)
        assert (fold.position, fold.learner.fingerprint()) == (position, published)
    finally:
        fold.close()
        log.close()
