"""Learners and policies: what is learned, what sharpens exploration, what is stored and what is refused."""

import io
import json
import math
import random
import shutil

import numpy as np
import pytest

from bandit.core.distribution import BrokenDistribution, normalised
from bandit.core.records import Arm, Variant
from bandit.policies.evidence import SHAKEN
from bandit.policies.linear import ridge
from bandit.policies.linear.oracle import TOGETHER_MAX
from bandit.policies.linear.ridge import STEADY, TRACKING
from bandit.policies.model import (
    IncompatibleModel,
    ModelSpec,
    load_learner,
    load_policy,
    new_learner,
    standing_of,
    untrained_policy,
    vw_version,
)
from bandit.policies.vw.workspace import Workspace

LEARNING = ["squarecb", "epsilon_greedy"]
FILES = {"auto": ["linear.npy", "model.vw"], "vw": ["model.vw"]}
VARIANTS = (
    Variant("a", {"merchandise": "mens", "price": 10.0}),
    Variant("b", {"merchandise": "womens", "price": 30.0}),
    Variant("c"),
)

BARE = tuple(Variant(variant.id) for variant in VARIANTS)
"""The same variants, of which nothing is known but their ids."""

APART = tuple(Variant(variant.id, {"name": variant.id}) for variant in VARIANTS)
"""The same variants, with features that tell nothing of another one."""

SERVED = {"vw": ("vw",), "auto": ("steady", "tracking", "crossed")}
"""The oracles that may be served."""


def context(rng):
    return {
        "recency": float(rng.randint(1, 12)),
        "channel": rng.choice(["Web", "Phone"]),
        "newbie": rng.random() < 0.5,
        "tags": tuple(rng.sample(["x", "y", "z"], 2)),
    }


def best_for(features):
    """The variant that is rewarded: it depends on the context."""
    return 0 if features["channel"] == "Web" else 1


def world(rng, happened, events, *, arm=Arm.TREATMENT, variants=VARIANTS):
    for seq in range(1, events + 1):
        features = context(rng)
        chosen = rng.randrange(len(variants))
        yield happened(features, variants, chosen, float(chosen == best_for(features)), arm=arm, seq=seq)


def spec_of(define, **policy):
    return ModelSpec.of(define(signals="open", policy=policy))


def serving(name, learner, spec, tmp_path):
    """The learner stored and loaded, with another oracle served."""
    folder, state = stored(learner, tmp_path)
    learner.close()
    state["evidence"]["serving"] = name
    learner = load_learner(spec, folder, state)
    assert learner.standing.serving == name
    return learner


def by_vw(spec, tmp_path):
    """A learner of which Vowpal Wabbit's oracle is the one that is served."""
    return serving("crossed" if spec.oracle == "auto" else "vw", new_learner(spec), spec, tmp_path)


def predicting(monkeypatch, answer):
    """Lets Vowpal Wabbit predict what `answer()` gives, by either call."""
    monkeypatch.setattr(Workspace, "predict", lambda self, text: answer())
    monkeypatch.setattr(Workspace, "predict_prepared", lambda self, prepared, shared: answer())


def stored(learner, tmp_path):
    learner.save(tmp_path)
    return tmp_path, json.loads(json.dumps(learner.state()))


@pytest.mark.parametrize("oracle", FILES)
@pytest.mark.parametrize("preset", LEARNING)
def test_what_the_context_calls_for_is_learned_and_served(define, happened, rng, preset, oracle):
    spec = spec_of(define, preset=preset, oracle=oracle)
    learner = new_learner(spec)
    policy = learner.policy("live")
    for event in world(rng, happened, 1500):
        learner.learn(event)
    for channel, best in (("Web", 0), ("Phone", 1)):
        features = {**context(rng), "channel": channel}
        rewards = learner.predict(features, VARIANTS)
        assert rewards[best] == pytest.approx(1.0, abs=0.3)
        distribution = policy.distributions([features], VARIANTS)[0]
        assert distribution[best] == max(distribution)
        assert distribution[best] > 0.8
    learner.close()


@pytest.mark.parametrize("oracle", FILES)
def test_rewards_are_learned_on_the_scale_of_their_declared_range(define, happened, oracle):
    reward = {"metric": "visit", "range": [-10, 30]}
    spec = ModelSpec.of(define(signals="open", reward=reward, policy={"oracle": oracle}))
    learner = new_learner(spec)
    for _ in range(300):
        learner.learn(happened({}, VARIANTS, 0, 20.0))
        learner.learn(happened({}, VARIANTS, 1, -10.0))
        learner.learn(happened({}, VARIANTS, 2, 30.0))
    assert learner.predict({}, VARIANTS) == pytest.approx([0.75, 0.0, 1.0], abs=0.05)
    learner.close()


def test_a_reward_of_an_earlier_range_counts_as_the_nearest_of_todays(spec, happened):
    fingerprints = []
    for best, worst in ((1.0, 0.0), (1e9, -5.0)):
        learner = new_learner(spec)
        for _ in range(5):
            learner.learn(happened({}, VARIANTS, 0, best))
            learner.learn(happened({}, VARIANTS, 1, worst))
        fingerprints.append(learner.fingerprint())
        learner.close()
    assert fingerprints[0] == fingerprints[1]


def test_numbers_of_variants_are_scaled_by_all_that_could_be_served(spec, happened):
    learner = new_learner(spec)
    for _ in range(30):
        learner.learn(happened({}, VARIANTS, 0, 1.0))
    count, mean, *_ = learner.state()["variant_numbers"]["price"]
    # In turn a, b and c, which has no price.
    assert (count, mean) == (20, pytest.approx(20.0))
    learner.close()


SETTLED = 1_500
"""After so many events the tracking oracle is so sure of itself that it follows a fall slowly."""


