"""squarecb's rule on what is predicted: gaps in units of the noise, and optimism about what is unknown."""

import pytest

from bandit.policies import epsilon_greedy
from bandit.policies.prediction import Predicted
from bandit.policies.squarecb import PRESET

OPTIONS = {name: option.default for name, option in PRESET.options.items()}
NO_OPTIMISM = {**OPTIONS, "optimism": 0.0}
REWARDS = (0.5, 0.45, 0.2)


def explored(rewards, errors, noise, events=500, options=OPTIONS):
    distribution = PRESET.explore(Predicted(rewards, errors, noise), events, options)
    assert sum(distribution) == pytest.approx(1.0)
    assert min(distribution) >= 0.0
    return distribution


@pytest.mark.parametrize("options", [OPTIONS, NO_OPTIMISM], ids=["optimistic", "not"])
@pytest.mark.parametrize("scale", [1 / 100, 1 / 1_000, 2.0])
def test_the_unit_of_rewards_is_of_no_account(scale, options):
    errors = (0.05, 0.1, 0.3)
    scaled = [reward * scale for reward in REWARDS]
    assert explored(scaled, errors, 0.4 * scale, options=options) == pytest.approx(
        explored(REWARDS, errors, 0.4, options=options)
    )


def test_the_same_gap_counts_for_more_where_rewards_are_less_noisy():
    quiet, loud = (explored(REWARDS, (0.0,) * 3, noise) for noise in (0.1, 0.5))
    assert quiet[0] > loud[0]
    assert all(ours < theirs for ours, theirs in zip(quiet[1:], loud[1:], strict=True))


def test_without_errors_it_is_inverse_gap_weighting():
    gamma = OPTIONS["gamma_scale"] * 500 ** OPTIONS["gamma_exponent"]
    found = explored(REWARDS, (0.0,) * 3, 0.5)
    assert found[1:] == pytest.approx([1 / (3 + gamma * gap / 0.5) for gap in (0.05, 0.3)])


def test_what_is_unknown_is_explored():
    known = (0.01,) * 3
    assert max(explored(REWARDS, known, 0.4)) == explored(REWARDS, known, 0.4)[0] > 0.9
    doubtful = explored(REWARDS, (0.01, 0.01, 3.0), 0.4)
    assert doubtful[2] == max(doubtful) > 0.9
    # Of two that are expected to be equal, the one that less is known of.
    assert explored((0.5, 0.5), (0.1, 0.2), 0.4)[1] > 0.5
    assert explored((0.5, 0.5), (0.2, 0.2), 0.4) == pytest.approx([0.5, 0.5])
    assert explored((0.5, 0.5), (0.1, 0.2), 0.4, options=NO_OPTIMISM) == pytest.approx([0.5, 0.5])


def test_more_optimism_explores_more_and_so_does_more_doubt():
    shares = [
        explored(REWARDS, (0.05, 0.05, 0.3), 0.4, options={**OPTIONS, "optimism": optimism})[2]
        for optimism in (0.0, 0.2, 0.4, 0.8, 3.0)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.1 < 0.9 < shares[-1]


def test_it_grows_greedier_with_events_and_is_uniform_before_any():
    assert explored(REWARDS, (0.1, 0.0, 0.2), 0.4, events=0) == pytest.approx([1 / 3] * 3)
    best = [explored(REWARDS, (0.0,) * 3, 0.4, events=events)[0] for events in (1, 10, 100, 10_000)]
    assert best == sorted(best)
    assert best[-1] > 0.99


def test_epsilon_greedy_goes_by_rewards_alone():
    options = {name: option.default for name, option in epsilon_greedy.PRESET.options.items()}
    one, other = (
        epsilon_greedy.PRESET.explore(Predicted(REWARDS, errors, noise), 9, options)
        for errors, noise in (((0.0,) * 3, 1.0), ((0.1, 5.0, 9.0), 0.1))
    )
    assert one == other
