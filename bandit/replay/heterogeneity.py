"""Whether what a variant earns depends on a signal differently for different variants, from sums alone.

Only such a difference can change a decision: a signal that moves the rewards of all variants alike leaves
the best one the best. For a number z (a signal's value, or 1 and 0 for "it is this value" and "it is not")
the slope of the reward on z is fitted apart for each variant,

    b_a = sum w (z - z̄)(r - r̄) / sum w (z - z̄)²

with the standard error that holds when the reward's variance depends on z (White 1980, times n / (n - 2)), or
the classical one where that is larger: a handful of rows without a reward has no variance to be seen. Then

    Q = sum (b_a - b)² / se_a²,    b = sum (b_a / se_a²) / sum (1 / se_a²)

is chi-square distributed with k - 1 degrees of freedom if all k slopes are the same (Cochran 1954). The
standard errors are estimates: James's correction (1951, to the first order) makes Q smaller for that, by
solving Q = c (1 + (3c + k + 1) / (2(k² - 1)) · sum (1 - u_a / sum u)² / ν_a), u_a = 1 / se_a², for c.

The weights w are 1 over the propensity. A policy that chooses by two signals makes them depend on each other
among the rows that served one variant, and noise that it once learned seems to do what another signal does:
without weights, noise in the logs of a learning policy is found in half of them. Weighted, the rows of every
variant stand for all contexts.

References: W. G. Cochran, The Combination of Estimates from Different Experiments, Biometrics 10 (1954);
G. S. James, The Comparison of Several Groups of Observations When the Ratios of the Population Variances are
Unknown, Biometrika 38 (1951); H. White, A Heteroskedasticity-Consistent Covariance Matrix Estimator,
Econometrica 48 (1980); S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal
of Statistics 6 (1979).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bandit.replay.columns import BOOL, F64, I64
from bandit.replay.quantiles import chi_square_tail

POWERS: Final = (
    (0, 0),
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (0, 1),
    (1, 1),
    (2, 1),
    (3, 1),
    (0, 2),
    (1, 2),
    (2, 2),
)
"""Of z and r, in each of the sums that a slope and its standard error need."""

ROWS_MIN: Final = 20.0
"""A variant whose slope hangs on fewer effective rows is left out."""

ROWS_A_SKEW: Final = 10.0
"""So many more, times the square of the skewness of its rewards, does the normal distribution need (after
Cochran, Sampling Techniques, 1977, 2.15): ten rewards or so where rewards are rare."""

_AT: Final = {power: index for index, power in enumerate(POWERS)}


@dataclass(frozen=True, slots=True)
class Slopes:
    """By variant: the slope, its standard error, and how many rows of equal weight it hangs on (0: none).

    For the indicator of a rare value that is about how many rows have the value.
    """

    slope: F64
    error: F64
    rows: F64


@dataclass(frozen=True, slots=True)
class Difference:
    """What Cochran's Q says. `pair` are the variants whose slopes differ most for their standard errors, the
    larger slope first; `error` is the standard error of the difference of two slopes of median precision.
    """

    p: float
    pair: tuple[int, int]
    error: float


def sums(z: F64, r: F64, weight: F64, variant: I64, variants: int) -> F64:
    """Sums of w zⁱ rʲ and of w² zⁱ rʲ by variant, shape (2, POWERS, variants). They add up over rows.

    z and r should be near 0 and of size 1, or precision is lost.
    """
    found = np.empty((2, len(POWERS), variants))
    z_powers = [np.ones_like(z), z, z * z, z**3, z**4]
    for index, (i, j) in enumerate(POWERS):
        term = weight * z_powers[i] * r**j
        found[0, index] = np.bincount(variant, term, variants)
        found[1, index] = np.bincount(variant, term * weight, variants)
    return found


def indicator_sums(inside: F64, whole: F64) -> F64:
    """The same of z = 1 for some rows and 0 for others, from `inside`: the sums of w rʲ and w² rʲ over the
    rows with z = 1, and `whole`: over all; both of shape (2, 3, variants).
    """
    found = np.empty((2, len(POWERS), inside.shape[2]))
    for index, (i, j) in enumerate(POWERS):
        found[:, index] = (inside if i else whole)[:, j]
    return found


def slopes(found: F64) -> Slopes:
    """The slope of each variant from sums as `sums` gives them."""
    first, second = found
    with np.errstate(divide="ignore", invalid="ignore"):
        total = first[_AT[0, 0]]
        z_mean, r_mean = first[_AT[1, 0]] / total, first[_AT[0, 1]] / total
        zz = first[_AT[2, 0]] - total * z_mean**2
        zr = first[_AT[1, 1]] - total * z_mean * r_mean
        rr = first[_AT[0, 2]] - total * r_mean**2
        zz = np.where(zz > 1e-9 * first[_AT[2, 0]], zz, np.nan)
        slope = zr / zz
        start = r_mean - slope * z_mean
        one = np.ones_like(total)
        # (z - z̄)² and the squared residual (r - start - slope z)², as polynomials.
        distance = {(0, 0): z_mean**2, (1, 0): -2 * z_mean, (2, 0): one}
        residual = {
            (0, 0): start**2,
            (1, 0): 2 * slope * start,
            (2, 0): slope**2,
            (0, 1): -2 * start,
            (1, 1): -2 * slope,
            (0, 2): one,
        }
        effective = total**2 / second[_AT[0, 0]]
        small = effective / (effective - 2)
        robust = _sum_of(_product(distance, residual), second)
        classical = np.maximum(rr - slope * zr, 0.0) / total * _sum_of(distance, second)
        error = np.sqrt(np.maximum(robust, classical) * small) / zz
        rows = zz**2 / _sum_of(_product(distance, distance), second)
        usable = (effective > 2) & (error > 0) & np.isfinite(error) & np.isfinite(rows)
    return Slopes(np.where(usable, slope, 0.0), np.where(usable, error, np.inf), np.where(usable, rows, 0.0))


def skewness(count: F64, r: F64, r2: F64, r3: F64) -> F64:
    """The skewness of rewards from their number and the sums of their powers; infinite where they are one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = r / count
        variance = r2 / count - mean**2
        third = r3 / count - 3 * mean * r2 / count + 2 * mean**3
        found: F64 = np.where(variance > 1e-12, third / variance**1.5, np.inf)
    return found