def fallen(rng, happened, events, *, fell, arm=Arm.TREATMENT):
    """A world where the first variant, which is mostly served, is good until it `fell`. It goes by a seed, so
    that whether there is an alarm is no chance.
    """
    for seq in range(events):
        chosen = 0 if rng.random() < 0.8 else rng.randrange(len(BARE))
        chance = 0.05 if fell or chosen else 0.9
        reward = float(rng.random() < chance)
        yield happened(context(rng), BARE, chosen, reward, arm=arm, seq=seq + 1)


def test_a_sudden_fall_of_rewards_is_noticed_and_a_rise_is_not(auto, happened):
    chance = random.Random(1)
    learner = new_learner(auto)
    for event in fallen(chance, happened, SETTLED, fell=False):
        learner.learn(event)
    assert learner.standing.alarms == 0
    for event in fallen(chance, happened, 100, fell=True):
        learner.learn(event)
    assert learner.standing.alarms >= 1
    for event in fallen(chance, happened, 300, fell=True):
        learner.learn(event)
    settled = learner.standing.alarms
    assert settled <= 3
    for event in fallen(chance, happened, 100, fell=False):
        learner.learn(event)
    assert learner.standing.alarms == settled
    assert standing_of(json.loads(json.dumps(learner.state()))) == learner.standing
    learner.close()


def test_on_an_alarm_the_tracking_oracle_forgets_and_the_evidence_is_shaken(auto, happened):
    chance = random.Random(1)
    learner, calm = new_learner(auto), new_learner(auto)
    calm._evidence.shake = lambda: None
    for event in [
        *fallen(chance, happened, SETTLED, fell=False),
        *fallen(chance, happened, 100, fell=True),
    ]:
        learner.learn(event)
        calm.learn(event)
        if learner.standing.alarms:
            break
    assert (learner.standing.alarms, calm.standing.alarms) == (1, 1)
    ridges = learner._linear._ridges
    x = np.ones(ridges.size, np.float32)
    expected, variances = ridges.predict(x, slice(0, ridges.rows), TRACKING)
    assert expected == [ridges.means[TRACKING]] * ridges.rows
    assert variances == pytest.approx([ridges.prior_variance(x, TRACKING)] * ridges.rows, rel=1e-6)
    assert ridges.predict(x, slice(0, ridges.rows), STEADY)[1][1] < ridges.prior_variance(x, STEADY)
    for part in ("advantage", "squares"):
        shaken, whole = (each.state()["evidence"][part] for each in (learner, calm))
        assert any(whole)
        assert shaken == pytest.approx([SHAKEN * number for number in whole])
    assert learner.state()["surprise"]["sums"] == [0.0] * 3
    assert learner.state()["surprise"]["seen"] == 0.0
    for each in (learner, calm):
        each.close()


@pytest.mark.parametrize("chance", [0.01, 0.05, 0.5])
def test_where_the_world_stands_still_rare_rewards_are_no_alarm(auto, happened, rng, chance):
    learner = new_learner(auto)
    for seq in range(4_000):
        learner.learn(happened(context(rng), BARE, rng.randrange(3), float(rng.random() < chance), seq=seq))
    assert learner.standing.alarms <= 2
    learner.close()


def test_shadow_rows_raise_no_alarm_and_neither_does_an_oracle_alone(auto, plain, happened):
    for spec, arm in ((auto, Arm.CONTROL), (plain, Arm.TREATMENT)):
        chance = random.Random(1)
        learner = new_learner(spec)
        for fell, events in ((False, SETTLED), (True, 200)):
            for event in fallen(chance, happened, events, fell=fell, arm=arm):
                learner.learn(event)
        assert learner.standing.alarms == 0
        learner.close()


def test_one_that_was_stored_amid_a_sudden_fall_goes_on_exactly(auto, happened, rng, tmp_path):
    chance = random.Random(3)
    whole, broken = new_learner(auto), new_learner(auto)
    alarms = resumed = 0
    for event in [
        *fallen(chance, happened, SETTLED, fell=False),
        *fallen(chance, happened, 200, fell=True),
    ]:
        whole.learn(event)
        broken.learn(event)
        rang, alarms = whole.standing.alarms > alarms, whole.standing.alarms
        # Right after an alarm, too.
        if rang or rng.random() < 0.03:
            folder, state = stored(broken, tmp_path)
            broken.close()
            broken = load_learner(auto, folder, state)
            resumed += rang
            assert broken.standing == whole.standing
    assert resumed == alarms >= 1
    asked = context(rng)
    assert broken.predict(asked, BARE) == whole.predict(asked, BARE)
    assert broken.fingerprint() == whole.fingerprint()
    for learner in (whole, broken):
        learner.close()


@pytest.mark.parametrize("name", ["steady", "tracking"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "unique"])
def test_of_a_variant_that_was_never_seen_a_linear_oracle_expects_what_its_features_tell(
    auto, happened, rng, tmp_path, name, shared
):
    def made(index):
        kind = "good" if index % 2 else "bad"
        return Variant(f"v{index}", {"kind": kind if shared else f"kind {index}"})

    known = tuple(made(index) for index in range(8))
    asked_of = (*known, made(9), made(10))
    learner = new_learner(auto)
    for seq in range(800):
        chosen = rng.randrange(8)
        learner.learn(happened(context(rng), known, chosen, float(chosen % 2), seq=seq))
    asked = context(rng)
    learner = serving("crossed", learner, auto, tmp_path)
    by_vw = learner.predicted([asked], asked_of)[0].rewards
    learner = serving(name, learner, auto, tmp_path)
    linear = learner.predicted([asked], asked_of)[0].rewards
    mean = learner._linear._ridges.means[("steady", "tracking").index(name)]
    if shared:
        for index in (8, 9):
            # And what it was off on average, which is little.
            assert linear[index] == pytest.approx(by_vw[index] + mean, abs=1e-6)
            assert abs(mean) < 0.1
        assert linear[8] > 0.75
        assert linear[9] < 0.25
        assert by_vw[8] > 0.75
    else:
        assert linear[8:] == pytest.approx([mean] * 2)
        assert mean == pytest.approx(0.5, abs=0.1)
    for index in range(8):
        assert linear[index] == pytest.approx(index % 2, abs=0.25)
    learner.close()


