"""The intervals of off-policy estimates: asymptotic with a correction for few and heavy rows, Cressie–Read,
and one that is valid at every look.

- `asymptotic`: for a mean or a ratio of means, from its linearised terms
- `unvaried`: what a declared range adds to it where all rewards are the same, and terms tell of no error
- `cressie_read`: empirical likelihood with the declared reward range, never wider than it
- `anytime`, `ConfidenceSequence`: may be looked at as often as one likes

All cluster by subject: rows of one cluster count as one observation.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from bandit.replay.arrays import Clusters, by_cluster
from bandit.replay.columns import F64
from bandit.replay.confidence_sequence import ConfidenceSequence, anytime
from bandit.replay.empirical_likelihood import interval as cressie_read
from bandit.replay.quantiles import normal_quantile, t_critical

__all__ = ["ConfidenceSequence", "anytime", "asymptotic", "cressie_read", "heaviest", "unvaried"]

IMAGINED_SHARE: Final = 0.5
"""How much of a row each of the two imagined ones is; together they are one more row."""

DOF_MIN: Final = 2.0
"""With fewer degrees of freedom, t would say that nothing at all is known."""


def asymptotic(
    value: float,
    terms: F64,
    scale: float,
    alpha: float,
    clusters: Clusters = None,
    imagined: Sequence[float] = (),
) -> tuple[float, float]:
    """(low, high) for an estimate whose error is the sum of independent terms over `scale`.

    `terms`, shape (n,), are the estimate's linearised terms (influence values), which sum to 0: x_i - mean x
    and scale n for a mean, w_i (r_i - v) and scale sum w for the ratio v = sum w r / sum w (the delta method:
    the denominator is as random as the numerator). They are added up by cluster to u_g, g = 1 ... G. Then

        s_k = sum u_g^k,     se = sqrt(s_2 G / (G - 1)) / scale,     skewness = s_3 / s_2^1.5
        low, high = value + se skewness (2 z^2 + 1) / 6 -+ se t,    1 / dof = 1 / (G - 1) + skewness^2 / 2

    The shift is the Cornish-Fisher correction of a studentised mean for skewness (Johnson 1978; Hall,
    "The Bootstrap and Edgeworth Expansion", 1992; Cai, "One-sided confidence intervals in discrete
    distributions", 2005). What is left of the error at both ends together is of the order of skewness^2 too:
    Student's t with so many degrees of freedom takes it up. It is exact for normal terms; for a count of k
    rare rewards, whose sum has skewness 1 / sqrt(k), it has 2 k degrees, Satterthwaite's for the variance
    estimate; and tails that are heavy to both sides, which make a studentised mean no less certain, do not
    widen it. `imagined` are terms of rows that might have come (see `heaviest`): each enters s_2 and s_3 as
    half a row. That is the pseudo-observation of Agresti & Coull (1998), and of the adjusted empirical
    likelihood of Chen, Variyath & Abraham (2008), for terms that have weights. With rare 0/1 rewards the
    ends come close to the exact ones for a Poisson count, if the log holds at least one; with many even rows
    nothing is left of all three corrections, and the interval is the normal one. How often it holds:
    `scripts/bench/coverage.py`.

    With a single unit nothing is known of its error: (-inf, inf). Where neither terms nor `imagined` differ
    from 0 the interval is the point `value`: whether that is knowledge or a log that has not shown yet how
    rewards vary, terms do not say, so estimators of rewards go on to `unvaried`.
    """
    sums = by_cluster(terms, clusters)
    count = len(sums)
    if count < 2:
        return -math.inf, math.inf
    squares = sums * sums
    extra = np.asarray(imagined, dtype=np.float64)
    s2 = float(squares.sum() + IMAGINED_SHARE * (extra**2).sum())
    s3 = float(squares @ sums + IMAGINED_SHARE * (extra**3).sum())
    if not s2**1.5 > 0.0:
        return value, value
    error = math.sqrt(s2 * count / (count - 1)) / scale
    skewness = s3 / s2**1.5
    dof = max(DOF_MIN, 1.0 / (1.0 / (count - 1) + skewness * skewness / 2.0))
    t = t_critical(alpha, dof)
    z = normal_quantile(1.0 - alpha / 2.0)
    middle = value + error * skewness * (2.0 * z * z + 1.0) / 6.0
    return min(value, middle - t * error), max(value, middle + t * error)


def unvaried(
    interval: tuple[float, float],
    reward: F64,
    weights: F64,
    scale: float,
    alpha: float,
    clusters: Clusters,
    reward_range: tuple[float, float] | None,
) -> tuple[float, float]:
    """`interval` itself where rewards vary; where all are the same, widened by what may have gone unseen.

    All rewards are c, in units (rows or clusters) of weights W_g > 0. Had unit g another reward with
    probability q_g, the log would look like this with probability prod(1 - q_g). That is at least alpha / 2
    only if

        sum W_g q_g / sum W_g <= 1 - (alpha / 2)^(1 / m),     m = sum W_g / max W_g

    by the inequality of the weighted means, with equality for even weights. For those it is the exact bound
    of Clopper & Pearson, "The use of confidence or fiducial limits" (1934), for 0 of m: near 3.7 / m at 95 %,
    as Hanley & Lippman-Hand, "If nothing goes wrong, is everything all right?" (1983), have 3 / m for the one
    end alone. What was not seen is at worst at an end of `reward_range`: so the low end moves down by the
    bound times (c - low) sum W_g / scale, the high end up by the bound times (high - c) sum W_g / scale.

    Without any weight the log says nothing, and the interval takes in the range. A range of one point says
    that rewards are known, and adds nothing; None, that they may be anything: (-inf, inf).
    """
    least, most = float(reward.min()), float(reward.max())
    if least < most and weights.any():
        return interval
    if reward_range is None:
        return -math.inf, math.inf
    low, high = reward_range
    if low == high:
        return interval
    units = by_cluster(weights, clusters)
    total = float(units.sum())
    if not total > 0.0:
        return min(interval[0], low), max(interval[1], high)
    alike = (alpha / 2.0) ** (float(units.max()) / total)
    share = (1.0 - alike) * total / scale
    return interval[0] - share * (least - low), interval[1] + share * (high - most)


def heaviest(weights: F64, clusters: Clusters) -> float:
    """The weight of an imagined row: that of the heaviest row, or of a usual cluster where that is more."""
    row = float(weights.max())
    if clusters is None:
        return row
    sums = by_cluster(weights, clusters)
    return max(row, math.sqrt(float(sums @ sums) / len(sums)))
