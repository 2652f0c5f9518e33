"""Columns -> estimates of a policy's value, and whether one of them may be headlined."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np

from bandit.replay import estimators, intervals
from bandit.replay.columns import BOOL, F64, I64, Logged, Target
from bandit.replay.diagnostics import Diagnostics, diagnose
from bandit.replay.errors import BadPolicy
from bandit.replay.estimators import Estimate

WEIGHTING: Final = ("snips", "ips", "cressie_read", "anytime")
MODELLED: Final = ("dm", "dr", "switch_dr", "dros")
"""Those that need predicted rewards."""

ESTIMATORS: Final = (*WEIGHTING, *MODELLED)

SWITCH_TAU: Final = 10.0
"""Switch-DR trusts weights up to this one, and the model beyond (Wang et al. 2017)."""

DROS_LAMBDA: Final = 100.0
"""Shrinks weights far above 10 alone: w lam / (w w + lam) (Su et al. 2020)."""


PART_ROWS: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy would have earned a decision, and whether the log can tell.

    `headline` is the estimate of `headline_estimator`, or None: then `reason` says why. `notes` say what to
    keep in mind. Estimates stand in `estimates` even where the diagnostics forbid to believe them.
    """

    policy: str
    estimates: Mapping[str, Estimate]
    headline: Estimate | None
    headline_estimator: str
    reason: str
    diagnostics: Diagnostics
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """JSON values: numbers that are not finite are null."""
        return {
            "policy": self.policy,
            "headline": None if self.headline is None else estimate_json(self.headline),
            "headline_estimator": self.headline_estimator,
            "reason": self.reason,
            "estimates": {name: estimate_json(estimate) for name, estimate in self.estimates.items()},
            "diagnostics": self.diagnostics.to_json(),
            "notes": list(self.notes),
        }


def judge(
    logged: Logged,
    target: Target,
    *,
    alpha: float = 0.05,
    estimator: str = "snips",
    problems: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Judgement:
    """Judges a policy on a log's rows, with intervals at level 1 - alpha.

    Each of `problems` takes the headline away, as a failed diagnostic does. Rows without a propensity are
    left out; where all are, there are no estimates. Raises BadPolicy for an estimator that there is not.
    """
    if estimator not in ESTIMATORS:
        raise BadPolicy(f"{estimator!r} is not an estimator; use one of {', '.join(ESTIMATORS)}")
    diagnostics = diagnose(logged, target)
    known = ~np.isnan(logged.propensity)
    if not known.all():
        logged, target = rows(logged, known), target_rows(target, known)
    estimates = _estimates(logged, target, alpha) if len(logged.reward) else {}
    reasons = [*problems, *(check.advice for check in diagnostics.failed)]
    found = estimates.get(estimator)
    if found is None and not reasons:
        reasons = [_missing(estimator, len(logged.reward))]
    elif found is not None and not all(map(math.isfinite, (found.value, found.low, found.high))):
        reasons.append(f"The {estimator} estimate is not a finite number on these rows.")
    return Judgement(
        policy=target.name,
        estimates=estimates,
        headline=None if reasons else found,
        headline_estimator=estimator,
        reason=" ".join(reasons),
        diagnostics=diagnostics,
        notes=tuple(notes),
    )


def on_policy(logged: Logged, alpha: float) -> Estimate:
    """The mean reward of the rows as they were served, with its clustered interval; needs no propensity.

    Where all rewards are the same the interval is what the declared range leaves open. Not a number where
    there are no rows.
    """
    if not len(logged.reward):
        return Estimate(math.nan, math.nan, math.nan, 0, 0.0, 0.0)
    ones = np.ones_like(logged.reward)
    return estimators.ips(
        logged.reward,
        ones,
        ones,
        alpha,
        cluster=clusters(logged),
        weight=logged.weight,
        reward_range=logged.reward_range,
    )


def rows(logged: Logged, mask: BOOL) -> Logged:
    """Some rows of a log. What is summed over all rows (calibration, counts) stays that of all, but for the
    control rows beside them: how many belong to these is not known.
    """
    columns = {
        each.name: getattr(logged, each.name)[mask] for each in fields(logged) if each.name not in _SUMMED
    }
    counts = {name: count for name, count in logged.counts.items() if name != "control_drawn"}
    return replace(logged, **columns, counts=counts)


def target_rows(target: Target, mask: BOOL) -> Target:
    """A policy's opinion on some rows."""
    hats = (None if hat is None else hat[mask] for hat in (target.reward_hat, target.value_hat))
    return Target(target.name, target.probability[mask], target.unsupported[mask], *hats)


def clusters(logged: Logged) -> I64 | None:
    """The subjects of the rows; None if each row has one of its own, which is cheaper to work with."""
    cluster = logged.cluster
    return None if len(cluster) < 2 or bool((cluster[1:] > cluster[:-1]).all()) else cluster


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON values."""
    return {each.name: _number(getattr(estimate, each.name)) for each in fields(estimate)}


_SUMMED = frozenset(["variant_ids", "reward_range", "expected", "variance", "served", "counts"])
"""The fields of `Logged` that are no columns."""


def _number(value: float) -> float | int | None:
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _missing(estimator: str, count: int) -> str:
    if not count:
        return "No judged row has a propensity."
    return f"{estimator} needs predicted rewards: ask for a reward model (--reward-model vw)."


def _estimates(logged: Logged, target: Target, alpha: float) -> dict[str, Estimate]:
    cluster, weight = clusters(logged), logged.weight
    reward, propensity, probability = logged.reward, logged.propensity, target.probability
    declared = logged.reward_range
    found = {
        "snips": estimators.snips(
            reward, propensity, probability, alpha, cluster=cluster, weight=weight, reward_range=declared
        ),
        "ips": estimators.ips(
            reward, propensity, probability, alpha, cluster=cluster, weight=weight, reward_range=declared
        ),
        "cressie_read": estimators.cressie_read(
            reward, propensity, probability, declared, alpha, cluster=cluster, weight=weight
        ),
    }
    low, high = _anytime(logged, probability, alpha, cluster)
    found["anytime"] = replace(found["ips"], low=low, high=high)
    hat, expected = target.reward_hat, target.value_hat
    if hat is not None and expected is not None:
        terms = (reward, propensity, probability, hat, expected)
        found["dm"] = estimators.dm_terms(expected, alpha, cluster=cluster, weight=weight)
        found["dr"] = estimators.dr_terms(
            *terms, alpha, cluster=cluster, weight=weight, reward_range=declared
        )
        found["switch_dr"] = estimators.switch_dr_terms(
            *terms, SWITCH_TAU, alpha, cluster=cluster, weight=weight, reward_range=declared
        )
        found["dros"] = estimators.dros_terms(
            *terms, DROS_LAMBDA, alpha, cluster=cluster, weight=weight, reward_range=declared
        )
    return found


def _anytime(logged: Logged, probability: F64, alpha: float, cluster: I64 | None) -> tuple[float, float]:
    """`intervals.anytime`; where rows stand for themselves a part at a time, or its memory would be the most
    that a judgement needs.
    """
    columns = (logged.reward, logged.propensity, probability)
    if cluster is not None:
        return intervals.anytime(*columns, logged.reward_range, alpha, cluster=cluster, weight=logged.weight)
    sequence = intervals.ConfidenceSequence(
        logged.reward_range, alpha, unit_decisions_max=float(logged.weight.max())
    )
    for start in range(0, len(logged.reward), PART_ROWS):
        part = slice(start, start + PART_ROWS)
        sequence.add(*(column[part] for column in columns), weight=logged.weight[part])
    return sequence.interval