def test_an_event_without_a_reward_is_refused(spec, happened):
    learner = new_learner(spec)
    with pytest.raises(ValueError, match="without a reward"):
        learner.learn(happened({}, VARIANTS, 0, None))
    learner.close()


@pytest.mark.parametrize("oracle", FILES)
@pytest.mark.parametrize("preset", LEARNING)
def test_before_the_first_snapshot_every_variant_is_equally_likely(define, preset, oracle):
    spec = spec_of(define, preset=preset, oracle=oracle)
    policy = untrained_policy(spec)
    assert policy.snapshot_id == ""
    assert policy.distributions([{}], VARIANTS)[0] == pytest.approx([1 / 3] * 3)
    fresh = new_learner(spec)
    assert fresh.policy("s").distributions([{}], VARIANTS)[0] == pytest.approx([1 / 3] * 3)
    fresh.close()


@pytest.mark.parametrize("oracle", FILES)
def test_shadow_rows_do_not_sharpen_exploration(define, happened, rng, oracle):
    spec = spec_of(define, preset="squarecb", oracle=oracle)
    learner = new_learner(spec)
    policy = learner.policy("s1")
    for event in world(rng, happened, 2000, arm=Arm.CONTROL):
        learner.learn(event)
    untrained = untrained_policy(spec)
    for channel in ("Web", "Phone"):
        features = {**context(rng), "channel": channel}
        explored = 1.0 - max(policy.distributions([features], VARIANTS)[0])
        assert explored == pytest.approx(1.0 - max(untrained.distributions([features], VARIANTS)[0]), rel=0.1)
        # They do teach what is good here.
        rewards = learner.predict(features, VARIANTS)
        assert rewards[best_for(features)] == max(rewards)
    for event in world(rng, happened, 200):
        learner.learn(event)
    assert max(policy.distributions([{**context(rng), "channel": "Web"}], VARIANTS)[0]) > 0.9
    learner.close()


def test_a_live_policy_knows_what_was_just_learned_and_a_loaded_one_stays_as_it_was(
    spec, happened, rng, tmp_path
):
    learner = new_learner(spec)
    live = learner.policy("live")
    before = live.distributions([{"channel": "Web"}], VARIANTS)[0]
    for event in world(rng, happened, 300):
        learner.learn(event)
    path, state = stored(learner, tmp_path)
    loaded = load_policy(spec, path, state, "s7")
    after = live.distributions([{"channel": "Web"}], VARIANTS)[0]
    assert after != before
    assert loaded.snapshot_id == "s7"
    assert loaded.distributions([{"channel": "Web"}], VARIANTS)[0] == after
    for event in world(rng, happened, 300):
        learner.learn(event)
    assert loaded.distributions([{"channel": "Web"}], VARIANTS)[0] == after
    live.close()
    learner.learn(happened({}, VARIANTS, 0, 1.0))
    learner.close()
    loaded.close()


def test_never_seen_few_and_many_variants_get_a_sound_distribution(spec, happened, rng):
    learner = new_learner(spec)
    policy = learner.policy("s1")
    for event in world(rng, happened, 200):
        learner.learn(event)
    many = [
        Variant(f"new {n}", {"price": float(n), "kind": f"k{n % 7}", "hot": n % 2 == 0}) for n in range(200)
    ]
    for variants in ([VARIANTS[1]], VARIANTS, [*VARIANTS, Variant("never seen")], many):
        for _ in range(3):
            assert sum(
                normalised(policy.distributions([context(rng)], variants)[0], len(variants))
            ) == pytest.approx(1)
    learner.learn(happened(context(rng), many, 77, 1.0))
    assert len(learner.predict(context(rng), many)) == 200
    learner.close()


@pytest.mark.parametrize("variants", [VARIANTS, BARE, APART], ids=["shared", "bare", "unique"])
@pytest.mark.parametrize("name", [name for names in SERVED.values() for name in names])
def test_excluding_a_variant_does_not_change_what_is_predicted_of_the_others(
    auto, plain, happened, rng, tmp_path, name, variants
):
    spec = plain if name in SERVED["vw"] else auto
    learner = new_learner(spec)
    for event in world(rng, happened, 200, variants=variants):
        learner.learn(event)
    learner = serving(name, learner, spec, tmp_path)
    # Products of single precision may round otherwise in another company; Vowpal Wabbit's don't.
    error = 1e-6 if name in ("steady", "tracking") else 0.0
    # Many, since one alone may be off the unit scale either way, and be brought back to the same.
    for _ in range(20):
        features = context(rng)
        everything = learner.predict(features, variants)
        for kept in ([0, 2], [2, 0], [1], [0, 1], [2], [1, 1]):
            some = [variants[at] for at in kept]
            for call in (some, tuple(some)):
                assert learner.predict(features, call) == pytest.approx(
                    [everything[at] for at in kept], rel=0.0, abs=error
                )
        assert learner.predict(features, variants) == everything
    learner.close()


