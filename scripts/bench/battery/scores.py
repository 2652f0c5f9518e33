"""One job's rounds -> what is kept of them."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

PARTS = 20
WINDOW = 200
"""Rounds of the moving mean by which a recovery is judged."""
REGAINED = 0.9
KNOWN_LEAST = 0.2
"""A score below this before a shift is nothing to regain."""


class Earned(NamedTuple):
    """A counted round: what the choice brings on average, what it brought, and the two measures beside it."""

    round: int
    mean: float
    reward: float
    best: float
    uniform: float


def score(rounds: Sequence[Earned]) -> float | None:
    """0 is what an even draw earns, 1 what the best known policy does; None without rounds."""
    above = sum(each.best - each.uniform for each in rounds)
    return sum(each.mean - each.uniform for each in rounds) / above if above > 0 else None


def curve(rounds: Sequence[Earned], total: int) -> list[float | None]:
    """The score in each of twenty equal parts of `total` rounds."""
    parts: list[list[Earned]] = [[] for _ in range(PARTS)]
    for each in rounds:
        parts[each.round * PARTS // total].append(each)
    return [score(part) for part in parts]


def recoveries(rounds: Sequence[Earned], shifts: Sequence[int]) -> list[int]:
    """For each shift, the rounds until the score of the last `WINDOW` rounds is 90 % of that just before it.

    All rounds to the next shift, or to the end, if it never is, or if there was too little to regain.
    """
    found = []
    for index, shift in enumerate(shifts):
        end = shifts[index + 1] if index + 1 < len(shifts) else len(rounds)
        before = score(rounds[shift - WINDOW : shift]) or 0.0
        found.append(
            next(
                (
                    last - shift
                    for last in range(shift + WINDOW, end)
                    if before >= KNOWN_LEAST
                    and (score(rounds[last - WINDOW : last]) or 0.0) >= REGAINED * before
                ),
                end - shift,
            )
        )
    return found


def summary(
    rounds: Sequence[Earned], total: int, shifts: Sequence[int], seconds: Sequence[float]
) -> dict[str, object]:
    """What a result holds beside its names. `seconds` are those of choosing and learning, a round each."""
    return {
        "score": score(rounds),
        "mean_reward": statistics.fmean(each.reward for each in rounds),
        "rounds": total,
        "counted": len(rounds),
        "seconds": sum(seconds),
        "ms": 1e3 * statistics.median(seconds),
        "curve": curve(rounds, total),
        "recovery": recoveries(rounds, shifts),
    }
