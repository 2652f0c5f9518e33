"""A fold with a position: joined events -> model and summary.

Live learning, recovery after a crash, `verify`, and offline replay all drive this class; only where the
events come from, and where snapshots go, differs.
"""

from collections.abc import Iterable
from pathlib import Path

from bandit.core.records import ORIGIN, JoinedEvent, Position
from bandit.learning.summary import Summary
from bandit.policies.model import IncompatibleModel, Learner, ModelSpec, load_learner, new_learner
from bandit.snapshots.manifest import Manifest, snapshot_id


class ModelFold:
    """One experiment's model, folded from its joined events up to `position`."""

    def __init__(
        self, spec: ModelSpec, learner: Learner | None, summary: Summary, position: Position, parent: str
    ) -> None:
        """Use `start` or `resume`."""
        self.spec = spec
        self.summary = summary
        self.position = position
        self.learned = 0
        self._learner = learner
        self._parent = parent

    @classmethod
    def start(cls, spec: ModelSpec) -> "ModelFold":
        """A fold that has seen nothing."""
        return cls(spec, new_learner(spec) if spec.learns else None, Summary(), ORIGIN, "")

    @classmethod
    def resume(cls, manifest: Manifest, folder: Path) -> "ModelFold":
        """The fold that a snapshot holds. Raises policies.model.IncompatibleModel, OSError."""
        spec = ModelSpec.from_json(manifest.spec)
        try:
            summary = Summary(manifest.summary)
        except ValueError as error:
            raise IncompatibleModel(str(error)) from error
        learner = load_learner(spec, folder, dict(manifest.state)) if spec.learns else None
        return cls(spec, learner, summary, manifest.position, manifest.snapshot_id)

    def take(self, events: Iterable[JoinedEvent]) -> None:
        """Learns events that follow `position` in order. Raises ValueError for one that does not follow."""
        for event in events:
            if event.position <= self.position:
                raise ValueError(f"event at {event.position} does not follow {self.position}")
            self.summary.take(event)
            if self._learner is not None and event.reward is not None:
                self._learner.learn(event)
                self.learned += 1
            self.position = event.position

    def manifest(self, experiment_id: str, vw_version: str) -> Manifest:
        """The manifest of a snapshot taken now; the store fills in the model's sum."""
        return Manifest(
            snapshot_id=snapshot_id(self.position, self.spec.digest),
            experiment_id=experiment_id,
            position=self.position,
            joined=self.summary.joined,
            spec=self.spec.to_json(),
            state=self._learner.state() if self._learner is not None else {},
            summary=self.summary.state(),
            vw_version=vw_version,
            model_sha256="",
            parent=self._parent,
        )

    def save(self, folder: Path) -> None:
        """Writes the model's files. Raises ValueError for a policy without a model."""
        if self._learner is None:
            raise ValueError("this policy has no model")
        self._learner.save(folder)

    @property
    def learns(self) -> bool:
        """Whether there is a model."""
        return self._learner is not None

    @property
    def learner(self) -> Learner | None:
        """The live model, or None."""
        return self._learner

    def published(self, as_id: str) -> None:
        """Notes that everything so far stands in snapshot `as_id`."""
        self._parent = as_id
        self.learned = 0

    def close(self) -> None:
        """Frees the model."""
        if self._learner is not None:
            self._learner.close()