def test_that_features_tell_what_holds_for_others_is_learned_from_events_for_good(
    auto, happened, rng, tmp_path
):
    learner = new_learner(auto)
    for variants in (BARE, APART, [*APART], VARIANTS[:1]):
        learner.learn(happened(context(rng), variants, 0, 1.0))
        # To be asked says nothing.
        learner.predict(context(rng), VARIANTS)
        assert learner.state()["generalises"] is False
    for variants in (VARIANTS, BARE, APART):
        # A shadow row says it as well.
        learner.learn(happened(context(rng), variants, 0, 1.0, arm=Arm.CONTROL))
        assert learner.state()["generalises"] is True
    folder, state = stored(learner, tmp_path)
    again, policy = load_learner(auto, folder, state), load_policy(auto, folder, state, "s1")
    assert again.state() == learner.state()
    for _ in range(10):
        features = context(rng)
        for variants in (VARIANTS, BARE, APART[1:], [*APART]):
            assert again.predict(features, variants) == learner.predict(features, variants)
            assert (
                policy.distributions([features], variants)[0]
                == learner.policy("s1").distributions([features], variants)[0]
            )
    again.learn(happened(context(rng), BARE, 0, 1.0))
    assert again.state()["generalises"] is True
    for each in (again, policy, learner):
        each.close()


def test_to_a_plain_oracle_it_makes_no_difference_whether_features_tell_of_others(plain, happened):
    learner = new_learner(plain)
    learner.learn(happened({}, VARIANTS, 0, 1.0))
    assert learner.state()["generalises"] is False
    learner.close()


def test_one_that_was_stored_as_features_came_to_tell_of_others_goes_on_exactly(
    auto, happened, rng, tmp_path
):
    whole, broken = new_learner(auto), new_learner(auto)
    catalogues = [*[BARE, APART] * 40, VARIANTS, *[rng.choice((BARE, APART, VARIANTS)) for _ in range(150)]]
    for at, variants in enumerate(catalogues):
        [event] = world(rng, happened, 1, variants=variants)
        # Just before and just after, too.
        if at in (80, 81) or rng.random() < 0.05:
            folder, state = stored(broken, tmp_path)
            broken.close()
            broken = load_learner(auto, folder, state)
        if rng.random() < 0.3:
            broken.predict(context(rng), rng.choice((BARE, APART, VARIANTS, VARIANTS[:2])))
        whole.learn(event)
        broken.learn(event)
        assert whole.state()["generalises"] is broken.state()["generalises"] is (at >= 80)
    asked = context(rng)
    for variants in (BARE, APART, VARIANTS):
        assert broken.predict(asked, variants) == whole.predict(asked, variants)
    assert broken.fingerprint() == whole.fingerprint()
    for learner in (whole, broken):
        learner.close()


def test_what_was_prepared_of_a_catalogue_is_prepared_anew_once_features_tell_of_others(
    auto, happened, rng, tmp_path
):
    learner = by_vw(auto, tmp_path)
    for event in world(rng, happened, 300, variants=APART):
        learner.learn(event)
    learner = serving("crossed", learner, auto, tmp_path)
    features = {"channel": "Web"}
    before = learner.predict(features, APART)
    assert before == learner.predict(features, list(APART))
    alike = tuple(Variant(variant.id, {"kind": "x"}) for variant in VARIANTS)
    # There is no number in it: the figures that scale numbers stay.
    learner.learn(happened({"channel": "Phone"}, alike, 0, 0.0))
    assert learner.standing.serving == "crossed"
    after = learner.predict(features, APART)
    assert after == learner.predict(features, list(APART))
    # What was learned by id lies in another namespace now.
    assert abs(after[0] - before[0]) > 0.1
    learner.close()


def numbered(size):
    return tuple(Variant(f"v{index}") for index in range(size))


def rows(learner):
    """The variants that have a regression of their own."""
    return learner.state()["linear"]["variants"]


def test_a_catalogue_gets_its_regressions_together_and_in_its_order(auto, happened, rng):
    learner = new_learner(auto)
    catalogue = numbered(10)
    names = [variant.id for variant in catalogue]
    learner.learn(happened(context(rng), catalogue, 7, 1.0))
    assert rows(learner) == names
    # Those that come late are behind them, and nobody comes twice.
    learner.learn(happened(context(rng), [Variant("x"), *catalogue[3:5], Variant("y")], 1, 1.0))
    assert rows(learner) == names
    learner.learn(happened(context(rng), [Variant("x"), *catalogue[3:5], Variant("y")], 3, 1.0))
    assert rows(learner) == [*names, "x", "y"]
    learner.close()


@pytest.mark.parametrize("size", [TOGETHER_MAX, TOGETHER_MAX + 1, 40])
def test_of_a_large_call_only_the_served_variant_gets_a_regression(auto, happened, rng, size):
    learner = new_learner(auto)
    call = numbered(size)
    learner.learn(happened(context(rng), call, 5, 1.0))
    assert rows(learner) == ([variant.id for variant in call] if size <= 32 else ["v5"])
    learner.learn(happened(context(rng), call, 3, 1.0))
    assert rows(learner)[-1] == ("v3" if size > 32 else call[-1].id)
    learner.close()


def test_where_there_is_no_room_for_a_catalogue_its_served_variants_get_regressions(
    auto, happened, monkeypatch
):
    monkeypatch.setattr(ridge, "NUMBERS_MAX", 2 * 8 * 8 * (1 + 5))
    learner = new_learner(auto)
    for chosen in (4, 2, 4, 9, 0, 7, 6, 5):
        learner.learn(happened({}, numbered(10), chosen, 1.0))
    assert rows(learner) == ["v4", "v2", "v9", "v0", "v7"]
    learner.close()
    learner = new_learner(auto)
    learner.learn(happened({}, numbered(5), 3, 1.0))
    assert rows(learner) == ["v0", "v1", "v2", "v3", "v4"]
    learner.close()


