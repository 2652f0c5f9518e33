"""Each check of a log: what it passes, what it fails, and when it can't tell."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bandit.replay.columns import Logged, Target
from bandit.replay.diagnostics import diagnose
from bandit.replay.judging import rows, target_rows

NAMES = (
    "effective_sample_size",
    "largest_weight",
    "largest_weight_share",
    "mean_weight",
    "propensity_calibration",
    "sample_ratio",
    "support",
    "duplicates",
    "out_of_order",
    "missing_rewards",
    "defaulted_rewards",
    "reward_variation",
    "propensities",
)
COUNTS = {"joined": 2_000, "unrewarded": 0, "duplicates": 0, "out_of_order": 0, "bad_propensity": 0}


def sound(n=2_000, seed=1, counts=COUNTS, share=0.5, arms=True):
    """A log whose distributions differ by row, with half of the decisions in treatment, and a target."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(4, 2.0), n) * 0.9 + 0.025
    chosen = (p.cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1).clip(0, 3)
    pi = rng.dirichlet(np.full(4, 2.0), n)
    row = np.arange(n)
    log = Logged(
        reward=(rng.random(n) < 0.3).astype(float),
        propensity=p[row, chosen],
        weight=np.ones(n),
        chosen=chosen.astype(np.int32),
        eligible=np.full(n, 4, np.int32),
        treatment=rng.random(n) < share if arms else np.ones(n, bool),
        share=np.full(n, share if arms else 1.0),
        cluster=row,
        at_us=row,
        defaulted=rng.random(n) < 0.7,
        variant_ids=("a", "b", "c", "d"),
        reward_range=(0.0, 1.0),
        expected=p.sum(axis=0),
        variance=(p * (1.0 - p)).sum(axis=0),
        served=np.bincount(chosen, minlength=4),
        counts=counts,
    )
    return log, Target("other", pi[row, chosen], np.zeros(n))


def verdicts(log, target):
    return {check.name: check.verdict for check in diagnose(log, target).checks}


def check(log, target, name):
    return next(check for check in diagnose(log, target).checks if check.name == name)


def failed(log, target):
    return [check.name for check in diagnose(log, target).failed]


def test_a_sound_log_passes_every_check_and_each_says_one_sentence():
    found = diagnose(*sound())
    assert tuple(check.name for check in found.checks) == NAMES
    assert {check.verdict for check in found.checks} == {"ok"}
    assert all(check.advice.endswith(".") and check.value is not None for check in found.checks)
    assert json.loads(json.dumps(found.to_json()))[0]["name"] == "effective_sample_size"


def test_sound_logs_fail_no_oftener_than_promised():
    """200 of them, seeds 0 to 199: a chance of 3 in 10,000 each."""
    assert sum(bool(failed(*sound(500, seed))) for seed in range(200)) <= 1


def test_too_few_effective_rows_fail():
    assert "effective_sample_size" in failed(*sound(60))
    found = check(*sound(60), "effective_sample_size")
    assert "gather more" in found.advice
    assert found.value < found.threshold


def test_one_row_that_carries_too_much_fails():
    log, target = sound()
    log.propensity[5], target.probability[5] = 0.002, 1.0
    found = verdicts(log, target)
    assert (found["largest_weight_share"], found["largest_weight"]) == ("fail", "ok")
    log.propensity[5] = 0.0005
    assert verdicts(log, target)["largest_weight"] == "warn"


def test_weights_whose_mean_chance_does_not_explain_fail():
    log, target = sound()
    assert failed(replace(log, propensity=log.propensity / 1.3), target) == ["mean_weight"]
    found = check(replace(log, propensity=np.minimum(1.0, log.propensity * 1.3)), target, "mean_weight")
    assert found.verdict == "fail"
    assert found.value < found.threshold < 1.0


def test_weights_of_few_subjects_are_given_their_own_error():
    """The same subject again and again, with the same variant: 40 subjects are what there is."""
    log, target = sound()
    again = np.random.default_rng(2).integers(0, 40, 2_000)
    one = replace(
        log,
        propensity=log.propensity[again],
        cluster=again,
        reward=log.reward[again],
        treatment=log.treatment,
    )
    same = Target("other", target.probability[again], target.unsupported)
    assert verdicts(one, same)["mean_weight"] == "ok"


def test_on_policy_weights_have_mean_one_exactly():
    log, _ = sound()
    own = Target("logged", log.propensity.copy(), np.zeros(2_000))
    assert failed(log, own) == []
    assert check(log, own, "mean_weight").value == 1.0


