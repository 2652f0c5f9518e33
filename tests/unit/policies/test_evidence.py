"""Which oracle is served: the better one, and no other for nothing."""

import json

import pytest

from bandit.policies.evidence import DISCOUNT, NOISE_LEAST, SHAKEN, SWITCH, Evidence
from bandit.policies.prediction import Predicted
from bandit.policies.presets import PRESETS

NAMES = ("steady", "tracking", "crossed")


def fed(rng, deviations, events, evidence=None):
    """Evidence of oracles whose errors have such standard deviations beyond what all of them share."""
    evidence = Evidence(NAMES[: len(deviations)]) if evidence is None else evidence
    for _ in range(events):
        shared = rng.gauss(0.0, 0.4)
        evidence.take([shared + rng.gauss(0.0, deviation) for deviation in deviations])
    return evidence


def test_the_first_is_served_until_another_proves_better():
    evidence = Evidence(NAMES)
    assert evidence.name == "steady"
    evidence.take([0.1, 0.1, 0.1])
    assert (evidence.name, evidence.switches) == ("steady", 0)


@pytest.mark.parametrize("best", range(3))
def test_the_better_one_is_found_and_kept(rng, best):
    deviations = [0.2] * 3
    deviations[best] = 0.05
    evidence = fed(rng, deviations, 2_000)
    assert evidence.name == NAMES[best]
    assert evidence.switches <= 6
    switches = evidence.switches
    fed(rng, deviations, 2_000, evidence)
    assert (evidence.name, evidence.switches) == (NAMES[best], switches)


def test_when_another_becomes_better_it_is_served(rng):
    evidence = fed(rng, [0.05, 0.2, 0.2], 10_000)
    assert evidence.name == "steady"
    fed(rng, [0.2, 0.05, 0.2], 2_000, evidence)
    assert evidence.name == "tracking"
    fed(rng, [0.05, 0.2, 0.2], 2_000, evidence)
    assert evidence.name == "steady"


def test_of_equal_ones_none_takes_over_often(rng):
    assert fed(rng, [0.1, 0.1], 10_000).switches <= 30
    assert fed(rng, [0.1, 0.1, 0.1], 10_000).switches <= 60
    evidence = fed(rng, [0.0, 0.0, 0.0], 10_000)
    assert (evidence.name, evidence.switches) == ("steady", 0)


def test_a_lead_is_measured_in_standard_errors_of_the_discounted_past():
    evidence = Evidence(NAMES[:2])
    lead = squares = 0.0
    for _ in range(50):
        if evidence.switches:
            break
        evidence.take([0.4, 0.3])
        lead = DISCOUNT * lead + 0.4**2 - 0.3**2
        squares = DISCOUNT * squares + (0.4**2 - 0.3**2) ** 2
        assert (evidence.switches == 1) == (lead / squares**0.5 > SWITCH)
        assert evidence.leads()["tracking"] == (
            0.0 if evidence.switches else pytest.approx(lead / squares**0.5, rel=1e-3)
        )
    assert evidence.name == "tracking"
    assert evidence.leads()["steady"] == pytest.approx(-lead / squares**0.5, rel=1e-3)


def test_the_further_one_of_two_challengers_takes_over():
    evidence = Evidence(NAMES)
    for _ in range(20):
        evidence.take([0.5, 0.4, 0.4])
    assert evidence.name in ("tracking", "crossed")
    assert evidence.switches == 1
    evidence = Evidence(NAMES)
    for index in range(20):
        # The second wins more than the first, but not always.
        evidence.take([0.5, 0.4 if index % 5 else 0.6, 0.4])
    assert evidence.name == "crossed"


@pytest.mark.parametrize("deviation", [0.5, 0.1, 0.02])
def test_the_noise_is_that_of_what_is_served(rng, deviation):
    evidence = Evidence(NAMES[:2])
    for _ in range(20_000):
        error = rng.gauss(0.0, deviation)
        evidence.take_noise([error**2, 100.0])
    assert evidence.noise == pytest.approx(deviation, rel=0.1)


def test_the_noise_follows_a_change_and_is_known_before_any_event(rng):
    evidence = Evidence(NAMES[:1])
    assert 0.01 < evidence.noise < 0.5
    for deviation in (0.3, 0.05, 0.3):
        for _ in range(20_000):
            evidence.take_noise([rng.gauss(0.0, deviation) ** 2])
        assert evidence.noise == pytest.approx(deviation, rel=0.15)
    for _ in range(100_000):
        evidence.take_noise([0.0])
    assert evidence.noise > 0.0


def test_rewards_that_are_all_alike_never_leave_a_noise_of_nothing():
    state = Evidence(["a"]).state()
    # What a million events without an error come to.
    evidence = Evidence(["a"], {**state, "error": [0.0], "seen": [1_500.0]})
    assert evidence.noise == NOISE_LEAST
    explored = PRESETS["squarecb"].explore(
        Predicted([0.0, 0.0, 1.0], [0.1, 0.2, 0.0], evidence.noise),
        10**9,
        {name: option.default for name, option in PRESETS["squarecb"].options.items()},
    )
    assert sum(explored) == pytest.approx(1.0)
    assert min(explored) >= 0.0


def test_one_oracle_alone_is_always_served(rng):
    evidence = fed(rng, [0.3], 100)
    assert (evidence.name, evidence.switches, evidence.leads()) == ("steady", 0, {"steady": 0.0})


def test_once_shaken_the_past_counts_for_little_and_what_is_served_stays(rng):
    evidence, calm = (Evidence(NAMES) for _ in range(2))
    for _ in range(1_000):
        errors = [rng.gauss(0.0, deviation) for deviation in (0.05, 0.2, 0.2)]
        for each in (evidence, calm):
            each.take(errors)
            each.take_noise([error * error for error in errors])
    evidence.shake()
    assert (evidence.name, evidence.switches, evidence.noise) == (calm.name, calm.switches, calm.noise)
    assert calm.name == "steady"
    for name, lead in calm.leads().items():
        assert evidence.leads()[name] == pytest.approx(lead * SHAKEN**0.5, rel=1e-6)
    events = {}
    for each, name in ((evidence, "shaken"), (calm, "calm")):
        events[name] = 0
        while each.name == "steady":
            each.take([0.5, 0.1, 0.5])
            events[name] += 1
    assert events["shaken"] < events["calm"]


def test_a_stored_one_goes_on_exactly(rng):
    whole, broken = Evidence(NAMES), Evidence(NAMES)
    for _ in range(500):
        errors = [rng.gauss(0.0, 0.3) for _ in NAMES]
        for evidence in (whole, broken):
            evidence.take(errors)
            evidence.take_noise([error * error for error in errors])
        if rng.random() < 0.1:
            broken = Evidence(NAMES, json.loads(json.dumps(broken.state())))
    assert broken.state() == whole.state()
    assert (broken.name, broken.noise, broken.switches) == (whole.name, whole.noise, whole.switches)


def test_a_state_of_other_oracles_is_refused():
    state = Evidence(NAMES).state()
    for names in (NAMES[:2], ("vw",), ("x", "y", "z")):
        with pytest.raises(ValueError, match=r"of another length|not in tuple"):
            Evidence(names, state)
