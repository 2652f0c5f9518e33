"""Estimators against the published formulas, written again as plain loops."""

import math

import numpy as np
import pytest

from bandit.replay import estimators
from bandit.replay.estimators import Estimate

SEED = 11
RANGE = (0.0, 1.0)


class Log:
    """A small log of `n` rows and `k` variants, as obp would hold it."""

    def __init__(self, n=400, k=5, seed=SEED):
        rng = np.random.default_rng(seed)
        logging = rng.dirichlet(np.full(k, 2.0), n)
        self.action = np.array([rng.choice(k, p=p) for p in logging])
        self.propensity = logging[np.arange(n), self.action]
        self.pi = rng.dirichlet(np.full(k, 1.0), n)
        self.target = self.pi[np.arange(n), self.action]
        self.reward = rng.random(n)
        self.q = rng.random((n, k))
        self.cluster = rng.integers(0, n // 3, n)
        self.weight = rng.choice([1.0, 2.0, 4.0], n)
        self.rows = range(n)

    @property
    def columns(self):
        return self.reward, self.propensity, self.action, self.q, self.pi

    def w(self, i):
        return self.target[i] / self.propensity[i]

    def value_hat(self, i):
        return math.fsum(self.pi[i][a] * self.q[i][a] for a in range(len(self.pi[i])))

    def residual(self, i):
        return self.reward[i] - self.q[i][self.action[i]]


@pytest.fixture(scope="module")
def log():
    return Log()


def near(expected):
    return pytest.approx(expected, rel=1e-9)


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def test_ips_is_the_mean_of_weighted_rewards(log):
    found = estimators.ips(log.reward, log.propensity, log.target)
    assert found.value == near(mean(log.w(i) * log.reward[i] for i in log.rows))


def test_snips_divides_by_the_sum_of_weights(log):
    found = estimators.snips(log.reward, log.propensity, log.target)
    weights = [log.w(i) for i in log.rows]
    gained = math.fsum(w * r for w, r in zip(weights, log.reward, strict=True))
    assert found.value == near(gained / math.fsum(weights))


def test_the_direct_method_is_the_mean_predicted_reward_of_the_target(log):
    assert estimators.dm(log.q, log.pi).value == near(mean(map(log.value_hat, log.rows)))


def test_dr_adds_weighted_residuals_to_the_direct_method(log):
    terms = [log.value_hat(i) + log.w(i) * log.residual(i) for i in log.rows]
    assert estimators.dr(*log.columns).value == near(mean(terms))


@pytest.mark.parametrize("tau", [0.0, 0.7, 3.0, math.inf])
def test_switch_dr_keeps_residuals_of_weights_up_to_tau(log, tau):
    kept = [log.w(i) * log.residual(i) if log.w(i) <= tau else 0.0 for i in log.rows]
    expected = mean(log.value_hat(i) + term for i, term in enumerate(kept))
    assert estimators.switch_dr(*log.columns, tau).value == near(expected)


def test_switch_dr_keeps_a_weight_equal_to_tau():
    found = estimators.switch_dr([1.0], [0.5], [0], [[0.0, 0.0]], [[1.0, 0.0]], 2.0)
    assert found.value == 2.0


@pytest.mark.parametrize("lam", [0.0, 0.3, 10.0, 1e6])
def test_dros_shrinks_weights_optimistically(log, lam):
    def shrunk(w):
        return lam * w / (w * w + lam) if lam else 0.0

    terms = [log.value_hat(i) + shrunk(log.w(i)) * log.residual(i) for i in log.rows]
    assert estimators.dros(*log.columns, lam).value == near(mean(terms))


def test_dros_without_a_limit_is_dr_and_with_none_left_the_direct_method(log):
    assert estimators.dros(*log.columns, math.inf) == estimators.dr(*log.columns)
    direct = estimators.dm(log.q, log.pi)
    assert estimators.dros(*log.columns, 0.0).value == near(direct.value)


def test_scalar_forms_equal_the_array_forms(log):
    q_a = log.q[np.arange(len(log.q)), log.action]
    value_hat = np.array([log.value_hat(i) for i in log.rows])
    beside = {"cluster": log.cluster, "weight": log.weight}
    scalars = (log.reward, log.propensity, log.target, q_a, value_hat)
    for array, scalar in (
        (estimators.dr(*log.columns, **beside), estimators.dr_terms(*scalars, **beside)),
        (
            estimators.switch_dr(*log.columns, 2.0, **beside),
            estimators.switch_dr_terms(*scalars, 2.0, **beside),
        ),
        (estimators.dros(*log.columns, 2.0, **beside), estimators.dros_terms(*scalars, 2.0, **beside)),
        (estimators.dm(log.q, log.pi), estimators.dm_terms(value_hat)),
    ):
        assert (array.value, array.low, array.high) == near((scalar.value, scalar.low, scalar.high))


def test_a_row_that_stands_for_others_counts_as_they_would(log):
    """weight 1 / (1 - pdrop): values are those of the log in which nothing was dropped and all came alike."""
    times = log.weight.astype(int)
    again = [np.repeat(column, times, axis=0) for column in log.columns]
    target = np.repeat(log.target, times)
    for name in ("ips", "snips"):
        one = getattr(estimators, name)
        dropped = one(log.reward, log.propensity, log.target, weight=log.weight)
        assert dropped.value == near(one(again[0], again[1], target).value)
    assert estimators.dr(*log.columns, weight=log.weight).value == near(estimators.dr(*again).value)


def test_effective_sample_size_and_largest_weight_are_those_of_the_weights(log):
    weights = [log.w(i) for i in log.rows]
    ess = math.fsum(weights) ** 2 / math.fsum(w * w for w in weights)
    for found in (
        estimators.ips(log.reward, log.propensity, log.target),
        estimators.snips(log.reward, log.propensity, log.target),
        estimators.dr(*log.columns),
        estimators.cressie_read(log.reward, log.propensity, log.target, RANGE),
    ):
        assert (found.n, found.ess, found.max_weight) == near((len(log.reward), ess, max(weights)))
    kept = [w for w in weights if w <= 1.0]
    assert estimators.switch_dr(*log.columns, 1.0).max_weight == near(max(kept))
    assert estimators.dm(log.q, log.pi).ess == near(len(log.reward))


def test_clusters_of_one_row_change_nothing(log):
    alone = np.random.default_rng(SEED).permutation(len(log.reward))
    logged = (log.reward, log.propensity, log.target)
    assert estimators.snips(*logged, cluster=alone) == estimators.snips(*logged)
    assert estimators.cressie_read(*logged, RANGE, cluster=alone) == estimators.cressie_read(*logged, RANGE)


def test_a_log_written_four_times_tells_no_more_if_it_is_clustered(log):
    logged = (log.reward, np.maximum(log.propensity, 0.2), np.full(len(log.reward), 0.2))
    copies = [np.tile(column, 4) for column in logged]
    cluster = np.tile(np.arange(len(log.reward)), 4)
    once, told = estimators.snips(*logged), estimators.snips(*copies, cluster=cluster)
    assert told.value == near(once.value)
    assert told.high - told.low == pytest.approx(once.high - once.low, rel=0.15)
    blind = estimators.snips(*copies)
    assert blind.high - blind.low < 0.6 * (once.high - once.low)


def test_cluster_labels_may_be_of_any_kind(log):
    logged = (log.reward, log.propensity, log.target)
    texts = np.array([f"subject-{label}" for label in log.cluster])
    far = log.cluster * 2**40 - 2**62
    found = [estimators.ips(*logged, cluster=labels) for labels in (log.cluster, texts, far)]
    assert len({(round(one.low, 12), round(one.high, 12)) for one in found}) == 1


def test_lists_integers_and_obp_shapes_are_taken():
    found = estimators.dr([1, 0], [0.5, 0.5], [0, 1], np.ones((2, 2, 1)), np.full((2, 2, 1), 0.5))
    assert found.value == pytest.approx(0.5)


def test_a_policy_that_never_agrees_with_the_log_has_no_self_normalised_value():
    found = estimators.snips([1.0, 0.0], [0.5, 0.5], [0.0, 0.0])
    assert math.isnan(found.value)
    assert (found.low, found.high, found.ess) == (-math.inf, math.inf, 0.0)
    blind = estimators.cressie_read([1.0, 0.0], [0.5, 0.5], [0.0, 0.0], RANGE)
    assert (blind.low, blind.high) == RANGE


def test_one_row_tells_nothing_of_its_error():
    found = estimators.ips([0.5], [1.0], [1.0])
    assert (found.value, found.low, found.high) == (0.5, -math.inf, math.inf)


GOOD = {"reward": [0.0, 1.0], "propensity": [0.5, 0.5], "target": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"reward": [0.0]}, "propensity has 2 rows"),
        ({"reward": [[0.0, 1.0]]}, "one number a row"),
        ({"reward": []}, "reward is empty"),
        ({"reward": [0.0, math.nan]}, "reward is not finite in 1 places"),
        ({"reward": ["a", "b"]}, "reward does not hold numbers"),
        ({"propensity": [0.5, 0.0]}, r"outside \(0, 1\] in 1 rows"),
        ({"propensity": [0.5, 1.5]}, r"outside \(0, 1\] in 1 rows"),
        ({"propensity": [0.5, math.nan]}, "propensity is not finite"),
        ({"propensity": [-0.1, math.inf]}, "propensity is not finite"),
        ({"target": [0.5, 1.5]}, r"target is outside \[0, 1\]"),
        ({"target": [0.5, -0.5]}, r"target is outside \[0, 1\]"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"alpha": 1.0}, "alpha is 1"),
        ({"cluster": [1]}, "one label for each of the 2 rows"),
        ({"cluster": [1.0, math.nan]}, "labels of their own"),
        ({"weight": [1.0, 0.0]}, "weight is not positive"),
        ({"weight": [1.0]}, "weight has 1 rows"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(broken, says):
    for one in (estimators.ips, estimators.snips):
        with pytest.raises(ValueError, match=says):
            one(**GOOD | broken)
    with pytest.raises(ValueError, match=says):
        estimators.cressie_read(**GOOD | {"reward_range": RANGE} | broken)


MODELLED = {
    "reward": [0.0, 1.0],
    "propensity": [0.5, 0.5],
    "action": [0, 1],
    "reward_hat": [[0.1, 0.2], [0.3, 0.4]],
    "target_distribution": [[0.5, 0.5], [1.0, 0.0]],
}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"action": [0, 2]}, "action is outside 0 to 1"),
        ({"action": [0, -1]}, "action is outside 0 to 1"),
        ({"action": [0.0, 1.0]}, "whole numbers"),
        ({"action": [0]}, "one index for each"),
        ({"reward_hat": [0.1, 0.2]}, "one column a variant"),
        ({"reward_hat": [[0.1, 0.2]]}, "reward_hat has 1 rows"),
        ({"target_distribution": [[1.0], [1.0]]}, "1 columns"),
        ({"target_distribution": [[0.5, 0.4], [1.0, 0.0]]}, "do not sum to 1"),
        ({"target_distribution": [[1.5, -0.5], [1.0, 0.0]]}, "negative"),
    ],
)
def test_what_is_wrong_with_a_matrix_is_said(broken, says):
    with pytest.raises(ValueError, match=says):
        estimators.dr(**MODELLED | broken)


