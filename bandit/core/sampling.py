"""Ids -> uniform numbers -> an index: every random choice of the service, reproducible from the log.

H is blake2b over length-prefixed parts. "arm" and "draw" are separate domains: were they one, the arm of a
call without a subject would fix its draw, and every logged propensity would be false.
"""

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

_BITS = 53
_SCALE = 2.0**-_BITS


class Uniform:
    """Uniform numbers by unit: `Uniform(domain, salt, *parts)(unit)` depends on nothing but these.

    What comes before the unit is hashed once.
    """

    __slots__ = ("_begun",)

    def __init__(self, domain: str, salt: bytes, *parts: str) -> None:
        """`domain` keeps apart what must be independent; `parts` are ids."""
        self._begun = blake2b(digest_size=8)
        for piece in (domain.encode(), salt, *[part.encode() for part in parts]):
            self._begun.update(_with_length(piece))

    def __call__(self, unit: str) -> float:
        """A number in [0, 1) with 53 random bits."""
        whole = self._begun.copy()
        whole.update(_with_length(unit.encode()))
        return (int.from_bytes(whole.digest(), "big") >> (64 - _BITS)) * _SCALE


def _with_length(piece: bytes) -> bytes:
    return len(piece).to_bytes(4, "big") + piece


def draw(distribution: Sequence[float], u: float) -> int:
    """The index that `u` in [0, 1) picks from the cumulative distribution. Never one of probability 0."""
    index = bisect_right(list(accumulate(distribution)), u)
    if index < len(distribution):
        return index
    # The sum may round to just below 1; what is left over belongs to the last variant with support.
    return max(index for index, probability in enumerate(distribution) if probability > 0.0)
