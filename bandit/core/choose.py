"""Experiment + context + policy -> Decision: the only way a variant is ever chosen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bandit.core import assignment
from bandit.core.distribution import BrokenDistribution, normalised, one_hot, with_floor
from bandit.core.errors import Reason, Refused
from bandit.core.experiment import Experiment
from bandit.core.records import Arm, Decision, Features, Source, Variant
from bandit.core.sampling import Uniform, draw
from bandit.core.signals import Rule, rules


class Policy(Protocol):
    """Predicts how good each variant is here, and says how often to serve it."""

    @property
    def snapshot_id(self) -> str:
        """The snapshot that the policy predicts with; empty before the first."""
        ...

    def distributions(
        self, contexts: Sequence[Features], variants: Sequence[Variant]
    ) -> Sequence[Sequence[float] | None]:
        """For each context a probability a variant, in order, summing to 1 within 1e-3; None if it can't.

        `variants` is the experiment's catalogue object itself when nothing was excluded, so that what depends
        on it alone can be computed once. What is said of a context does not depend, to the last bit, on the
        others that it is asked for with. Raises BrokenDistribution if it can't for any.
        """
        ...


@dataclass(frozen=True, slots=True)
class View:
    """One immutable view of an experiment: its definition in force and what calls need of it.

    `signals` is None where any is taken.
    """

    experiment: Experiment
    version: int
    salt: bytes
    catalogue: tuple[Variant, ...]
    treatment_share: float
    signals: Mapping[str, Rule] | None
    arms: Uniform = field(repr=False, compare=False)
    draws: Uniform = field(repr=False, compare=False)

    @classmethod
    def of(cls, experiment: Experiment, version: int, salt: bytes) -> "View":
        """The view of a definition."""
        return cls(
            experiment,
            version,
            salt,
            experiment.catalogue(),
            assignment.treatment_share(experiment.rollout),
            None if experiment.signals == "open" else rules(experiment.signals),
            arms=Uniform("arm", salt, experiment.id),
            draws=Uniform("draw", salt, experiment.id),
        )


def eligible(
    view: View, given: Sequence[Variant] | None, excluded: Collection[str]
) -> tuple[Sequence[Variant], bool]:
    """The variants that may be served, and whether they came with the call. Raises Refused NO_VARIANTS.

    Answers with the catalogue object itself when nothing was given and nothing excluded.
    """
    variants = given or view.catalogue
    if excluded:
        variants = [variant for variant in variants if variant.id not in excluded]
    if not variants:
        raise Refused(
            Reason.NO_VARIANTS,
            "No variant is left to choose from. Send variants, exclude fewer, or give the experiment a "
            "catalogue.",
            metadata={"experiment_id": view.experiment.id},
        )
    return variants, bool(given)


def explored(
    policy: Policy, floor: float, contexts: Sequence[Features], variants: Sequence[Variant]
) -> list[list[float] | None]:
    """For each context the policy's distribution over `variants` with the `floor` mixed in; None if it has
    none.
    """
    size = len(variants)
    try:
        found = policy.distributions(contexts, variants)
    except BrokenDistribution:
        return [None] * len(contexts)
    return [_sound(distribution, floor, size) for distribution in found]


def _sound(distribution: Sequence[float] | None, floor: float, size: int) -> list[float] | None:
    if distribution is None:
        return None
    try:
        return with_floor(normalised(distribution, size), floor)
    except BrokenDistribution:
        return None


def choose(
    view: View,
    policy: Policy,
    *,
    decision_id: str,
    subject: str,
    context: Features,
    variants: Sequence[Variant],
    call_variants: bool,
) -> Decision:
    """Chooses one of the eligible `variants` (at least one) for an admitted `context`.

    `subject` is a pseudonym or empty.
    """
    [found] = explored(policy, view.experiment.policy.floor, [context], variants)
    return decide(
        view,
        policy.snapshot_id,
        found,
        decision_id=decision_id,
        subject=subject,
        context=context,
        variants=variants,
        call_variants=call_variants,
    )


def decide(
    view: View,
    snapshot_id: str,
    policy_distribution: list[float] | None,
    *,
    decision_id: str,
    subject: str,
    context: Features,
    variants: Sequence[Variant],
    call_variants: bool,
) -> Decision:
    """Draws, as `choose` does, from what was `explored` with the policy of a snapshot.

    The policy's distribution is computed in every arm; what is drawn from, served and logged is the arm's. A
    policy that has none is answered with the baseline: such a decision has the arm TREATMENT and the source
    BASELINE.
    """
    experiment = view.experiment
    arm = assignment.arm(view.arms, subject or decision_id, view.treatment_share)
    if arm is Arm.TREATMENT and policy_distribution is not None:
        distribution = policy_distribution
        source = Source.LEARNED if snapshot_id else Source.UNTRAINED
        chosen = draw(distribution, view.draws(decision_id))
    else:
        chosen = baseline_index(experiment.baseline, variants)
        distribution = one_hot(chosen, len(variants))
        source = Source.BASELINE
    return Decision(
        experiment_id=experiment.id,
        version=view.version,
        decision_id=decision_id,
        subject=subject,
        context=context,
        variants=variants,
        call_variants=call_variants,
        distribution=distribution,
        policy_distribution=policy_distribution or distribution,
        chosen=chosen,
        arm=arm,
        source=source,
        stage=experiment.rollout.stage,
        treatment_share=view.treatment_share,
        snapshot_id=snapshot_id,
    )


def fallback(view: View, decision_id: str, variants: Sequence[Variant], call_variants: bool) -> Decision:
    """The baseline at propensity 1, for a decision that can't be logged. Never enters any fold."""
    chosen = baseline_index(view.experiment.baseline, variants)
    distribution = one_hot(chosen, len(variants))
    return Decision(
        experiment_id=view.experiment.id,
        version=view.version,
        decision_id=decision_id,
        subject="",
        context={},
        variants=variants,
        call_variants=call_variants,
        distribution=distribution,
        policy_distribution=distribution,
        chosen=chosen,
        arm=Arm.CONTROL,
        source=Source.FALLBACK,
        stage=view.experiment.rollout.stage,
        treatment_share=view.treatment_share,
        snapshot_id="",
    )


def baseline_index(baseline: str, variants: Sequence[Variant]) -> int:
    """The baseline's index if it is eligible, else that of the first eligible variant."""
    for index, variant in enumerate(variants):
        if variant.id == baseline:
            return index
    return 0
