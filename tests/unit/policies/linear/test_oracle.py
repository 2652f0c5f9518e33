"""The linear oracle: which features and variants it keeps apart, and what becomes of those that come late."""

import json

import pytest

from bandit.core.records import Variant
from bandit.policies.linear import dimensions, oracle, ridge
from bandit.policies.linear.oracle import LinearOracle
from bandit.policies.linear.ridge import STEADY, TRACKING
from bandit.policies.reading import Reading

A, B = Variant("a"), Variant("b")
WAYS = (STEADY, TRACKING)


def reading(*tokens, **numbers):
    return Reading(sorted(numbers.items()), list(tokens))


def budget(patch, *, numbers=None, size=None):
    """Lets the oracle have less than is the rule."""
    if numbers is not None:
        patch.setattr(ridge, "NUMBERS_MAX", numbers)
    if size is not None:
        patch.setattr(oracle, "DIMENSIONS_MAX", size)


def kept(linear):
    """(features, variants) that have numbers of their own."""
    state = linear.state()
    return len(state["features"]), len(state["variants"])


def reward_of(linear, given, variant, way=STEADY):
    [reward], _ = linear.predict([given], (variant,), way)[0]
    return reward


def test_what_features_bring_is_learned_by_variant():
    linear = LinearOracle()
    for _ in range(200):
        for token, rewards in (("c=x", (1.0, 0.0)), ("c=y", (0.0, 1.0))):
            for chosen, reward in enumerate(rewards):
                linear.learn(reading(token), (A, B), chosen, reward)
    for way in WAYS:
        for token, rewards in (("c=x", (1.0, 0.0)), ("c=y", (0.0, 1.0))):
            found, errors = linear.predict([reading(token)], (A, B), way)[0]
            assert found == pytest.approx(rewards, abs=0.15)
            assert all(0.0 < error < 0.3 for error in errors)
        # Of a token that nothing is known of, it expects what holds without it.
        assert linear.predict([reading("c=z")], (A, B), way)[0] == linear.predict([reading()], (A, B), way)[0]


def test_a_number_gets_a_dimension_of_its_own_beside_a_token_of_its_name():
    linear = LinearOracle()
    linear.learn(reading("n", n=1.0), (A,), 0, 1.0)
    linear.learn(reading("m=1", n=2.0), (A,), 0, 1.0)
    assert kept(linear)[0] in (2, 3)
    assert reward_of(linear, reading(n=1.0), A) != reward_of(linear, reading("m=1"), A)


def test_dimensions_end_where_it_was_said_and_late_features_are_still_learned():
    linear = LinearOracle()
    for index in range(3 * dimensions.DIMENSIONS_MAX):
        linear.learn(reading(f"f{index}"), (A, B), index % 2, 0.5)
    assert kept(linear) == (dimensions.DIMENSIONS_MAX - 1, 2)
    for _ in range(300):
        linear.learn(reading("late"), (A, B), 0, 1.0)
        linear.learn(reading(), (A, B), 0, 0.0)
    for way in WAYS:
        assert reward_of(linear, reading("late"), A, way) > reward_of(linear, reading(), A, way) + 0.5
    assert kept(linear) == (dimensions.DIMENSIONS_MAX - 1, 2)


def test_one_context_of_very_many_features_is_learned_and_served():
    linear = LinearOracle()
    tokens = [f"t{index}" for index in range(2_000)]
    numbers = {f"n{index}": 3.0 for index in range(2_000)}
    for _ in range(20):
        linear.learn(reading(*tokens, **numbers), (A, B), 0, 1.0)
        linear.learn(reading(), (A, B), 0, 0.0)
    assert kept(linear)[0] == dimensions.DIMENSIONS_MAX - 1
    for way in WAYS:
        assert reward_of(linear, reading(*tokens, **numbers), A, way) == pytest.approx(1.0, abs=0.1)
        assert reward_of(linear, reading(), A, way) == pytest.approx(0.0, abs=0.3)


