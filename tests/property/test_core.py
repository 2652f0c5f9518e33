"""What holds of the core for every input, not for examples alone."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bandit.core.assignment import arm, treatment_share
from bandit.core.choose import View, choose
from bandit.core.distribution import normalised, with_floor
from bandit.core.experiment import Rollout
from bandit.core.exploration import epsilon_greedy, inverse_gap_weighting
from bandit.core.joining import Joiner, join
from bandit.core.records import Arm, Reward, Variant
from bandit.core.rewards import AGGREGATES, clamp, unit_scale
from bandit.core.sampling import Uniform, draw

# Six standard deviations: by chance alone one run in a million would be outside.
SIGMAS = 6.0

unit = st.floats(0.0, 1.0)
predictions = st.lists(st.floats(-1.0, 2.0), min_size=1, max_size=50)
salts = st.binary(min_size=16, max_size=16)
ids = st.text(min_size=1, max_size=20)
rewards = st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=20)
negative_rewards = st.lists(st.floats(-1e15, -1e-3), min_size=1, max_size=20)


@st.composite
def distributions(draw_from, max_size=8):
    weights = draw_from(
        st.lists(st.floats(0.0, 1.0), min_size=1, max_size=max_size).filter(lambda w: sum(w) > 0.1)
    )
    total = math.fsum(weights)
    return [weight / total for weight in weights]


class Says:
    """A policy that always says the same."""

    snapshot_id = "s1"

    def __init__(self, probabilities):
        self.probabilities = probabilities

    def distributions(self, contexts, variants):
        return [self.probabilities] * len(contexts)


def decide(view, policy, decision_id, subject, variants):
    return choose(
        view,
        policy,
        decision_id=decision_id,
        subject=subject,
        context={},
        variants=variants,
        call_variants=True,
    )


def variants_of(distribution):
    return [Variant(f"v{index}") for index in range(len(distribution))]


def is_off(observed, n, probability):
    """Whether `observed` of `n` is further from `probability` than chance explains."""
    return abs(observed - n * probability) > SIGMAS * math.sqrt(n * probability * (1 - probability)) + 1


@given(distribution=distributions(max_size=50), floor=unit, noise=st.floats(-0.9e-3, 0.9e-3))
def test_a_served_distribution_sums_to_one_and_keeps_its_floor(distribution, floor, noise):
    served = with_floor(normalised([p * (1 + noise) for p in distribution], len(distribution)), floor)
    assert abs(math.fsum(served) - 1.0) <= 1e-9
    assert min(served) >= floor / len(served) * (1 - 1e-12)
    assert max(served) <= 1.0 + 1e-9


@given(predicted=predictions, gamma=st.floats(0.0, 1e9), epsilon=unit)
def test_exploration_makes_distributions_that_prefer_the_better_variant(predicted, gamma, epsilon):
    for distribution in (inverse_gap_weighting(predicted, gamma), epsilon_greedy(predicted, epsilon)):
        checked = normalised(distribution, len(predicted))
        assert abs(math.fsum(checked) - 1.0) <= 1e-9
        assert checked[predicted.index(max(predicted))] >= max(checked) - 1e-12


@given(distribution=distributions(), floor=unit, salt=salts, stage=st.sampled_from(["full", "ramp"]))
def test_the_sampled_frequency_matches_the_logged_distribution(define, distribution, floor, salt, stage):
    view = View.of(define(policy={"floor": floor}, rollout={"stage": stage, "percent": 60}), 1, salt)
    variants, policy, n = variants_of(distribution), Says(distribution), 1_500
    # Without a subject arm and draw both hang on the decision id: were they one hash, this would be off.
    decisions = [decide(view, policy, f"d{number}", "", variants) for number in range(n)]
    treated = [decision for decision in decisions if decision.arm is Arm.TREATMENT]
    assert not is_off(len(treated), n, view.treatment_share)
    served = Counter(decision.chosen for decision in treated)
    for index, probability in enumerate(treated[0].distribution if treated else ()):
        assert not is_off(served[index], len(treated), probability)


@given(salt=salts, share=st.floats(0.05, 0.95))
def test_arm_and_draw_are_independent_without_a_subject(salt, share):
    n = 3_000
    arms, uniform = Uniform("arm", salt, "front-page"), Uniform("draw", salt, "front-page")
    draws = {Arm.CONTROL: [], Arm.TREATMENT: []}
    for number in range(n):
        decision_id = f"d{number}"
        draws[arm(arms, decision_id, share)].append(uniform(decision_id))
    for values in draws.values():
        for bound in (0.1, 0.5, 0.9):
            assert not is_off(sum(value < bound for value in values), len(values), bound)


@given(
    distribution=distributions(),
    salt=salts,
    decision_id=ids,
    subject=st.text(max_size=20),
    share=st.integers(0, 100),
)
def test_the_same_id_gives_the_same_variant(define, distribution, salt, decision_id, subject, share):
    view = View.of(define(rollout={"stage": "ramp", "percent": share}), 1, salt)
    variants = variants_of(distribution)
    first, again = (decide(view, Says(distribution), decision_id, subject, variants) for _ in range(2))
    assert first == again


@given(distribution=distributions(max_size=50), u=st.floats(0.0, 1.0, exclude_max=True))
def test_a_drawn_variant_always_has_a_propensity(distribution, u):
    assert distribution[draw(distribution, u)] > 0.0


@given(salt=salts, unit=ids, parts=st.lists(ids, max_size=3))
def test_a_uniform_number_is_at_least_zero_and_below_one(salt, unit, parts):
    assert 0.0 <= Uniform("draw", salt, *parts)(unit) < 1.0


@given(data=st.data(), salt=salts)
def test_raising_the_percentage_only_moves_subjects_from_control_to_treatment(data, salt):
    holdout = data.draw(st.floats(0, 100))
    high = data.draw(st.floats(0, 100 - holdout))
    low = data.draw(st.floats(0, high))
    stages = [("ramp", low), ("ramp", high), ("full", high)]
    shares = [
        treatment_share(Rollout.model_validate({"stage": s, "percent": p, "holdout_percent": holdout}))
        for s, p in stages
    ]
    uniform = Uniform("arm", salt, "front-page")
    before = set()
    for share in shares:
        treated = {n for n in range(200) if arm(uniform, f"s{n}", share) is Arm.TREATMENT}
        assert before <= treated
        before = treated
    held_out = {n for n in range(200) if uniform(f"s{n}") >= 1 - holdout / 100}
    assert held_out.isdisjoint(before)


@given(values=rewards | negative_rewards)
def test_every_aggregate_equals_its_definition(values):
    in_order = sorted(values)
    assert AGGREGATES["first"](values) == values[0]
    assert AGGREGATES["last"](values) == values[-1]
    assert AGGREGATES["max"](values) == in_order[-1]
    assert AGGREGATES["min"](values) == in_order[0]
    assert AGGREGATES["sum"](values) == math.fsum(in_order)
    assert math.isclose(AGGREGATES["mean"](values), math.fsum(values) / len(values), rel_tol=1e-12)
    assert in_order[0] <= AGGREGATES["mean"](values) <= in_order[-1]


@given(value=st.floats(-1e15, 1e15), low=st.floats(-1e15, 1e15), width=st.floats(1e-3, 1e15))
def test_a_clamped_reward_is_between_zero_and_one_on_the_unit_scale(value, low, width):
    high = low + width
    if low < high:
        assert 0.0 <= unit_scale(clamp(value, low, high), low, high) <= 1.0


@st.composite
def logs(draw_from):
    """Decisions and rewards in log order: (time, what, decision number, value, metric)."""
    times = sorted(draw_from(st.lists(st.integers(0, 40), min_size=1, max_size=30)))
    entry = st.tuples(
        st.sampled_from(["decision", "reward"]),
        st.integers(0, 5),
        st.floats(0.0, 1.0),
        st.sampled_from(["visit", "spend"]),
    )
    return [(time, *draw_from(entry)) for time in times]


@given(
    log=logs(),
    learn=st.sampled_from(["at_close", "on_reward"]),
    default=st.sampled_from([0.5, "none"]),
    reads=st.sets(st.integers(0, 45)),
)
def test_joining_gives_the_same_events_in_the_same_order_however_often_it_is_read(
    define, log, learn, default, reads
):
    rule = {"metric": "visit", "window": "10ms", "learn": learn, "default": default}
    experiment = define(reward=rule, metrics={"spend": {"range": [0, 1], "aggregate": "sum"}})
    view = View.of(experiment, 1, b"salt")
    joiner, events, opened, given_rewards = Joiner(), [], {}, {}
    for seq, (time, what, number, value, metric) in enumerate(log, start=1):
        at_us, decision_id = time * 1_000, f"d{number}"
        if time in reads:
            events += joiner.closed(at_us)
        if what == "decision" and decision_id not in opened:
            decision = decide(view, Says([1 / 3] * 3), decision_id, "", view.catalogue)
            opened[decision_id] = (decision, seq, at_us)
            given_rewards[decision_id] = []
            joiner.decision(experiment, decision, seq, at_us)
        elif what == "reward" and decision_id in opened:
            reward = Reward(seq, at_us, metric, value)
            given_rewards[decision_id].append(reward)
            joiner.reward(decision_id, reward)
    events += joiner.closed(10**12)
    defined = [join(experiment, *opened[d], given_rewards[d]) for d in opened]
    assert events == sorted(defined, key=lambda event: event.position)
