from dataclasses import dataclass, field

import pytest

from bandit.core.choose import View, choose, eligible, fallback
from bandit.core.distribution import BrokenDistribution
from bandit.core.errors import Reason, Refused
from bandit.core.records import Arm, Source, Stage, Variant

SALT = b"0123456789abcdef"


@dataclass
class Fixed:
    """A policy that always says the same."""

    probabilities: list[float]
    snapshot_id: str = ""
    seen: list[tuple] = field(default_factory=list)

    def distributions(self, contexts, variants):
        self.seen += [(context, variants) for context in contexts]
        if not self.probabilities:
            raise BrokenDistribution("no model")
        return [self.probabilities] * len(contexts)


def decide(view, policy, decision_id="d1", subject="", context=None, given=None, excluded=()):
    variants, call_variants = eligible(view, given, excluded)
    return choose(
        view,
        policy,
        decision_id=decision_id,
        subject=subject,
        context=context or {},
        variants=variants,
        call_variants=call_variants,
    )


@pytest.fixture
def view(define):
    return View.of(define(policy={"floor": 0.03}), 7, SALT)


def in_stage(define, stage, **shares):
    return View.of(define(rollout={"stage": stage, **shares}), 1, SALT)


def test_the_policys_distribution_with_its_floor_is_drawn_from_served_and_logged(view):
    decision = decide(view, Fixed([0.0, 1.0, 0.0]))
    assert decision.distribution == pytest.approx([0.01, 0.98, 0.01])
    assert decision.policy_distribution is decision.distribution
    assert decision.propensity == decision.distribution[decision.chosen]
    assert decision.arm is Arm.TREATMENT
    assert decision.version == 7
    assert decision.treatment_share == 1.0
    assert decision.variant.id == "b"


def test_a_policy_with_a_snapshot_has_learned_and_one_without_is_untrained(view):
    learned = decide(view, Fixed([0.2, 0.3, 0.5], snapshot_id="s1"))
    assert (learned.source, learned.snapshot_id) == (Source.LEARNED, "s1")
    assert decide(view, Fixed([0.2, 0.3, 0.5])).source is Source.UNTRAINED


@pytest.mark.parametrize("stage", ["draft", "shadow", "paused", "stopped"])
def test_a_stage_without_treatment_serves_the_baseline_and_logs_what_the_policy_would_do(define, stage):
    decision = decide(in_stage(define, stage), Fixed([0.0, 0.0, 1.0], snapshot_id="s1"))
    assert decision.variant.id == "a"
    assert decision.distribution == [1.0, 0.0, 0.0]
    assert decision.propensity == 1.0
    assert decision.policy_distribution[2] > 0.98
    assert (decision.arm, decision.source) == (Arm.CONTROL, Source.BASELINE)
    assert decision.stage is Stage[stage.upper()]
    assert decision.treatment_share == 0.0


def test_a_broken_policy_is_answered_with_the_baseline_in_the_arm_that_was_drawn(view):
    for probabilities in ([], [0.5, 0.2, 0.2], [float("nan"), 0.5, 0.5], [0.5, 0.5]):
        decision = decide(view, Fixed(probabilities, snapshot_id="s1"))
        assert decision.variant.id == "a"
        assert decision.distribution == decision.policy_distribution == [1.0, 0.0, 0.0]
        assert (decision.arm, decision.source) == (Arm.TREATMENT, Source.BASELINE)


def test_a_subject_stays_in_its_arm_whatever_the_decision(define):
    view = in_stage(define, "ramp", percent=50)
    for subject in ("anna", "ben", "chris", "dora"):
        arms = {decide(view, Fixed([1.0, 0.0, 0.0]), f"d{n}", subject).arm for n in range(20)}
        assert len(arms) == 1


def test_without_a_subject_the_arm_is_drawn_for_each_decision(define):
    view = in_stage(define, "ramp", percent=50)
    arms = {decide(view, Fixed([1.0, 0.0, 0.0]), f"d{n}").arm for n in range(50)}
    assert arms == {Arm.CONTROL, Arm.TREATMENT}


def test_the_draw_depends_on_the_decision_id_and_not_on_the_subject(view):
    policy = Fixed([0.3, 0.3, 0.4])
    for number in range(50):
        chosen = {decide(view, policy, f"d{number}", subject).chosen for subject in ("", "anna", "ben")}
        assert len(chosen) == 1


def test_nothing_given_and_nothing_excluded_is_the_catalogue_itself(view):
    variants, call_variants = eligible(view, None, ())
    assert variants is view.catalogue
    assert not call_variants


def test_excluded_variants_are_absent_and_unknown_ones_are_ignored(view):
    decision = decide(view, Fixed([0.5, 0.5]), excluded=["b", "nobody"])
    assert [variant.id for variant in decision.variants] == ["a", "c"]
    assert len(decision.distribution) == 2


def test_without_the_baseline_control_gets_the_first_eligible_variant(define):
    decision = decide(in_stage(define, "paused"), Fixed([0.5, 0.5]), excluded=["a"])
    assert decision.variant.id == "b"
    assert decision.distribution == [1.0, 0.0]


def test_variants_of_the_call_replace_the_catalogue(view):
    given = [Variant("x"), Variant("a"), Variant("y")]
    policy = Fixed([0.0, 0.0, 1.0])
    decision = decide(view, policy, given=given, context={"hour": 3.0})
    assert decision.call_variants
    assert decision.variants is given
    assert policy.seen == [({"hour": 3.0}, given)]


@pytest.mark.parametrize(("given", "excluded"), [(None, ["a", "b", "c"]), ([Variant("x")], ["x"])])
def test_nothing_left_to_choose_from_is_refused(view, given, excluded):
    with pytest.raises(Refused) as refused:
        eligible(view, given, excluded)
    assert refused.value.reason is Reason.NO_VARIANTS
    assert refused.value.metadata == {"experiment_id": "front-page"}


def test_an_experiment_without_a_catalogue_needs_variants_in_the_call(define):
    view = View.of(define(variants=[], baseline=""), 1, SALT)
    with pytest.raises(Refused):
        eligible(view, None, ())
    assert decide(view, Fixed([1.0]), given=[Variant("x")]).variant.id == "x"


def test_a_fallback_is_the_baseline_at_one_and_holds_nothing_of_the_call(view):
    decision = fallback(view, "d1", view.catalogue, False)
    assert decision.variant.id == "a"
    assert decision.propensity == 1.0
    assert (decision.source, decision.arm) == (Source.FALLBACK, Arm.CONTROL)
    assert decision.context == {}
    assert decision.subject == ""
