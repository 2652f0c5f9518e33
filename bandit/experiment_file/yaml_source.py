"""YAML text -> a tree that remembers its lines.

A narrow YAML: one document, keys are texts, no tags, no merge keys, and scalars as in YAML 1.2 (1e-3 is a
number; 010, 12:30, 1_000 and 2026-01-01 are texts). yes, no, on and off stay flags, as most readers have
them, so that a caller who wants a text can refuse them instead of guessing. Aliases are taken. Depth and
size, aliases written out, are limited. Nothing here knows what an experiment is.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from bandit.experiment_file.tree import Fault, Node, Path, Unreadable, hold_limits, misread

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE|yes|Yes|YES|on|On|ON")
_FALSE = re.compile(r"false|False|FALSE|no|No|NO|off|Off|OFF")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,308})")
_FLOAT = re.compile(
    r"[-+]?([0-9]*\.[0-9]+|[0-9]+\.[0-9]*|[1-9][0-9]{309,}|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"
)
_TELLING = frozenset("~nNtTfFyYoO+-.0123456789")
"""How those that are no texts begin."""

_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_SYNTAX = {
    "mapping values are not allowed in this context": "a colon stands where no key can be; indent keys of "
    "one mapping alike, and put quotes around a text with a colon in it",
    "did not find expected key": "the indentation doesn't fit the lines above; indent keys of one mapping "
    "alike",
    "did not find expected node content": "a value or a closing bracket is missing here; write it",
    "did not find expected '-' indicator": "the indentation doesn't fit the list above; indent its entries "
    "alike, and what belongs to an entry deeper",
    "found a tab character that violates indentation": "a tab indents this line; indent with spaces",
    "found character that cannot start any token": "a tab, @, ` or % starts a value here; indent with "
    "spaces, and put quotes around such a text",
}
_SYNTAX_OPENED = {
    "could not find expected ':'": "a key has no colon, or is indented wrongly; write key: value",
    "did not find expected ',' or '}'": "this { has no }, or a comma is missing between its entries",
    "did not find expected ',' or ']'": "this [ has no ], or a comma is missing between its entries",
    "found unexpected end of stream": "this quote is not closed; close it",
}
"""libyaml's words for the usual mistakes -> what to do; these are told where something was opened."""


def compose(text: str) -> tuple[Node | None, list[Fault]]:
    """The tree of a YAML text, None if it is empty or unreadable, and what was refused in it."""
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        line = text.count("\n", 0, unprintable.start()) + 1
        return None, [Fault(line, (), f"has the control character {unprintable[0]!r}; take it out")]
    composer = _Composer(text)
    try:
        return composer.document(), composer.faults
    except Unreadable as unreadable:
        return None, [*composer.faults, unreadable.fault]
    except yaml.MarkedYAMLError as error:
        # What ends too early is told behind the last line, which no editor shows.
        return None, [*composer.faults, _syntax_fault(error, last_line=len(text.splitlines()))]


def _syntax_fault(error: yaml.MarkedYAMLError, last_line: int) -> Fault:
    problem = error.problem or "it can't be read"
    opened = _SYNTAX_OPENED.get(problem)
    mark = error.context_mark if opened and error.context_mark else error.problem_mark
    line = min(mark.line + 1, last_line) if mark else 1
    return Fault(line, (), f"is not YAML: {opened or _SYNTAX.get(problem, problem)}")


class _Composer:
    """Builds the tree from parser events, so that depth, duplicates and scalars are ours to judge."""

    def __init__(self, text: str) -> None:
        # libyaml is ten times faster than the reader in Python, which is there when a platform lacks it.
        self._events: Iterator[Any] = iter(yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        self._anchors: dict[str, Node] = {}
        self._size = 0
        self.faults: list[Fault] = []

    def document(self) -> Node | None:
        root = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise Unreadable(
                        Fault(_line(event), (), "starts a second YAML document; keep one a file")
                    )
                root = self._node(next(self._events), ())
        return None if root is None or root.is_empty else root

    def _node(self, event: Any, path: Path) -> Node:
        self._size += 1
        hold_limits(self._size, len(path), _line(event))
        if isinstance(event, yaml.AliasEvent):
            node = self._anchors.get(str(event.anchor))
            if node is None:
                self._refuse(event, path, f"*{event.anchor} has no &{event.anchor} before it; add one")
            return node or Node(_line(event))
        if event.tag not in (None, "!"):
            self._refuse(event, path, "has a YAML tag (!...); leave tags out")
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(_line(event), items=self._items(path))
        else:
            node = Node(_line(event), entries=self._entries(path))
        if event.anchor is not None:
            self._anchors[str(event.anchor)] = node
        return node

    def _items(self, path: Path) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _entries(self, path: Path) -> dict[str, tuple[int, Node]]:
        entries: dict[str, tuple[int, Node]] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, path)
            name = self._key(event, key, path)
            node = self._node(next(self._events), (*path, key.written or str(key.scalar)))
            if name in entries:
                self._refuse(
                    event, (*path, name), f"stands twice, first on line {entries[name][0]}; keep one"
                )
            elif name is not None:
                entries[name] = (_line(event), node)
        return entries

    def _key(self, event: Any, key: Node, path: Path) -> str | None:
        if key.written == "<<":
            self._refuse(event, path, "has a YAML merge key (<<); write the keys out")
        elif isinstance(key.scalar, str):
            return key.scalar
        elif key.items is not None or key.entries is not None or key.scalar is None:
            self._refuse(event, path, "has a key that is not a text; write key: value")
        else:
            self._refuse(event, path, f"has a key that {misread(key)}")
        return None

    def _scalar(self, event: Any, path: Path) -> Node:
        if not event.implicit[0]:
            if _SURROGATE.search(event.value):
                self._refuse(event, path, "has half of a surrogate pair; write the character itself")
                return Node(_line(event), "")
            return Node(_line(event), event.value)
        return Node(_line(event), _resolved(event.value), event.value)

    def _refuse(self, event: Any, path: Path, message: str) -> None:
        self.faults.append(Fault(_line(event), path, message))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _resolved(text: str) -> str | int | float | bool | None:
    if text and text[0] not in _TELLING:
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
