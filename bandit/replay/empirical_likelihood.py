"""The Cressie–Read estimate and interval: empirical likelihood for off-policy values, in closed form.

Every unit g (a row, or all rows of a cluster) has sums N_g of how many decisions it stands for, W_g of their
importance weights and S_g of weight times reward. Among all distributions q over the units that could have
made the log, the value is

    theta = sum q_g S_g / sum q_g N_g       subject to      sum q_g W_g = sum q_g N_g,

because importance weights have mean 1. The interval holds every theta that some q gives whose power
divergence from the uniform distribution is not too large. With the exponent -2 that divergence is the sum of
squares ((G + 1) q_g - 1)^2, q may be negative, and the solution is a regression of S - theta N on W - N:
theta is inside iff

    (mean of residuals)^2 <= K (variance of residuals),     K = F / (G + 1) + (divergence without theta),

a quadratic in theta; F is the 1 - alpha quantile of F(1, G). One unit is imagined beside the G that were
seen, for what a log has not shown yet: with the smallest or the largest weight there can be (whichever makes
the bound wider), and with the worst reward of the declared range for the lower bound, the best for the upper.

With one row a unit this is Karampatziakis, Langford & Mineiro, "Empirical Likelihood for Contextual Bandits"
(2020), in the form of the package vw-estimators. Units of several rows are the ratio form of the same dual.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from bandit.replay.columns import F64
from bandit.replay.quantiles import t_critical

NEGLIGIBLE: Final = 1e-14
"""A variance below this share of the squares is rounding."""


@dataclass(frozen=True, slots=True)
class Units:
    """The sums of each unit, shape (G,), and the mean reward of all rows."""

    decisions: F64
    weights: F64
    rewards: F64
    reward_mean: float

    @property
    def size(self) -> float:
        """Decisions a unit, on average."""
        return float(self.decisions.mean())


@dataclass(frozen=True, slots=True)
class _Moments:
    """Means and central second moments of N, v = W - N and S over some units and an imagined one."""

    n: float
    v: float
    s: float
    nn: float
    vv: float
    ss: float
    nv: float
    sv: float
    sn: float
    degenerate: bool


def estimate(units: Units, weight_range: tuple[float, float]) -> float:
    """theta at the q that is nearest to uniform. What the imagined unit would earn is the mean reward."""
    count = len(units.decisions)
    imagined = _nearest(units, weight_range)
    decisions, weights, rewards = units.decisions, units.weights, units.rewards
    if math.isinf(imagined):
        q = np.full(count, 1.0 / count)
        total = float(decisions.mean())
    else:
        moments = _moments(units, imagined, 0.0)
        slope = 0.0 if moments.degenerate else moments.v / moments.vv
        q = (1.0 - slope * (weights - decisions - moments.v)) / (count + 1)
        q_imagined = (1.0 - slope * (units.size * (imagined - 1.0) - moments.v)) / (count + 1)
        total = float(q @ decisions) + q_imagined * units.size
    missing = max(0.0, total - float(q @ weights))
    return (float(q @ rewards) + missing * units.reward_mean) / total


def interval(
    units: Units, weight_range: tuple[float, float], reward_range: tuple[float, float], alpha: float
) -> tuple[float, float]:
    """(low, high), within `reward_range`. `weight_range` holds all weights and 1; its end may be infinite."""
    low, high = reward_range
    count = len(units.decisions)
    allowed = t_critical(alpha, float(count)) ** 2 / (count + 1) + _divergence(
        units, _nearest(units, weight_range)
    )
    lows, highs = [], []
    for weight in weight_range:
        if math.isinf(weight):
            lows.append(_unbounded(units, low, allowed)[0] + low)
            highs.append(_unbounded(units, high, allowed)[1] + high)
        else:
            lows.append(_bounded(units, weight, low, allowed)[0])
            highs.append(_bounded(units, weight, high, allowed)[1])
    return min(high, max(low, min(lows))), max(low, min(high, max(highs)))


def _nearest(units: Units, weight_range: tuple[float, float]) -> float:
    """The imagined unit's weight that can bring the mean weight to 1."""
    return weight_range[1] if units.weights.sum() < units.decisions.sum() else weight_range[0]


def _divergence(units: Units, imagined: float) -> float:
    """How far from uniform q must be, in units of 1 / (G + 1), for weights to have mean 1."""
    if math.isinf(imagined):
        return 1.0 / len(units.decisions)
    moments = _moments(units, imagined, 0.0)
    return 0.0 if moments.degenerate else moments.v**2 / moments.vv


def _moments(units: Units, imagined: float, reward: float) -> _Moments:
    count, size = len(units.decisions) + 1, units.size
    e_n, e_v, e_s = size, size * (imagined - 1.0), size * imagined * reward
    n, v, s = units.decisions, units.weights - units.decisions, units.rewards
    mean_n = (float(n.sum()) + e_n) / count
    mean_v = (float(v.sum()) + e_v) / count
    mean_s = (float(s.sum()) + e_s) / count
    e_n, e_v, e_s = e_n - mean_n, e_v - mean_v, e_s - mean_s
    n, v, s = n - mean_n, v - mean_v, s - mean_s
    vv = (float(v @ v) + e_v * e_v) / count
    return _Moments(
        n=mean_n,
        v=mean_v,
        s=mean_s,
        nn=(float(n @ n) + e_n * e_n) / count,
        vv=vv,
        ss=(float(s @ s) + e_s * e_s) / count,
        nv=(float(n @ v) + e_n * e_v) / count,
        sv=(float(s @ v) + e_s * e_v) / count,
        sn=(float(s @ n) + e_s * e_n) / count,
        degenerate=vv <= NEGLIGIBLE * (mean_n**2 + mean_v**2),
    )


def _bounded(units: Units, imagined: float, reward: float, allowed: float) -> tuple[float, float]:
    """The thetas that are inside when the imagined unit has this weight and reward; none: (inf, -inf)."""
    m = _moments(units, imagined, reward)
    if m.degenerate:
        return _roots(m.s, m.n, m.ss, m.sn, m.nn, allowed)
    b_s, b_n = m.sv / m.vv, m.nv / m.vv
    return _roots(
        m.s - b_s * m.v,
        m.n - b_n * m.v,
        max(0.0, m.ss - b_s * m.sv),
        m.sn - b_s * m.nv,
        max(0.0, m.nn - b_n * m.nv),
        allowed - m.v**2 / m.vv,
    )


def _unbounded(units: Units, reward: float, allowed: float) -> tuple[float, float]:
    """theta - reward when the imagined weight is infinite: the unit then needs no share of q to take
    whatever weight is missing, the constraint is gone, and S - reward W is averaged."""
    count = len(units.decisions)
    n, d = units.decisions, units.rewards - reward * units.weights
    mean_n, mean_d = float(n.mean()), float(d.mean())
    n, d = n - mean_n, d - mean_d
    scale = 1.0 / (count + 1)
    return _roots(
        mean_d,
        mean_n,
        float(d @ d) * scale,
        float(d @ n) * scale,
        float(n @ n) * scale,
        allowed - 1.0 / count,
    )


def _roots(a: float, b: float, p: float, q: float, s: float, k: float) -> tuple[float, float]:
    """The interval of theta with (a - b theta)^2 <= k (p - 2 q theta + s theta^2)."""
    if k < 0.0:
        return math.inf, -math.inf
    square, half, rest = b * b - k * s, a * b - k * q, a * a - k * p
    if square <= 0.0:
        return -math.inf, math.inf
    reach = math.sqrt(max(0.0, half * half - square * rest))
    return (half - reach) / square, (half + reach) / square
