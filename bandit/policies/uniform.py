"""uniform: every variant equally often. Learns nothing; the log it leaves can judge any other policy."""

from collections.abc import Mapping, Sequence

from bandit.policies.preset import Preset


def _explore(rewards: Sequence[float], events: int, options: Mapping[str, float]) -> Sequence[float]:
    return [1.0 / len(rewards)] * len(rewards)


PRESET = Preset(name="uniform", explore=_explore, learns=False)
