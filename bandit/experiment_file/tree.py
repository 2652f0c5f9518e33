"""A tree of plain values that remember their lines, and what is refused in it."""

from dataclasses import dataclass
from typing import Any

from bandit.core import limits

Path = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the root."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that this reader refuses."""

    line: int
    path: Path
    message: str


class Unreadable(Exception):
    """The text can't be read any further; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place: a scalar, `items` of a list, or `entries` of a mapping, each with its line.

    `written` is a plain scalar as it stands in the text, empty for everything else. An entry's line is its
    key's, so that an alias or a block below the key is found where it is used.
    """

    line: int
    scalar: str | int | float | bool | None = None
    written: str = ""
    items: list["Node"] | None = None
    entries: dict[str, tuple[int, "Node"]] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing, or null, stands there."""
        return self.scalar is None and self.items is None and self.entries is None

    def plain(self) -> Any:
        """The value without lines. Raises Unreadable over the limits, aliases written out."""
        return _Plain().value(self, 0)

    def find(self, path: Path) -> tuple[int, "Node | None"]:
        """The line of `path` and its node; for a path that isn't there the line of the last part that is."""
        line, node = self.line, self
        for part in path:
            if node.entries is not None and part in node.entries:
                line, node = node.entries[str(part)]
            elif node.items is not None and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                line = node.line
            else:
                return line, None
        return line, node


class _Plain:
    """Writes a tree out. Aliases share nodes, so the tree may be far larger than its text."""

    def __init__(self) -> None:
        self._size = 0

    def value(self, node: Node, depth: int) -> Any:
        self._size += 1
        hold_limits(self._size, depth, node.line)
        if node.items is not None:
            return [self.value(item, depth + 1) for item in node.items]
        if node.entries is not None:
            return {key: self.value(child, depth + 1) for key, (_, child) in node.entries.items()}
        return node.scalar


def misread(node: Node) -> str:
    """What a scalar that should be a text was read as, and how to write the text."""
    if isinstance(node.scalar, bool):
        return f'is read as {str(node.scalar).lower()}; put quotes around it: "{node.written}"'
    return f'is a number; put quotes around it: "{node.written}"'


def hold_limits(size: int, depth: int, line: int) -> None:
    """Raises Unreadable if `size` values so far, or `depth` of nesting, are too many."""
    if size > limits.EXPERIMENT_FILE_VALUES:
        message = f"has over {limits.EXPERIMENT_FILE_VALUES:,} values, aliases written out; split it"
        raise Unreadable(Fault(line, (), message))
    if depth > limits.EXPERIMENT_FILE_DEPTH:
        raise Unreadable(Fault(line, (), f"is nested over {limits.EXPERIMENT_FILE_DEPTH} deep; flatten it"))
