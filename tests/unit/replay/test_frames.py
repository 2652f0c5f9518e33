"""Frames in, judgements out."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bandit.replay import estimators, evaluate_frame
from bandit.replay.frames import evaluate_feedback

N, K = 600, 3
RNG = np.random.default_rng(11)
ACTION = RNG.choice(K, N, p=[0.5, 0.3, 0.2])
LOGGED = np.array([0.5, 0.3, 0.2])
P = LOGGED[ACTION]
REWARD = (RNG.random(N) < 0.2 + 0.2 * ACTION).astype(float)
TARGET = np.tile([0.2, 0.3, 0.5], (N, 1))
HAT = np.tile([0.2, 0.4, 0.6], (N, 1))
ROWS = {
    "click": REWARD,
    "p": P,
    "p_new": TARGET[np.arange(N), ACTION],
    "who": np.array([f"u{index // 3}" for index in range(N)]),
    "arm": np.array(["x", "y", "z"])[ACTION],
}

FRAMES = {
    "dict": lambda rows: dict(rows),
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": lambda rows: pa.table({name: pa.array(column) for name, column in rows.items()}),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_same(kind):
    found = evaluate_frame(
        FRAMES[kind](ROWS), reward="click", propensity="p", target="p_new", cluster="who", action="arm"
    )
    _, who = np.unique(ROWS["who"], return_inverse=True)
    assert found.estimates["snips"] == estimators.snips(REWARD, P, ROWS["p_new"], cluster=who)
    assert found.headline == found.estimates["snips"]
    assert found.headline_estimator == "snips"
    assert "dr" not in found.estimates


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_column_of_lists_is_a_distribution(kind):
    if kind == "arrow":
        frame = pa.table({"a": ACTION, "r": REWARD, "p": P, "pi": pa.array(TARGET.tolist())})
    else:
        rows = {"a": ACTION, "r": REWARD, "p": P, "pi": TARGET.tolist()}
        frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[kind](rows)
    found = evaluate_frame(frame, reward="r", propensity="p", target="pi", action="a")
    assert found.estimates["ips"] == estimators.ips(REWARD, P, ROWS["p_new"])


def test_predicted_rewards_bring_the_doubly_robust_estimates():
    found = evaluate_frame(
        {}, reward=REWARD, propensity=P, target=TARGET, action=ACTION, reward_hat=HAT, alpha=0.1
    )
    assert found.headline_estimator == "dr"
    assert found.headline == estimators.dr(REWARD, P, ACTION, HAT, TARGET, alpha=0.1)
    assert found.estimates["dm"] == estimators.dm(HAT, TARGET, alpha=0.1)


@pytest.mark.parametrize("positions", [1, 2])
def test_the_bandit_feedback_of_obp_is_taken(positions):
    position = RNG.integers(0, positions, N)
    feedback = {
        "n_rounds": N,
        "n_actions": K,
        "context": RNG.normal(size=(N, 2)),
        "action": ACTION,
        "position": position,
        "reward": REWARD,
        "pscore": P,
    }
    other = np.tile([1.0, 0.0, 0.0], (N, 1))
    action_dist = np.stack([TARGET, other][:positions], axis=2)
    found = evaluate_feedback(feedback, action_dist)
    mine = np.where(position == 0, TARGET[np.arange(N), ACTION], other[np.arange(N), ACTION])
    assert found.estimates["ips"] == estimators.ips(REWARD, P, mine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": "nothing"}, "reward: the frame has no column 'nothing'"),
        ({"reward": "who"}, "reward: holds what is not a number"),
        ({"reward": REWARD * 2.0}, r"reward: lies outside the declared range \[0, 1\]"),
        ({"reward": np.zeros(0)}, "reward: the frame has no rows"),
        ({"propensity": P * 0.0}, r"propensity: lies outside \(0, 1\]"),
        ({"propensity": P * np.nan}, r"propensity: lies outside \(0, 1\]"),
        ({"propensity": P + 1.0}, r"propensity: lies outside \(0, 1\]"),
        ({"propensity": P[:-1]}, "propensity: has 599 rows, and reward 600"),
        ({"target": ROWS["p_new"] + 1.0}, r"target: lies outside \[0, 1\]"),
        ({"target": TARGET, "action": ACTION + 1}, "action: must be whole numbers from 0 to 2"),
        ({"target": TARGET, "action": "arm"}, "action: must be whole numbers"),
        ({"target": TARGET}, "action: is needed"),
        ({"target": TARGET * 2.0, "action": ACTION}, "target: has rows that do not sum to 1"),
        ({"target": TARGET, "action": ACTION, "reward_hat": HAT[:, :2]}, r"reward_hat: is \(600, 2\)"),
        ({"cluster": np.zeros((N, 2))}, r"cluster: has the shape \(600, 2\)"),
        ({"target": np.zeros((N, K, 2)), "action": ACTION}, "no column 'position'"),
    ],
)
def test_what_can_not_be_is_refused_by_name(change, message):
    arguments = {"reward": "click", "propensity": "p", "target": "p_new"} | change
    with pytest.raises(ValueError, match=message):
        evaluate_frame(ROWS, **arguments)
