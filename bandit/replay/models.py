"""Policies with a model -> what they would have done at each decision; see `policies` for their names."""

from collections.abc import Sequence

from bandit.core.choose import Policy, baseline_index, explored
from bandit.core.distribution import one_hot
from bandit.core.experiment import Experiment
from bandit.core.records import ORIGIN, JoinedEvent, Position
from bandit.learning.fold import ModelFold
from bandit.policies.model import IncompatibleModel, ModelSpec, load_policy, untrained_policy
from bandit.replay.errors import BadLog, BadPolicy
from bandit.replay.policies import with_policy
from bandit.replay.sources import Source
from bandit.snapshots.manifest import DamagedSnapshot


class Frozen:
    """A model that has learned all that it will."""

    reads_context = True
    learns = False

    def __init__(self, name: str, experiment: Experiment, policy: Policy, learned_to: Position) -> None:
        """`policy` has a `close` if it has something to free; it knows the events up to `learned_to`."""
        self.name = name
        self._experiment = experiment
        self._policy = policy
        self._learned_to = learned_to
        self._known = 0

    def distribution(self, event: JoinedEvent) -> Sequence[float]:
        """With the experiment's floor; the baseline if the model can't predict, as in production."""
        self._known += event.position <= self._learned_to
        return as_served(self._policy, self._experiment, event)

    def learn(self, event: JoinedEvent) -> None:
        """It never does."""

    def notes(self) -> Sequence[str]:
        """That it was judged by what it had learned, if it was."""
        if not self._known:
            return ()
        return (
            f"It had learned from {self._known:,} of the decisions that it is judged by, which flatters it: "
            "judge it by later ones (--since), or judge its preset by replay.",
        )

    def close(self) -> None:
        """Frees the model."""
        close = getattr(self._policy, "close", None)
        if close is not None:
            close()


class Learning:
    """A policy that learns as the log goes by, by the fold that live learning uses.

    `until` is the number of events after which it stops learning; None if it never does.
    """

    reads_context = True
    learns = True

    def __init__(self, name: str, experiment: Experiment, preset: str, until: int | None = None) -> None:
        """Raises BadPolicy for a preset, or options of it, that there are not."""
        self.name = name
        self._experiment = with_policy(experiment, preset)
        spec = ModelSpec.of(self._experiment)
        self._fold = ModelFold.start(spec)
        self._policy: Policy = untrained_policy(spec)
        self._until = until
        self._seen = 0

    def distribution(self, event: JoinedEvent) -> Sequence[float]:
        """With the experiment's floor. Before anything is learned it explores as an untrained one."""
        return as_served(self._policy, self._experiment, event)

    def learn(self, event: JoinedEvent) -> None:
        """Learns the event if it has a reward."""
        if self._until is not None and self._seen >= self._until:
            return
        self._seen += 1
        fold = self._fold
        before = fold.learned
        fold.take((event,))
        if fold.learned and not before and fold.learner is not None:
            self._policy = fold.learner.policy("replayed")

    def notes(self) -> Sequence[str]:
        """None: no decision was judged after it was learned."""
        return ()

    def close(self) -> None:
        """Frees the model."""
        self._fold.close()


def as_served(policy: Policy, experiment: Experiment, event: JoinedEvent) -> Sequence[float]:
    """The distribution that the policy would be served with in the treatment arm."""
    decision = event.decision
    variants = decision.variants
    [found] = explored(policy, experiment.policy.floor, [decision.context], variants)
    if found is None:
        return one_hot(baseline_index(experiment.baseline, variants), len(variants))
    return found


def snapshot_policy(name: str, experiment: Experiment, source: Source, snapshot_id: str) -> Frozen:
    """The policy of a stored snapshot. Raises BadLog, BadPolicy."""
    # With it comes all that reads an event log: nothing that starts a judgement of a file should wait for.
    from bandit.replay.source_folder import FolderSource

    if not isinstance(source, FolderSource):
        raise BadPolicy(
            f"{name} is a model of a data folder; this log is {source.kind}. Judge a preset:NAME."
        )
    known = source.store.names(experiment.id)
    if snapshot_id not in known:
        there = ", ".join(known[:5]) or "none"
        raise BadPolicy(f"{name} is not in the data folder, which keeps the last ones alone; there: {there}")
    try:
        folder, manifest = source.store.read(experiment.id, snapshot_id)
        spec = ModelSpec.from_json(manifest.spec)
        policy = (
            load_policy(spec, folder, dict(manifest.state), snapshot_id)
            if spec.learns
            else untrained_policy(spec)
        )
    except (DamagedSnapshot, IncompatibleModel, OSError) as error:
        raise BadLog(f"{name} can't be loaded: {error}") from error
    return Frozen(name, experiment, policy, manifest.position if spec.learns else ORIGIN)
