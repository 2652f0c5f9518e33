"""Columns -> the few figures that charts show. Whatever the log's length, there are only so many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bandit.replay import estimators
from bandit.replay.columns import BOOL, F64, I64, Logged, Target
from bandit.replay.estimators import Estimate
from bandit.replay.judging import clusters, on_policy
from bandit.replay.judging import rows as part

LOOKS: Final = 24
"""Points of a running estimate."""

WEIGHT_EDGES: Final = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
"""Lower edges of the weights' bins, each up to the next; the first holds exact zeros alone with `zero`."""

WEIGHT_LABELS: Final = ("0", "<⅛", "⅛", "¼", "½", "1", "2", "4", "8", "16", "64+")


@dataclass(frozen=True, slots=True)
class Running:
    """An estimate over growing parts of the rows: `rows` of them, up to time `at_us`."""

    rows: tuple[int, ...]
    at_us: tuple[int, ...]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """The importance weights of the rows, in bins as labelled by WEIGHT_LABELS: the share of the rows in
    each, and the share of all weight. `rows` is 0 where no row has a usable propensity.
    """

    rows: int
    row_shares: tuple[float, ...]
    mass_shares: tuple[float, ...]
    effective: float
    largest: float
    largest_share: float
    mean: float


@dataclass(frozen=True, slots=True)
class Served:
    """A variant in the judged rows: how often it was served and should have been, and what it earned there.

    `expected` and `deviation` (its standard error) are shares of the rows that have a logged distribution,
    `calibrated` of them; None where there are none. `mean` is None where it was never served.
    """

    variant_id: str
    rows: int
    calibrated: int
    served: float
    expected: float | None
    deviation: float
    mean: Estimate | None


def usable(logged: Logged) -> BOOL:
    """Which rows have a propensity in (0, 1]."""
    with np.errstate(invalid="ignore"):
        mask: BOOL = (logged.propensity > 0.0) & (logged.propensity <= 1.0)
    return mask


def running(logged: Logged, target: Target, estimator: str, alpha: float) -> Running:
    """The estimate at up to LOOKS evenly spaced numbers of rows, the last being all usable ones.

    With dr the reward model's predictions are taken; everything else that is not ips is snips.
    """
    mask = usable(logged)
    whole = bool(mask.all())
    estimate = _estimator(logged, target, estimator, alpha, None if whole else mask)
    count = int(mask.sum())
    looks = sorted({round(count * look / LOOKS) for look in range(1, LOOKS + 1)} - {0, 1})
    at_us = np.maximum.accumulate(logged.at_us if whole else logged.at_us[mask]) if looks else logged.at_us
    return Running(
        tuple(looks), tuple(int(at_us[rows - 1]) for rows in looks), tuple(estimate(rows) for rows in looks)
    )


def _estimator(
    logged: Logged, target: Target, name: str, alpha: float, mask: BOOL | None
) -> Callable[[int], Estimate]:
    def column(values: F64) -> F64:
        return values if mask is None else values[mask]

    reward, propensity = column(logged.reward), column(logged.propensity)
    probability, weight = column(target.probability), column(logged.weight)
    every = clusters(logged)
    cluster: I64 | None = every if every is None or mask is None else every[mask]

    def cluster_of(rows: int) -> I64 | None:
        return None if cluster is None else cluster[:rows]

    if name == "dr" and target.reward_hat is not None and target.value_hat is not None:
        reward_hat, value_hat = column(target.reward_hat), column(target.value_hat)
        return lambda rows: estimators.dr_terms(
            reward[:rows],
            propensity[:rows],
            probability[:rows],
            reward_hat[:rows],
            value_hat[:rows],
            alpha,
            cluster=cluster_of(rows),
            weight=weight[:rows],
            reward_range=logged.reward_range,
        )
    chosen = estimators.ips if name == "ips" else estimators.snips
    return lambda rows: chosen(
        reward[:rows],
        propensity[:rows],
        probability[:rows],
        alpha,
        cluster=cluster_of(rows),
        weight=weight[:rows],
        reward_range=logged.reward_range,
    )


def weights(logged: Logged, target: Target) -> Weights:
    """How the importance weights of the usable rows are spread."""
    mask = usable(logged)
    found = target.probability[mask] / logged.propensity[mask]
    found *= logged.weight[mask]
    total = float(found.sum())
    if not len(found):
        return Weights(0, (), (), 0.0, 0.0, 0.0, 0.0)
    # Zeros are a bin of their own: rows that the policy would never have served.
    bins = np.searchsorted(np.array(WEIGHT_EDGES), found, side="right")
    bins[found <= 0.0] = 0
    size = len(WEIGHT_LABELS)
    rows = np.bincount(bins, minlength=size) / len(found)
    mass = np.bincount(bins, found, size) / (total or 1.0)
    largest = float(found.max())
    square = float(found @ found)
    return Weights(
        rows=len(found),
        row_shares=tuple(rows.tolist()),
        mass_shares=tuple(mass.tolist()),
        effective=total * total / square if square else 0.0,
        largest=largest,
        largest_share=largest / total if total else 0.0,
        mean=total / len(found),
    )


def served(logged: Logged) -> list[Served]:
    """Every variant that was served in the judged rows, or should have been; the most served first."""
    counts = np.bincount(logged.chosen, minlength=len(logged.variant_ids))
    calibrated = int(logged.served.sum())
    order: Sequence[int] = sorted(
        range(len(logged.variant_ids)), key=lambda code: (-int(counts[code]), logged.variant_ids[code])
    )
    found = []
    for code in order:
        share = int(logged.served[code]) / calibrated if calibrated else 0.0
        found.append(
            Served(
                variant_id=logged.variant_ids[code],
                rows=int(counts[code]),
                calibrated=calibrated,
                served=share,
                expected=float(logged.expected[code]) / calibrated if calibrated else None,
                deviation=float(logged.variance[code]) ** 0.5 / calibrated if calibrated else 0.0,
                mean=None,
            )
        )
    return found


def with_means(rows: Sequence[Served], logged: Logged, alpha: float) -> list[Served]:
    """The same variants with the mean reward of the rows that served each, and its interval."""
    codes = {variant_id: code for code, variant_id in enumerate(logged.variant_ids)}
    found = []
    for row in rows:
        mask = logged.chosen == codes[row.variant_id]
        found.append(replace(row, mean=on_policy(part(logged, mask), alpha) if row.rows > 1 else None))
    return found
