"""Many rewards of one decision -> one number."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType


def _mean(values: Sequence[float]) -> float:
    # Division rounds: without the bounds the mean of three 0.1 would be above 0.1, and so out of a range [0,
    # 0.1].
    return clamp(math.fsum(values) / len(values), min(values), max(values))


AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {
        "first": lambda values: values[0],
        "last": lambda values: values[-1],
        "sum": math.fsum,
        "mean": _mean,
        "max": max,
        "min": min,
    }
)
"""Aggregate name -> function of a decision's rewards (at least one) in log order."""


def clamp(value: float, low: float, high: float) -> float:
    """`value` brought into [low, high]."""
    return min(max(value, low), high)


def unit_scale(value: float, low: float, high: float) -> float:
    """A reward in [low, high] on the unit scale: 0 is the worst of the declared range, 1 the best."""
    return (value - low) / (high - low)