def difference(found: Slopes, skew: F64) -> Difference | None:
    """Cochran's Q over the variants with enough rows; None if there are fewer than two."""
    with np.errstate(invalid="ignore"):
        enough: BOOL = found.rows >= np.maximum(ROWS_MIN, ROWS_A_SKEW * skew**2)
    at = np.flatnonzero(enough)
    k = len(at)
    if k < 2:
        return None
    slope, error, rows = found.slope[at], found.error[at], found.rows[at]
    weight = error**-2.0
    share = weight / weight.sum()
    q = float((weight * (slope - share @ slope) ** 2).sum())
    p = chi_square_tail(_corrected(q, k, float(((1 - share) ** 2 / (rows - 1)).sum())), k - 1)
    z = (slope[:, None] - slope[None, :]) / np.sqrt(error[:, None] ** 2 + error[None, :] ** 2)
    high, low = divmod(int(z.argmax()), k)
    return Difference(
        p=min(p, 1.0),
        pair=(int(at[high]), int(at[low])),
        error=math.sqrt(2.0) * float(np.median(error)),
    )


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number: those below alpha hold together with probability 1 - alpha."""
    corrected = [1.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = highest
    return corrected


def _corrected(q: float, k: int, doubt: float) -> float:
    """The c of James's correction."""
    a = doubt / (2 * (k * k - 1))
    b = 1 + a * (k + 1)
    return 2 * q / (b + math.sqrt(b * b + 12 * a * q))


_Polynomial = Mapping[tuple[int, int], F64]


def _product(one: _Polynomial, other: _Polynomial) -> dict[tuple[int, int], F64]:
    found: dict[tuple[int, int], F64] = {}
    for (i, j), first in one.items():
        for (m, n), second in other.items():
            power = (i + m, j + n)
            found[power] = found[power] + first * second if power in found else first * second
    return found


def _sum_of(polynomial: _Polynomial, terms: F64) -> F64:
    found = np.zeros(terms.shape[1])
    for power, factor in polynomial.items():
        found += factor * terms[_AT[power]]
    return found
