"""Contexts and variants -> Vowpal Wabbit's text, so that no text in them can be syntax.

Namespaces: U the context, A the variant's id, F the variant's features. A token says its type, and equal
tokens mean equal name, type and value:

    recency:0.3121    a number, standardised (its value stands apart, so the token is the name)
    channel=Web       a category             newbie?1   a flag
    tags+sale         one of some categories

Space, control characters, halves of surrogate pairs, `|` and `:` (VW's syntax), `=`, `?` and `+` (ours), and
`%` are written as %HEX; and an empty text as %; so that the writing can be read back and is never ambiguous.
Features stand in the order of their names: maps have none, and single precision sums depend on it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bandit.core.experiment import Signal
from bandit.core.records import Features, FeatureValue, Variant
from bandit.core.signals import TYPES, for_model
from bandit.policies.vw.scaling import Scaler

_SYNTAX = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff|:=?+%]")
_UNKNOWN: tuple[type, Signal | None] = (type(None), None)

CACHED_TEXTS: Final = 4_096
CACHED_TEXT_CHARACTERS: Final = 64


class _Escapes(dict[str, str]):
    """Text -> its escaped form; keeps short texts, as most come again."""

    def __missing__(self, text: str) -> str:
        escaped = _SYNTAX.sub(lambda found: f"%{ord(found[0]):X};", text) if text else "%;"
        if len(text) <= CACHED_TEXT_CHARACTERS:
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[text] = escaped
        return escaped


class _Tokens(dict[tuple[str, FeatureValue], str]):
    """(signal, value) -> what the model reads, for values that are no numbers; keeps short texts and flags.

    Empty for one that the definition no longer knows, or knows otherwise.
    """

    def __init__(self, written: Callable[[str, FeatureValue], str]) -> None:
        super().__init__()
        self._written = written

    def __missing__(self, key: tuple[str, FeatureValue]) -> str:
        name, value = key
        token = self._written(name, value)
        if type(value) is bool or (type(value) is str and len(value) <= CACHED_TEXT_CHARACTERS):
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[key] = token
        return token


class Encoder:
    """Writes the text that is predicted and learned from. Its output depends on its arguments and the
    scalers' state alone.
    """

    def __init__(
        self, signals: Mapping[str, Signal] | None, context_numbers: Scaler, variant_numbers: Scaler
    ) -> None:
        """`signals` are the declared ones, None where any is taken. The scalers are read here, and fed by
        `observe`.
        """
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
        self._written_at = 0
        self._asked: Features | None = None
        self._asked_parts: list[str] = []
        self._asked_numbers: list[tuple[int, str]] = []
        self._escapes = _Escapes()
        self._tokens = _Tokens(self._token)

    def observe(self, context: Features, variant: Variant) -> None:
        """Takes the numbers of one event into the running figures."""
        for name, value in _numbers(context):
            seen = self._seen(name, value)
            if type(seen) is float:
                self._context_numbers.update(name, seen)
        if variant.features:
            for name, value in _numbers(variant.features):
                self._variant_numbers.update(name, value)

    def lesson(self, context: Features, variants: Sequence[Variant], chosen: int, cost: float) -> str:
        """The text that teaches what `variants[chosen]` cost in this context.

        One variant and a probability of 1 make it a plain regression on what was served; see `oracle`.
        """
        # Never with an exponent: VW reads -4e-196 as minus infinity.
        written = self._written
        if variants is self._written_of and self._variant_numbers.updates == self._written_at:
            line = written[chosen]
        else:
            line = self._line(variants[chosen])
        if context is self._asked:
            # What was just predicted is learned: since then only numbers can have come to look different.
            parts = self._asked_parts
            for index, name in self._asked_numbers:
                parts[index] = self._token(name, context[name])
            shared = " ".join(parts)
        else:
            shared = self.shared(context)
        return f"{shared}\n0:{cost:.9f}:1 {line}"

    def shared(self, context: Features) -> str:
        """The line of the context: before the variants' lines, it asks for a prediction of each of them."""
        # Every signal of every decision comes by here.
        parts = ["shared |U"]
        numbers: list[tuple[int, str]] = []
        tokens = self._tokens
        for item in sorted(context.items()):
            if type(item[1]) is not float:
                token = tokens[item]
                if token:
                    parts.append(token)
            elif token := self._token(*item):
                numbers.append((len(parts), item[0]))
                parts.append(token)
        self._asked, self._asked_parts, self._asked_numbers = context, parts, numbers
        return " ".join(parts)

    def lines(self, variants: Sequence[Variant]) -> str:
        """The variants' lines."""
        written = [self._line(variant) for variant in variants]
        if type(variants) is tuple:
            # A tuple can't change: its lines hold until the figures move that scale its numbers.
            self._written, self._written_of = written, variants
            self._written_at = self._variant_numbers.updates
        return "\n".join(written)

    def _token(self, name: str, value: FeatureValue) -> str:
        seen = self._seen(name, value)
        return "" if seen is None else self._feature(name, seen, self._context_numbers)

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
        line = f"|A id={self._escapes[variant.id]}"
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


def _numbers(features: Features) -> list[tuple[str, float]]:
    """The numbers among them, in the order of their names."""
    numbers = [(name, value) for name, value in features.items() if type(value) is float]
    if len(numbers) > 1:
        numbers.sort()
    return numbers
