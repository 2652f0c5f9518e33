"""A policy named on a command line -> what it would have done at each decision.

Everything that chooses is the production code: presets, models, floor. What differs is where a policy comes
from, and whether it goes on learning:

    uniform               every eligible variant equally often
    fixed:ID              always the variant ID
    snapshot:ID           a stored model of the data folder, as it would be served
    preset:NAME[:opts]    learned from the first half of the log, then frozen, as it would be served
    NAME[:opts]           (replay) learned as the log goes by: each decision is judged, then learned

As served means with the experiment's floor. `uniform` and `fixed:ID` are judged as they are, without it.
"""

from collections.abc import Sequence
from typing import Protocol

from bandit.core.choose import Policy, baseline_index, explored
from bandit.core.distribution import one_hot
from bandit.core.experiment import Experiment, PolicySpec
from bandit.core.records import ORIGIN, JoinedEvent, Position, Variant
from bandit.learning.fold import ModelFold
from bandit.policies import presets
from bandit.policies.model import IncompatibleModel, ModelSpec, load_policy, untrained_policy
from bandit.replay.errors import BadLog, BadPolicy
from bandit.replay.sources import Source
from bandit.snapshots.manifest import DamagedSnapshot
from bandit.snapshots.store import MODEL


class Judged(Protocol):
    """A policy under judgement. `reads_context` tells whether its distribution depends on the context."""

    name: str
    reads_context: bool

    def distribution(self, event: JoinedEvent) -> Sequence[float]:
        """A probability for each of the event's eligible variants, in their order."""
        ...

    def learn(self, event: JoinedEvent) -> None:
        """Takes an event that was judged, or passed over."""
        ...

    def notes(self) -> Sequence[str]:
        """What to keep in mind about the judgement, once all events were judged."""
        ...

    def close(self) -> None:
        """Frees its model."""
        ...


class Constant:
    """A policy that knows no context: its distribution is worked out once for each set of variants."""

    reads_context = False

    def __init__(self, name: str, experiment: Experiment, preset: str) -> None:
        """`preset` is one that does not learn."""
        self.name = name
        self._policy = untrained_policy(ModelSpec.of(with_policy(experiment, preset, floor=0.0)))
        self._variants: Sequence[Variant] | None = None
        self._distribution: Sequence[float] = ()

    def distribution(self, event: JoinedEvent) -> Sequence[float]:
        """Of a tuple of variants, the same object every time."""
        decision = event.decision
        variants = decision.variants
        if variants is not self._variants:
            self._distribution = self._policy.distribution(decision.context, variants)
            self._variants = variants if isinstance(variants, tuple) else None
        return self._distribution

    def learn(self, event: JoinedEvent) -> None:
        """It never does."""

    def notes(self) -> Sequence[str]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to free."""


class Frozen:
    """A model that has learned all that it will."""

    reads_context = True

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
    found = explored(policy, experiment.policy.floor, decision.context, variants)
    if found is None:
        return one_hot(baseline_index(experiment.baseline, variants), len(variants))
    return found


def with_policy(experiment: Experiment, preset: str, *, floor: float | None = None) -> Experiment:
    """The experiment with another policy, and its own floor unless another is given. Raises BadPolicy."""
    spec = PolicySpec(preset=preset, floor=experiment.policy.floor if floor is None else floor)
    for _, message in presets.check(spec, [variant.id for variant in experiment.variants]):
        raise BadPolicy(f"policy {preset!r} {message}")
    return experiment.model_copy(update={"policy": spec})


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
            load_policy(spec, folder / MODEL, dict(manifest.state), snapshot_id)
            if spec.learns
            else untrained_policy(spec)
        )
    except (DamagedSnapshot, IncompatibleModel, OSError) as error:
        raise BadLog(f"{name} can't be loaded: {error}") from error
    return Frozen(name, experiment, policy, manifest.position if spec.learns else ORIGIN)
