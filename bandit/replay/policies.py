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

from bandit.core.experiment import Experiment, PolicySpec
from bandit.core.records import JoinedEvent, Variant
from bandit.policies import presets
from bandit.policies.constant import untrained_policy
from bandit.policies.model_spec import ModelSpec
from bandit.replay.errors import BadPolicy


class TargetPolicy(Protocol):
    """A policy under judgement. `reads_context` tells whether its distribution depends on the context,
    `learns` whether `learn` does anything.
    """

    name: str
    reads_context: bool
    learns: bool

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
    learns = False

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
            self._distribution = self._policy.distribution(variants)
            self._variants = variants if isinstance(variants, tuple) else None
        return self._distribution

    def learn(self, event: JoinedEvent) -> None:
        """It never does."""

    def notes(self) -> Sequence[str]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to free."""


def with_policy(experiment: Experiment, preset: str, *, floor: float | None = None) -> Experiment:
    """The experiment with another policy, and its own floor unless another is given. Raises BadPolicy."""
    spec = PolicySpec(preset=preset, floor=experiment.policy.floor if floor is None else floor)
    for _, message in presets.check(spec, [variant.id for variant in experiment.variants]):
        raise BadPolicy(f"policy {preset!r}: {message.removeprefix(f'is {preset[:40]!r}, ')}")
    return experiment.model_copy(update={"policy": spec})
