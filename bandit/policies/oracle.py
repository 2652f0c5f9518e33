"""What an exploration rule asks of a model, and what it gets: rewards, and how far they may be off.

Rewards are on the unit scale: 0 is the worst of the declared range, 1 the best.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Predicted(NamedTuple):
    """What a model says of some variants.

    `rewards` are the expected ones, `errors` their standard errors (all 0 where the model has none), both one
    a variant; `noise`, above 0, is the standard deviation of a reward around what is expected.
    """

    rewards: Sequence[float]
    errors: Sequence[float]
    noise: float


class Standing(NamedTuple):
    """Which of several oracles is `serving`, after how many `switches` and `alarms` of a world that changed;
    and by how many standard errors each lately predicted better than it, below 0 for worse.
    """

    serving: str
    switches: int
    alarms: int
    leads: Mapping[str, float]
