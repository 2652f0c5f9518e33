import math

import pytest

from bandit.core.distribution import BrokenDistribution, checked, normalised, one_hot, with_floor


def test_float32_rounding_is_normalised_away():
    distribution = normalised([0.3333333, 0.3333333, 0.3333334999], 3)
    assert math.fsum(distribution) == pytest.approx(1.0, abs=1e-15)


def test_a_sum_within_a_thousandth_is_taken_and_one_beyond_is_broken():
    assert normalised([0.5, 0.5009], 2) == pytest.approx([0.5 / 1.0009, 0.5009 / 1.0009])
    with pytest.raises(BrokenDistribution, match="sum to"):
        normalised([0.5, 0.5011], 2)
    with pytest.raises(BrokenDistribution, match="sum to"):
        normalised([0.5, 0.4989], 2)


@pytest.mark.parametrize(
    "probabilities",
    [
        [],
        [1.0],
        [0.5, 0.25, 0.25],
        [math.nan, 1.0],
        [1.0, math.nan],
        [math.inf, 0.0],
        [math.inf, -math.inf],
        [1e308, 1e308],
        [-0.5, 1.5],
        [-1e-12, 1.0],
        [0.0, 0.0],
    ],
)
def test_what_is_no_distribution_over_two_variants_is_broken(probabilities):
    with pytest.raises(BrokenDistribution):
        normalised(probabilities, 2)


def test_no_variants_have_no_distribution():
    with pytest.raises(BrokenDistribution):
        normalised([], 0)


def test_a_sum_off_by_more_than_a_billionth_is_not_a_checked_distribution():
    good = [0.5, 0.5 + 0.9e-9]
    assert checked(good) is good
    with pytest.raises(BrokenDistribution):
        checked([0.5, 0.5 + 1.1e-9])


def test_the_floor_is_a_total_that_all_variants_share_evenly():
    assert with_floor([1.0, 0.0, 0.0, 0.0], 0.2) == pytest.approx([0.85, 0.05, 0.05, 0.05])


def test_a_floor_of_zero_changes_nothing_and_a_floor_of_one_is_uniform():
    assert with_floor([0.75, 0.25], 0.0) == [0.75, 0.25]
    assert with_floor([0.75, 0.25], 1.0) == [0.5, 0.5]


def test_one_hot_always_serves_its_variant():
    assert one_hot(1, 3) == [0.0, 1.0, 0.0]
