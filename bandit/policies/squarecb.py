"""squarecb: the default. Inverse gap weighting over predicted rewards, sharper with every treatment-arm
event.

Foster and Rakhlin, Beyond UCB: Optimal and Efficient Contextual Bandits with Regression Oracles (ICML 2020).
gamma = gamma_scale * events ** gamma_exponent. The exponent is theory's. The scale of 30 and the oracle's
learning rate of 0.2 lie on a wide plateau: a third of the scale or three times as much changed the mean
reward by at most .002 on e-mail visits (.17) and .03 on handwritten digits (.70). Greedier ones settled on a
wrong variant more often where rewards are rare and events few.
"""

from collections.abc import Mapping, Sequence

from bandit.core.exploration import inverse_gap_weighting, squarecb_gamma
from bandit.policies.preset import ORACLE_OPTIONS, Option, Preset


def _explore(rewards: Sequence[float], events: int, options: Mapping[str, float]) -> Sequence[float]:
    gamma = squarecb_gamma(events, options["gamma_scale"], options["gamma_exponent"])
    return inverse_gap_weighting(rewards, gamma)


PRESET = Preset(
    name="squarecb",
    explore=_explore,
    learns=True,
    options={
        "gamma_scale": Option(30.0, 0.0, 1e6, "How greedy the policy is; 0 is uniform."),
        "gamma_exponent": Option(0.5, 0.0, 1.0, "How fast it grows greedier with the events learned."),
        **ORACLE_OPTIONS,
    },
)
