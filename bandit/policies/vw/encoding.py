"""Contexts and variants -> Vowpal Wabbit's text, so that no text in them can be syntax.

Namespaces: U the context, A the variant's id, F the variant's features; and for a model that crosses signals
with each other B the bands of the context's numbers, L a context that is too long for that, V the ids of
variants whose features tell what holds for others too. A token says its type, and equal tokens mean equal
name, type and value:

    recency:0.3121    a number, standardised (its value stands apart, so the token is the name)
    channel=Web       a category             newbie?1   a flag
    tags+sale         one of some categories
    recency~-2        the band of a number, half a standard deviation wide

Space, control characters, halves of surrogate pairs, `|` and `:` (VW's syntax), `=`, `?`, `+` and `~` (ours),
and `%` are written as %HEX; and an empty text as %; so that the writing can be read back and is never
ambiguous. Features stand in the order of their names, numbers first: maps have none, and sums depend on it.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple
from weakref import proxy

from bandit.core.experiment import Signal
from bandit.core.records import Features, FeatureValue, Variant
from bandit.core.signals import TYPES, for_model
from bandit.policies.scaling import SPREAD, Scaler

_SYNTAX = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff|:=?+~%]")
_UNKNOWN: tuple[type, Signal | None] = (type(None), None)
# What the constructor of a named tuple does, without its detour.
_new_reading = tuple.__new__

CACHED_TEXTS: Final = 4_096
CACHED_TEXT_CHARACTERS: Final = 64

CROSSED_MAX: Final = 64
"""Contexts of more features than this are not crossed with themselves."""

BANDS_MAX: Final = 5
"""Numbers further out than this many bands, each half a standard deviation wide, share the outermost."""

_OUTERMOST: Final = 2.0 * SPREAD
_BANDS: Final = [
    f"~{min(max(band, -BANDS_MAX), BANDS_MAX - 1)}" for band in range(-int(_OUTERMOST), int(_OUTERMOST) + 1)
]
"""The bands of standardised numbers, from the lowest on."""


class _Escapes(dict[str, str]):
    """Text -> its escaped form; keeps short texts, as most come again."""

    def __missing__(self, text: str) -> str:
        escaped = _SYNTAX.sub(lambda found: f"%{ord(found[0]):X};", text) if text else "%;"
        if len(text) <= CACHED_TEXT_CHARACTERS:
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[text] = escaped
        return escaped


class _Tokens(dict[tuple[str, FeatureValue], tuple[str, ...]]):
    """(signal, value) -> what the model reads, for values that are no numbers; keeps short texts and flags.

    Empty for one that the definition no longer knows, or knows otherwise.
    """

    def __init__(self, written: Callable[[str, FeatureValue], tuple[str, ...]]) -> None:
        super().__init__()
        self._written = written

    def __missing__(self, key: tuple[str, FeatureValue]) -> tuple[str, ...]:
        name, value = key
        token = self._written(name, value)
        if type(value) is bool or (type(value) is str and len(value) <= CACHED_TEXT_CHARACTERS):
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[key] = token
        return token


class _Numbers(dict[str, tuple[str, float, float] | None]):
    """Signal -> its escaped name and the range that the model sees numbers of it in; None for one that the
    definition does not know as a number.
    """

    def __init__(self, rule: Callable[[str], tuple[str, float, float] | None]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, name: str) -> tuple[str, float, float] | None:
        rule = self._rule(name)
        if len(name) <= CACHED_TEXT_CHARACTERS:
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[name] = rule
        return rule


class Reading(NamedTuple):
    """What models read of a context: numbers as (name, standardised value), everything else as tokens, each
    in the order of the signals' names.
    """

    numbers: list[tuple[str, float]]
    tokens: list[str]


class Encoder:
    """Writes the text that is predicted and learned from. Its output depends on its arguments and the
    scalers' state alone.
    """

    def __init__(
        self,
        signals: Mapping[str, Signal] | None,
        context_numbers: Scaler,
        variant_numbers: Scaler,
        *,
        crossed: bool = False,
        generalises: bool = False,
    ) -> None:
        """`signals` are the declared ones, None where any is taken. The scalers are read here, and fed by
        `observe`. `crossed`: for a model that crosses signals with each other. `generalises`: whether earlier
        events said so, see `take_in`.
        """
        self._crossed = crossed
        self.generalises = generalises
        self._signals: dict[str, tuple[type, Signal | None]] | None = None
        if signals is not None:
            self._signals = {
                # The signal itself only if its values are bounded.
                name: (TYPES[signal.type], signal if signal.range or signal.values else None)
                for name, signal in signals.items()
            }
        self._context_numbers = context_numbers
        self._variant_numbers = variant_numbers
        self._written: list[str] = []
        self._written_of: Sequence[Variant] | None = None
        self._written_at = self.revision
        self._taken_in: Sequence[Variant] | None = None
        self._read_of: Features | None = None
        self._read_numbers: list[tuple[str, str, float]] = []
        self._read_texts: list[str] = []
        self._escapes = _Escapes()
        # Weak, or nothing would free an encoder but a full collection, which stops every call.
        this = proxy(self)
        self._tokens = _Tokens(lambda name, value: this._token(name, value))
        self._numbers = _Numbers(lambda name: this._number(name))

    @property
    def revision(self) -> tuple[int, bool]:
        """Changes whenever a variant's line would."""
        return self._variant_numbers.changes, self.generalises

    def observe(self, context: Features, variant: Variant) -> Reading:
        """Takes the numbers of one event into the running figures, and reads the context by them."""
        # What was just predicted is learned: since then only numbers can have come to look different.
        if context is not self._read_of:
            self._take_in(context)
        reading = self._reading(self._context_numbers.update)
        if variant.features:
            for name, value in _numbers(variant.features):
                self._variant_numbers.update(name, value)
        return reading

    def read(self, context: Features) -> Reading:
        """What models read of a context."""
        self._take_in(context)
        return self._reading(self._context_numbers.standard)

    def _take_in(self, context: Features) -> None:
        # Every signal of every decision comes by here.
        numbers: list[tuple[str, str, float]] = []
        texts: list[str] = []
        tokens, known = self._tokens, self._numbers
        for item in sorted(context.items()):
            name, value = item
            if type(value) is not float:
                texts += tokens[item]
            elif (number := known[name]) is not None:
                escaped, low, high = number
                numbers.append((name, escaped, low if value < low else high if value > high else value))
        self._read_of, self._read_numbers, self._read_texts = context, numbers, texts

    def _reading(self, standard: Callable[[str, float], float]) -> Reading:
        numbers = [(escaped, standard(name, seen)) for name, escaped, seen in self._read_numbers]
        return _new_reading(Reading, (numbers, self._read_texts))

    def shared(self, context: Features) -> str:
        """The line of a context: before the variants' lines, it asks for a prediction of each of them."""
        return self.written(self.read(context))

    def written(self, reading: Reading) -> str:
        """`shared` of what was read already.

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

    def _token(self, name: str, value: FeatureValue) -> tuple[str, ...]:
        seen = self._seen(name, value)
        if seen is None:
            return ()
        escapes = self._escapes
        if type(seen) is tuple:
            # A list is a set to the model: a repeat says nothing new.
            return tuple([f"{escapes[name]}+{escapes[text]}" for text in dict.fromkeys(seen)])
        return (self._feature(name, seen, self._context_numbers),)

    def _number(self, name: str) -> tuple[str, float, float] | None:
        low, high = -math.inf, math.inf
        if self._signals is not None:
            kind, bounded = self._signals.get(name, _UNKNOWN)
            if kind is not float:
                return None
            if bounded is not None and bounded.range is not None:
                low, high = bounded.range
        return self._escapes[name], low, high

    def _seen(self, name: str, value: FeatureValue) -> FeatureValue | None:
        """What the model sees of a signal; None for one that the definition no longer knows, or knows
        otherwise.
        """
        if self._signals is None:
            return value
        kind, bounded = self._signals.get(name, _UNKNOWN)
        if type(value) is not kind:
            return None
        return value if bounded is None else for_model(bounded, value)

    def _line(self, variant: Variant) -> str:
        # Where features tell what holds for other variants too, all the crossings of ids would drown it: .50
        # instead of .75 with fifty variants that are known by their features.
        line = f"|{'V' if self.generalises else 'A'} id={self._escapes[variant.id]}"
        if not variant.features:
            return line
        numbers = self._variant_numbers
        features = [self._feature(name, variant.features[name], numbers) for name in sorted(variant.features)]
        return f"{line} |F {' '.join(features)}"

    def _feature(self, name: str, value: FeatureValue, numbers: Scaler) -> str:
        escapes = self._escapes
        if type(value) is str:
            return f"{escapes[name]}={escapes[value]}"
        if type(value) is float:
            return f"{escapes[name]}:{numbers.standard(name, value):.4f}"
        if type(value) is bool:
            return f"{escapes[name]}?1" if value else f"{escapes[name]}?0"
        if type(value) is tuple:
            # A list is a set to the model: a repeat says nothing new.
            return " ".join([f"{escapes[name]}+{escapes[text]}" for text in dict.fromkeys(value)])
        raise TypeError(
            f"{name!r} is of type {type(value).__name__}; features are texts, floats, bools or tuples"
        )


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


def _numbers(features: Features) -> list[tuple[str, float]]:
    """The numbers among them, in the order of their names."""
    numbers = [(name, value) for name, value in features.items() if type(value) is float]
    if len(numbers) > 1:
        numbers.sort()
    return numbers
