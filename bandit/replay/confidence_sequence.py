"""An interval for a policy's value that is valid at every look: the log may be judged as often as one likes.

Rewards are brought to r in [0, 1] by their *declared* range. With importance weight w >= 0 of mean 1,

    phi = w r         has mean nu, the value, and       phi >= 0,
    phi = w (1 - r)   has mean 1 - nu, and              phi >= 0,

so a lower bound of the mean of something that is not negative gives both ends; no largest weight is needed
(Waudby-Smith et al., "Anytime-valid off-policy inference for contextual bandits", 2210.10768). For any
guess g_i in [0, 1] made before phi_i is seen, any lambda in [0, 1), and
psi(lambda) = -log(1 - lambda) - lambda,

    M_t(nu) = exp(lambda sum (phi_i - nu) - psi(lambda) sum (phi_i - g_i)^2)

is a supermartingale that starts at 1 (Fan, Grama & Liu 2015, lemma 4.1; Howard et al., "Time-uniform,
nonparametric, nonasymptotic confidence sequences", theorem 4): an empirical-Bernstein bet that nu is larger.
So is the mean of M over a fixed grid of lambdas, and by Ville's inequality it ever reaches 2 / alpha with
probability at most alpha / 2. The lower end at time t is the largest nu' <= t's that has been reached so:
intervals only ever narrow.

A unit of several decisions (a cluster, or a row that stands for others that were dropped) has the sums of
them, and nu times their number in place of nu; units are scaled by the largest number there may be.
"""

import math
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandit.replay.arrays import (
    by_cluster,
    cluster_codes,
    column,
    in_range,
    level,
    multiplicities,
    probabilities,
    propensities,
)
from bandit.replay.columns import F64

_LAMBDAS: Final = 0.9 * 2.0 ** (-0.5 * np.arange(28))
"""Bets for variances (sums of squares) from a few to 10^9, each within 2 % of the best one's width."""

_PSI: Final = -np.log1p(-_LAMBDAS) - _LAMBDAS
_COUNT_LOG: Final = math.log(len(_LAMBDAS))
_BLOCK: Final = 1 << 15
_PARTS: Final = 64
_ROUNDS: Final = 9
"""64^9 is 2^54: the root to the last bit."""

_TINY: Final = 1e-100
_GUESS: Final = 0.5
"""The first guess of the mean, which counts as one decision."""


