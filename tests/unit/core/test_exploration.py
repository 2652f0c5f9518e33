import math

import pytest

from bandit.core.exploration import epsilon_greedy, inverse_gap_weighting, squarecb_gamma


def test_inverse_gap_weighting_is_the_published_formula():
    # 1 / (K + gamma * gap): 1 / (3 + 10 * 0.5) and 1 / (3 + 10 * 0.2), the best takes the rest.
    distribution = inverse_gap_weighting([0.3, 0.8, 0.6], 10.0)
    assert distribution == pytest.approx([1 / 8, 1 - 1 / 8 - 1 / 5, 1 / 5])


def test_inverse_gap_weighting_with_gamma_zero_is_uniform():
    assert inverse_gap_weighting([0.1, 0.9, 0.5, 0.2], 0.0) == pytest.approx([0.25] * 4)


def test_inverse_gap_weighting_shares_between_equally_good_variants():
    assert inverse_gap_weighting([0.5, 0.5, 0.5], 100.0) == pytest.approx([1 / 3] * 3)
    first, second, worse = inverse_gap_weighting([0.5, 0.5, 0.0], 100.0)
    assert first == second > worse


def test_inverse_gap_weighting_does_not_depend_on_the_order_of_variants():
    rewards = [0.1, 0.7, 0.7, 0.4]
    forwards = inverse_gap_weighting(rewards, 7.0)
    backwards = inverse_gap_weighting(rewards[::-1], 7.0)
    assert forwards == pytest.approx(backwards[::-1])


def test_a_larger_gamma_is_greedier():
    best = [inverse_gap_weighting([0.2, 0.6], gamma)[1] for gamma in (0.0, 1.0, 10.0, 1000.0)]
    assert best == sorted(best)
    assert best[-1] > 0.99


def test_one_variant_is_always_served():
    assert inverse_gap_weighting([0.4], 10.0) == [1.0]
    assert epsilon_greedy([0.4], 0.1) == [1.0]


def test_the_gamma_of_squarecb_starts_at_zero_and_grows_with_events():
    assert squarecb_gamma(0, 10.0, 0.5) == 0.0
    assert squarecb_gamma(100, 10.0, 0.5) == pytest.approx(100.0)
    assert squarecb_gamma(400, 10.0, 0.5) == pytest.approx(200.0)


def test_epsilon_is_spread_over_all_and_the_best_takes_the_rest():
    assert epsilon_greedy([0.1, 0.9, 0.5], 0.3) == pytest.approx([0.1, 0.8, 0.1])


def test_epsilon_greedy_shares_between_equally_good_variants():
    assert epsilon_greedy([0.9, 0.9, 0.1], 0.3) == pytest.approx([0.45, 0.45, 0.1])
    assert math.fsum(epsilon_greedy([0.0, 0.0], 0.0)) == pytest.approx(1.0)
