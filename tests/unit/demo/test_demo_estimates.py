"""The statistics of the demo, against hand-worked cases, another formula, and a simulation."""

import random
from statistics import fmean

import pytest

from bandit.demo.estimates import Z_95, difference_to_uniform, mean

SEED = 20_080_320


def test_the_mean_of_the_counted_rounds_has_its_textbook_interval() -> None:
    estimate = mean([1.0, 0.0, 1.0, 1.0, 0.5], [True, True, True, True, False])
    assert estimate is not None
    assert estimate.value == 0.75
    # The standard deviation of 1, 0, 1, 1 is sqrt(.1875).
    assert estimate.high - estimate.value == pytest.approx(Z_95 * (0.1875 / 4) ** 0.5)
    assert estimate.value - estimate.low == pytest.approx(estimate.high - estimate.value)


def test_nothing_is_claimed_where_no_round_counts() -> None:
    assert mean([1.0], [False]) is None
    assert difference_to_uniform([1.0], [False]) is None
    assert mean([], []) is None
    assert difference_to_uniform([], []) is None


def test_a_policy_that_counts_in_every_round_does_not_differ_from_uniform() -> None:
    estimate = difference_to_uniform([1.0, 0.0, 1.0], [True, True, True])
    assert estimate is not None
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.0, 0.0, 0.0))


def test_the_variance_of_the_difference_equals_that_of_two_separate_groups() -> None:
    """D = (1-p)(R-Q), Q being the mean of the rounds that don't count.

    The counted rounds and the others share nothing, so Var D is (1-p)^2 (Var R + Var Q) plus the part of p.
    """
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    counted = [rng.random() < 1 / 3 for _ in range(500)]
    rewards = [rng.gauss(1.0 if counts else 0.4, 2.0) for counts in counted]
    estimate = difference_to_uniform(rewards, counted)
    kept = [r for r, counts in zip(rewards, counted, strict=True) if counts]
    rest = [r for r, counts in zip(rewards, counted, strict=True) if not counts]
    share, served, other, uniform = len(kept) / 500, fmean(kept), fmean(rest), fmean(rewards)
    variance = (1 - share) ** 2 * (
        sum((r - served) ** 2 for r in kept) / len(kept) ** 2
        + sum((r - other) ** 2 for r in rest) / len(rest) ** 2
    )
    variance += (len(kept) * (served - uniform) ** 2 + len(rest) * (other - uniform) ** 2) / 500**2
    assert estimate is not None
    assert estimate.value == pytest.approx(served - uniform)
    assert estimate.high - estimate.value == pytest.approx(Z_95 * variance**0.5)


VISITS = ((0.10, 0.20, 0.15), (0.10, 0.15, 0.30))
"""The chance of a visit by kind of customer and variant; both kinds are as frequent."""

EXPLORE = 0.2
ROUNDS = 600


def one_run(rng: random.Random) -> tuple[float, list[float], list[bool]]:
    """A learning policy on a uniform log: its true advantage over uniform, the rewards, and what counts."""
    sums = [[0.5] * 3, [0.5] * 3]
    seen = [[1.0] * 3, [1.0] * 3]
    values, rewards, counted = [], [], []
    for _ in range(ROUNDS):
        greedy = [max(range(3), key=lambda v, k=k: sums[k][v] / seen[k][v]) for k in (0, 1)]
        values.append(
            fmean((1 - EXPLORE) * VISITS[k][greedy[k]] + EXPLORE * fmean(VISITS[k]) for k in (0, 1))
        )
        kind, sent = rng.randrange(2), rng.randrange(3)
        choice = rng.randrange(3) if rng.random() < EXPLORE else greedy[kind]
        rewards.append(float(rng.random() < VISITS[kind][sent]))
        counted.append(choice == sent)
        if choice == sent:
            sums[kind][sent] += rewards[-1]
            seen[kind][sent] += 1
    return fmean(values) - fmean(map(fmean, VISITS)), rewards, counted


def test_the_interval_covers_the_true_difference_of_a_learning_policy_as_often_as_it_says() -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    runs = 600
    covered = 0
    for _ in range(runs):
        truth, rewards, counted = one_run(rng)
        estimate = difference_to_uniform(rewards, counted)
        assert estimate is not None
        covered += estimate.low <= truth <= estimate.high
    # .95 give or take three standard errors of 600 runs. Without the covariance it would be above .99.
    assert 0.92 <= covered / runs <= 0.98
