"""Off-policy estimators: what a target policy would have earned, from decisions that another policy made.

Plain arrays in, `Estimate` out. Row i has context x_i, the served variant a_i with its logged propensity
p_i = p(a_i | x_i) and its reward r_i. The policy being judged is pi; w_i = pi(a_i | x_i) / p_i is the
importance weight. `ips` and `dr` are unbiased, `snips` and `cressie_read` in large logs, if propensities are
those that variants were really drawn with, rows stand for the contexts one asks about, and every variant that
pi may choose had a propensity above 0 (support). None can tell by itself that this fails:
`bandit.replay.diagnostics` looks for it.

- Arrays are of shape (n,) or, where said, (n, k) with one column a variant. The order of arguments is that of
  the package obp, so that its arrays fit.
- `alpha`: intervals cover with probability 1 - alpha. They are asymptotic with a correction for few and
  heavy rows (`intervals.asymptotic`), except for `cressie_read`.
- `cluster`: labels, one a row: rows of one subject are not independent. None: each row by itself.
- `weight`: 1 / (1 - pdrop), how many decisions a row stands for; multiplies importance weights and counts.
- `reward_range`: (low, high) as declared. `cressie_read` is built on it. The others need it only where all
  rewards are the same, to bound what a larger log would have shown (`intervals.unvaried`); without it their
  intervals are then infinite. Two equal ends say that the reward is known, and not drawn.
- All raise ValueError that says what is wrong with which array.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bandit.replay import arrays, intervals
from bandit.replay.columns import F64
from bandit.replay.empirical_likelihood import Units
from bandit.replay.empirical_likelihood import estimate as likeliest


@dataclass(frozen=True, slots=True)
class Estimate:
    """A policy's value with its interval.

    `value` is nan, and the interval infinite, where the log holds no row that the policy could have made;
    an interval is infinite also where a single row or cluster is all there is, and where all rewards are the
    same and no range of theirs was given. `ess` is Kish's effective sample size, (sum w)^2 / sum w^2 of the
    weights that were used; `max_weight` the largest of them.
    """

    value: float
    low: float
    high: float
    n: int
    ess: float
    max_weight: float


def ips(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """Inverse propensity score: V = mean of w_i r_i.

    `target`: (n,), probability of the served variant under pi. Unbiased; its variance grows with the weights
    and with the level of rewards. Horvitz & Thompson (1952); Precup, Sutton & Singh (2000).
    """
    r, w = _reward_and_weights(reward, propensity, target)
    return _corrected_mean(None, w, r, r, alpha, cluster, weight, reward_range)


def snips(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """Self-normalised inverse propensity score: V = sum w_i r_i / sum w_i.

    Always within the rewards seen, moves with them when they are shifted, and usually varies less than IPS;
    its bias is of order 1/n. The interval is the ratio's: the denominator is not held fixed.
    Swaminathan & Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (2015).
    """
    r, w = _reward_and_weights(reward, propensity, target)
    rows = len(r)
    clusters, sizes, alpha = _options(rows, cluster, weight, alpha)
    w = w if sizes is None else w * sizes
    total = float(w.sum())
    if not total > 0.0:
        return Estimate(math.nan, -math.inf, math.inf, rows, 0.0, 0.0)
    value = float(w @ r) / total
    reach = intervals.heaviest(w, clusters)
    imagined = (reach * (float(r.max()) - value), reach * (float(r.min()) - value))
    found = intervals.asymptotic(value, w * (r - value), total, alpha, clusters, imagined)
    low, high = intervals.unvaried(found, r, w, total, alpha, clusters, _declared(r, reward_range))
    return Estimate(value, low, high, rows, *_spread(w))


def dm(
    reward_hat: ArrayLike,
    target_distribution: ArrayLike,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
) -> Estimate:
    """Direct method: V = mean of sum_a pi(a | x_i) q(x_i, a).

    `reward_hat`, `target_distribution`: (n, k), predicted rewards q and pi. As good as the model of rewards:
    the interval tells how contexts vary, and nothing of the model's own error. Beygelzimer & Langford (2009).
    """
    q = arrays.matrix("reward_hat", reward_hat)
    pi = arrays.distributions("target_distribution", target_distribution, *q.shape)
    return dm_terms(_expected(pi, q), alpha, cluster=cluster)


def dr(
    reward: ArrayLike,
    propensity: ArrayLike,
    action: ArrayLike,
    reward_hat: ArrayLike,
    target_distribution: ArrayLike,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """Doubly robust: V = mean of sum_a pi(a | x_i) q(x_i, a) + w_i (r_i - q(x_i, a_i)).

    `action`: (n,), column of the served variant; `reward_hat`, `target_distribution`: (n, k). Unbiased
    whatever the model, if no row's prediction comes from a model that learned from that row; varies less the
    better the model is. Dudik, Langford & Li (2011); Dudik et al., "Doubly Robust Policy Evaluation" (2014).
    """
    r, p, pi_a, q_a, value = _columns(reward, propensity, action, reward_hat, target_distribution)
    return dr_terms(r, p, pi_a, q_a, value, alpha, cluster=cluster, weight=weight, reward_range=reward_range)


def switch_dr(
    reward: ArrayLike,
    propensity: ArrayLike,
    action: ArrayLike,
    reward_hat: ArrayLike,
    target_distribution: ArrayLike,
    tau: float,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """Switch-DR: V = mean of sum_a pi(a | x_i) q(x_i, a) + w_i 1[w_i <= tau] (r_i - q(x_i, a_i)).

    Doubly robust where weights are at most `tau` (>= 0, inclusive), the direct method beyond: less variance
    for the model's bias there, which the interval does not hold. Wang, Agarwal & Dudik (2017).
    """
    r, p, pi_a, q_a, value = _columns(reward, propensity, action, reward_hat, target_distribution)
    return switch_dr_terms(
        r, p, pi_a, q_a, value, tau, alpha, cluster=cluster, weight=weight, reward_range=reward_range
    )


def dros(
    reward: ArrayLike,
    propensity: ArrayLike,
    action: ArrayLike,
    reward_hat: ArrayLike,
    target_distribution: ArrayLike,
    lam: float,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """DR with optimistic shrinkage: as `dr`, with lam w_i / (w_i^2 + lam) in place of w_i.

    `lam` >= 0: 0 is the direct method, infinity is DR. Biased where weights are shrunk, which the interval
    does not hold. Su et al., "Doubly robust off-policy evaluation with shrinkage" (2020).
    """
    r, p, pi_a, q_a, value = _columns(reward, propensity, action, reward_hat, target_distribution)
    return dros_terms(
        r, p, pi_a, q_a, value, lam, alpha, cluster=cluster, weight=weight, reward_range=reward_range
    )


def cressie_read(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    reward_range: tuple[float, float],
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    weight_range: tuple[float, float] | None = None,
) -> Estimate:
    """Empirical likelihood with a Cressie–Read divergence: the value under the distribution, of those with
    weights of mean 1, that is nearest to the log's own. Equations: `bandit.replay.empirical_likelihood`.

    `reward_range`: (low, high) as declared; the interval stays inside, and never starts from the data.
    `weight_range`: the smallest and largest importance weight that there can be, where they are known (the
    largest may be `math.inf`). By default 0 and the largest seen: in simulations of low overlap and heavy
    tails that covered as often as intended, and was narrower by a third or more than not to know it.
    Karampatziakis, Langford & Mineiro, "Empirical Likelihood for Contextual Bandits" (2020).
    """
    r, w = _reward_and_weights(reward, propensity, target)
    declared = arrays.in_range(r, reward_range)
    rows = len(r)
    clusters, sizes, alpha = _options(rows, cluster, weight, alpha)
    possible = _weight_range(weight_range, float(w.min()), float(w.max()))
    mean = float(r.mean()) if sizes is None else float(sizes @ r / sizes.sum())
    used = w if sizes is None else w * sizes
    decisions = np.ones(rows) if sizes is None else sizes
    units = Units(
        decisions=arrays.by_cluster(decisions, clusters),
        weights=arrays.by_cluster(used, clusters),
        rewards=arrays.by_cluster(used * r, clusters),
        reward_mean=mean,
    )
    value = min(declared[1], max(declared[0], likeliest(units, possible)))
    low, high = intervals.cressie_read(units, possible, declared, alpha)
    return Estimate(value, min(low, value), max(high, value), rows, *_spread(used))


def dm_terms(
    value_hat: ArrayLike,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> Estimate:
    """`dm` from `value_hat` = sum_a pi(a | x_i) q(x_i, a), shape (n,)."""
    value = arrays.column("value_hat", value_hat)
    rows = len(value)
    clusters, sizes, alpha = _options(rows, cluster, weight, alpha)
    ones = np.ones(rows) if sizes is None else sizes
    total = float(ones.sum())
    mean = float(value.mean()) if sizes is None else float(sizes @ value) / total
    reach = intervals.heaviest(ones, clusters)
    imagined = (reach * (float(value.max()) - mean), reach * (float(value.min()) - mean))
    terms = value - mean if sizes is None else sizes * (value - mean)
    low, high = intervals.asymptotic(mean, terms, total, alpha, clusters, imagined)
    return Estimate(mean, low, high, rows, *_spread(ones))


def dr_terms(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    reward_hat: ArrayLike,
    value_hat: ArrayLike,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """`dr` without (n, k) arrays: mean of value_hat_i + w_i (r_i - reward_hat_i).

    `target`, `reward_hat`: (n,), pi and q of the served variant; `value_hat`: (n,), as in `dm_terms`.
    """
    r, w, residual, value = _terms(reward, propensity, target, reward_hat, value_hat)
    return _corrected_mean(value, w, residual, r, alpha, cluster, weight, reward_range)


def switch_dr_terms(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    reward_hat: ArrayLike,
    value_hat: ArrayLike,
    tau: float,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """`switch_dr` without (n, k) arrays; columns as in `dr_terms`."""
    if not tau >= 0.0:
        raise ValueError(f"tau is {tau}: give the largest weight to keep, 0 or more")
    r, w, residual, value = _terms(reward, propensity, target, reward_hat, value_hat)
    return _corrected_mean(
        value, np.where(w <= tau, w, 0.0), residual, r, alpha, cluster, weight, reward_range
    )


def dros_terms(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    reward_hat: ArrayLike,
    value_hat: ArrayLike,
    lam: float,
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Estimate:
    """`dros` without (n, k) arrays; columns as in `dr_terms`."""
    if not lam >= 0.0:
        raise ValueError(f"lam is {lam}: give 0 (the direct method) to infinity (DR)")
    r, w, residual, value = _terms(reward, propensity, target, reward_hat, value_hat)
    if lam == 0.0:
        w = np.zeros(len(w))  # lam w / (w^2 + lam) is 0 / 0 where w is 0
    elif not math.isinf(lam):
        w = lam * w / (w * w + lam)
    return _corrected_mean(value, w, residual, r, alpha, cluster, weight, reward_range)


def _corrected_mean(
    value_hat: F64 | None,
    w: F64,
    residual: F64,
    reward: F64,
    alpha: float,
    cluster: ArrayLike | None,
    weight: ArrayLike | None,
    reward_range: tuple[float, float] | None,
) -> Estimate:
    """The mean of value_hat + w residual; no value_hat means 0 everywhere."""
    rows = len(w)
    clusters, sizes, alpha = _options(rows, cluster, weight, alpha)
    terms = w * residual
    if value_hat is not None:
        terms += value_hat
    total = float(rows) if sizes is None else float(sizes.sum())
    value = float(terms.sum() if sizes is None else sizes @ terms) / total
    terms -= value
    used = w
    if sizes is not None:
        terms *= sizes
        used = w * sizes
    # Another row or cluster, as heavy as they come, with the largest or the smallest surprise that was seen.
    usual = 0.0 if value_hat is None else float(value_hat.mean())
    size = 1.0 if clusters is None else total / clusters[1]
    reach = intervals.heaviest(used, clusters)
    imagined = [reach * float(end) + size * (usual - value) for end in (residual.max(), residual.min())]
    low, high = intervals.asymptotic(value, terms, total, alpha, clusters, imagined)
    declared = _declared(reward, reward_range)
    if value_hat is None or used.any():
        # Without weights a modelled value is the direct method's, which no reward enters.
        low, high = intervals.unvaried((low, high), reward, used, total, alpha, clusters, declared)
    return Estimate(value, low, high, rows, *_spread(used))


def _reward_and_weights(reward: ArrayLike, propensity: ArrayLike, target: ArrayLike) -> tuple[F64, F64]:
    r = arrays.column("reward", reward)
    p = arrays.propensities(propensity, len(r))
    return r, arrays.probabilities("target", target, len(r)) / p


def _terms(
    reward: ArrayLike, propensity: ArrayLike, target: ArrayLike, reward_hat: ArrayLike, value_hat: ArrayLike
) -> tuple[F64, F64, F64, F64]:
    """Rewards, weights, residuals, and value_hat."""
    r, w = _reward_and_weights(reward, propensity, target)
    residual = r - arrays.column("reward_hat", reward_hat, len(r))
    return r, w, residual, arrays.column("value_hat", value_hat, len(r))


def _columns(
    reward: ArrayLike,
    propensity: ArrayLike,
    action: ArrayLike,
    reward_hat: ArrayLike,
    target_distribution: ArrayLike,
) -> tuple[F64, F64, F64, F64, F64]:
    """Rewards, propensities, pi and q of the served variant, and value_hat: all that is needed of (n, k)."""
    r = arrays.column("reward", reward)
    p = arrays.propensities(propensity, len(r))
    q = arrays.matrix("reward_hat", reward_hat, len(r))
    pi = arrays.distributions("target_distribution", target_distribution, *q.shape)
    a, row = arrays.actions(action, *q.shape), np.arange(len(r))
    return r, p, pi[row, a], q[row, a], _expected(pi, q)


def _expected(pi: F64, q: F64) -> F64:
    """sum_a pi q of each row, without an array of the products."""
    expected: F64 = np.einsum("nk,nk->n", pi, q)
    return expected


def _options(
    rows: int, cluster: ArrayLike | None, weight: ArrayLike | None, alpha: float
) -> tuple[arrays.Clusters, F64 | None, float]:
    return arrays.cluster_codes(cluster, rows), arrays.multiplicities(weight, rows), arrays.level(alpha)


def _declared(r: F64, reward_range: tuple[float, float] | None) -> tuple[float, float] | None:
    """The declared range, checked; of a single point only if every reward is there."""
    if reward_range is None or (reward_range[0] == reward_range[1] and (r == reward_range[0]).all()):
        return reward_range
    return arrays.in_range(r, reward_range)


def _weight_range(given: tuple[float, float] | None, least: float, most: float) -> tuple[float, float]:
    if given is None:
        return 0.0, max(1.0, most)
    low, high = float(given[0]), float(given[1])
    if not (0.0 <= low <= min(1.0, least) and max(1.0, most) <= high):
        raise ValueError(
            f"weight_range is {given}: give a range that holds 1 and all weights, here {least:g} to {most:g}"
        )
    return low, high


def _spread(weights: F64) -> tuple[float, float]:
    """Effective sample size and the largest weight."""
    squares = float(weights @ weights)
    return (float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0), float(weights.max())
