"""Alarms that the world has changed: soon after a fall, hardly ever for nothing, and never for a rise."""

import json
import math
import random
from itertools import pairwise

import pytest

from bandit.policies.surprise import ALARM, DISCOUNT, Surprise

FALSE_ALARMS = 2
"""So many at most in EVENTS events of a world that stands still: some chance is left."""

EVENTS = 20_000
SOON = 100


SPREAD = 0.3
"""The standard deviation of what `fed` feeds."""


def coin(chance):
    """Rewards of 0 or 1, less what is to be expected of them."""
    return lambda rng: float(rng.random() < chance) - chance


def spread_of(chance):
    """A coin's standard deviation."""
    return math.sqrt(chance * (1.0 - chance))


def heavy(rng):
    """One in a thousand is a thousand times as large as most."""
    return rng.choice((-1.0, 1.0)) * min(rng.paretovariate(1.1) - 1.0, 1_000.0)


HEAVY_SPREAD = math.sqrt(2.0 * ((1_001.0**0.9 - 1.0) / 0.9 + (1_001.0**-0.1 - 1.0) / 0.1))
"""The integral of the square."""

UNBIASED = {
    **{
        f"{chance} of all": (coin(chance), spread_of(chance)) for chance in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
    },
    "always as expected": (lambda rng: 0.0, 0.0),
    "normal": (lambda rng: rng.gauss(0.0, 0.1), 0.1),
    "heavy-tailed": (heavy, HEAVY_SPREAD),
}


def fed(rng, surprise, means, events, watched=(0, 1)):
    """At which of some events there was an alarm, when errors are a coin's around these means."""
    alarms = []
    for event in range(1, events + 1):
        shared = coin(0.5)(rng)
        if surprise.take([mean + 2.0 * SPREAD * shared for mean in means], watched, SPREAD):
            alarms.append(event)
    return alarms


@pytest.mark.parametrize("kind", UNBIASED)
def test_while_what_is_expected_comes_true_there_is_hardly_an_alarm(rng, kind):
    surprise, (error, spread) = Surprise(3), UNBIASED[kind]
    alarms = 0
    for _ in range(EVENTS):
        alarms += surprise.take([error(rng)] * 3, (0, 1), spread)
    assert alarms == surprise.alarms
    assert alarms <= FALSE_ALARMS


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_a_fall_is_noticed_soon_whatever_the_rewards_scale(rng, scale):
    surprise = Surprise(2)
    for _ in range(2_000):
        surprise.take([scale * coin(0.5)(rng)] * 2, (0, 1), scale * 0.5)
    before = surprise.alarms
    for _ in range(SOON):
        # Half of all was expected to be rewarded, a tenth is.
        surprise.take([scale * (coin(0.1)(rng) - 0.4)] * 2, (0, 1), scale * 0.5)
    assert surprise.alarms > before


def test_a_fall_of_what_was_nearly_certain_is_noticed_soon(rng):
    surprise = Surprise(2)
    for _ in range(2_000):
        surprise.take([coin(0.99)(rng)] * 2, (0, 1), spread_of(0.99))
    before = surprise.alarms
    for _ in range(SOON):
        surprise.take([coin(0.5)(rng) - 0.49] * 2, (0, 1), spread_of(0.99))
    assert surprise.alarms > before


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.6])
def test_it_is_the_sum_over_the_root_of_the_squares_or_of_the_noise_if_that_is_more(rng, spread):
    surprise, errors, alarms = Surprise(1), [], 0
    for _ in range(3_000):
        errors.append(rng.gauss(-0.25, 0.3))
        ages = range(len(errors) - 1, -1, -1)
        total = sum(DISCOUNT**age * error for age, error in zip(ages, errors, strict=True))
        squares = sum(DISCOUNT ** (2 * age) * error**2 for age, error in zip(ages, errors, strict=True))
        seen = sum(DISCOUNT ** (2 * age) for age in ages)
        rang = total < -ALARM * math.sqrt(max(squares, spread**2 * seen))
        assert surprise.take(errors[-1:], (0,), spread) == rang
        if rang:
            errors.clear()
            alarms += 1
        else:
            assert surprise.state()["seen"] == pytest.approx(seen)
            assert surprise.state()["sums"] == pytest.approx([total])
            assert surprise.state()["squares"] == pytest.approx([squares])
    assert alarms == surprise.alarms > 5


