"""A checked distribution over variants: finite, non-negative, sums to 1, keeps a floor."""

import math
from collections.abc import Sequence

SUM_TOLERANCE = 1e-9
"""How far a distribution's sum may stand from 1 once it is normalised in double precision."""

RENORMALISE_TOLERANCE = 1e-3
"""A sum this close to 1 is float32 rounding and is renormalised; anything worse is a broken policy."""


class BrokenDistribution(ValueError):
    """A policy returned no distribution. The caller serves the baseline and counts it."""


def normalised(probabilities: Sequence[float], size: int) -> list[float]:
    """`probabilities` scaled to sum to 1 in double precision.

    Raises BrokenDistribution unless there are `size` of them, all finite and in [0, 1 +
    RENORMALISE_TOLERANCE], with a sum within RENORMALISE_TOLERANCE of 1.
    """
    if len(probabilities) != size or size == 0:
        raise BrokenDistribution(f"expected {size} probabilities, got {len(probabilities)}")
    # A NaN fails every comparison, so both tests are written to pass only for sound values. The first one
    # goes first because fsum itself raises when it meets infinities of both signs; min and max may overlook a
    # NaN, the sum does not.
    if not (min(probabilities) >= 0.0 and max(probabilities) <= 1.0 + RENORMALISE_TOLERANCE):
        raise BrokenDistribution("a probability is outside [0, 1]")
    total = math.fsum(probabilities)
    if not abs(total - 1.0) <= RENORMALISE_TOLERANCE:
        raise BrokenDistribution(f"probabilities sum to {total!r}")
    if total == 1.0:
        return list(probabilities)
    return checked([p / total for p in probabilities])


def checked(probabilities: list[float]) -> list[float]:
    """`probabilities` unchanged. Raises BrokenDistribution unless they sum to 1 within SUM_TOLERANCE."""
    if not abs(math.fsum(probabilities) - 1.0) <= SUM_TOLERANCE:
        raise BrokenDistribution("probabilities do not sum to 1 after normalising")
    return probabilities


def with_floor(probabilities: Sequence[float], floor: float) -> list[float]:
    """Mix `floor` (in [0, 1], in total, spread evenly) into a distribution: p' = (1 - floor) p + floor / K.

    Every variant keeps at least floor / K, so an offline judge never meets a variant without support.
    """
    share = floor / len(probabilities)
    keep = 1.0 - floor
    return [keep * p + share for p in probabilities]


def one_hot(index: int, size: int) -> list[float]:
    """The distribution that always serves `index` among `size` variants."""
    distribution = [0.0] * size
    distribution[index] = 1.0
    return distribution