@pytest.mark.parametrize("name", ["steady", "tracking"])
def test_a_variant_whose_regression_learned_nothing_is_as_one_that_was_never_seen(
    auto, happened, rng, tmp_path, name
):
    learner = new_learner(auto)
    catalogue = numbered(10)
    for seq in range(200):
        chosen = rng.choice((3, 6))
        learner.learn(happened(context(rng), catalogue, chosen, float(chosen == 3), seq=seq))
    assert len(rows(learner)) == 10
    learner = serving(name, learner, auto, tmp_path)
    for _ in range(10):
        rewards, errors, _ = learner.predicted([context(rng)], (*catalogue, Variant("never seen")))[0]
        for index in (0, 1, 2, 4, 5, 7, 8, 9):
            assert rewards[index] == rewards[10]
            assert errors[index] == pytest.approx(errors[10], rel=1e-6)
        assert rewards[3] > rewards[10] > rewards[6]
        assert max(errors[3], errors[6]) < errors[10]
    learner.close()


def test_the_order_of_a_map_is_of_no_account(spec, happened, rng, tmp_path):
    forwards, backwards = new_learner(spec), new_learner(spec)
    for event in world(rng, happened, 50):
        forwards.learn(event)
        decision = event.decision
        turned = [Variant(v.id, dict(reversed(v.features.items()))) for v in decision.variants]
        features = dict(reversed(decision.context.items()))
        backwards.learn(happened(features, turned, decision.chosen, event.reward, seq=event.position.seq))
    assert forwards.fingerprint() == backwards.fingerprint()
    forwards.close()
    backwards.close()


@pytest.mark.parametrize("oracle", FILES)
def test_numbers_are_told_apart_by_their_spread_not_their_size(define, happened, rng, oracle):
    """A signal that runs from 1,000,000 to 1,000,012 teaches as well as one from 0 to 12."""
    learner = new_learner(spec_of(define, oracle=oracle))
    for seq in range(1500):
        value = rng.uniform(0.0, 12.0)
        learner.learn(happened({"age": 1e6 + value}, VARIANTS, 0, float(value > 6.0), seq=seq))
        learner.learn(happened({"age": 1e6 + value}, VARIANTS, 1, float(value < 6.0), seq=seq))
    young = learner.predict({"age": 1e6 + 1.0}, VARIANTS)
    old = learner.predict({"age": 1e6 + 11.0}, VARIANTS)
    assert young[1] - young[0] > 0.5
    assert old[0] - old[1] > 0.5
    learner.close()


def test_values_outside_their_declaration_are_seen_clamped(spec, happened, rng):
    learner = new_learner(spec)
    for event in world(rng, happened, 300):
        learner.learn(event)

    def predicted(**features):
        return learner.predict({**features}, VARIANTS)

    assert predicted(recency=500.0) == predicted(recency=12.0)
    assert predicted(channel="Fax") == predicted(channel="other") != predicted(channel="Web")
    # What the definition no longer knows, or knows as another type, is not there.
    assert predicted(shoe_size=9.0) == predicted(channel=3.0) == predicted()
    learner.close()


# A tuple is a catalogue, whose parsed lines are kept; a list came with the call.
KEPT_AND_PASSING = pytest.mark.parametrize("variants", [VARIANTS, list(VARIANTS)], ids=["kept", "passing"])


@KEPT_AND_PASSING
@pytest.mark.parametrize("costs", [[math.nan] * 3, [-0.5, math.inf, 0.0], [-0.5, -0.5], [], [0.0] * 4])
def test_anything_but_a_finite_cost_a_variant_is_no_distribution(
    spec, monkeypatch, tmp_path, costs, variants
):
    learner = by_vw(spec, tmp_path)
    answers = iter([[-0.5] * 3, costs, [-0.5] * 3, costs])
    predicting(monkeypatch, lambda: next(answers))
    sound, broken, as_sound = learner.policy("s1").distributions([{}, {}, {}], variants)
    assert broken is None
    assert sound == as_sound == pytest.approx([1 / 3] * 3, abs=0.2)
    with pytest.raises(BrokenDistribution):
        learner.predict({}, variants)
    learner.close()


@KEPT_AND_PASSING
def test_an_error_of_vw_is_no_distribution(spec, monkeypatch, tmp_path, variants):
    asked = []

    def fails_once():
        asked.append(True)
        if len(asked) == 1:
            raise RuntimeError("no")
        return [-0.5] * 3

    learner = by_vw(spec, tmp_path)
    predicting(monkeypatch, fails_once)
    broken, sound = learner.policy("s1").distributions([{}, {}], variants)
    assert broken is None
    assert sum(sound) == pytest.approx(1.0)
    learner.close()


def test_variants_that_vw_can_not_read_are_a_broken_distribution(spec, monkeypatch, tmp_path):
    def fails(self, lines):
        raise RuntimeError("no")

    learner = by_vw(spec, tmp_path)
    policy = learner.policy("s1")
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "prepare", fails)
        with pytest.raises(BrokenDistribution, match="can't read the variants: no"):
            policy.distributions([{}], VARIANTS)
    assert sum(policy.distributions([{}], VARIANTS)[0]) == pytest.approx(1.0)
    learner.close()


@KEPT_AND_PASSING
def test_what_is_said_of_a_context_does_not_depend_on_what_else_is_asked(
    spec, happened, rng, tmp_path, variants
):
    learner = new_learner(spec)
    for _ in range(300):
        chosen = rng.randrange(3)
        learner.learn(happened(context(rng), VARIANTS, chosen, rng.random() * chosen))
    learner.save(tmp_path)
    loaded = load_policy(spec, tmp_path, learner.state(), "s1")
    contexts = [context(rng) for _ in range(40)]
    for policy in (learner.policy("s1"), loaded):
        alone = [policy.distributions([each], variants)[0] for each in contexts]
        for size in (2, 7, 40):
            together = []
            for start in range(0, 40, size):
                together += policy.distributions(contexts[start : start + size], variants)
            assert together == alone
        assert policy.distributions([], variants) == []
    learner.close()
    loaded.close()