def test_after_a_quiet_stretch_it_takes_more_than_the_stretch_would_tell():
    # Rewards of one in a hundred: for long there was none, as was to be expected.
    def quiet():
        surprise = Surprise(1)
        for _ in range(200):
            assert not surprise.take([-0.01], (0,), spread_of(0.01))
        return surprise

    assert not quiet().take([-0.02], (0,), spread_of(0.01))
    # That is what the noise is for.
    assert quiet().take([-0.02], (0,), 0.0)


def test_an_alarm_tells_of_the_event_and_starts_anew(rng):
    surprise = Surprise(2)
    alarms = fed(rng, surprise, [-0.4, -0.4], 1_000)
    assert alarms[0] <= SOON
    assert len(alarms) == surprise.alarms
    # What an alarm was raised for is not held against the events after it.
    assert all(later - earlier > 5 for earlier, later in pairwise(alarms))
    while not surprise.take([-0.5, -0.4], (0, 1), SPREAD):
        pass
    anew = {"sums": [0.0, 0.0], "squares": [0.0, 0.0], "seen": 0.0}
    assert surprise.state() == {"alarms": len(alarms) + 1, **anew}


def test_a_rise_is_no_alarm(rng):
    surprise = Surprise(2)
    fed(rng, surprise, [0.0, 0.0], 500)
    before = surprise.alarms
    assert fed(rng, surprise, [0.4, 0.4], 2_000) == []
    assert surprise.alarms == before


@pytest.mark.parametrize("content", [0.0, 0.4], ids=["as expected", "better"])
def test_only_if_all_that_are_watched_are_disappointed_it_is_an_alarm(content):
    # In a thousand events there may be an alarm for nothing: this is no matter of chance.
    rng = random.Random(1)
    means = [-0.4, content, -0.4]
    assert fed(rng, Surprise(3), means, 300, (0, 1)) == []
    assert fed(rng, Surprise(3), means, 300, (1, 0)) == []
    assert fed(rng, Surprise(3), means, 300, (1, 1)) == []
    # Nobody asks those that are not watched.
    assert fed(rng, Surprise(3), means, 300, (0, 2))
    assert fed(rng, Surprise(3), means, 300, (2, 2))


def test_no_few_events_however_bad_are_an_alarm(rng):
    surprise = Surprise(1)
    fed(rng, surprise, [0.0], 200, (0,))
    before = surprise.alarms
    for _ in range(8):
        surprise.take([-1e6], (0,), SPREAD)
    assert surprise.alarms == before


def test_a_stored_one_goes_on_exactly(rng):
    whole, broken = Surprise(3), Surprise(3)
    for step in range(2_000):
        errors = [rng.gauss(-0.3 * (step > 1_000), 0.5) for _ in range(3)]
        noise = rng.uniform(0.1, 0.6)
        assert whole.take(errors, (0, 1), noise) == broken.take(errors, (0, 1), noise)
        if rng.random() < 0.1:
            state = json.loads(json.dumps(broken.state()))
            broken = Surprise(3, state)
            assert broken.state() == state
    assert whole.alarms > 0
    assert broken.state() == whole.state()


def test_what_was_stored_does_not_change_with_what_goes_on():
    surprise = Surprise(1)
    surprise.take([-1.0], (0,), 1.0)
    state = surprise.state()
    kept = json.dumps(state)
    Surprise(1, state).take([-1.0], (0,), 1.0)
    surprise.take([-1.0], (0,), 1.0)
    assert json.dumps(state) == kept


@pytest.mark.parametrize(
    "change",
    [
        {"alarms": "x"},
        {"alarms": None},
        {"sums": [0.0, 0.0]},
        {"sums": [0.0] * 4},
        {"squares": [0.0, 0.0]},
        {"squares": []},
        {"sums": 1.0},
        {"sums": None},
        {"squares": ["x", 0.0, 0.0]},
        {"squares": [None, 0.0, 0.0]},
        {"sums": [0.0, 0.0], "squares": [0.0, 0.0]},
        {"seen": "x"},
        {"seen": None},
        {"seen": [0.0]},
    ],
    ids=str,
)
def test_a_state_that_is_none_is_refused(change):
    state = Surprise(3).state()
    Surprise(3, state)
    with pytest.raises((ValueError, TypeError)):
        Surprise(3, {**state, **change})


@pytest.mark.parametrize("key", ["alarms", "sums", "squares", "seen"])
def test_a_state_that_lacks_something_is_refused(key):
    with pytest.raises(KeyError, match=key):
        Surprise(3, {name: part for name, part in Surprise(3).state().items() if name != key})