def test_variants_served_other_than_logged_fail():
    log, target = sound()
    served = log.served + np.array([150, -150, 0, 0])
    assert failed(replace(log, served=served), target) == ["propensity_calibration"]


def test_a_variant_that_had_no_chance_and_was_served_fails():
    log, target = sound()
    more = replace(
        log,
        expected=np.append(log.expected, 0.0),
        variance=np.append(log.variance, 0.0),
        served=np.append(log.served, 1),
    )
    assert failed(more, target) == ["propensity_calibration"]


def test_rare_variants_are_put_together():
    """A thousand variants, each expected 0.2 times: 200 were served once, which is no surprise."""
    log, target = sound()
    expected = np.append(log.expected, np.full(1_000, 0.2))
    served = np.append(log.served, np.repeat([1, 0], [200, 800]))
    many = replace(
        log, expected=expected, variance=np.append(log.variance, np.full(1_000, 0.2)), served=served
    )
    assert verdicts(many, target)["propensity_calibration"] == "ok"


def test_deterministic_logs_are_calibrated_if_they_served_what_they_say():
    log, target = sound()
    certain = replace(log, expected=log.served.astype(float), variance=np.zeros(4))
    assert verdicts(certain, target)["propensity_calibration"] == "ok"


def test_unknown_distributions_leave_calibration_unknown():
    log, target = sound()
    none = replace(log, expected=np.zeros(4), variance=np.zeros(4), served=np.zeros(4, int))
    assert verdicts(none, target)["propensity_calibration"] == "unknown"


def test_arms_of_the_wrong_size_fail():
    log, target = sound()
    assert failed(replace(log, share=np.full(2_000, 0.6)), target) == ["sample_ratio"]


def test_arms_are_drawn_by_subject():
    """30 subjects of 67 decisions: 60 % of decisions in treatment is no surprise, and would be for 2,000."""
    log, target = sound()
    subject = np.arange(2_000) % 30
    sticky = replace(log, cluster=subject, treatment=subject < 19)
    assert verdicts(sticky, target)["sample_ratio"] == "ok"
    assert verdicts(replace(sticky, cluster=np.arange(2_000)), target)["sample_ratio"] == "fail"


@pytest.mark.parametrize(
    ("control", "verdict"), [(2_000, "ok"), (2_500, "fail"), (1_500, "fail"), (0, "fail")]
)
def test_treatment_rows_alone_are_held_against_the_control_decisions_that_were_counted(control, verdict):
    log, target = sound(share=0.5, counts=COUNTS | {"control_drawn": control})
    treated = replace(log, treatment=np.ones(2_000, bool))
    assert verdicts(treated, target)["sample_ratio"] == verdict


def test_the_ratio_of_treatment_rows_is_right_under_a_changing_share_and_repeat_visits():
    """300 logs, seed 9: its z has the spread of a standard normal."""
    rng = np.random.default_rng(9)
    log, target = sound(1_000)
    found = []
    for _ in range(300):
        sizes = rng.integers(1, 6, 400)
        share = rng.choice([0.05, 0.2, 0.8], 400)
        treated = rng.random(400) < share
        rows = np.repeat(np.flatnonzero(treated), sizes[treated])
        n = len(rows)
        some = replace(
            log,
            propensity=log.propensity[:n],
            weight=log.weight[:n],
            treatment=np.ones(n, bool),
            share=share[rows],
            cluster=rows,
            counts={"control_drawn": int(sizes[~treated].sum())},
        )
        opinion = Target("other", target.probability[:n], target.unsupported[:n])
        found.append(check(replace(some, reward=log.reward[:n]), opinion, "sample_ratio").value)
    assert 0.8 < np.sqrt(np.mean(np.square(found))) < 1.25


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(("treated", "verdict"), [(23, "fail"), (26, "ok"), (77, "ok"), (81, "fail")])
def test_a_small_arm_is_held_against_the_binomial_distribution(treated, verdict, counted):
    """1,000 decisions at a share of .05: fewer than 25, or more than 79, come once in 20,000."""
    log, target = sound(1_000, counts=COUNTS | {"control_drawn": 1_000 - treated})
    log = replace(log, share=np.full(1_000, 0.05), treatment=np.arange(1_000) < treated)
    if counted:
        kept = log.treatment
        log, target = replace(rows(log, kept), counts=log.counts), target_rows(target, kept)
    found = check(log, target, "sample_ratio")
    assert found.value == pytest.approx(abs(treated - 50) / math.sqrt(1_000 * 0.05 * 0.95))
    assert found.verdict == verdict


