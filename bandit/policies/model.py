"""Makes, loads and stores what an experiment's definition asks for.

Callers know no preset and no model library: they hold a ModelSpec, a Learner, a Policy.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from bandit.core.choose import Policy
from bandit.core.records import Features, JoinedEvent, Variant
from bandit.policies.constant import untrained_policy
from bandit.policies.errors import IncompatibleModel
from bandit.policies.evidence import OraclesStanding
from bandit.policies.learner import OraclesLearner, standing_of
from bandit.policies.model_spec import ModelSpec
from bandit.policies.oracle_policy import OraclePolicy
from bandit.policies.vw.workspace import vw_version

__all__ = [
    "ClosablePolicy",
    "IncompatibleModel",
    "Learner",
    "ModelSpec",
    "load_learner",
    "load_policy",
    "new_learner",
    "standing_of",
    "untrained_policy",
    "vw_version",
]


class ClosablePolicy(Policy, Protocol):
    """A policy whose model can be freed."""

    def close(self) -> None:
        """Frees the model; the policy can't be used afterwards."""
        ...


class Learner(Protocol):
    """A model that is being learned. One thread at a time."""

    def learn(self, event: JoinedEvent) -> None:
        """Learns from one event that has a reward. Treatment-arm events alone advance exploration."""
        ...

    def predict(self, context: Features, variants: Sequence[Variant]) -> list[float]:
        """The predicted reward of each variant on the unit scale (0 the worst of the range, 1 the best)."""
        ...

    def policy(self, snapshot_id: str) -> ClosablePolicy:
        """A policy on the live model."""
        ...

    @property
    def standing(self) -> OraclesStanding:
        """Which oracle is served, and how the others do beside it."""
        ...

    def state(self) -> dict[str, Any]:
        """What must be kept beside the model file; JSON keeps it exactly."""
        ...

    def save(self, path: Path) -> None:
        """Writes the model file. Raises OSError."""
        ...

    def fingerprint(self) -> str:
        """Equal for learners that learned the same events in the same order, resumed or not."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...


def new_learner(spec: ModelSpec) -> Learner:
    """A learner that has seen nothing. Raises ValueError for a preset that doesn't learn."""
    return OraclesLearner(_learning(spec))


def load_learner(spec: ModelSpec, folder: Path, state: dict[str, Any]) -> Learner:
    """The learner that `save` and `state` left. Raises IncompatibleModel, OSError, ValueError as above."""
    return OraclesLearner(_learning(spec), folder, state)


def load_policy(
    spec: ModelSpec, folder: Path, state: dict[str, Any], snapshot_id: str, *, compact: bool = False
) -> ClosablePolicy:
    """A policy on a stored model; a `compact` one predicts the same, slower, in a fraction of the memory.

    Raises IncompatibleModel, OSError, ValueError as above.
    """
    learner = OraclesLearner(_learning(spec), folder, state, only_predicts=True, compact=compact)
    return OraclePolicy(spec, learner, snapshot_id, owns_learner=True)


def _learning(spec: ModelSpec) -> ModelSpec:
    if not spec.learns:
        raise ValueError(f"{spec.preset} does not learn: it has no model")
    return spec
