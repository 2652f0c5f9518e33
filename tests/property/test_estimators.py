"""What holds of off-policy estimates for every log, not for examples alone."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bandit.replay import estimators, intervals

RANGE = (0.0, 1.0)


@st.composite
def logs(draw_from, min_size=2, max_size=30):
    """Rewards in [0, 1], propensities, targets, clusters."""
    n = draw_from(st.integers(min_size, max_size))

    def column(values):
        return np.array(draw_from(st.lists(values, min_size=n, max_size=n)))

    return (
        column(st.floats(0.0, 1.0, allow_subnormal=False)),
        column(st.floats(1e-3, 1.0)),
        column(st.floats(0.0, 1.0, allow_subnormal=False)),
        column(st.integers(0, 5)),
    )


@given(logs())
def test_estimates_lie_in_their_intervals_and_self_normalised_ones_among_the_rewards(log):
    reward, propensity, target, cluster = log
    for one in (
        estimators.ips(reward, propensity, target, cluster=cluster),
        estimators.snips(reward, propensity, target, cluster=cluster),
        estimators.cressie_read(reward, propensity, target, RANGE, cluster=cluster),
    ):
        assert math.isnan(one.value) or one.low <= one.value <= one.high
        assert 0.0 <= one.ess <= one.n * (1 + 1e-9)
        assert one.max_weight == pytest.approx((target / propensity).max())
    value = estimators.snips(reward, propensity, target).value
    assert math.isnan(value) or reward.min() - 1e-9 <= value <= reward.max() + 1e-9


@given(logs())
def test_intervals_by_the_declared_range_stay_in_it(log):
    reward, propensity, target, cluster = log
    found = estimators.cressie_read(reward, propensity, target, RANGE, cluster=cluster)
    assert 0.0 <= found.low <= found.high <= 1.0
    low, high = intervals.anytime(reward, propensity, target, RANGE, cluster=cluster)
    assert 0.0 <= low <= high <= 1.0


@given(logs(), st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_estimates_move_with_the_unit_of_rewards(log, scale, shift):
    """SNIPS, Cressie-Read and anytime do so under any change of unit, IPS if zero stays zero."""
    reward, propensity, target, _ = log
    assume(target.sum() > 0.01)
    moved, declared = reward * scale + shift, (shift - 1e-9, scale + shift + 1e-9)

    def back(number):
        return (number - shift) / scale

    one, other = (estimators.snips(r, propensity, target) for r in (reward, moved))
    assert back(other.value) == pytest.approx(one.value, abs=1e-6)
    one = estimators.cressie_read(reward, propensity, target, RANGE)
    other = estimators.cressie_read(moved, propensity, target, declared)
    assert back(other.value) == pytest.approx(one.value, abs=1e-5)
    once = intervals.anytime(reward, propensity, target, RANGE)
    again = intervals.anytime(moved, propensity, target, declared)
    assert [back(end) for end in again] == pytest.approx(list(once), abs=1e-6)
    one, other = (estimators.ips(r, propensity, target) for r in (reward, reward * scale))
    assert (other.low / scale, other.high / scale) == pytest.approx((one.low, one.high), rel=1e-6, abs=1e-6)


@given(logs(min_size=4), st.randoms(use_true_random=False))
def test_the_order_of_rows_matters_to_none_but_anytime(log, rng):
    order = list(range(len(log[0])))
    rng.shuffle(order)
    reward, propensity, target, cluster = log
    mixed = [column[order] for column in log]
    for one in (estimators.ips, estimators.snips):
        before = one(reward, propensity, target, cluster=cluster)
        after = one(*mixed[:3], cluster=mixed[3])
        assert (after.low, after.high) == pytest.approx(
            (before.low, before.high), rel=1e-6, abs=1e-9, nan_ok=True
        )


@given(logs(min_size=3))
def test_anytime_narrows_with_every_row(log):
    reward, propensity, target, _ = log
    last = RANGE
    for look in range(1, len(reward) + 1):
        low, high = intervals.anytime(reward[:look], propensity[:look], target[:look], RANGE)
        if low == high:
            break  # the ends have crossed: weights that can't be
        assert last[0] - 1e-12 <= low <= high <= last[1] + 1e-12
        last = low, high


@given(logs(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_dr_with_a_constant_model_is_ips_of_what_is_left(log, guess, lam):
    """DR = q + IPS of r - q; no weights leave q; switching at the largest weight changes nothing."""
    reward, propensity, target, _ = log
    q = np.full(len(reward), guess)
    left = estimators.ips(reward - guess, propensity, target)
    terms = (reward, propensity, target, q, q)
    whole = estimators.dr_terms(*terms)
    assert whole.value == pytest.approx(guess + left.value, rel=1e-9, abs=1e-9)
    assert estimators.dros_terms(*terms, 0.0).value == pytest.approx(guess)
    largest = float((target / propensity).max())
    assert estimators.switch_dr_terms(*terms, largest) == whole
    assert abs(estimators.dros_terms(*terms, lam).max_weight) <= largest + 1e-9
