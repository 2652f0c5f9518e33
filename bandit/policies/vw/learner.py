"""Folds joined events into an oracle."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bandit.core.records import Arm, Features, JoinedEvent, Variant
from bandit.core.rewards import clamp, unit_scale
from bandit.policies.model_spec import ModelSpec
from bandit.policies.vw import model_file
from bandit.policies.vw.oracle import Oracle
from bandit.policies.vw.policy import VwPolicy


class VwLearner:
    """A learning preset's `model.Learner`. The same events give the same fingerprint, whether uninterrupted
    or saved and loaded in between, and whether or not it was asked for predictions.
    """

    def __init__(
        self, spec: ModelSpec, model: Path | None = None, state: dict[str, Any] | None = None
    ) -> None:
        """A new learner, or the one that `save` and `state` left. Raises IncompatibleModel, OSError."""
        self._spec = spec
        self._oracle = Oracle(spec, model, state)

    def learn(self, event: JoinedEvent) -> None:
        """Learns from one event. Raises ValueError for an UNREWARDED one."""
        if event.reward is None:
            raise ValueError("an event without a reward can't be learned from")
        low, high = self._spec.reward_range
        decision = event.decision
        self._oracle.learn(
            decision.context,
            decision.variants,
            decision.chosen,
            # An event of an earlier definition may lie outside today's range.
            unit_scale(clamp(event.reward, low, high), low, high),
            treatment=decision.arm is Arm.TREATMENT,
        )

    def predict(self, context: Features, variants: Sequence[Variant]) -> list[float]:
        """The predicted reward of each variant on the unit scale, in [0, 1]."""
        return self._oracle.predict(context, variants)

    def policy(self, snapshot_id: str) -> VwPolicy:
        """A policy on the live model: it knows whatever has been learned so far, and dies with the
        learner.
        """
        return VwPolicy(self._spec, self._oracle, snapshot_id, owns_oracle=False)

    def state(self) -> dict[str, Any]:
        """What must be kept beside the model file; JSON keeps it exactly."""
        return self._oracle.state()

    def save(self, path: Path) -> None:
        """Writes the model file. Raises OSError."""
        self._oracle.save(path)

    def fingerprint(self) -> str:
        """A sum over weights and state, as hex. Writes the model to a temporary folder on the way."""
        with TemporaryDirectory(prefix="banditd-") as folder:
            path = Path(folder, "model.vw")
            self._oracle.save(path)
            learned = model_file.learned_digest(path)
        return sha256(learned + json.dumps(self.state(), sort_keys=True).encode()).hexdigest()

    def close(self) -> None:
        """Frees the model."""
        self._oracle.close()