def test_rows_end_where_it_was_said_and_late_variants_are_still_learned_and_served(monkeypatch):
    budget(monkeypatch, numbers=2 * 8 * 8 * 5)
    linear = LinearOracle()
    early = [Variant(f"v{index}") for index in range(4)]
    late = [Variant(f"late{index}") for index in range(30)]
    for _ in range(50):
        for index in range(4):
            linear.learn(reading(), early, index, 0.5)
        for index in range(30):
            linear.learn(reading(), late, index, 1.0)
    assert kept(linear) == (0, 4)
    for way in WAYS:
        rewards, errors = linear.predict([reading()], (early[0], *late, Variant("never seen")), way)[0]
        assert rewards[1] > 0.9 > 0.7 > rewards[0]
        # They are learned together.
        assert len({*rewards[1:]}) == 1
        assert all(error > 0.0 for error in errors)


@pytest.mark.parametrize("first", ["features", "variants"])
def test_all_numbers_together_stay_within_the_budget(monkeypatch, first):
    most = 2 * 24 * 24 * 6
    budget(monkeypatch, numbers=most)
    linear = LinearOracle()
    variants = tuple(Variant(f"v{index}") for index in range(100))
    for index in range(100):
        if first == "features":
            linear.learn(reading(*[f"f{i}" for i in range(index)]), variants[:1], 0, 1.0)
        else:
            linear.learn(reading(), variants, index, 1.0)
    for index in range(100):
        linear.learn(reading(f"f{index}"), variants, index, 1.0)
    features, rows = kept(linear)
    size = -(-(features + 1) // dimensions.STEP) * dimensions.STEP
    assert 2 * size * size * (rows + 1) <= most
    assert rows >= 1
    rewards, errors = linear.predict([reading("f1", "f99", "new")], variants, STEADY)[0]
    assert len(rewards) == len(errors) == 100


def test_a_variant_that_was_never_seen_is_expected_to_be_average_and_doubted_most():
    linear = LinearOracle()
    for index in range(100):
        linear.learn(reading("c=x"), (A, B), index % 2, float(index % 2))
    for way in WAYS:
        for given in ((A, B, Variant("new")), [A, B, Variant("new")]):
            rewards, errors = linear.predict([reading("c=x")], given, way)[0]
            assert rewards[0] < rewards[2] < rewards[1]
            assert rewards[2] == pytest.approx(0.5, abs=0.1)
            assert errors[2] > max(errors[:2])


def test_a_kept_catalogue_learns_of_new_variants():
    linear = LinearOracle()
    catalogue = (A, B)
    linear.learn(reading(), catalogue, 0, 0.5)
    before = linear.predict([reading()], catalogue, STEADY)[0]
    for _ in range(50):
        linear.learn(reading(), catalogue, 1, 1.0)
    after = linear.predict([reading()], catalogue, STEADY)[0]
    assert after[0][1] > before[0][1]
    assert after[1][1] < before[1][1]
    assert linear.predict([reading()], list(catalogue), STEADY)[0] == after


@pytest.mark.parametrize("small", [False, True], ids=["roomy", "full"])
def test_a_stored_one_goes_on_exactly(rng, monkeypatch, tmp_path, small):
    if small:
        budget(monkeypatch, numbers=2 * 16 * 16 * 6, size=24)
    whole, broken = LinearOracle(), LinearOracle()
    for step in range(300):
        given = reading(*[f"f{rng.randrange(1 + step // 4)}"], x=rng.gauss(0.0, 1.0))
        variants = tuple(Variant(f"v{n}") for n in range(step // 30, step // 30 + 4))
        chosen, reward = rng.randrange(4), rng.random()
        if rng.random() < 0.2:
            broken.predict([given], variants, rng.randrange(2))
        assert whole.learn(given, variants, chosen, reward) == broken.learn(given, variants, chosen, reward)
        if rng.random() < 0.1:
            broken.save(tmp_path)
            broken = LinearOracle(tmp_path, json.loads(json.dumps(broken.state())))
            asked = reading(f"f{step}", "never learned", "f1")
            assert broken.predict([asked], variants, TRACKING) == whole.predict([asked], variants, TRACKING)
    assert whole.state() == broken.state()
    assert whole.digest() == broken.digest()
    for way in WAYS:
        assert whole.predict([given], variants, way) == broken.predict([given], variants, way)


def test_no_text_of_a_context_is_kept():
    linear = LinearOracle()
    linear.learn(reading("name=Jane%20;Doe", income=2.0), (A,), 0, 1.0)
    assert "Jane" not in json.dumps(linear.state())
    assert "income" not in json.dumps(linear.state())
