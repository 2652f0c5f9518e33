"""What the default earns in a small made-up world. Seeded, so a failure is no chance; margins are wide."""

import random

import pytest

from bandit.core.records import Variant
from bandit.policies.model import ModelSpec, new_learner

VARIANTS = tuple(Variant(name) for name in "abcd")
CHANNELS = {"web": 0, "phone": 1, "mail": 2}
BEST = 0.6
FLOOR = 0.2
"""So much of all decisions is spread evenly, as an experiment's floor does."""


def chance_of(context, chosen, shifted):
    """Of a reward: by channel another variant is good, and `d` is not bad for the old; a shift turns it."""
    if shifted:
        chosen = (chosen + 2) % 4
    if chosen == CHANNELS[context["channel"]]:
        return BEST
    return 0.45 if chosen == 3 and context["age"] > 60.0 else 0.2


def played(learner, happened, chance, events, *, shifted=False):
    """Lets a learner choose and learn. What its policy, floor aside, would earn on average in the last third,
    what even chances would, and which oracle was served at each event.
    """
    policy = learner.policy("live")
    earned, even, served = 0.0, 0.0, []
    last_third = range(events - events // 3 + 1, events + 1)
    for seq in range(1, events + 1):
        context = {"channel": chance.choice([*CHANNELS]), "age": chance.gauss(50.0, 15.0)}
        chances = [chance_of(context, chosen, shifted) for chosen in range(4)]
        distribution = policy.distributions([context], VARIANTS)[0]
        if seq in last_third:
            earned += sum(p * good for p, good in zip(distribution, chances, strict=True)) / len(last_third)
            even += sum(chances) / 4 / len(last_third)
        drawn = [(1.0 - FLOOR) * p + FLOOR / 4 for p in distribution]
        [chosen] = chance.choices(range(4), drawn)
        reward = float(chance.random() < chances[chosen])
        learner.learn(happened(context, VARIANTS, chosen, reward, seq=seq))
        served.append(learner.standing.serving)
    return earned, even, served


@pytest.mark.parametrize("oracle", ["auto", "vw"])
def test_a_learner_earns_far_more_than_even_chances(define, happened, oracle):
    learner = new_learner(ModelSpec.of(define(signals="open", policy={"oracle": oracle})))
    earned, even, _ = played(learner, happened, random.Random(1), 1_500)
    assert even < 0.35
    assert earned > 0.52
    learner.close()


def test_after_a_shift_the_tracking_oracle_is_served_and_earns_again(define, happened):
    learner = new_learner(ModelSpec.of(define(signals="open")))
    chance = random.Random(2)
    before, _, _ = played(learner, happened, chance, 1_500)
    after, even, served = played(learner, happened, chance, 1_500, shifted=True)
    assert before > 0.52
    assert even < 0.35
    assert after > 0.52
    assert served[-500:].count("tracking") > 400
    learner.close()
