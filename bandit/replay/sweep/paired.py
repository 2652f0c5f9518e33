"""Differences between policies that were judged on the same rows, from a few numbers of each.

Policies judged on one log share its luck, so their difference is known far better than either value. It
takes both opinions on every row, which is too much to keep for many policies; so each keeps the sums of its
estimate's error terms over BLOCKS blocks of rows. A subject's rows fall into one block, and the blocks are
the same for every policy of a log: block by block, the terms of two policies can be subtracted.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bandit.replay.columns import F64, Logged, Target
from bandit.replay.intervals import asymptotic

BLOCKS: Final = 400
_DIGITS: Final = 8
_MIX: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


BlockSums = dict[str, list[float]]
"""`sums`, one a block; and `extremes`, the smallest and the largest term that one more row could have had."""


def of_policy(logged: Logged, target: Target, estimator: str) -> BlockSums | None:
    """What is kept of a policy's error terms u_i, which add up to 0, in the unit of the reward.

    SNIPS: u_i = w_i (r_i - V) / sum w. IPS: (w_i r_i - V) / n, DR: (x_i - V) / n with x_i as in
    `estimators.dr`, DM likewise. None for other estimators, and where a row has no usable propensity.
    """
    propensity, weight = logged.propensity, logged.weight
    if not len(propensity) or not bool(((propensity > 0.0) & (propensity <= 1.0)).all()):
        return None
    w = target.probability / propensity
    reward_hat, value_hat = target.reward_hat, target.value_hat
    if estimator == "snips":
        if not w.any():
            return None
        return _kept(logged, logged.reward, w * weight)
    if estimator == "ips":
        heaviest = float(w.max())
        return _kept(
            logged, w * logged.reward, weight, [heaviest * reward for reward in _ends(logged.reward)]
        )
    if reward_hat is None or value_hat is None or estimator not in ("dm", "dr"):
        return None
    terms = value_hat if estimator == "dm" else value_hat + w * (logged.reward - reward_hat)
    return _kept(logged, terms, weight)


def of_logged(logged: Logged) -> BlockSums | None:
    """The same of the mean reward as served."""
    return _kept(logged, logged.reward, logged.weight) if len(logged.reward) else None


def difference(
    value: float,
    other: float,
    kept: Mapping[str, Sequence[float]],
    others: Mapping[str, Sequence[float]],
    alpha: float,
) -> tuple[float, float, float]:
    """value - other with its (low, high) at level 1 - alpha, from what was kept of both.

    As in `intervals.asymptotic`, rows that might have come are imagined: the extremes of either policy, each
    without the other. That is too cautious for policies that are nearly the same, and needed where a handful
    of rewards decides.
    """
    terms = np.asarray(kept["sums"]) - np.asarray(others["sums"])
    imagined = [*kept["extremes"], *(-term for term in others["extremes"])]
    low, high = asymptotic(value - other, terms, 1.0, alpha, imagined=imagined)
    return value - other, low, high


def _kept(logged: Logged, terms: F64, weight: F64, ends: Sequence[float] = ()) -> BlockSums:
    """`ends` are the smallest and the largest of `terms` that one more row could have, if not those seen."""
    total = float(weight.sum())
    mean = float(weight @ terms) / total
    sums = np.bincount(_block_of(logged), weight * (terms - mean) / total, BLOCKS)
    heaviest = float(weight.max())
    extremes = [heaviest * (end - mean) / total for end in (ends or _ends(terms))]
    return {"sums": _rounded(sums.tolist()), "extremes": _rounded(extremes)}


def _ends(values: F64) -> list[float]:
    return [float(values.min()), float(values.max())]


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def _block_of(logged: Logged) -> F64:
    """Splitmix64 of the cluster: neighbours in number are as good as drawn into blocks."""
    with np.errstate(over="ignore"):
        x = logged.cluster.astype(np.uint64) + _MIX[0]
        x = (x ^ (x >> np.uint64(30))) * _MIX[1]
        x = (x ^ (x >> np.uint64(27))) * _MIX[2]
        x ^= x >> np.uint64(31)
    block: F64 = (x % np.uint64(BLOCKS)).astype(np.intp)
    return block
