"""A frame of logged decisions -> a judgement: pandas, Polars, Arrow, dicts of arrays, obp's bandit feedback.

    from bandit.replay import evaluate_frame

    judged = evaluate_frame(frame, reward="click", propensity="p", target="p_new", cluster="user")
    judged.headline, judged.reason, judged.estimates["dr"], judged.diagnostics

A frame is anything that gives a column by name, `frame["click"]`, of which numpy can make an array.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bandit.replay.columns import F64, I64, Logged, Target
from bandit.replay.judging import Judgement, judge

SUM_TOLERANCE: Final = 1e-6
"""How far a target's row may sum from 1."""

Column = str | NDArray[Any] | Any
"""The name of a column of the frame, or the values themselves."""


def evaluate_frame(
    frame: Any,
    *,
    reward: Column,
    propensity: Column,
    target: Column,
    action: Column | None = None,
    reward_hat: Column | None = None,
    cluster: Column | None = None,
    reward_range: tuple[float, float] = (0.0, 1.0),
    alpha: float = 0.05,
    estimator: str | None = None,
    name: str = "target",
) -> Judgement:
    """Judges a policy on the n rows of a frame.

    - `reward`: (n,), finite and within `reward_range`, which is declared and never taken from the data
    - `propensity`: (n,), the probability with which the row's action was drawn, in (0, 1]
    - `target`: (n,), the probability of that action under the policy being judged; or its whole distribution,
      (n, k), which `action` then picks from; or obp's `action_dist`, (n, k, positions)
    - `action`: (n,), 0 to k - 1 where there are arrays of k columns; else any values
    - `reward_hat`: (n, k), the predicted reward of each action, by a model that did not see the row; with a
      `target` of the same shape it brings dm, dr, switch_dr and dros
    - `cluster`: (n,), the same value for the same subject; left out, each row stands for itself
    - `estimator`: the headline's; snips, or dr where there is a `reward_hat`

    Raises ValueError, naming the argument, for values that can't be what they are given as.
    """
    rewards = _numbers(frame, reward, "reward")
    size = len(rewards)
    if size == 0:
        raise ValueError("reward: the frame has no rows")
    low, high = reward_range
    if not (np.isfinite(rewards).all() and rewards.min() >= low and rewards.max() <= high):
        raise ValueError(
            f"reward: lies outside the declared range [{low:g}, {high:g}], or is not finite; "
            "give the reward_range that was declared"
        )
    propensities = _numbers(frame, propensity, "propensity", size)
    if not (np.all(propensities > 0.0) and np.all(propensities <= 1.0)):
        raise ValueError("propensity: lies outside (0, 1], or is not a number")
    names, chosen = _actions(frame, action, size)
    distribution = _numbers(frame, target, "target", size, dimensions=(1, 2, 3))
    distribution = _at_position(frame, distribution)
    predicted = None
    if reward_hat is not None:
        predicted = _at_position(frame, _numbers(frame, reward_hat, "reward_hat", size, dimensions=(2, 3)))
        if predicted.shape != distribution.shape:
            raise ValueError(f"reward_hat: is {predicted.shape}, and target {distribution.shape}")
    return judge(
        _logged(rewards, propensities, names, chosen, _clusters(frame, cluster, size), reward_range),
        _target(name, distribution, predicted, None if action is None else (names, chosen)),
        alpha=alpha,
        estimator=estimator or ("snips" if predicted is None else "dr"),
    )


def evaluate_feedback(
    bandit_feedback: Mapping[str, Any],
    action_dist: NDArray[Any],
    *,
    reward_hat: NDArray[Any] | None = None,
    reward_range: tuple[float, float] = (0.0, 1.0),
    alpha: float = 0.05,
    estimator: str | None = None,
) -> Judgement:
    """`evaluate_frame` for Open Bandit Pipeline's `bandit_feedback` and `action_dist` (n, k, positions)."""
    return evaluate_frame(
        bandit_feedback,
        reward="reward",
        propensity="pscore",
        target=action_dist,
        action="action",
        reward_hat=reward_hat,
        reward_range=reward_range,
        alpha=alpha,
        estimator=estimator,
    )


def _values(frame: Any, column: Column, name: str) -> NDArray[Any]:
    if not isinstance(column, str):
        return np.asarray(column)
    try:
        return np.asarray(frame[column])
    except Exception as error:
        # Each kind of frame has an exception of its own for a column that is not there.
        raise ValueError(f"{name}: the frame has no column {column!r}") from error