def test_limits_of_weights_are_checked():
    for limit in (-1.0, math.nan):
        with pytest.raises(ValueError, match="tau"):
            estimators.switch_dr(**MODELLED, tau=limit)
        with pytest.raises(ValueError, match="lam"):
            estimators.dros(**MODELLED, lam=limit)


def test_rewards_outside_the_declared_range_are_refused():
    with pytest.raises(ValueError, match=r"declared range 0 to 0\.5"):
        estimators.cressie_read(**GOOD, reward_range=(0.0, 0.5))
    with pytest.raises(ValueError, match="smaller first"):
        estimators.cressie_read(**GOOD, reward_range=(1.0, 0.0))
    with pytest.raises(ValueError, match="weight_range"):
        estimators.cressie_read(**GOOD, reward_range=RANGE, weight_range=(0.0, 0.9))


def test_an_estimate_is_plain_numbers(log):
    found = estimators.cressie_read(log.reward, log.propensity, log.target, RANGE, cluster=log.cluster)
    for estimate in (
        found,
        estimators.ips(log.reward, log.propensity, log.target),
        estimators.dr(*log.columns),
    ):
        assert isinstance(estimate, Estimate)
        assert type(estimate.n) is int
        assert all(
            type(getattr(estimate, name)) is float for name in ("value", "low", "high", "ess", "max_weight")
        )
