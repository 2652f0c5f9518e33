"""JoinedEvents -> Vowpal Wabbit's text: a multi-line example each, for its --cb_adf and --cb_explore_adf.

    shared |U channel=Web recency:0.3121
    |A id=no_email
    0:-1.000000000:0.250000000000 |A id=womens

    (a blank line ends the example)

The tokens are those that the production model reads: written by the same encoder, numbers standardised as
they come, so no text of a context or variant can be syntax. A label is `0:COST:PROBABILITY` on the served
variant's line; the cost is the negative reward on the unit scale of its declared range, in [-1, 0]. Events
without a reward or without a known propensity have no label: Vowpal Wabbit predicts for them and learns
nothing. `pdrop` is not in the text.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from bandit.core.records import Features, JoinedEvent, Variant
from bandit.core.rewards import unit_scale


class Encoder(Protocol):
    """Writes contexts and variants; `bandit.policies.vw.text.TextEncoder` is one."""

    def observe(self, context: Features, variant: Variant) -> object:
        """Takes the numbers of one event into the running figures."""
        ...

    def shared(self, context: Features) -> str:
        """The line of the context."""
        ...

    def lines(self, variants: Sequence[Variant]) -> str:
        """The variants' lines."""
        ...


def lines(
    events: Iterable[JoinedEvent], encoder: Encoder, reward_range: tuple[float, float]
) -> Iterator[str]:
    """An example an event, in several lines with the blank one that ends it, without the last line end."""
    for learned, event in enumerate(events):
        decision = event.decision
        # As the model's oracle does it before it learns: the variants in turn.
        encoder.observe(decision.context, decision.variants[learned % len(decision.variants)])
        shown = encoder.lines(decision.variants).split("\n")
        propensity = decision.propensity
        if event.reward is not None and propensity == propensity:  # not NaN
            cost = 0.0 - unit_scale(event.reward, *reward_range)
            # Never with an exponent: VW reads -4e-196 as minus infinity.
            shown[decision.chosen] = f"0:{cost:.9f}:{propensity:.12f} {shown[decision.chosen]}"
        yield "\n".join([encoder.shared(decision.context), *shown, ""])
