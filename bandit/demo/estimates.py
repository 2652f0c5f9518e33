"""Means with intervals from a log whose arms were drawn uniformly: rejection replay, self-normalised.

Round t has a customer x_t, an arm A_t that was really sent, drawn uniformly and independently of
everything else, and its real outcome r_t. The service is asked for a choice C_t that may depend on x_t
and on all earlier rounds. The round *counts* iff C_t = A_t. Since P(C_t = A_t | C_t, x_t, past) is the
same number for every t, the counted rounds are a fair sample of what serving C_t to everyone would have
brought (Li et al. 2011, "Unbiased Offline Evaluation of Contextual-bandit-based News Article
Recommendation Algorithms", theorem 1). All n rounds together are a fair sample of what drawing uniformly
brings. "Always v" counts the rounds with A_t = v; "the last quarter" those of the last quarter with C_t =
A_t.

With M_t = 1 if round t counts and 0 otherwise, p = mean of M, and sums over all n rounds:

    R = sum M_t r_t / sum M_t        the mean reward of what was served
    U = sum r_t / n                  the mean reward of uniform

R is a ratio, and U contains its rounds. Linearised (the delta method), both are means of one term a
round:

    R - E R  ~  mean of  M_t (r_t - R) / p          U - E U  ~  mean of  r_t - U

so that the difference D = R - U has the term

    phi_t = M_t (r_t - R) / p - (r_t - U),          sum phi_t = 0 exactly,

and Var D = sum phi_t^2 / n^2, which holds the covariance of R and U. (With p at its known value 1/3 the
first part is 3 M_t (r_t - R); the p of the sample is the ratio's own, and makes the sum zero.) While the
policy learns, the terms' means drift; their squares include the drift, which widens the interval a little
and keeps it valid. Intervals are normal ones: right for hundreds of counted rounds, too narrow for a
handful.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from statistics import NormalDist

Z_95 = NormalDist().inv_cdf(0.975)
"""Standard errors from the middle to either end of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def mean(rewards: Sequence[float], counted: Sequence[bool]) -> Estimate | None:
    """The mean reward of the counted rounds; None if there is none. Both sequences have one entry a round."""
    if not any(counted):
        return None
    kept = list(compress(rewards, counted))
    value = math.fsum(kept) / len(kept)
    return _estimate(value, [reward - value for reward in kept])


def difference_to_uniform(rewards: Sequence[float], counted: Sequence[bool]) -> Estimate | None:
    """Mean reward of the counted rounds less that of all rounds; None if no round counts."""
    if not any(counted):
        return None
    kept = list(compress(rewards, counted))
    served, uniform = math.fsum(kept) / len(kept), math.fsum(rewards) / len(rewards)
    share = len(kept) / len(rewards)
    terms = [
        (reward - served) / share - (reward - uniform) if counts else uniform - reward
        for reward, counts in zip(rewards, counted, strict=True)
    ]
    return _estimate(served - uniform, terms)


def _estimate(value: float, terms: Sequence[float]) -> Estimate:
    """The interval around `value` from its linearised terms, one a round, which sum to zero."""
    reach = Z_95 * math.sqrt(math.fsum(term * term for term in terms)) / len(terms)
    return Estimate(value, value - reach, value + reach)
