"""Predicts with the oracle, explores with the preset's rule."""

from collections.abc import Sequence

from bandit.core.records import Features, Variant
from bandit.policies.model_spec import ModelSpec
from bandit.policies.presets import PRESETS
from bandit.policies.vw.oracle import Oracle


class VwPolicy:
    """A `core.choose.Policy` on a Vowpal Wabbit model. It does not learn, and never mixes in the floor."""

    def __init__(self, spec: ModelSpec, oracle: Oracle, snapshot_id: str, *, owns_oracle: bool) -> None:
        """`owns_oracle`: whether `close` frees the oracle; a policy on a live learner's does not."""
        self.snapshot_id = snapshot_id
        self._oracle = oracle
        self._explore = PRESETS[spec.preset].explore
        self._options = spec.options
        self._owns_oracle = owns_oracle

    def distribution(self, context: Features, variants: Sequence[Variant]) -> Sequence[float]:
        """A probability a variant, in order. Raises BrokenDistribution."""
        oracle = self._oracle
        return self._explore(oracle.predict(context, variants), oracle.events, self._options)

    def close(self) -> None:
        """Frees the model, if it is this policy's own."""
        if self._owns_oracle:
            self._oracle.close()