class ConfidenceSequence:
    """The running interval of a policy's value. Feed it rows as they come; look whenever you like.

    It keeps a few numbers, not the rows. How rows are cut into calls of `add` makes no difference, but a
    cluster must lie within one call. `unit_decisions_max` is how many decisions a unit may stand for.
    """

    def __init__(
        self, reward_range: tuple[float, float], alpha: float = 0.05, *, unit_decisions_max: float = 1.0
    ) -> None:
        """Raises ValueError."""
        self._range = in_range(np.empty(0), reward_range)
        level(alpha)
        if not unit_decisions_max > 0.0:
            raise ValueError(f"unit_decisions_max is {unit_decisions_max}: give a positive number")
        self._scale = 1.0 / unit_decisions_max
        self._sides = (_LowerBound(math.log(2.0 / alpha)), _LowerBound(math.log(2.0 / alpha)))

    def add(
        self,
        reward: ArrayLike,
        propensity: ArrayLike,
        target: ArrayLike,
        *,
        cluster: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> Self:
        """Takes more rows, in their order; arguments as in `anytime`. Raises ValueError."""
        r = np.asarray(reward, dtype=np.float64)
        if r.shape == (0,):
            return self
        r = column("reward", r)
        w = probabilities("target", target, len(r)) / propensities(propensity, len(r))
        low, high = in_range(r, self._range)
        r = (r - low) / (high - low)
        decisions = multiplicities(weight, len(r))
        if decisions is None:
            decisions = np.ones(len(r))
        gained, lost = w * r * decisions, w * (1.0 - r) * decisions
        clusters = cluster_codes(cluster, len(r))
        if clusters is not None:
            codes, count = clusters
            last = np.empty(count, dtype=np.intp)
            last[codes] = np.arange(len(r))  # of several the last one stays
            order = np.argsort(last)
            decisions, gained, lost = (
                by_cluster(sums, clusters)[order] for sums in (decisions, gained, lost)
            )
        decisions = decisions * self._scale
        if decisions.max() > 1.0 + 1e-9:
            raise ValueError(
                f"a unit stands for {decisions.max() / self._scale:g} decisions: "
                "make the sequence with a larger unit_decisions_max"
            )
        for side, sums in zip(self._sides, (gained, lost), strict=True):
            side.add(sums * self._scale, decisions)
        return self

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high) after all rows so far, within the declared range; all of it before the first row.

        Should the ends have crossed, which happens with probability alpha at most, both are their middle.
        """
        low, high = self._range
        below, above = (side.bound for side in self._sides)
        if below + above > 1.0:
            middle = low + (high - low) * (below + 1.0 - above) / 2.0
            return middle, middle
        return low + (high - low) * below, high - (high - low) * above


def anytime(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    reward_range: tuple[float, float],
    alpha: float = 0.05,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> tuple[float, float]:
    """(low, high) that holds the target's value at every look with probability 1 - alpha.

    Rows are in the order of time. With this interval computed on the first t rows for every t, the chance
    that any of them misses is at most alpha, whatever the weights, for any n; each lies in those before it.

    - `reward`: (n,), within `reward_range`; `propensity`: (n,), of the served variant, in (0, 1]
    - `target`: (n,), probability of the served variant under the policy being judged
    - `reward_range`: (low, high) as declared: never taken from, or widened by, the data
    - `cluster`: (n,) labels; rows of one cluster make one unit, which counts at its last row. Valid at every
      look at which no cluster is broken off, given how large clusters are
    - `weight`: (n,), 1 / (1 - pdrop): how many decisions a row stands for

    Raises ValueError.
    """
    rows = len(column("reward", reward))
    sizes = multiplicities(weight, rows)
    decisions = by_cluster(np.ones(rows) if sizes is None else sizes, cluster_codes(cluster, rows))
    sequence = ConfidenceSequence(reward_range, alpha, unit_decisions_max=float(decisions.max()))
    return sequence.add(reward, propensity, target, cluster=cluster, weight=weight).interval


class _LowerBound:
    """The running lower bound of nu in E[phi_i] = nu n_i, for phi_i >= 0 and n_i in [0, 1]."""

    def __init__(self, needed_log: float) -> None:
        self._needed = needed_log + _COUNT_LOG
        self._phi = self._n = self._v = 0.0
        self.bound = 0.0

    def add(self, phi: F64, n: F64) -> None:
        """Takes the next units, in their order; both of shape (units,)."""
        phis, ns = self._phi + np.cumsum(phi), self._n + np.cumsum(n)
        before_phi, before_n = phis - phi, ns - n
        guess = np.minimum(1.0, (_GUESS + before_phi) / (1.0 + before_n))
        vs = self._v + np.cumsum((phi - n * guess) ** 2)
        self._phi, self._n, self._v = float(phis[-1]), float(ns[-1]), float(vs[-1])
        # The last time is the most likely one to give the bound. Then only times that beat it matter.
        self._raise_to(self._phi, self._n, self._v)
        left = _may_reach(phis - self.bound * ns, vs, self._needed)
        while len(left) and self.bound < 1.0:
            logs = _bets(phis[left] - self.bound * ns[left], vs[left])
            left = left[logs >= self._needed]
            if not len(left):
                return
            best = left[np.argmax(logs[logs >= self._needed])]
            self._raise_to(float(phis[best]), float(ns[best]), float(vs[best]))
            left = left[left != best]

    def _raise_to(self, phi: float, n: float, v: float) -> None:
        """Raises the bound to the root of M(nu) = needed at one time, if it is higher."""
        low, high = self.bound, min(1.0, phi / n)
        if high <= low or _bets(np.array([phi - low * n]), np.array([v]))[0] < self._needed:
            return
        if high == 1.0 and _bets(np.array([phi - n]), np.array([v]))[0] >= self._needed:
            # More than any mean weight of 1 allows: the propensities are wrong, and diagnostics say so.
            self.bound = 1.0
            return
        # The bet falls as nu rises. Each round leaves one of so many parts.
        for _ in range(_ROUNDS):
            points = np.linspace(low, high, _PARTS + 1)
            reached = int((_bets(phi - points * n, np.full(_PARTS + 1, v)) >= self._needed).sum())
            low, high = float(points[max(0, reached - 1)]), float(points[min(_PARTS, max(1, reached))])
        self.bound = low


def _may_reach(s: F64, v: F64, needed: float) -> NDArray[np.intp]:
    """The indices at which some lambda alone could reach it: max over lambda of lambda s - psi(lambda) v."""
    index = np.flatnonzero(s > 0.0)
    s, v = s[index], np.maximum(v[index], _TINY)
    reached = s - v * np.log1p(s / v) >= needed - _COUNT_LOG
    return index[reached]


def _bets(s: F64, v: F64) -> F64:
    """log of the sum over the grid of exp(lambda s - psi(lambda) v), shape (t,)."""
    logs = np.empty(len(s))
    for start in range(0, len(s), _BLOCK):
        block = slice(start, start + _BLOCK)
        exponents = np.multiply.outer(s[block], _LAMBDAS) - np.multiply.outer(v[block], _PSI)
        top = exponents.max(axis=1)
        logs[block] = top + np.log(np.exp(exponents - top[:, None]).sum(axis=1))
    return logs
