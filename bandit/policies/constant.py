"""A policy that predicts nothing: the presets that don't learn, and a learning one before its first
snapshot.
"""

from collections.abc import Mapping, Sequence

from bandit.core.records import Features, Variant
from bandit.policies.model_spec import ModelSpec
from bandit.policies.prediction import Predicted
from bandit.policies.preset import Preset
from bandit.policies.presets import PRESETS


class ConstantPolicy:
    """Explores over rewards that are the same whatever the context. Knows no model."""

    snapshot_id = ""

    def __init__(self, preset: Preset, options: Mapping[str, float], preferred: Sequence[str]) -> None:
        """The first of the `preferred` variants that is eligible gets reward 1; the others, and all if none
        is, 0.
        """
        self._preset = preset
        self._options = options
        self._preferred = preferred

    def distribution(self, variants: Sequence[Variant]) -> Sequence[float]:
        """A probability a variant, in order, in every context."""
        rewards = [0.0] * len(variants)
        for wanted in self._preferred:
            index = next((index for index, variant in enumerate(variants) if variant.id == wanted), None)
            if index is not None:
                rewards[index] = 1.0
                break
        predicted = Predicted(rewards, [0.0] * len(variants), 1.0)
        return self._preset.explore(predicted, 0, self._options)

    def distributions(
        self, contexts: Sequence[Features], variants: Sequence[Variant]
    ) -> Sequence[Sequence[float]]:
        """The same for each context."""
        return [self.distribution(variants)] * len(contexts)

    def close(self) -> None:
        """Nothing to free."""


def untrained_policy(spec: ModelSpec) -> ConstantPolicy:
    """The policy before the first snapshot: a learning preset explores; the others are all they ever will
    be.
    """
    return ConstantPolicy(PRESETS[spec.preset], spec.options, spec.preferred)