def _numbers(
    frame: Any, column: Column, name: str, size: int | None = None, dimensions: tuple[int, ...] = (1,)
) -> F64:
    found = _values(frame, column, name)
    if found.dtype == object and found.ndim == 1 and len(found) and not np.isscalar(found[0]):
        # A column of lists: one row an array.
        found = np.array([list(row) for row in found])
    try:
        numbers = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: holds what is not a number") from None
    if numbers.ndim not in dimensions:
        shapes = " or ".join(str(dimension) for dimension in dimensions)
        raise ValueError(f"{name}: has {numbers.ndim} dimensions, not {shapes}")
    if size is not None and len(numbers) != size:
        raise ValueError(f"{name}: has {len(numbers)} rows, and reward {size}")
    return numbers


def _actions(frame: Any, action: Column | None, size: int) -> tuple[NDArray[Any], I64]:
    if action is None:
        return np.array(["(not told)"]), np.zeros(size, np.int64)
    found = _values(frame, action, "action")
    if found.shape != (size,):
        raise ValueError(f"action: has the shape {found.shape}, not ({size},)")
    names, chosen = np.unique(found, return_inverse=True)
    return names, chosen.astype(np.int64)


def _clusters(frame: Any, cluster: Column | None, size: int) -> I64:
    if cluster is None:
        return np.arange(size)
    found = _values(frame, cluster, "cluster")
    if found.shape != (size,):
        raise ValueError(f"cluster: has the shape {found.shape}, not ({size},)")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _at_position(frame: Any, values: F64) -> F64:
    """(n, k) of (n, k, positions): the row's own position, or the only one."""
    if values.ndim < 3:
        return values
    if values.shape[2] == 1:
        return values[:, :, 0]
    try:
        positions = np.asarray(frame["position"], np.int64)
    except Exception:
        raise ValueError(
            f"target: is for {values.shape[2]} positions, and the frame has no column 'position'"
        ) from None
    if not (
        positions.shape == values.shape[:1] and 0 <= positions.min() <= positions.max() < values.shape[2]
    ):
        raise ValueError(f"position: is not one of 0 to {values.shape[2] - 1} in each row")
    picked: F64 = values[np.arange(len(values)), :, positions]
    return picked


def _logged(
    reward: F64,
    propensity: F64,
    names: NDArray[Any],
    chosen: I64,
    cluster: I64,
    reward_range: tuple[float, float],
) -> Logged:
    size = len(reward)
    return Logged(
        reward=reward,
        propensity=propensity,
        weight=np.ones(size),
        chosen=chosen.astype(np.int32),
        eligible=np.full(size, len(names), np.int32),
        treatment=np.ones(size, np.bool_),
        share=np.ones(size),
        cluster=cluster,
        at_us=np.zeros(size, np.int64),
        defaulted=np.zeros(size, np.bool_),
        variant_ids=tuple(map(str, names)),
        reward_range=reward_range,
        # Of what was not served a frame tells no probability, so nothing is known about calibration.
        expected=np.zeros(len(names)),
        variance=np.zeros(len(names)),
        served=np.zeros(len(names), np.int64),
        counts={"joined": size, "treatment": size},
    )


def _target(
    name: str, distribution: F64, predicted: F64 | None, actions: tuple[NDArray[Any], I64] | None
) -> Target:
    size = len(distribution)
    # A frame does not tell what else could have been served.
    unsupported = np.full(size, np.nan)
    if distribution.ndim == 1:
        if not (np.all(distribution >= 0.0) and np.all(distribution <= 1.0)):
            raise ValueError("target: lies outside [0, 1], or is not a number")
        return Target(name, distribution, unsupported)
    if not (np.all(distribution >= 0.0) and np.allclose(distribution.sum(axis=1), 1.0, 0.0, SUM_TOLERANCE)):
        raise ValueError("target: has rows that do not sum to 1, or negative numbers")
    if actions is None:
        raise ValueError("action: is needed to pick from a target of (n, k)")
    names, codes = actions
    served = names[codes]
    width = distribution.shape[1]
    if not np.issubdtype(served.dtype, np.integer) or served.min() < 0 or served.max() >= width:
        raise ValueError(
            f"action: must be whole numbers from 0 to {width - 1}, as target has {width} columns"
        )
    rows = np.arange(size)
    probability = distribution[rows, served]
    if predicted is None:
        return Target(name, probability, unsupported)
    value_hat: F64 = np.einsum("nk,nk->n", distribution, predicted)
    return Target(name, probability, unsupported, predicted[rows, served], value_hat)