@KEPT_AND_PASSING
def test_predicted_rewards_stay_on_the_unit_scale(spec, monkeypatch, tmp_path, variants):
    learner = by_vw(spec, tmp_path)
    predicting(monkeypatch, lambda: [0.4, -3.0, -0.25])
    assert learner.predict({}, variants) == [0.0, 1.0, 0.25]
    learner.close()


@KEPT_AND_PASSING
@pytest.mark.parametrize("name", ["steady", "tracking"])
def test_what_a_linear_oracle_extrapolates_stays_on_the_unit_scale(auto, happened, tmp_path, variants, name):
    learner = new_learner(auto)
    for seq in range(200):
        newbie = seq % 2 == 0
        learner.learn(happened({"newbie": newbie}, variants, 0, float(newbie)))
        learner.learn(happened({"channel": "Web"}, variants, 0, 1.0))
        learner.learn(happened({"channel": "Phone"}, variants, 0, 0.0))
    learner = serving(name, learner, auto, tmp_path)
    asked = {"newbie": True, "channel": "Web"}
    assert learner.predicted([asked], variants)[0].rewards[0] > 1.0
    assert learner.predict(asked, variants)[0] == 1.0
    assert learner.predict({"newbie": False, "channel": "Phone"}, variants)[0] == 0.0
    learner.close()


@pytest.mark.parametrize("oracle", FILES)
def test_a_catalogue_is_predicted_for_as_if_it_were_encoded_afresh_while_the_figures_move(
    define, happened, rng, oracle
):
    learner = new_learner(spec_of(define, preset="squarecb", oracle=oracle))
    moved = set()
    for event in world(rng, happened, 200):
        asked = context(rng)
        # A list is encoded at each call; nothing of it is kept.
        assert learner.predict(asked, VARIANTS) == learner.predict(asked, list(VARIANTS))
        assert learner.predict(asked, VARIANTS[:2]) == pytest.approx(
            learner.predict(asked, VARIANTS)[:2], rel=1e-5
        )
        learner.learn(event)
        moved.add(str(learner.state()["variant_numbers"]))
    assert len(moved) > 100
    learner.close()


def test_a_kept_catalogue_is_known_by_the_object_and_not_by_its_place_or_size(spec, happened, rng):
    learner = new_learner(spec)
    for event in world(rng, happened, 300):
        learner.learn(event)
    catalogues = [tuple(rng.sample(VARIANTS, 3)) for _ in range(5)]
    asked = context(rng)
    for _ in range(100):
        catalogue = rng.choice(catalogues)
        assert learner.predict(asked, catalogue) == learner.predict(asked, list(catalogue))
    learner.close()


def test_being_asked_about_its_catalogue_leaves_a_learner_as_it_was(spec, happened, rng):
    quiet, asked = new_learner(spec), new_learner(spec)
    for event in world(rng, happened, 100):
        asked.predict(context(rng), VARIANTS)
        for learner in (quiet, asked):
            learner.learn(event)
    assert quiet.fingerprint() == asked.fingerprint()
    quiet.close()
    asked.close()


@KEPT_AND_PASSING
def test_a_closed_learner_raises_instead_of_crashing(spec, happened, variants):
    for was_asked in (False, True):
        learner = new_learner(spec)
        learner.learn(happened({}, variants, 0, 1.0))
        if was_asked:
            learner.predict({}, variants)
        learner.close()
        learner.close()
        with pytest.raises(ValueError, match="closed"):
            learner.predict({}, variants)
        with pytest.raises(ValueError, match="closed"):
            learner.learn(happened({}, variants, 0, 1.0))


@pytest.mark.parametrize("oracle", FILES)
def test_extreme_values_leave_the_model_sound(define, happened, oracle):
    learner = new_learner(spec_of(define, oracle=oracle))
    for value in (1e308, -1e308, 5e-324, 0.0, -0.0, 1e39, 1.0):
        features = {"n": value, "t": "\x00|:\n ", "": "", "l": ("", "|", "\n")}
        variants = [Variant("|A x:1\n", {"n": value, ":": "|"}), Variant("", {"": value})]
        for chosen in (0, 1):
            learner.learn(happened(features, variants, chosen, 1.0))
        rewards = learner.predict(features, variants)
        assert all(0.0 <= reward <= 1.0 for reward in rewards)
    json.dumps(learner.state(), allow_nan=False)
    learner.close()


def test_a_learner_writes_its_files_and_nothing_else(spec, happened, tmp_path):
    learner = new_learner(spec)
    learner.learn(happened({}, VARIANTS, 0, 1.0))
    learner.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES[spec.oracle]
    learner.close()


