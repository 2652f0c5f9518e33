"""Features as JSON objects have them -> features as banditd has them.

Nested namespaces flatten to "namespace.name", to any depth up to DEPTH_MAX. Texts are categories, numbers are
floats, true and false are flags, lists of texts are categories, lists of objects are one namespace each part,
lists of numbers are "name.0", "name.1", ...; null is nothing. Names that begin with `_` are Vowpal Wabbit's
own and are left out.
"""

from collections.abc import Iterable
from typing import Any, Final

from bandit.core import limits
from bandit.core.fields import id_problem
from bandit.core.records import FeatureValue
from bandit.eventlog.formats.lines import BadLine

DEPTH_MAX: Final = 16
NAMES_KEPT: Final = 10_000


class _Names(dict[str, str]):
    """Name within a namespace -> the whole name; empty for one that is left out."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, name: str) -> str:
        whole = "" if name.startswith("_") else checked_name(f"{self._prefix}{name}")
        if len(self) < NAMES_KEPT:
            self[name] = whole
        return whole


class _Namespaces(dict[str, _Names]):
    """Prefix ("namespace.", empty at the top) -> names."""

    def __missing__(self, prefix: str) -> _Names:
        names = _Names(prefix)
        if len(self) < NAMES_KEPT:
            self[prefix] = names
        return names


class Flattener:
    """Flattens the features of many lines; remembers the names, which are few."""

    def __init__(self) -> None:
        self._namespaces = _Namespaces()
        self._known: set[str] = set()

    def features(self, item: dict[str, Any], entries_max: int) -> dict[str, FeatureValue]:
        """The features of a JSON object. Raises BadLine."""
        into: dict[str, FeatureValue] = {}
        self._object(into, item, "", 0)
        if len(into) > entries_max:
            raise BadLine("LIMIT_EXCEEDED", f"has {len(into)} features; at most {entries_max} are allowed")
        return into

    def check_names(self, names: Iterable[str]) -> None:
        """Checks names that are whole already. Raises BadLine."""
        known = self._known
        for name in names:
            if name not in known:
                checked_name(name)
                if len(known) < NAMES_KEPT:
                    known.add(name)

    def _object(self, into: dict[str, FeatureValue], item: dict[str, Any], prefix: str, depth: int) -> None:
        names = self._namespaces[prefix]
        # Every feature of every line comes by here.
        for name, value in item.items():
            kind = type(value)
            whole = names[name]
            if not whole:
                continue
            if kind is str:
                into[whole] = value if len(value) <= _SHORT else checked_text(value)
            elif kind is float or kind is bool:
                into[whole] = value
            elif kind is int:
                into[whole] = float(value)
            elif kind is dict:
                self._object(into, value, _deeper(whole, depth), depth + 1)
            elif kind is list:
                self._list(into, value, whole, depth)

    def _list(self, into: dict[str, FeatureValue], items: list[Any], whole: str, depth: int) -> None:
        texts = []
        for index, item in enumerate(items):
            if type(item) is str:
                texts.append(checked_text(item))
            elif type(item) is dict:
                self._object(into, item, _deeper(whole, depth), depth + 1)
            elif type(item) is int or type(item) is float:
                into[checked_name(f"{whole}.{index}")] = float(item)
            elif item is not None:
                raise BadLine("INVALID_FEATURE", "has a list within a list, or of flags, among its features")
        if texts or not items:
            into[whole] = checked_texts(texts)


_SHORT = limits.TEXT_BYTES // 4


def _deeper(whole: str, depth: int) -> str:
    if depth >= DEPTH_MAX:
        raise BadLine("LIMIT_EXCEEDED", f"nests features deeper than {DEPTH_MAX}")
    return f"{whole}."


def checked_name(name: str) -> str:
    """`name`, if a signal or feature may have it. Raises BadLine."""
    problem = id_problem(name)
    if problem:
        reason = "LIMIT_EXCEEDED" if "at most" in problem else "INVALID_FEATURE"
        raise BadLine(reason, f"has a feature whose name {problem}")
    return name


def checked_text(text: str) -> str:
    """`text`, if a category may be as long. Raises BadLine."""
    if len(text) > _SHORT and len(text.encode("utf-8", "surrogatepass")) > limits.TEXT_BYTES:
        raise BadLine("LIMIT_EXCEEDED", f"has a text of more than {limits.TEXT_BYTES} bytes")
    return text


def checked_texts(texts: list[str]) -> tuple[str, ...]:
    """`texts` as categories, if there are not too many. Raises BadLine."""
    if len(texts) > limits.TEXTS_VALUES:
        raise BadLine("LIMIT_EXCEEDED", f"has a list of more than {limits.TEXTS_VALUES} texts")
    return tuple(texts)
