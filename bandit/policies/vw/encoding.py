"""Readings and variants -> Vowpal Wabbit's text, so that no text in them can be syntax.

Namespaces: U the context, A the variant's id, F the variant's features; and for a model that crosses signals
with each other B the bands of the context's numbers, L a context that is too long for that, V the ids of
variants whose features tell what holds for others too. Features are the tokens of `reading`, and of numbers:

    recency:0.3121    a number, standardised (its value stands apart, so the token is the name)
    recency~-2        the band of a number, half a standard deviation wide

In a context they stand as they were read, numbers first; a variant's in the order of their names.
"""

from collections.abc import Sequence
from typing import Final

from bandit.core.records import Variant
from bandit.policies.reading import Escapes, Reading, token
from bandit.policies.scaling import SPREAD, Scaler

CROSSED_MAX: Final = 64
"""Contexts of more features than this are not crossed with themselves."""

BANDS_MAX: Final = 5
"""Numbers further out than this many bands, each half a standard deviation wide, share the outermost."""

_OUTERMOST: Final = 2.0 * SPREAD
_BANDS: Final = [
    f"~{min(max(band, -BANDS_MAX), BANDS_MAX - 1)}" for band in range(-int(_OUTERMOST), int(_OUTERMOST) + 1)
]
"""The bands of standardised numbers, from the lowest on."""


class Encoder:
    """Writes the text that is predicted and learned from. Its output depends on its arguments and the
    scaler's state alone.
    """

    def __init__(self, variant_numbers: Scaler, *, crossed: bool = False, generalises: bool = False) -> None:
        """`variant_numbers` is read here, and fed by the reader. `crossed`: for a model that crosses signals
        with each other. `generalises`: whether earlier events said so, see `take_in`.
        """
        self._crossed = crossed
        self.generalises = generalises
        self._variant_numbers = variant_numbers
        self._written: list[str] = []
        self._written_of: Sequence[Variant] | None = None
        self._written_at = self.revision
        self._taken_in: Sequence[Variant] | None = None
        self._escapes = Escapes()

    @property
    def revision(self) -> tuple[int, bool]:
        """Changes whenever a variant's line would."""
        return self._variant_numbers.changes, self.generalises

    def written(self, reading: Reading) -> str:
        """The line of a context: before the variants' lines, it asks for a prediction of each of them.

        For a model that crosses signals with each other numbers come a second time, as the band that they lie
        in, since what they decide may rise and fall again. Contexts of more than CROSSED_MAX features stay
        uncrossed, under another namespace: pairs grow with the square.
        """
        numbers, tokens = reading
        features = [*[f"{name}:{value:.4f}" for name, value in numbers], *tokens]
        if self._crossed and len(features) > CROSSED_MAX:
            return " ".join(["shared |L", *features])
        if self._crossed and numbers:
            features.append("|B")
            features += [f"{name}{_BANDS[int(2.0 * value + _OUTERMOST)]}" for name, value in numbers]
        return " ".join(["shared |U", *features])

    def take_in(self, variants: Sequence[Variant]) -> bool:
        """Takes in the variants of an event. From the first on of which several share a feature, all that is
        written rests on that, whichever variants a call brings. Whether this was the first.
        """
        if self.generalises or not self._crossed or variants is self._taken_in:
            return False
        self.generalises = _generalise(variants)
        # A list may change, or be another one's memory, by the time that it is compared.
        self._taken_in = variants if type(variants) is tuple else None
        return self.generalises

    def line(self, variants: Sequence[Variant], chosen: int) -> str:
        """One variant's line."""
        if variants is self._written_of and self.revision == self._written_at:
            return self._written[chosen]
        return self._line(variants[chosen])

    def lines(self, variants: Sequence[Variant]) -> str:
        """The variants' lines."""
        written = [self._line(variant) for variant in variants]
        if type(variants) is tuple:
            # A tuple can't change: its lines hold until the figures move that scale its numbers.
            self._written, self._written_of = written, variants
            self._written_at = self.revision
        return "\n".join(written)

    def _line(self, variant: Variant) -> str:
        # Where features tell what holds for other variants too, all the crossings of ids would drown it: .50
        # instead of .75 with fifty variants that are known by their features.
        line = f"|{'V' if self.generalises else 'A'} id={self._escapes[variant.id]}"
        features = variant.features
        if not features:
            return line
        escapes, numbers = self._escapes, self._variant_numbers
        line += " |F"
        for name in sorted(features):
            value = features[name]
            if type(value) is float:
                line += f" {escapes[name]}:{numbers.standard(name, value):.4f}"
            else:
                line += f" {token(name, value, escapes)}"
        return line


def _generalise(variants: Sequence[Variant]) -> bool:
    seen: set[object] = set()
    for variant in variants:
        for name, value in variant.features.items():
            # A repeat in a list says nothing new, and a word of a list is another one than the text alone.
            for part in set(value) if type(value) is tuple else (value,):
                key = name if type(part) is float else (name, type(value), part)
                if key in seen:
                    return True
                seen.add(key)
    return False
