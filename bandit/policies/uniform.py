"""uniform: every variant equally often. Learns nothing; the log it leaves can judge any other policy."""

from collections.abc import Mapping, Sequence

from bandit.policies.prediction import Predicted
from bandit.policies.preset import Preset


def _explore(predicted: Predicted, events: int, options: Mapping[str, float]) -> Sequence[float]:
    return [1.0 / len(predicted.rewards)] * len(predicted.rewards)


PRESET = Preset(name="uniform", explore=_explore, learns=False)
