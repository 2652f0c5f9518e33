"""squarecb: the default. Inverse gap weighting over predicted rewards, sharper with every treatment-arm
event.

Foster and Rakhlin, Beyond UCB: Optimal and Efficient Contextual Bandits with Regression Oracles (ICML 2020).
gamma = gamma_scale * events ** gamma_exponent. The gaps are those of upper confidence bounds, optimism *
sqrt(log(events)) standard errors above what is expected (Abbasi-Yadkori, Pál and Szepesvári, Improved
Algorithms for Linear Stochastic Bandits, NIPS 2011), in units of the reward's noise: so a gap means the same
whether rewards are clicks of one in a hundred or amounts. The defaults were chosen on the worlds of
scripts/bench/quality.py that are not held out.
"""

import math
from collections.abc import Mapping, Sequence

from bandit.core.exploration import inverse_gap_weighting, squarecb_gamma
from bandit.policies.prediction import Predicted
from bandit.policies.preset import ORACLE_OPTIONS, Option, Preset


def _explore(predicted: Predicted, events: int, options: Mapping[str, float]) -> Sequence[float]:
    gamma = squarecb_gamma(events, options["gamma_scale"], options["gamma_exponent"])
    noise, rewards, errors = predicted.noise, predicted.rewards, predicted.errors
    if any(errors):
        optimism = noise * options["optimism"] * math.sqrt(math.log(events + math.e))
        rewards = [reward + optimism * error for reward, error in zip(rewards, errors, strict=True)]
    # A gap in units of the noise is weighed by gamma; the same in units of the reward by gamma / noise.
    return inverse_gap_weighting(rewards, gamma / noise)


PRESET = Preset(
    name="squarecb",
    explore=_explore,
    learns=True,
    options={
        "gamma_scale": Option(100.0, 0.0, 1e6, "How greedy the policy is; 0 is uniform."),
        "gamma_exponent": Option(0.5, 0.0, 1.0, "How fast it grows greedier with the events learned."),
        "optimism": Option(
            0.5,
            0.0,
            10.0,
            "Variants count for so many standard errors, times sqrt(log(events)), above prediction.",
        ),
        **ORACLE_OPTIONS,
    },
)
