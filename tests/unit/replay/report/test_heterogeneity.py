"""Whether slopes differ by variant: against fits by hand, and how often noise is taken for something."""

import numpy as np
import pytest
from scipy import stats

from bandit.replay.heterogeneity import (
    Slopes,
    difference,
    holm,
    indicator_sums,
    skewness,
    slopes,
    sums,
)

VARIANTS = 4


def skew_of(r, variant):
    return skewness(*(np.bincount(variant, r**power, VARIANTS) for power in range(4)))


def difference_of(z, r, variant):
    r = r - r.mean()
    return difference(slopes(sums(z, r, np.ones(len(r)), variant, VARIANTS)), skew_of(r, variant))


def noise_log(rng, rows=1_500, rate=0.3):
    """Rewards that depend on variant and signals, but on signals alike for all variants."""
    variant = rng.integers(0, VARIANTS, rows)
    rare, number, even = (
        (rng.random(rows) < 0.15) * 1.0,
        rng.normal(size=rows),
        rng.integers(0, 2, rows) * 1.0,
    )
    chance = rate * np.linspace(0.6, 1.2, VARIANTS)[variant] + 0.3 * rare + 0.1 * even
    r = (rng.random(rows) < chance) * 1.0
    return variant, r, (rare, number, even)


def test_a_slope_and_its_error_are_those_of_a_weighted_fit():
    rng = np.random.default_rng(1)
    rows = 400
    z, variant, weight = rng.normal(size=rows), rng.integers(0, 2, rows), rng.uniform(1, 5, rows)
    r = 0.5 + 0.2 * z * (variant + 1) + rng.normal(size=rows) * (0.2 + 2 * np.abs(z))
    found = slopes(sums(z, r, weight, variant, 2))
    for code in range(2):
        at = variant == code
        x, w, y = np.column_stack([np.ones(at.sum()), z[at]]), weight[at], r[at]
        bread = np.linalg.inv(x.T @ (w[:, None] * x))
        fit = bread @ x.T @ (w * y)
        left = y - x @ fit
        covariance = bread @ (x.T @ ((w * left)[:, None] ** 2 * x)) @ bread
        effective = w.sum() ** 2 / (w @ w)
        assert found.slope[code] == pytest.approx(fit[1])
        assert found.error[code] == pytest.approx((covariance[1, 1] * effective / (effective - 2)) ** 0.5)


def test_an_indicator_is_a_number_of_ones_and_zeros():
    rng = np.random.default_rng(2)
    z, r, weight = rng.integers(0, 2, 300) * 1.0, rng.normal(size=300), rng.uniform(1, 3, 300)
    variant = rng.integers(0, 2, 300)

    def parts(mask):
        return np.stack(
            [
                np.stack([np.bincount(variant[mask], (w * r**j)[mask], 2) for j in range(3)])
                for w in (weight, weight**2)
            ]
        )

    made = indicator_sums(parts(z == 1), parts(z >= 0))
    np.testing.assert_allclose(made, sums(z, r, weight, variant, 2))


def test_sums_add_up_over_rows():
    rng = np.random.default_rng(3)
    z, r, variant = rng.normal(size=100), rng.normal(size=100), rng.integers(0, 3, 100)
    halves = [sums(z[at], r[at], np.ones(50), variant[at], 3) for at in (slice(50), slice(50, 100))]
    np.testing.assert_allclose(sum(halves), sums(z, r, np.ones(100), variant, 3))


def test_with_sure_errors_q_is_chi_square_distributed():
    many = np.full(3, 1e12)
    found = difference(Slopes(np.array([0.0, 0.1, 0.3]), np.array([0.1, 0.1, 0.2]), many), np.zeros(3))
    mean = (0.0 + 0.1 * 100 + 0.3 * 25) / 225
    q = 100 * mean**2 + 100 * (0.1 - mean) ** 2 + 25 * (0.3 - mean) ** 2
    assert found.p == pytest.approx(stats.chi2.sf(q, 2))
    assert found.pair == (2, 0)
    assert found.error == pytest.approx(0.1 * 2**0.5)


def test_for_two_variants_the_correction_comes_close_to_students_t():
    # Equal errors: James's statistic is then the square of a t of nu_1 + nu_2 degrees of freedom.
    for t in (1.5, 2.5, 3.5):
        found = difference(
            Slopes(np.array([0.0, t]), np.array([0.5**0.5, 0.5**0.5]), np.array([31.0, 31.0])), np.zeros(2)
        )
        assert found.p == pytest.approx(2 * stats.t.sf(t, 60), rel=0.15)


def test_variants_with_few_rows_for_their_skewness_are_left_out():
    three = Slopes(np.array([0.0, 0.0, 9.0]), np.ones(3), np.array([50.0, 50.0, 19.0]))
    assert difference(three, np.zeros(3)).p == 1.0
    assert difference(three, np.array([0.0, 4.0, 0.0])) is None
    assert difference(three, np.array([0.0, np.inf, 0.0])) is None


def test_a_variant_without_spread_has_no_slope():
    z, r = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    found = slopes(sums(z, r, np.ones(6), np.array([0, 0, 0, 1, 1, 1]), 3))
    assert list(found.rows) == [0.0, 0.0, 0.0]
    assert np.isinf(found.error).all()


def test_what_moves_all_variants_alike_is_rarely_found_and_so_is_noise():
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(200):
        variant, r, signals = noise_log(rng)
        corrected = holm([difference_of(z, r, variant).p for z in signals])
        wrong += min(corrected) < 0.05
    assert wrong <= 10


def test_rare_rewards_are_not_mistaken_for_differences():
    rng = np.random.default_rng(5)
    ps = []
    for _ in range(200):
        variant, r, signals = noise_log(rng, rows=4_000, rate=0.02)
        ps += [found.p for z in signals[:2] if (found := difference_of(z, r, variant)) is not None]
    assert len(ps) > 50
    assert np.mean(np.array(ps) < 0.05) < 0.09
    assert np.mean(np.array(ps) < 0.001) < 0.01


def test_an_interaction_is_found_and_where_it_shows():
    rng = np.random.default_rng(6)
    variant, z = rng.integers(0, VARIANTS, 4_000), rng.normal(size=4_000)
    r = (rng.random(4_000) < np.clip(0.3 + 0.1 * z * (variant == 2) - 0.1 * z * (variant == 1), 0, 1)) * 1.0
    found = difference_of(z, r, variant)
    assert found.p < 1e-6
    assert found.pair == (2, 1)


def test_holm_corrects_in_order():
    assert holm([0.01, 0.04, 0.03, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
