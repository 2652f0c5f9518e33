"""The median time of a decision, between rewards that are learned and not timed.

Needs the standard library alone, since it runs in the environments of other libraries too.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

WARM_UP_CALLS = 500
CALLS_MIN = 20
REWARDED = 0.1

Play = Callable[[float], float]
"""Plays for so many seconds, and gives the median microseconds of a decision."""


def timed(
    choose: Callable[[Any], Any], learn: Callable[[Any, float], None], contexts: Sequence[Any], seed: int
) -> Play:
    """What plays over the contexts, again and again, once it is warm.

    `learn` gets what `choose` gave, and a reward of 1 once in ten times, else of 0.
    """
    rng = random.Random(seed)
    endless = itertools.cycle(contexts)

    def call() -> int:
        context = next(endless)
        begun = time.perf_counter_ns()
        chosen = choose(context)
        took = time.perf_counter_ns() - begun
        learn(chosen, float(rng.random() < REWARDED))
        return took

    def play(seconds: float) -> float:
        until = time.perf_counter() + seconds
        took = []
        while time.perf_counter() < until or len(took) < CALLS_MIN:
            took.append(call())
        return statistics.median(took) / 1e3

    for _ in range(WARM_UP_CALLS):
        call()
    return play
