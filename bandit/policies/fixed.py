"""fixed:ID: always the variant ID; where it is not eligible the baseline, else the first. Learns nothing."""

from collections.abc import Mapping, Sequence

from bandit.core.distribution import one_hot
from bandit.policies.prediction import Predicted
from bandit.policies.preset import Preset


def _explore(predicted: Predicted, events: int, options: Mapping[str, float]) -> Sequence[float]:
    rewards = predicted.rewards
    return one_hot(rewards.index(max(rewards)), len(rewards))


PRESET = Preset(name="fixed", explore=_explore, learns=False, names_variant=True)
