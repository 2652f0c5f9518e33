"""epsilon_greedy: the best predicted variant, and a constant share spread over all.

Langford and Zhang, The Epoch-Greedy Algorithm for Contextual Multi-armed Bandits (NIPS 2007). It never
stops exploring; `squarecb` does as evidence grows.
"""

from collections.abc import Mapping, Sequence

from bandit.core import exploration
from bandit.policies.prediction import Predicted
from bandit.policies.preset import ORACLE_OPTIONS, Option, Preset


def _explore(predicted: Predicted, events: int, options: Mapping[str, float]) -> Sequence[float]:
    return exploration.epsilon_greedy(predicted.rewards, options["epsilon"])


PRESET = Preset(
    name="epsilon_greedy",
    explore=_explore,
    learns=True,
    options={
        "epsilon": Option(0.05, 0.0, 1.0, "The share of decisions that is spread evenly over all variants."),
        **ORACLE_OPTIONS,
    },
)