def test_small_logs_with_repeat_visits_and_a_ramp_are_seldom_found_at_fault():
    """1,500 sound logs, seed 5, of 300 decisions, 4 a subject, at a share of .5. Were the normal's limit held
    against the variance of those treated, 6 would fail."""
    rng = np.random.default_rng(5)
    log, target = sound(300)
    failures = 0
    for _ in range(1_500):
        subject = np.repeat(np.arange(300), rng.geometric(0.25, 300))[:300]
        treated = (rng.random(300) < 0.5)[subject]
        n = int(treated.sum())
        some = replace(
            log,
            reward=log.reward[:n],
            propensity=log.propensity[:n],
            weight=log.weight[:n],
            treatment=np.ones(n, bool),
            share=np.full(n, 0.5),
            cluster=subject[treated],
            counts={"control_drawn": 300 - n},
        )
        opinion = Target("other", target.probability[:n], target.unsupported[:n])
        failures += check(some, opinion, "sample_ratio").verdict == "fail"
    assert failures <= 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_a_random_split_there_is_no_ratio(share):
    log, target = sound()
    whole = replace(log, share=np.full(2_000, share), treatment=np.full(2_000, share > 0))
    assert verdicts(whole, target)["sample_ratio"] == "unknown"
    part = replace(log, treatment=np.ones(2_000, bool))
    assert verdicts(part, target)["sample_ratio"] == "unknown"


def test_mass_that_the_log_could_not_serve_fails():
    log, target = sound()
    for lost, verdict in ((0.0, "ok"), (5e-4, "warn"), (0.02, "fail"), (1.0, "fail")):
        assert verdicts(log, replace(target, unsupported=np.full(2_000, lost)))["support"] == verdict
    unknown = replace(target, unsupported=np.full(2_000, np.nan))
    assert verdicts(log, unknown)["support"] == "unknown"


@pytest.mark.parametrize(
    ("name", "count", "verdict"),
    [
        ("duplicates", 1, "warn"),
        ("duplicates", 20, "fail"),
        ("out_of_order", 1, "warn"),
        ("unrewarded", 100, "ok"),
        ("unrewarded", 900, "warn"),
        ("bad_propensity", 1, "warn"),
        ("bad_propensity", 5, "fail"),
    ],
)
def test_what_was_counted_while_reading_is_judged(name, count, verdict):
    checks = {"unrewarded": "missing_rewards", "bad_propensity": "propensities"}
    assert verdicts(*sound(counts=COUNTS | {name: count}))[checks.get(name, name)] == verdict


def test_what_was_not_counted_is_unknown():
    found = verdicts(*sound(counts={}))
    assert {name for name, verdict in found.items() if verdict == "unknown"} == {
        "duplicates",
        "out_of_order",
        "missing_rewards",
    }


def test_almost_only_default_rewards_are_a_warning():
    log, target = sound()
    assert verdicts(replace(log, defaulted=np.ones(2_000, bool)), target)["defaulted_rewards"] == "warn"


def test_rewards_that_are_all_alike_fail():
    log, target = sound()
    assert failed(replace(log, reward=np.zeros(2_000)), target) == ["reward_variation"]


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.5, np.nan, np.inf])
def test_unusable_propensities_fail_and_spoil_no_other_check(bad):
    log, target = sound()
    log.propensity[:20] = bad
    assert failed(log, target) == ["propensities"]


def test_a_log_without_propensities_fails_and_says_what_is_left():
    log, target = sound()
    none = replace(
        log,
        propensity=np.full(2_000, np.nan),
        expected=np.zeros(4),
        variance=np.zeros(4),
        served=np.zeros(4, int),
    )
    assert failed(none, target) == ["effective_sample_size", "propensities"]
    assert "only what was served" in check(none, target, "effective_sample_size").advice
    assert verdicts(none, target)["mean_weight"] == "unknown"


def test_an_empty_log_fails_and_raises_nothing():
    log, target = sound()
    columns = (
        "reward",
        "propensity",
        "weight",
        "chosen",
        "eligible",
        "treatment",
        "share",
        "cluster",
        "at_us",
    )
    empty = replace(log, defaulted=log.defaulted[:0], **{name: getattr(log, name)[:0] for name in columns})
    nothing = Target("other", target.probability[:0], target.unsupported[:0])
    found = diagnose(empty, nothing)
    assert [check.name for check in found.failed] == ["effective_sample_size"]
    json.dumps(found.to_json(), allow_nan=False)


def test_a_policy_that_never_agrees_fails():
    log, target = sound()
    never = replace(target, probability=np.zeros(2_000), unsupported=np.ones(2_000))
    assert {"effective_sample_size", "mean_weight", "support"} <= set(failed(log, never))