def test_a_model_of_another_version_of_vw_is_refused(spec, tmp_path):
    learner = new_learner(spec)
    folder, state = stored(learner, tmp_path)
    with pytest.raises(IncompatibleModel, match=r"of Vowpal Wabbit 9\.10\.0, not"):
        load_policy(spec, folder, {**state, "vw_version": "9.10.0"}, "s1")
    path = folder / "model.vw"
    data = path.read_bytes()
    version = vw_version().encode()
    path.write_bytes(data.replace(version, version[:-1] + b"0", 1))
    with pytest.raises(IncompatibleModel, match="of Vowpal Wabbit"):
        load_learner(spec, folder, state)
    learner.close()


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"oracle": "vw"}, {"vw": "--interactions UUA"}),
        ({"oracle": "vw"}, {"vw": "--ignore_linear U"}),
        ({"oracle": "vw"}, {"vw": "--sgd"}),
        ({"oracle": "vw"}, {"vw": "--l2 1e-5"}),
        ({"oracle": "vw"}, {"oracle": "vw", "learning_rate": 0.3}),
        ({}, {"learning_rate": 0.3}),
        ({}, {"bits": 17}),
        ({}, {"oracle": "vw"}),
        ({"oracle": "vw"}, {}),
    ],
    ids=str,
)
def test_a_model_made_with_other_options_is_refused(define, tmp_path, mine, theirs):
    spec, other = spec_of(define, **mine), spec_of(define, **theirs)
    learner = new_learner(other)
    folder, state = stored(learner, tmp_path)
    for load in (load_learner, lambda *given: load_policy(*given, "s1")):
        with pytest.raises(IncompatibleModel, match="other options"):
            load(spec, folder, state)
    # The file alone tells it too, but for what VW does not keep in it.
    if theirs != {"vw": "--l2 1e-5"}:
        own = new_learner(spec)
        (tmp_path / "own").mkdir()
        own.save(tmp_path / "own")
        shutil.copyfile(folder / "model.vw", tmp_path / "own" / "model.vw")
        with pytest.raises(IncompatibleModel, match="other options"):
            load_learner(spec, tmp_path / "own", own.state())
        own.close()
    learner.close()


def taught(spec, happened, rng, tmp_path):
    """A stored model that has learned a little; (folder, state)."""
    learner = new_learner(spec)
    for event in world(rng, happened, 20):
        learner.learn(event)
    found = stored(learner, tmp_path)
    learner.close()
    return found


def test_a_vw_file_that_is_no_model_is_refused(spec, happened, rng, tmp_path):
    folder, state = taught(spec, happened, rng, tmp_path)
    path = folder / "model.vw"
    data = path.read_bytes()
    garbled = data.replace(b" --cb_adf", b" x 9e99 dd", 1)
    for broken in (b"", b"x", garbled, b"no model at all" * 20, data[:20], data[:100], bytes(len(data))):
        path.write_bytes(broken)
        with pytest.raises(IncompatibleModel):
            load_policy(spec, folder, state, "s1")


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_model_with_one_of_the_first_linear_files_goes_on_exactly(
    auto, happened, rng, tmp_path, first_written
):
    folder, state = taught(auto, happened, rng, tmp_path)
    today = load_learner(auto, folder, state)
    path = folder / "linear.npy"
    np.save(path, first_written(np.load(path)))
    before, policy = load_learner(auto, folder, state), load_policy(auto, folder, state, "s1")
    assert before.fingerprint() == today.fingerprint()
    for features in [context(rng) for _ in range(20)]:
        assert before.predict(features, VARIANTS) == today.predict(features, VARIANTS)
        [found] = policy.distributions([features], VARIANTS)
        assert found == today.policy("s1").distributions([features], VARIANTS)[0]
    for event in world(rng, happened, 20):
        for learner in (before, today):
            learner.learn(event)
    assert before.fingerprint() == today.fingerprint()
    for each in (before, today, policy):
        each.close()


@pytest.mark.parametrize("written", ["now", "first"])
def test_a_linear_file_that_is_no_model_is_refused(auto, happened, rng, tmp_path, first_written, written):
    folder, state = taught(auto, happened, rng, tmp_path)
    path = folder / "linear.npy"
    if written == "first":
        np.save(path, first_written(np.load(path)))
    data, array = path.read_bytes(), np.load(path)
    numbers = array.view(np.float64)
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    zipped = io.BytesIO()
    np.savez(zipped, array)
    heads = [np.concatenate([[head], numbers[1:]]) for head in (0.0, -1.0, 1e6, 1e300, math.nan, math.inf)]
    sizes = [
        np.concatenate([numbers[:1], [size], numbers[2:]]) for size in (0.0, -8.0, 1e6, math.nan, math.inf)
    ]
    changed = [first.view(array.dtype) for first in (*heads, *sizes, numbers[:4], np.append(numbers, 0.0))]
    for broken in (
        *(b"", b"x", b"no model at all" * 20, b"PK\3\4" + bytes(100), bytes(len(data))),
        *(data[:5], data[:20], data[:100], data[:200], data[:-1], data[:-8]),
        data.replace(b"'<f8'", b"'<q8'").replace(b"'|u1'", b"'|q1'"),
        data.replace(b"'shape': (", b"'shape': ((("),
        data.replace(b"'shape': (", b"'shape': (9"),
        data.replace(b"{'descr'", b"\xff'descr'"),
        *(pickled.getvalue(), zipped.getvalue()),
        *map(npy, (array[:-1], array[:4], array[:0], np.append(array, 0.0), array.reshape(1, -1))),
        *map(npy, (array.astype(np.float32), array.astype(np.complex128), np.array(1.0), array[array < 0])),
        *map(npy, changed),
    ):
        path.write_bytes(broken)
        with pytest.raises(IncompatibleModel):
            load_policy(auto, folder, state, "s1")


def test_a_model_whose_file_is_missing_is_an_error_of_the_system(spec, happened, rng, tmp_path):
    folder, state = taught(spec, happened, rng, tmp_path)
    for name in FILES[spec.oracle]:
        (folder / name).rename(tmp_path / "aside")
        with pytest.raises(FileNotFoundError):
            load_policy(spec, folder, state, "s1")
        (tmp_path / "aside").rename(folder / name)
    load_policy(spec, folder, state, "s1").close()


def test_a_state_that_does_not_say_whether_features_tell_of_others_is_refused(spec, tmp_path):
    learner = new_learner(spec)
    folder, state = stored(learner, tmp_path)
    del state["generalises"]
    with pytest.raises(IncompatibleModel):
        load_learner(spec, folder, state)
    learner.close()


