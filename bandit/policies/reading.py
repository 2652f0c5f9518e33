"""Contexts -> what models read of them: standardised numbers by name, and tokens for everything else.

A token says its type, and equal tokens mean equal name, type and value:

    channel=Web       a category             newbie?1   a flag
    tags+sale         one of some categories

No text in them can be syntax, neither here nor in what is written of them: space, control characters, halves
of surrogate pairs, `|` and `:` (Vowpal Wabbit's syntax), `=`, `?`, `+` and `~` (ours), and `%` are written as
%HEX; and an empty text as %; so that a token can be read back and is never ambiguous. Signals stand in the
order of their names: maps have none, and sums depend on it.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from bandit.core.experiment import Signal
from bandit.core.records import Features, FeatureValue, Variant
from bandit.core.signals import TYPES, for_model
from bandit.policies.scaling import Scaler

_SYNTAX = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff|:=?+~%]")
# What the constructor of a named tuple does, without its detour.
_new_reading = tuple.__new__

_Declared = dict[str, tuple[type, Signal | None]]
"""Signal -> the type of its values, and the signal itself only if they are bounded."""

_UNKNOWN: tuple[type, Signal | None] = (type(None), None)

CACHED_TEXTS: Final = 4_096
CACHED_TEXT_CHARACTERS: Final = 64


class Reading(NamedTuple):
    """What models read of a context: numbers as (escaped name, standardised value), everything else as
    tokens, each in the order of the signals' names.
    """

    numbers: list[tuple[str, float]]
    tokens: list[str]


class Escapes(dict[str, str]):
    """Text -> its escaped form; keeps short texts, as most come again."""

    def __missing__(self, text: str) -> str:
        escaped = _SYNTAX.sub(lambda found: f"%{ord(found[0]):X};", text) if text else "%;"
        if len(text) <= CACHED_TEXT_CHARACTERS:
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[text] = escaped
        return escaped


def token(name: str, value: FeatureValue, escapes: Escapes) -> str:
    """The token of a value that is no number; of a list those of its texts, with spaces between them.

    Raises TypeError for a value of no known type.
    """
    if type(value) is str:
        return f"{escapes[name]}={escapes[value]}"
    if type(value) is bool:
        return f"{escapes[name]}?1" if value else f"{escapes[name]}?0"
    if type(value) is tuple:
        # A list is a set to the model: a repeat says nothing new.
        return " ".join([f"{escapes[name]}+{escapes[text]}" for text in dict.fromkeys(value)])
    raise TypeError(
        f"{name!r} is of type {type(value).__name__}; features are texts, floats, bools or tuples"
    )


class _Tokens(dict[tuple[str, FeatureValue], tuple[str, ...]]):
    """(signal, value) -> its tokens, for values that are no numbers; keeps short texts and flags.

    Empty for one that the definition no longer knows, or knows otherwise.
    """

    def __init__(self, declared: _Declared | None, escapes: Escapes) -> None:
        super().__init__()
        self._declared = declared
        self._escapes = escapes

    def __missing__(self, key: tuple[str, FeatureValue]) -> tuple[str, ...]:
        name, value = key
        tokens = self._of(name, value)
        if type(value) is bool or (type(value) is str and len(value) <= CACHED_TEXT_CHARACTERS):
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[key] = tokens
        return tokens

    def _of(self, name: str, value: FeatureValue) -> tuple[str, ...]:
        if self._declared is not None:
            kind, bounded = self._declared.get(name, _UNKNOWN)
            if type(value) is not kind:
                return ()
            if bounded is not None:
                value = for_model(bounded, value)
        escapes = self._escapes
        if type(value) is tuple:
            # As in `token`, one by one.
            return tuple([f"{escapes[name]}+{escapes[text]}" for text in dict.fromkeys(value)])
        return (token(name, value, escapes),)


class _Numbers(dict[str, tuple[str, float, float] | None]):
    """Signal -> its escaped name and the range that the model sees numbers of it in; None for one that the
    definition does not know as a number.
    """

    def __init__(self, declared: _Declared | None, escapes: Escapes) -> None:
        super().__init__()
        self._declared = declared
        self._escapes = escapes

    def __missing__(self, name: str) -> tuple[str, float, float] | None:
        rule = self._of(name)
        if len(name) <= CACHED_TEXT_CHARACTERS:
            if len(self) >= CACHED_TEXTS:
                self.clear()
            self[name] = rule
        return rule

    def _of(self, name: str) -> tuple[str, float, float] | None:
        low, high = -math.inf, math.inf
        if self._declared is not None:
            kind, bounded = self._declared.get(name, _UNKNOWN)
            if kind is not float:
                return None
            if bounded is not None and bounded.range is not None:
                low, high = bounded.range
        return self._escapes[name], low, high


class Reader:
    """Reads contexts for every model of an experiment, and feeds the running figures that numbers are
    standardised by. What it reads depends on its arguments and the scalers' state alone.
    """

    def __init__(
        self, signals: Mapping[str, Signal] | None, context_numbers: Scaler, variant_numbers: Scaler
    ) -> None:
        """`signals` are the declared ones, None where any is taken. Both scalers are fed by `observe`."""
        declared: _Declared | None = None
        if signals is not None:
            declared = {
                name: (TYPES[signal.type], signal if signal.range or signal.values else None)
                for name, signal in signals.items()
            }
        self._context_numbers = context_numbers
        self._variant_numbers = variant_numbers
        self._read_of: Features | None = None
        self._read_numbers: list[tuple[str, str, float]] = []
        self._read_tokens: list[str] = []
        escapes = Escapes()
        self._tokens = _Tokens(declared, escapes)
        self._numbers = _Numbers(declared, escapes)

    def observe(self, context: Features, variant: Variant) -> Reading:
        """Takes the numbers of one event into the running figures, and reads the context by them."""
        # What was just predicted is learned: since then only numbers can have come to look different.
        if context is not self._read_of:
            self._look_at(context)
        reading = self._reading(self._context_numbers.update)
        if variant.features:
            for name, value in _numbers(variant.features):
                self._variant_numbers.update(name, value)
        return reading

    def read(self, context: Features) -> Reading:
        """What models read of a context."""
        self._look_at(context)
        return self._reading(self._context_numbers.standard)

    def _look_at(self, context: Features) -> None:
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
        self._read_of, self._read_numbers, self._read_tokens = context, numbers, texts

    def _reading(self, standard: Callable[[str, float], float]) -> Reading:
        numbers = [(escaped, standard(name, seen)) for name, escaped, seen in self._read_numbers]
        return _new_reading(Reading, (numbers, self._read_tokens))


def _numbers(features: Features) -> list[tuple[str, float]]:
    """The numbers among them, in the order of their names."""
    numbers = [(name, value) for name, value in features.items() if type(value) is float]
    if len(numbers) > 1:
        numbers.sort()
    return numbers
