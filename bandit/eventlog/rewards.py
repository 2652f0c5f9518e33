"""What becomes of a reward: recorded, a duplicate, late or refused; judged inside the writing transaction."""

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from bandit.core.errors import Reason, Refused, refused_field
from bandit.core.experiment import Experiment
from bandit.core.joining import closes_on_reward
from bandit.core.records import RewardStatus
from bandit.eventlog.codec import decode_reward
from bandit.eventlog.log import NewReward

_COLUMNS = """
SELECT decision.decision_id, decision.experiment_id, decision.version, decision.seq, decision.at_us,
    reward.key, reward.record, reward.closes_us IS NOT NULL
"""
_REWARDS = (
    "LEFT JOIN events AS reward ON reward.kind = 'reward' AND reward.decision_id = decision.decision_id"
)
_LOAD = f"""
{_COLUMNS} FROM json_each(?) AS wanted
JOIN events AS decision ON decision.kind = 'decision' AND decision.decision_id = wanted.value {_REWARDS}
"""
# To take apart a list of one costs as much as the rest of the query.
_LOAD_ONE = f"""
{_COLUMNS} FROM events AS decision {_REWARDS}
WHERE decision.kind = 'decision' AND decision.decision_id = ?
"""

# Asking an enumeration for its member costs as much as a comparison or two.
_RECORDED, _DUPLICATE, _LATE = RewardStatus.RECORDED, RewardStatus.DUPLICATE, RewardStatus.LATE


@dataclass(slots=True)
class RewardedDecision:
    """A decision as far as its rewards need it, kept up to date while a transaction is put together."""

    experiment_id: str
    version: int
    seq: int
    at_us: int
    stored: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Reward key -> (metric, value) of every reward that it has, late ones included."""
    closed: bool = False
    """Whether a reward has closed it."""


class Verdict(NamedTuple):
    """What to do with a reward; nothing is stored for a DUPLICATE. `closes`: it closes its decision."""

    status: RewardStatus
    metric: str
    key: str
    closes: bool


def load(connection: sqlite3.Connection, decision_ids: Collection[str]) -> dict[str, RewardedDecision]:
    """Those of the decisions that the log has, with their rewards."""
    found: dict[str, RewardedDecision] = {}
    if len(decision_ids) == 1:
        rows = connection.execute(_LOAD_ONE, tuple(decision_ids)).fetchall()
    else:
        rows = connection.execute(_LOAD, (json.dumps(list(decision_ids)),)).fetchall()
    for decision_id, experiment_id, version, seq, at_us, key, record, closes in rows:
        decision = found.get(decision_id)
        if decision is None:
            decision = found[decision_id] = RewardedDecision(experiment_id, version, seq, at_us)
        if key is not None:
            decision.stored[key] = decode_reward(record)
            decision.closed = decision.closed or bool(closes)
    return found


def judge(
    decision: RewardedDecision, experiment: Experiment, reward: NewReward, stamp_us: int
) -> Verdict | Refused:
    """What becomes of a reward that arrives at `stamp_us` for a known decision.

    `experiment` is the version that the decision carries. A refusal is UNKNOWN_METRIC, REWARD_OUT_OF_RANGE or
    REWARD_ID_CONFLICT; it is returned, so that a batch goes on.
    """
    rule = experiment.reward
    metric = reward.metric or rule.metric
    if metric == rule.metric:
        low, high = rule.range
    elif metric in experiment.metrics:
        low, high = experiment.metrics[metric].range
    else:
        return _unknown_metric(experiment, metric)
    if not low <= reward.value <= high:
        return _out_of_range(experiment, metric, reward.value, low, high)
    key = f"id:{reward.reward_id}" if reward.reward_id else f"metric:{metric}"
    if key in decision.stored:
        if decision.stored[key] != (metric, reward.value):
            return _conflict(reward, metric)
        return Verdict(_DUPLICATE, metric, key, closes=False)
    closing = closes_on_reward(experiment, metric)
    if stamp_us >= decision.at_us + rule.window_us or (closing and decision.closed):
        return Verdict(_LATE, metric, key, closes=False)
    return Verdict(_RECORDED, metric, key, closes=closing)


def _unknown_metric(experiment: Experiment, metric: str) -> Refused:
    known = ", ".join([experiment.reward.metric, *experiment.metrics][:10])
    message = (
        f"Metric {metric!r} was not declared by experiment {experiment.id!r} when the decision was made "
        f"(declared: {known}). Declare it under metrics, or leave metric empty for the primary one."
    )
    return refused_field(
        Reason.UNKNOWN_METRIC, "metric", message, metric=metric, experiment_id=experiment.id, declared=known
    )


def _out_of_range(experiment: Experiment, metric: str, value: float, low: float, high: float) -> Refused:
    message = (
        f"Value {value:g} of metric {metric!r} is outside the declared range [{low:g}, {high:g}] of "
        f"experiment {experiment.id!r}. Send a value inside, or widen the range."
    )
    return refused_field(
        Reason.REWARD_OUT_OF_RANGE,
        "value",
        message,
        value=f"{value:g}",
        metric=metric,
        low=f"{low:g}",
        high=f"{high:g}",
        experiment_id=experiment.id,
    )


def _conflict(reward: NewReward, metric: str) -> Refused:
    if reward.reward_id:
        return refused_field(
            Reason.REWARD_ID_CONFLICT,
            "reward_id",
            f"Reward {reward.reward_id!r} of decision {reward.decision_id!r} is stored with another value or "
            "metric. Send another reward_id for another reward.",
            reward_id=reward.reward_id,
            decision_id=reward.decision_id,
            metric=metric,
        )
    return refused_field(
        Reason.REWARD_ID_CONFLICT,
        "value",
        f"Decision {reward.decision_id!r} has a reward of metric {metric!r} with another value. Send a "
        "reward_id with each reward to give a decision more than one.",
        decision_id=reward.decision_id,
        metric=metric,
    )
