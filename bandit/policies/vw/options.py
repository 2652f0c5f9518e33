"""Which Vowpal Wabbit arguments an experiment may give, and the full list that a model is made with.

Allowed is what changes how the regression learns or which features it crosses. Whatever reads or writes a
file, opens a socket, changes the label type or the stack of reductions is not; nor is what would break that a
resumed model equals the uninterrupted one (--freegrad), what has no effect on a single pass
(--decay_learning_rate), or what makes every snapshot as large as all weights (--initial_t).
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

LETTERS: Final = "UAF"
"""The namespaces: U the context, A the variant's id, F the variant's features."""

CROSSED: Final = ("UV", "UUA", "BA", "LA", "LV", "LF")
"""Crossings of the model that crosses signals with each other; B, L and V are those of `encoding`."""

_NUMBERS = {
    "--learning_rate": (1e-4, 10.0),
    "--power_t": (0.0, 1.0),
    "--l1": (0.0, 1.0),
    "--l2": (0.0, 1.0),
}
_FLAGS = ("--noconstant", "--adaptive", "--normalized", "--invariant", "--sgd")
_CROSSINGS = {"--quadratic": (2, 2), "--cubic": (3, 3), "--interactions": (2, 4)}
_IGNORE = "--ignore_linear"
_SHORT = {"-l": "--learning_rate", "-q": "--quadratic"}

_ALLOWED = ", ".join([*_NUMBERS, *_FLAGS, *_CROSSINGS, _IGNORE])
_NOT_IN_THE_FILE = ("--l1", "--l2")
_DEFAULT_CROSSINGS = ("UA", "UF")

LISTS_KEPT: Final = 64
"""Models of one policy have the same arguments; to take them apart would be a part of loading each."""


def problem(text: str) -> str:
    """What is wrong with `text` as VW arguments, and what would be right; empty if nothing is."""
    try:
        _parsed(text)
    except ValueError as error:
        return str(error)
    return ""


def canonical(text: str) -> tuple[float | None, str]:
    """The learning rate that `text` sets, if it does, and all else in one fixed writing. Raises
    ValueError.
    """
    given = _parsed(text)
    rate = given.pop("--learning_rate", None)
    words: list[str] = []
    for name in sorted(given):
        value = given[name]
        if name == "--interactions":
            words += [word for crossing in sorted(value.split()) for word in (name, crossing)]
        else:
            words += [name, value] if value else [name]
    return (None if rate is None else float(rate)), " ".join(words)


def arguments(
    learning_rate: float, bits: int, canonical_text: str, further: Sequence[str] = ()
) -> tuple[str, ...]:
    """Everything that a model is made with. Context is crossed with variants always: uncrossed, it could not
    change their ranking. `further` are more crossings.
    """
    crossings = [
        word for crossing in (*_DEFAULT_CROSSINGS, *further) for word in ("--interactions", crossing)
    ]
    return (
        *("--cb_adf", "--cb_type", "mtr", "--hash", "all"),
        *("--bit_precision", str(bits), "--learning_rate", repr(learning_rate)),
        *crossings,
        *canonical_text.split(),
        # VW keeps 256 examples by default, 8 MB. The counters make a resumed model equal the uninterrupted.
        *("--quiet", "--example_queue_limit", "16", "--preserve_performance_counters"),
    )


@lru_cache(LISTS_KEPT)
def stored(words: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    """The part of `arguments`, or of a model file's own list, that a model file must agree in."""
    options: list[list[str]] = [[""]]
    for word in words:
        if word.startswith("--"):
            options.append([word])
        else:
            options[-1].append(_as_stored(word))
    ours = {"--bit_precision", "--quiet", "--example_queue_limit", "--preserve_performance_counters"}
    implied = {"--csoaa_ldf", "--csoaa_rank"}
    left_out = {"", *ours, *implied, *_NOT_IN_THE_FILE}
    return frozenset(tuple(option) for option in options if option[0] not in left_out)


def _as_stored(word: str) -> str:
    """VW keeps numbers in single precision."""
    try:
        return repr(struct.unpack("<f", struct.pack("<f", float(word)))[0])
    except (ValueError, OverflowError):
        return word


def _parsed(text: str) -> dict[str, str]:
    """Option -> value; crossings under --interactions, separated by spaces."""
    given: dict[str, str] = {}
    crossings: set[str] = set()
    words = iter(text.replace("=", " ").split())
    for word in words:
        name = _SHORT.get(word, word)
        if name in given:
            raise ValueError(f"{name} stands twice; keep one of them")
        if name in _NUMBERS:
            given[name] = _number(name, words)
        elif name in _FLAGS:
            given[name] = ""
        elif name in _CROSSINGS:
            crossings.add(_namespaces(name, words, *_CROSSINGS[name]))
        elif name == _IGNORE:
            # VW itself writes them in this order.
            given[name] = "".join(sorted(set(_namespaces(name, words, 1, len(LETTERS)))))
        else:
            raise ValueError(f"has {word[:40]!r}, which is not allowed; allowed are {_ALLOWED}")
    crossings -= {*_DEFAULT_CROSSINGS}
    if crossings:
        given["--interactions"] = " ".join(sorted(crossings))
    return given


def _number(name: str, words: Iterator[str]) -> str:
    low, high = _NUMBERS[name]
    word = next(words, "")
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not low <= number <= high:
        raise ValueError(f"has {name} {word[:40]!r}; give it a number from {low:g} to {high:g}")
    return repr(number)


def _namespaces(name: str, words: Iterator[str], fewest: int, most: int) -> str:
    word = next(words, "")
    if not (fewest <= len(word) <= most and set(word) <= set(LETTERS)):
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise ValueError(
            f"has {name} {word[:40]!r}; give it {count} of the namespaces U (context), A (variant) and "
            f"F (variant features), such as {'UUAF'[-most:]}"
        )
    return "".join(sorted(word, key=LETTERS.index))
