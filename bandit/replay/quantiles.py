"""The few distribution functions that intervals and diagnostics need, so that scipy is no dependency."""

import math
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_ITERATIONS_MAX: Final = 10_000
_TINY: Final = 1e-300
_CLOSE: Final = 1e-15
_LARGE_DOF: Final = 300.0
"""From here on the expansion of Student's t in 1 / dof is closer than 1e-11 for any alpha down to 1e-6."""


def normal_quantile(probability: float) -> float:
    """The standard normal's quantile; `probability` in (0, 1)."""
    return _NORMAL.inv_cdf(probability)


def two_sided_normal(z: float) -> float:
    """P(|Z| > |z|) of a standard normal Z."""
    return math.erfc(abs(z) / math.sqrt(2.0))


def t_critical(alpha: float, dof: float) -> float:
    """The t with P(|T| > t) = alpha for Student's T; `dof` > 0, fractions allowed; `alpha` in (0, 1)."""
    if dof >= _LARGE_DOF:
        return _t_expansion(normal_quantile(1.0 - alpha / 2.0), dof)
    # P(|T| > t) = I_x(dof / 2, 1 / 2) with x = dof / (dof + t^2), which grows with x. The root is sought in
    # log x: with little dof it may be very small.
    low, high = -700.0, 0.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if _incomplete_beta(dof / 2.0, 0.5, math.exp(middle)) < alpha:
            low = middle
        else:
            high = middle
        if high - low < 1e-15 * max(1.0, -high):
            break
    x_log = (low + high) / 2.0
    return math.sqrt(dof * -math.expm1(x_log) / math.exp(x_log))


def chi_square_tail(value: float, dof: float) -> float:
    """P(X > value) for X chi-square distributed; `dof` > 0, fractions allowed."""
    if value <= 0.0:
        return 1.0
    a, x = dof / 2.0, value / 2.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1.0:
        term = total = 1.0 / a
        for step in range(1, _ITERATIONS_MAX):
            term *= x / (a + step)
            total += term
            if term < total * _CLOSE:
                break
        return max(0.0, 1.0 - total * scale)
    b = x + 1.0 - a
    c, d = 1.0 / _TINY, 1.0 / b
    fraction = d
    for step in range(1, _ITERATIONS_MAX):
        factor = -step * (step - a)
        b += 2.0
        d = 1.0 / _away(factor * d + b)
        c = _away(b + factor / c)
        fraction *= d * c
        if abs(d * c - 1.0) < _CLOSE:
            break
    return scale * fraction


def _t_expansion(z: float, dof: float) -> float:
    """Abramowitz & Stegun 26.7.5."""
    g1 = (z**3 + z) / 4.0
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96.0
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384.0
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160.0
    return z + g1 / dof + g2 / dof**2 + g3 / dof**3 + g4 / dof**4


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    beta_log = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - beta_log) / a
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for step in range(1, _ITERATIONS_MAX):
        even = step * (b - step) * x / ((a + 2 * step - 1.0) * (a + 2 * step))
        d = 1.0 / _away(1.0 + even * d)
        c = _away(1.0 + even / c)
        fraction *= d * c
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1.0))
        d = 1.0 / _away(1.0 + odd * d)
        c = _away(1.0 + odd / c)
        fraction *= d * c
        if abs(d * c - 1.0) < _CLOSE:
            break
    return front * fraction


def _away(value: float) -> float:
    """`value`, or something tiny where it is 0."""
    return value if abs(value) > _TINY else _TINY
