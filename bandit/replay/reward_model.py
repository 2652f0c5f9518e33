"""Predicted rewards for DM and the doubly robust estimators, never by a model that saw the row.

Cross-fitting (Chernozhukov et al., Double/debiased machine learning, The Econometrics Journal 21, 2018): the
subjects are split into folds, and each row is predicted by a regression that learned the other folds. So a
model that fits its own noise biases nothing. The regression is the oracle of the learning presets, in one
pass over the log; what it predicts for a row may thus rest on later rows, as it may for this purpose.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol
from zlib import crc32

from bandit.core.distribution import BrokenDistribution
from bandit.core.experiment import Experiment
from bandit.core.records import JoinedEvent
from bandit.policies.model import ModelSpec, new_learner
from bandit.replay.policies import with_policy
from bandit.replay.targets import numbers_of

FOLDS: Final = 3
"""Each row is learned FOLDS - 1 times and predicted once."""

_PRESET: Final = "squarecb"
"""Whose oracle is used; how it would explore does not matter here."""


class RewardModel(Protocol):
    """Predicts, for a row, the reward of each eligible variant."""

    def predict(self, event: JoinedEvent, value: object) -> Sequence[float]:
        """In the unit of the reward. `value` is the row's entry in the column that was asked for, if any."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...


class CrossFitted:
    """The oracle, once a fold."""

    def __init__(self, experiment: Experiment, reward_range: tuple[float, float], metric: str = "") -> None:
        """`metric` is the secondary metric that is predicted instead of the reward, if any."""
        spec = replace(ModelSpec.of(with_policy(experiment, _PRESET)), reward_range=reward_range)
        self._low, self._high = reward_range
        self._metric = metric
        self._learners = [new_learner(spec) for _ in range(FOLDS)]

    def learn(self, event: JoinedEvent) -> None:
        """Learns an event in all folds but its own."""
        value = event.metrics.get(self._metric) if self._metric else event.reward
        if value is None:
            return
        lesson = event._replace(reward=value) if self._metric else event
        own = _fold(event)
        for index, learner in enumerate(self._learners):
            if index != own:
                learner.learn(lesson)

    def predict(self, event: JoinedEvent, value: object = None) -> Sequence[float]:
        """By the fold that did not learn from this subject."""
        decision = event.decision
        try:
            units = self._learners[_fold(event)].predict(decision.context, decision.variants)
        except BrokenDistribution:
            # Any prediction leaves the doubly robust estimators unbiased.
            units = [0.0] * len(decision.variants)
        return [self._low + unit * (self._high - self._low) for unit in units]

    def close(self) -> None:
        """Frees the models."""
        for learner in self._learners:
            learner.close()


class FromColumn:
    """Predictions that came with the log, a list a row. They must not have learned from the row either."""

    def __init__(self, column: str) -> None:
        """`column` is its name, for messages."""
        self._column = column

    def predict(self, event: JoinedEvent, value: object) -> Sequence[float]:
        """Raises BadLog for anything but a finite number a variant."""
        where = f"column {self._column!r} of decision {event.decision.decision_id!r}"
        return numbers_of(value, len(event.decision.variants), where, "a list with a reward a variant")

    def close(self) -> None:
        """Nothing to free."""


def _fold(event: JoinedEvent) -> int:
    decision = event.decision
    return crc32((decision.subject or decision.decision_id).encode()) % FOLDS
