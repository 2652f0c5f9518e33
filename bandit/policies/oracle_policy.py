"""A policy on what oracles predict: the exploration rule of a preset is all that it adds."""

from collections.abc import Sequence
from typing import Protocol

from bandit.core.records import Features, Variant
from bandit.policies.model_spec import ModelSpec
from bandit.policies.prediction import Predicted
from bandit.policies.presets import PRESETS


class Oracles(Protocol):
    """The learner, as far as a policy knows it. `events` are the treatment-arm events learned."""

    events: int

    def predicted(self, contexts: Sequence[Features], variants: Sequence[Variant]) -> list[Predicted | None]:
        """What the served oracle expects in each context; None where it expects nothing sound.

        Raises BrokenDistribution if the model can't be opened.
        """
        ...

    def close(self) -> None:
        """Frees the models."""
        ...


class OraclePolicy:
    """A `core.choose.Policy`: the served oracle's predictions, explored by the preset's rule. It does not
    learn, and never mixes in the floor.
    """

    def __init__(self, spec: ModelSpec, learner: Oracles, snapshot_id: str, *, owns_learner: bool) -> None:
        """`owns_learner`: whether `close` frees the learner; a policy on a live one does not."""
        self.snapshot_id = snapshot_id
        self._learner = learner
        self._explore = PRESETS[spec.preset].explore
        self._options = spec.options
        self._owns_learner = owns_learner

    def distributions(
        self, contexts: Sequence[Features], variants: Sequence[Variant]
    ) -> Sequence[Sequence[float] | None]:
        """For each context a probability a variant, in order; None where there is no sound prediction.

        Raises BrokenDistribution if the model can't be opened.
        """
        learner, explore, options = self._learner, self._explore, self._options
        return [
            None if predicted is None else explore(predicted, learner.events, options)
            for predicted in learner.predicted(contexts, variants)
        ]

    def close(self) -> None:
        """Frees the model, if it is this policy's own."""
        if self._owns_learner:
            self._learner.close()
