"""Contexts and variants -> Vowpal Wabbit's text in one go, for a log that is exported.

A learner reads a context once instead, and hands the reading to each of its oracles.
"""

from collections.abc import Mapping, Sequence

from bandit.core.experiment import Signal
from bandit.core.records import Features, Variant
from bandit.policies.reading import Reader
from bandit.policies.scaling import Scaler
from bandit.policies.vw.encoding import Encoder


class TextEncoder:
    """What a plain model would read of a log, from its first event on."""

    def __init__(self, signals: Mapping[str, Signal] | None) -> None:
        """`signals` are the declared ones, None where any is taken."""
        variant_numbers = Scaler()
        self._reader = Reader(signals, Scaler(), variant_numbers)
        self._encoder = Encoder(variant_numbers)

    def observe(self, context: Features, variant: Variant) -> None:
        """Takes the numbers of one event into the running figures."""
        self._reader.observe(context, variant)

    def shared(self, context: Features) -> str:
        """The line of a context."""
        return self._encoder.written(self._reader.read(context))

    def lines(self, variants: Sequence[Variant]) -> str:
        """The variants' lines."""
        return self._encoder.lines(variants)
