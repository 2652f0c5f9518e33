"""What an exploration rule asks of a model, and what it gets: rewards, and how far they may be off.

Rewards are on the unit scale: 0 is the worst of the declared range, 1 the best.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Predicted(NamedTuple):
    """What a model says of some variants.

    `rewards` are the expected ones, `errors` their standard errors (all 0 where the model has none), both one
    a variant; `noise`, above 0, is the standard deviation of a reward around what is expected.
    """

    rewards: Sequence[float]
    errors: Sequence[float]
    noise: float