@pytest.mark.parametrize(
    "key",
    [
        "events",
        "learned",
        "context_numbers",
        "variant_numbers",
        "vw_version",
        "arguments",
        "evidence",
        "surprise",
        "linear",
    ],
)
def test_a_state_that_lacks_something_is_refused(auto, tmp_path, key):
    learner = new_learner(auto)
    folder, state = stored(learner, tmp_path)
    for broken in (
        {k: v for k, v in state.items() if k != key},
        {**state, key: "x"},
        {**state, key: {"n": [1]}},
    ):
        with pytest.raises(IncompatibleModel):
            load_learner(auto, folder, broken)
    learner.close()


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("evidence", {"serving": "vw"}),
        ("evidence", {"switches": "x"}),
        ("evidence", {"advantage": [0.0]}),
        ("evidence", {"error": [0.1, 0.1, 0.1, 0.1]}),
        ("evidence", {"seen": 3.0}),
        ("evidence", {"squares": ["x", 0.0, 0.0]}),
        ("surprise", {"alarms": "x"}),
        ("surprise", {"sums": [0.0]}),
        ("surprise", {"squares": [0.0] * 4}),
        ("surprise", {"squares": ["x", 0.0, 0.0]}),
        ("surprise", {"sums": 1.0}),
        ("surprise", {"seen": "x"}),
        ("linear", {"features": list(range(8))}),
        ("linear", {"features": ["x"]}),
        ("linear", {"variants": []}),
        ("linear", {"variants": ["a", "b", "c", "d"]}),
        ("linear", {"variants": ["a", "a", "b"]}),
    ],
    ids=str,
)
def test_a_state_that_is_not_its_files_is_refused(auto, happened, tmp_path, part, changes):
    learner = new_learner(auto)
    for chosen in range(3):
        learner.learn(happened({"channel": "Web"}, VARIANTS, chosen, 1.0))
    folder, state = stored(learner, tmp_path)
    load_learner(auto, folder, state).close()
    with pytest.raises(IncompatibleModel):
        load_learner(auto, folder, {**state, part: {**state[part], **changes}})
    learner.close()


def test_presets_that_do_not_learn_have_a_policy_and_no_model(define):
    uniform = ModelSpec.of(define(policy={"preset": "uniform"}))
    assert not uniform.learns
    assert untrained_policy(uniform).distributions([{}], VARIANTS)[0] == pytest.approx([1 / 3] * 3)
    with pytest.raises(ValueError, match="does not learn"):
        new_learner(uniform)
    fixed = untrained_policy(ModelSpec.of(define(policy={"preset": "fixed:b"}, baseline="a")))
    assert fixed.distributions([{}], VARIANTS)[0] == [0.0, 1.0, 0.0]
    assert fixed.distributions([{}], [VARIANTS[2], VARIANTS[0]])[0] == [0.0, 1.0]
    assert fixed.distributions([{}], [Variant("x"), Variant("y")])[0] == [1.0, 0.0]
    fixed.close()


def test_a_spec_holds_what_shapes_the_model_and_nothing_else(define):
    base = ModelSpec.of(define())
    for unchanged in (
        {"policy": {"floor": 0.2}},
        {"variants": [{"id": "a"}, {"id": "z"}]},
        {"baseline": "c"},
        {"rollout": {"stage": "ramp", "percent": 5}},
        {"reward": {"metric": "visit", "window": "3d", "default": "none"}},
        {"owner": "someone else"},
    ):
        assert ModelSpec.of(define(**unchanged)) == base
    declared = {"n": {"type": "number", "range": [0, 1]}}
    specs = [base]
    for changed in (
        {"policy": {"preset": "epsilon_greedy"}},
        {"policy": {"gamma_scale": 10}},
        {"policy": {"oracle": "vw"}},
        {"policy": {"optimism": 1}},
        {"policy": {"vw": "-q UU"}},
        {"signals": "open"},
        {"signals": declared},
        {"signals": {"n": {"type": "number"}}},
        {"signals": {"n": {"type": "category"}}},
        {"reward": {"metric": "visit", "range": [0, 5]}},
    ):
        specs.append(ModelSpec.of(define(**changed)))
    assert len({spec.to_json() for spec in specs}) == len({spec.digest for spec in specs}) == len(specs)
    sworn = {"n": {**declared["n"], "purpose": "p", "consent": "ads", "strict": True}}
    assert ModelSpec.of(define(signals=sworn)) == ModelSpec.of(define(signals=declared))


def test_a_stored_spec_comes_back_equal(define):
    for changes in (
        {},
        {"signals": "open"},
        {
            "signals": {
                "c": {"type": "categories", "values": ["x", "ü"]},
                "n": {"type": "number", "range": [0, 9]},
            }
        },
        {"policy": {"preset": "fixed:b"}},
        {"policy": {"vw": "--cubic UUA"}},
        {"policy": {"oracle": "vw"}},
    ):
        spec = ModelSpec.of(define(**changes))
        again = ModelSpec.from_json(spec.to_json())
        assert again == spec
        assert (again.digest, len(again.digest)) == (spec.digest, 8)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 99}'])
def test_a_spec_that_cannot_be_read_is_incompatible(text):
    with pytest.raises(IncompatibleModel):
        ModelSpec.from_json(text)


def test_a_spec_of_another_format_preset_or_signal_is_incompatible(spec):
    for old, new in (
        ('"format":4', '"format":3'),
        ('"format":4', '"format":5'),
        ("squarecb", "linucb"),
        ('"type":"flag"', '"type":"enum"'),
        ('"values"', '"valuez"'),
    ):
        with pytest.raises(IncompatibleModel):
            ModelSpec.from_json(spec.to_json().replace(old, new))
