"""Arrays from callers: checked, and brought to double precision, before anything is computed from them."""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandit.replay.columns import F64

Clusters: TypeAlias = tuple[NDArray[np.intp], int] | None
"""Each row's cluster from 0, and how many there are; None if each row is its own."""

ABOVE_ONE_MAX: Final = 1e-6
"""By how much probabilities may exceed what they may be: those in single precision do, by rounding alone."""

SUM_TOLERANCE: Final = 1e-3
"""How far a distribution may be from 1 in sum: a thousand variants in single precision come to 1e-4."""


def column(name: str, values: ArrayLike, rows: int | None = None) -> F64:
    """`values` as finite doubles of shape (n,). Raises ValueError."""
    array = _doubles(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: give one number a row, shape (n,)")
    if rows is None and not len(array):
        raise ValueError(f"{name} is empty: give at least one row")
    return _finite(name, _as_long(name, array, rows))


def matrix(name: str, values: ArrayLike, rows: int | None = None, variants: int | None = None) -> F64:
    """`values` as finite doubles of shape (n, k); (n, k, 1) is taken too. Raises ValueError."""
    array = _doubles(name, values)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} has shape {array.shape}: give one row a decision and one column a variant")
    if rows is None and not len(array):
        raise ValueError(f"{name} is empty: give at least one row")
    if variants is not None and array.shape[1] != variants:
        raise ValueError(
            f"{name} has {array.shape[1]} columns, and reward_hat {variants}: give one a variant"
        )
    return _finite(name, _as_long(name, array, rows))


def propensities(values: ArrayLike, rows: int) -> F64:
    """Propensities in (0, 1], shape (n,). Raises ValueError."""
    array = column("propensity", values, rows)
    if not ((array > 0.0).all() and (array <= 1.0 + ABOVE_ONE_MAX).all()):
        count = int((~((array > 0.0) & (array <= 1.0 + ABOVE_ONE_MAX))).sum())
        raise ValueError(
            f"propensity is outside (0, 1] in {count} rows: leave those rows out, or log the true ones"
        )
    return array


def probabilities(name: str, values: ArrayLike, rows: int) -> F64:
    """Probabilities in [0, 1], shape (n,). Raises ValueError."""
    array = column(name, values, rows)
    if not ((array >= 0.0).all() and (array <= 1.0 + ABOVE_ONE_MAX).all()):
        raise ValueError(f"{name} is outside [0, 1] in some rows: give the probability of the logged variant")
    return array


def distributions(name: str, values: ArrayLike, rows: int, variants: int) -> F64:
    """One distribution a row, shape (n, k). Raises ValueError."""
    array = matrix(name, values, rows, variants)
    if not (array >= 0.0).all():
        raise ValueError(f"{name} has negative entries: give probabilities")
    if not (np.abs(array.sum(axis=1) - 1.0) <= SUM_TOLERANCE).all():
        raise ValueError(f"{name} has rows that do not sum to 1: divide each row by its sum")
    return array


def actions(values: ArrayLike, rows: int, variants: int) -> NDArray[np.intp]:
    """Indices of the served variants, from 0, shape (n,). Raises ValueError."""
    array = np.asarray(values)
    if array.ndim != 1 or len(array) != rows:
        raise ValueError(f"action has shape {array.shape}: give one index for each of the {rows} rows")
    if array.dtype.kind not in "iu":
        raise ValueError("action must be whole numbers: give the column of the served variant, from 0")
    if not ((array >= 0).all() and (array < variants).all()):
        raise ValueError(f"action is outside 0 to {variants - 1} in some rows: count the variants from 0")
    return array.astype(np.intp, copy=False)


def multiplicities(values: ArrayLike | None, rows: int) -> F64 | None:
    """How many decisions each row stands for, positive, shape (n,); None if each stands for itself alone.

    Raises ValueError.
    """
    if values is None:
        return None
    array = column("weight", values, rows)
    if not (array > 0.0).all():
        raise ValueError("weight is not positive in some rows: give 1 / (1 - pdrop)")
    return None if (array == 1.0).all() else array


def cluster_codes(values: ArrayLike | None, rows: int) -> Clusters:
    """The clusters that labels, shape (n,), tell; None for None, and where no label is there twice.

    Raises ValueError.
    """
    if values is None:
        return None
    array = np.asarray(values)
    if array.ndim != 1 or len(array) != rows:
        raise ValueError(f"cluster has shape {array.shape}: give one label for each of the {rows} rows")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("cluster is not finite in some rows: give those rows labels of their own")
    if array.dtype.kind in "iu" and bool((array[1:] > array[:-1]).all()):
        # Rows of their own, in order, as most logs have them: found without the sorting, and its memory.
        return None
    labels, codes = np.unique(array, return_inverse=True)
    if len(labels) == rows:
        return None
    return codes.astype(np.intp, copy=False), len(labels)


def by_cluster(values: F64, clusters: Clusters) -> F64:
    """Sums over the rows of each cluster; the values themselves where each row is its own."""
    if clusters is None:
        return values
    sums: F64 = np.bincount(clusters[0], values, clusters[1]).astype(np.float64, copy=False)
    return sums


def in_range(reward: F64, reward_range: tuple[float, float]) -> tuple[float, float]:
    """The declared range, which holds every reward. Raises ValueError."""
    low, high = float(reward_range[0]), float(reward_range[1])
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"reward_range is {reward_range}: give two finite numbers, the smaller first")
    if reward.size and not (reward.min() >= low and reward.max() <= high):
        raise ValueError(
            f"rewards lie outside the declared range {low:g} to {high:g}: declare what they can be"
        )
    return low, high


def level(alpha: float) -> float:
    """The share of intervals that may miss, in (0, 1). Raises ValueError."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}: give a number between 0 and 1, such as 0.05")
    return float(alpha)


def _doubles(name: str, values: ArrayLike) -> F64:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} does not hold numbers: {error}") from error


def _as_long(name: str, array: F64, rows: int | None) -> F64:
    if rows is not None and len(array) != rows:
        raise ValueError(f"{name} has {len(array)} rows, and the arrays before it {rows}: give as many")
    return array


def _finite(name: str, array: F64) -> F64:
    # A sum is finite only if all are, and needs no array of its own.
    if not np.isfinite(array.sum()) and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name} is not finite in {count} places: leave those rows out")
    return array
