"""Differences of policies on the same rows, from the few numbers that are kept of each."""

from dataclasses import replace

import numpy as np
import pytest

from bandit.replay import estimators
from bandit.replay.columns import Logged, Target
from bandit.replay.runner import Options
from bandit.replay.sweep import Done, cell_alpha, paired, rank
from bandit.replay.sweep.cells import Cell

SEED = 20260101
VARIANTS = 4


def log_of(seed, rows, reward_of, subjects=None):
    """Uniformly served variants; `reward_of` gives each variant's chance of a reward."""
    chance = np.random.default_rng(seed)
    chosen = chance.integers(0, VARIANTS, rows).astype(np.int32)
    zeros = np.zeros(rows)
    return Logged(
        reward=(chance.random(rows) < np.asarray(reward_of)[chosen]).astype(float),
        propensity=np.full(rows, 1 / VARIANTS),
        weight=np.ones(rows),
        chosen=chosen,
        eligible=np.full(rows, VARIANTS, np.int32),
        treatment=np.ones(rows, bool),
        share=np.ones(rows),
        cluster=np.arange(rows) if subjects is None else chance.integers(0, subjects, rows),
        at_us=np.arange(rows),
        defaulted=zeros.astype(bool),
        variant_ids=tuple("abcd"),
        reward_range=(0.0, 1.0),
        expected=zeros[:VARIANTS],
        variance=zeros[:VARIANTS],
        served=np.zeros(VARIANTS, np.int64),
        counts={},
    )


def target_of(logged, distribution, name="policy"):
    probability = np.asarray(distribution, float)[logged.chosen]
    hats = 0.1 + 0.05 * logged.chosen
    return Target(name, probability, np.zeros(len(probability)), hats, np.full(len(probability), 0.2))


@pytest.mark.parametrize("estimator", ["snips", "ips", "dr", "dm"])
@pytest.mark.parametrize("subjects", [None, 300])
def test_what_is_kept_gives_the_estimates_own_interval(estimator, subjects):
    logged = log_of(SEED, 8_000, [0.1, 0.2, 0.3, 0.2], subjects)
    target = target_of(logged, [0.7, 0.1, 0.1, 0.1])
    terms = (logged.reward, logged.propensity, target.probability)
    beside = {"cluster": logged.cluster}
    if estimator == "dr":
        whole = estimators.dr_terms(*terms, target.reward_hat, target.value_hat, 0.05, **beside)
    elif estimator == "dm":
        whole = estimators.dm_terms(target.value_hat, 0.05, **beside)
    else:
        whole = getattr(estimators, estimator)(*terms, 0.05, **beside)
    kept = paired.of_policy(logged, target, estimator)
    nothing = {"sums": [0.0] * paired.BLOCKS, "extremes": [0.0, 0.0]}
    value, low, high = paired.difference(whole.value, 0.0, kept, nothing, 0.05)
    assert sum(kept["sums"]) == pytest.approx(0.0, abs=1e-9)
    assert value == whole.value
    # Blocks are drawn anew, so the spread between them is the rows' spread give or take a tenth.
    assert (high - low) == pytest.approx(whole.high - whole.low, rel=0.15, abs=1e-12)


def test_near_twins_are_told_apart_far_better_than_their_intervals_say():
    logged = log_of(SEED, 20_000, [0.1, 0.2, 0.3, 0.2])
    one, other = (target_of(logged, d) for d in ([0.4, 0.2, 0.2, 0.2], [0.35, 0.2, 0.25, 0.2]))
    values = [estimators.snips(logged.reward, logged.propensity, t.probability) for t in (one, other)]
    kept = [paired.of_policy(logged, t, "snips") for t in (one, other)]
    value, low, high = paired.difference(values[1].value, values[0].value, kept[1], kept[0], 0.05)
    assert values[1].low < values[0].high
    assert 0.0 < low < value < high
    assert low < 0.01 < high  # the truth: a twentieth of .3 - .1


def test_a_subjects_rows_fall_into_one_block():
    logged = log_of(SEED, 5_000, [0.1] * VARIANTS, subjects=50)
    kept = paired.of_policy(logged, target_of(logged, [0.25] * VARIANTS), "snips")
    assert sum(value != 0.0 for value in kept["sums"]) <= 50


@pytest.mark.parametrize("estimator", ["cressie_read", "anytime", "switch_dr", "dros"])
def test_other_estimators_keep_nothing(estimator):
    logged = log_of(SEED, 100, [0.1] * VARIANTS)
    assert paired.of_policy(logged, target_of(logged, [0.25] * VARIANTS), estimator) is None


def test_rows_without_a_propensity_keep_nothing():
    logged = log_of(SEED, 100, [0.1] * VARIANTS)
    logged.propensity[3] = np.nan
    assert paired.of_policy(logged, target_of(logged, [0.25] * VARIANTS), "snips") is None


def done_of(logged, targets):
    cells = []
    for target in targets:
        found = estimators.snips(
            logged.reward, logged.propensity, target.probability, cell_alpha(0.05, len(targets))
        )
        headline = {"value": found.value, "low": found.low, "high": found.high, "ess": found.ess}
        result = {
            "policy": target.name,
            "headline": headline,
            "reason": "",
            "counts": {},
            "logged": {"value": float(logged.reward.mean()), "n": len(logged.reward)},
            "blocks": paired.of_policy(logged, target, "snips"),
            "logged_blocks": paired.of_logged(logged),
        }
        cells.append(Done(Cell("", target.name, "", "", "", None, Options()), result, "", False))
    return cells


def test_a_ranking_keeps_twins_of_the_best_and_leaves_the_beaten_out():
    logged = log_of(SEED, 20_000, [0.1, 0.1, 0.3, 0.1])
    targets = [
        target_of(logged, [0.1, 0.1, 0.7, 0.1], "best"),
        target_of(logged, [0.1, 0.1, 0.699, 0.101], "twin"),
        target_of(logged, [0.2, 0.1, 0.6, 0.1], "less"),
        target_of(logged, [0.25] * VARIANTS, "uniform"),
    ]
    ranking = rank(done_of(logged, targets), 0.05)
    assert ranking.paired
    assert set(ranking.best) == {"best", "twin"}
    value, low, high = ranking.gain
    assert low < 0.09 < high  # the truth: (.7 - .25) * .2
    assert 0.0 < low < value < high
    # By their intervals alone, the third could not be told from them.
    unpaired = [replace(one, result={**one.result, "blocks": None}) for one in done_of(logged, targets)]
    assert set(rank(unpaired, 0.05).best) == {"best", "twin", "less"}
    assert rank(unpaired, 0.05).gain is None


def test_the_best_of_equals_is_seldom_left_out_and_the_gain_covers_nothing():
    """50 logs from SEED on: six policies of equal value; each may be left out in one of twenty."""
    left_out, missed, logs = np.zeros(6), 0, 50
    for seed in range(SEED, SEED + logs):
        logged = log_of(seed, 2_000, [0.2] * VARIANTS)
        policies = np.random.default_rng(1).dirichlet([0.5] * VARIANTS, 6)
        targets = [target_of(logged, policy, str(number)) for number, policy in enumerate(policies)]
        ranking = rank(done_of(logged, targets), 0.05)
        left_out += [target.name not in ranking.best for target in targets]
        missed += not ranking.gain[1] <= 0.0 <= ranking.gain[2]
    margin = 3 * np.sqrt(0.05 * 0.95 / logs)
    assert (left_out / logs <= 0.05 + margin).all(), left_out
    assert missed / logs <= 0.05 + margin
