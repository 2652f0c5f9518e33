"""Predicted rewards -> distribution: the exploration half of a contextual bandit.

The oracle (a regression) predicts; these rules explore. Predicted rewards are on the unit scale (0 is the
worst of the declared range, 1 the best). Ties are shared evenly, so that an untrained oracle is uniform.
"""

import math
from collections.abc import Sequence


def inverse_gap_weighting(rewards: Sequence[float], gamma: float) -> list[float]:
    """SquareCB's rule: p(a) = 1 / (K + gamma * gap(a)) for all but the best, the best takes the rest.

    `rewards`: predicted reward a variant, finite. `gamma` >= 0: 0 is uniform, larger is greedier. Foster and
    Rakhlin, Beyond UCB: Optimal and Efficient Contextual Bandits with Regression Oracles (ICML 2020), eq.
    (2).
    """
    size = len(rewards)
    best = max(rewards)
    probabilities = [1.0 / (size + gamma * (best - reward)) for reward in rewards]
    # With several best variants the rest is shared, so that order carries no preference.
    ties = rewards.count(best)
    rest = (1.0 - sum(probabilities)) / ties
    index = -1
    for _ in range(ties):
        index = rewards.index(best, index + 1)
        probabilities[index] += rest
    return probabilities


def squarecb_gamma(events: int, scale: float, exponent: float) -> float:
    """SquareCB's schedule: gamma = scale * events ** exponent, `events` the treatment-arm joined events."""
    return scale * math.pow(events, exponent)


def epsilon_greedy(rewards: Sequence[float], epsilon: float) -> list[float]:
    """The best variant with 1 - epsilon, and epsilon (in [0, 1]) spread evenly over all.

    Langford and Zhang, The Epoch-Greedy Algorithm for Contextual Multi-armed Bandits (NIPS 2007).
    """
    size = len(rewards)
    best = max(rewards)
    ties = [index for index, reward in enumerate(rewards) if reward == best]
    probabilities = [epsilon / size] * size
    for index in ties:
        probabilities[index] += (1.0 - epsilon) / len(ties)
    return probabilities
