"""Consent, declaration, type and range of the signals of one call."""

import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from bandit.core.errors import Reason, Refused, refused_field
from bandit.core.experiment import Signal
from bandit.core.records import Features, FeatureValue

OTHER = "other"
"""What the model sees for a category outside a signal's declared `values`."""

_ALLOWED_CHARACTERS = 128
"""How much of what is allowed a refusal shows: a client takes about 8 KB of a call's error details."""

TYPES: Mapping[str, type] = {"number": float, "category": str, "flag": bool, "categories": tuple}
"""The type that a value of each type of signal has."""

_TYPE_NAMES = {kind: name for name, kind in TYPES.items()}


_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Rule:
    """A declared signal as calls are judged by it.

    A number between `low` and `high` needs no further look: it is finite and in its range. Nor does a
    category among `values`, which are None where any will do. `bounded` is the signal if it bounds its
    values.
    """

    kind: type
    consent: str | None
    low: float
    high: float
    values: frozenset[str] | None
    bounded: Signal | None

    @classmethod
    def of(cls, signal: Signal) -> "Rule":
        """The rule of a declared signal."""
        low, high = signal.range or (-_LARGEST, _LARGEST)
        values = frozenset(signal.values) if signal.values else None
        bounded = signal if signal.range or signal.values else None
        return cls(TYPES[signal.type], signal.consent, low, high, values, bounded)


def rules(signals: Mapping[str, Signal]) -> dict[str, Rule]:
    """The rules of an experiment's signals, by name."""
    return {name: Rule.of(signal) for name, signal in signals.items()}


def admitted(
    signals: Mapping[str, Rule] | None, raw: Mapping[str, FeatureValue | None], consents: Collection[str]
) -> tuple[Features, int]:
    """The signals that may be used and logged, as sent, and how many of them the model will see clamped.

    `signals` is None where the experiment takes any. A raw value of None is one whose type was not set.
    Signals without their consent are dropped unseen. Raises Refused: UNDECLARED_SIGNAL, MISSING_VALUE,
    WRONG_TYPE, NON_FINITE_VALUE, or SIGNAL_OUT_OF_RANGE for a strict signal. Whatever order a map comes in,
    the first by name is refused, and a range is judged only once every signal is declared and of its type.
    """
    if signals is not None and not raw.keys() <= signals.keys():
        raise _undeclared(min(raw.keys() - signals.keys()), signals)
    dropped: set[str] = set()
    clamped = 0
    refused: list[tuple[bool, str, Refused]] = []
    for name, value in raw.items():
        # Every signal of every decision comes by here: most are sound, and go on at once.
        rule = _ANY if signals is None else signals[name]
        consent = rule.consent
        if consent is not None and consent not in consents:
            dropped.add(name)
            continue
        kind, given = rule.kind, type(value)
        if given is float:
            if kind is float and rule.low <= value <= rule.high:  # type: ignore[operator]  # a float, as asked
                continue
        elif given is kind and rule.bounded is None:
            continue
        try:
            clamped += _clamped(name, rule, value)
        except Refused as refusal:
            refused.append((refusal.reason is Reason.SIGNAL_OUT_OF_RANGE, name, refusal))
    if refused:
        # A map has no order, but a request has one answer.
        raise min(refused, key=lambda each: each[:2])[2]
    admitted = {name: value for name, value in raw.items() if name not in dropped} if dropped else raw
    # None is left nowhere: it was refused, or dropped.
    return cast(Features, admitted), clamped


def _clamped(name: str, rule: Rule, value: FeatureValue | None) -> bool:
    """Whether the model will see a value clamped. Raises Refused as `admitted`."""
    kind, bounded, given = rule.kind, rule.bounded, type(value)
    if value is None:
        raise refused_field(
            Reason.MISSING_VALUE,
            f"context[{name}]",
            f"Signal {name!r} has no value. Set text, number, flag or texts, or leave the signal out.",
            signal=name,
        )
    if given is not kind and kind is not object:
        raise _wrong_type(name, _TYPE_NAMES[kind], _TYPE_NAMES[given])
    if isinstance(value, float) and not math.isfinite(value):
        raise refused_field(
            Reason.NON_FINITE_VALUE,
            f"context[{name}]",
            f"Signal {name!r} is NaN or infinite. Send a finite number, or leave the signal out.",
            signal=name,
        )
    if bounded is None or _within(bounded, value):
        return False
    if bounded.strict:
        raise _out_of_range(name, bounded)
    return True


_ANY = Rule(object, None, -_LARGEST, _LARGEST, None, None)


def _within(signal: Signal, value: FeatureValue) -> bool:
    """Whether a value is in its signal's range, or among its values: OTHER is not, unless declared."""
    if signal.range is not None and type(value) is float:
        low, high = signal.range
        return low <= value <= high
    if signal.values is not None:
        return all(item in signal.values for item in (value if isinstance(value, tuple) else (value,)))
    return True


def for_model(signal: Signal, value: FeatureValue) -> FeatureValue:
    """What the model sees of a value: a number in its range, a category among its values or `other`."""
    if signal.range is not None and type(value) is float:
        low, high = signal.range
        return min(max(value, low), high)
    if signal.values is not None:
        if isinstance(value, tuple):
            return tuple(item if item in signal.values else OTHER for item in value)
        return value if value in signal.values else OTHER
    return value


def _undeclared(name: str, signals: Collection[str]) -> Refused:
    known = ", ".join(list(signals)[:10]) or "none"
    message = (
        f"Signal {name!r} is not declared by the experiment (declared: {known}). Declare it in the "
        "experiment file, or leave it out."
    )
    return refused_field(Reason.UNDECLARED_SIGNAL, f"context[{name}]", message, signal=name, declared=known)


def _wrong_type(name: str, expected: str, actual: str) -> Refused:
    message = (
        f"Signal {name!r} is declared as {expected} but came as {actual}. "
        f"Send a {expected}; no type is converted."
    )
    return refused_field(
        Reason.WRONG_TYPE, f"context[{name}]", message, signal=name, expected=expected, actual=actual
    )


def _out_of_range(name: str, signal: Signal) -> Refused:
    right = f"{list(signal.range)}" if signal.range is not None else f"{list(signal.values or ())[:10]}"
    if len(right) > _ALLOWED_CHARACTERS:
        right = right[: _ALLOWED_CHARACTERS - 1] + "…"
    message = f"Signal {name!r} is strict and outside {right}. Send a value inside, or drop strict."
    return refused_field(Reason.SIGNAL_OUT_OF_RANGE, f"context[{name}]", message, signal=name, allowed=right)
