"""What a valid definition means. What makes one invalid, and how it is told: test_experiment_file."""

import json

import pytest
from pydantic import ValidationError

from bandit.core.experiment import Experiment
from bandit.core.fields import id_problem
from bandit.core.records import Stage, Variant


def test_what_is_left_out_has_the_documented_defaults(define):
    experiment = define()
    assert experiment.rollout.stage is Stage.FULL
    assert (experiment.rollout.percent, experiment.rollout.holdout_percent) == (100.0, 0.0)
    assert (experiment.policy.preset, experiment.policy.floor) == ("squarecb", 0.01)
    assert (experiment.reward.default_value, experiment.reward.aggregate) == (0.0, "first")
    assert (experiment.reward.learn, experiment.reward.range) == ("at_close", (0.0, 1.0))
    assert experiment.signals == {}
    assert experiment.on_log_failure == "baseline"


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("250ms", 250_000),
        ("1s", 1_000_000),
        ("10m", 600_000_000),
        ("6h", 21_600_000_000),
        ("90d", 7_776_000_000_000),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(define, text, us):
    assert define(reward={"metric": "visit", "window": text}).reward.window_us == us


@pytest.mark.parametrize(
    "text", ["10", "1.5h", "-1s", "1 s", "1w", "1H", "", "0s", "91d", "٣s", "1s\n", 10, True, None, []]
)
def test_anything_else_is_no_duration(define, text):
    with pytest.raises(ValidationError):
        define(reward={"metric": "visit", "window": text})


def test_default_none_leaves_decisions_without_a_reward_out(define):
    assert define(reward={"metric": "visit", "default": "none"}).reward.default_value is None


def test_a_percent_that_is_not_written_is_what_the_holdout_leaves(define):
    assert define(rollout={"stage": "full", "holdout_percent": 5}).rollout.percent == 95.0


def test_percentages_that_make_a_hundred_fit_together(define):
    for tenths in range(1001):
        define(rollout={"percent": tenths / 10, "holdout_percent": (1000 - tenths) / 10})


def test_options_of_a_policy_stand_beside_its_preset(define):
    assert define(policy={"preset": "squarecb", "gamma_scale": 30}).policy.options == {"gamma_scale": 30}


def test_the_catalogue_has_features_and_a_compact_payload(define):
    experiment = define(
        variants=[
            {"id": "a", "features": {"colour": "blue", "price": 3, "sale": True, "tags": ["x", "y"]}},
            {"id": "b", "payload": {"template": "spring", "blocks": [1, None]}},
        ]
    )
    assert experiment.catalogue() == (
        Variant("a", {"colour": "blue", "price": 3.0, "sale": True, "tags": ("x", "y")}),
        Variant("b", {}, '{"template":"spring","blocks":[1,null]}'),
    )


FULL = {
    "hypothesis": "Colour lifts visits.",
    "variants": [
        {"id": "a", "features": {"tags": ["x"], "n": 1}, "payload": {"k": [1, 2.5, "ü", None]}},
        {"id": "b"},
    ],
    "signals": {
        "recency": {"type": "number", "range": [1, 12], "purpose": "personalization", "strict": True},
        "channel": {"type": "category", "values": ["web", "phone"], "consent": "marketing"},
    },
    "reward": {"metric": "visit", "range": [-1, 2], "window": "90s", "default": "none", "learn": "on_reward"},
    "metrics": {"complaint": {"range": [0, 1], "guardrail": {"worse": "higher", "tolerance": 0.002}}},
    "policy": {"preset": "epsilon_greedy", "floor": 0.05, "epsilon": 0.1},
    "on_log_failure": "fail",
    "rollout": {"stage": "ramp", "percent": 5, "holdout_percent": 5},
}


@pytest.mark.parametrize("changes", [{}, FULL, {"signals": "open"}, {"variants": [], "baseline": ""}])
def test_a_definition_comes_back_from_its_canonical_text(define, changes):
    experiment = define(**changes)
    again = Experiment.from_json(experiment.canonical_json())
    assert again == experiment
    assert again.canonical_json() == experiment.canonical_json()


def test_equal_definitions_have_equal_text_whatever_the_order_of_keys(define):
    backwards = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in FULL.items()
    }
    assert define(**FULL).canonical_json() == define(**dict(reversed(backwards.items()))).canonical_json()


def test_canonical_text_that_was_altered_is_refused(define):
    definition = json.loads(define().canonical_json())
    for key, value in (("baseline", "z"), ("extra", 1), ("owner", "")):
        with pytest.raises(ValidationError):
            Experiment.from_json(json.dumps({**definition, key: value}))


def test_a_definition_can_not_be_changed(define):
    with pytest.raises(ValidationError, match="frozen"):
        define().owner = "somebody else"


@pytest.mark.parametrize("number", [10**400, -(10**400), float("inf"), float("nan"), True, "1", None])
def test_no_number_is_made_of_what_is_none(define, number):
    with pytest.raises(ValidationError):
        define(reward={"metric": "visit", "range": [0, number]})
    with pytest.raises(ValidationError):
        define(policy={"floor": number})
    with pytest.raises(ValidationError):
        define(signals={"s": {"type": "number", "range": [number, 1]}})


def test_no_sum_of_allowed_rewards_overflows(define):
    with pytest.raises(ValidationError, match="larger unit"):
        define(reward={"metric": "visit", "range": [-1e16, 0]})
    assert define(reward={"metric": "visit", "range": [-1e15, 1e15]}).reward.range == (-1e15, 1e15)


@pytest.mark.parametrize("text", ["a", "x" * 64, "é" * 32, "with space", "ü:|", "emoji 🎉"])
def test_any_printable_text_of_up_to_64_bytes_is_an_id(text):
    assert id_problem(text) == ""


@pytest.mark.parametrize(
    "text", ["", "x" * 65, "é" * 33, "a\nb", "a\x00", "\x7f", "\x85", "\u2028", "\ud800"]
)
def test_an_empty_too_long_or_unprintable_text_is_no_id(text):
    assert id_problem(text)
