"""grid.yaml -> the policies of a sweep, or problems with file, line and field.

    policies: [squarecb, epsilon_greedy, uniform]
    options:
      squarecb: {gamma_scale: [10, 30, 100], learning_rate: [0.1, 0.2]}
      epsilon_greedy: {epsilon: [0.02, 0.05]}

Each policy is crossed with all values of the options that its preset has below `options`: nine cells here. A
policy may carry options of its own (`squarecb:gamma_scale=3`); presets, names and ranges are those of an
experiment file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Final

from bandit.core.experiment import PolicySpec
from bandit.core.fields import finite_number
from bandit.experiment_file import Problem, yaml_source
from bandit.experiment_file.tree import Node, Unreadable
from bandit.policies import presets
from bandit.policies.presets import PRESETS

CELLS_MAX: Final = 1_000
GRID_FILE_BYTES: Final = 1024 * 1024

_SHAPE = "write policies: [squarecb, epsilon_greedy], and options: {squarecb: {gamma_scale: [10, 30]}} below"
_VALUES = "write one number, or a list of numbers such as [10, 30, 100]"


@dataclass(frozen=True, slots=True)
class Grid:
    """The policies of a sweep as text, in the order of the file; none if there is any problem."""

    policies: tuple[str, ...]
    problems: tuple[Problem, ...]


def load(path: Path) -> Grid:
    """The grid of a file. Raises nothing about its content: what can't be read is a problem."""
    name = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(GRID_FILE_BYTES + 1)
        if len(data) > GRID_FILE_BYTES:
            return _refused(name, f"is over {GRID_FILE_BYTES >> 20} MiB; a grid is a few lines")
        return parse(data.decode("utf-8-sig"), name)
    except OSError as error:
        return _refused(name, f"can't be read: {error.strerror or error}")
    except UnicodeDecodeError:
        return _refused(name, "is not UTF-8 text; save it as UTF-8")


def parse(text: str, name: str) -> Grid:
    """The grid of a YAML text; `name` stands for the file in problems."""
    reading = _Reading(name)
    root, faults = yaml_source.compose(text)
    for fault in faults:
        reading.refuse(fault.line, ".".join(map(str, fault.path)), fault.message)
    policies: tuple[str, ...] = ()
    if not faults:
        try:
            policies = reading.policies(root)
        except Unreadable as unreadable:
            reading.refuse(unreadable.fault.line, "", unreadable.fault.message)
    problems = tuple(sorted(reading.problems, key=lambda problem: problem.line))
    return Grid(() if problems else policies, problems)


def _refused(name: str, message: str) -> Grid:
    return Grid((), (Problem(name, 1, "", message),))


class _Reading:
    """Gathers the problems of one file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.problems: list[Problem] = []

    def refuse(self, line: int, field: str, message: str) -> None:
        self.problems.append(Problem(self._name, line, field, message))

    def policies(self, root: Node | None) -> tuple[str, ...]:
        """Every cell's policy. What it returns means nothing once there is a problem."""
        if root is None or root.entries is None or "policies" not in root.entries:
            self.refuse(1 if root is None else root.line, "", f"has no key policies at its top; {_SHAPE}")
            return ()
        for key, (line, _) in root.entries.items():
            if key not in ("policies", "options"):
                self.refuse(line, key, "is not known here; the keys at the top are policies and options")
        line, node = root.entries["policies"]
        written = list(self._policies(line, node))
        options = self._options(root, {_preset(text) for _, text in written})
        if self.problems:
            return ()
        for place, text in written:
            self._check_together(place, text, options.get(_preset(text), {}))
        count = sum(prod(map(len, options.get(_preset(text), {}).values())) for _, text in written)
        if count > CELLS_MAX:
            self.refuse(
                line, "policies", f"give {count:,} cells with the options; at most {CELLS_MAX:,} are allowed"
            )
        if self.problems:
            return ()
        cells = [cell for _, text in written for cell in _crossed(text, options.get(_preset(text), {}))]
        twice = sorted({cell for cell in cells if cells.count(cell) > 1})
        if twice:
            self.refuse(line, "policies", f"give {twice[0]!r} twice; keep it once")
        return tuple(cells)

    def _policies(self, line: int, node: Node) -> Iterator[tuple[Node, str]]:
        if not node.items:
            self.refuse(line, "policies", f"is not a list of policies; {_SHAPE}")
        for index, item in enumerate(node.items or ()):
            field = f"policies[{index}]"
            if not isinstance(item.scalar, str) or not item.scalar:
                self.refuse(item.line, field, "is not a text; write a policy such as squarecb")
                continue
            problems = presets.check(PolicySpec(preset=item.scalar), ())
            for _, message in problems:
                self.refuse(item.line, field, message)
            if not problems:
                yield item, item.scalar

    def _options(self, root: Node, known: set[str]) -> dict[str, dict[str, list[float]]]:
        line, node = (root.entries or {}).get("options", (0, Node(0)))
        if node.is_empty:
            return {}
        if node.entries is None:
            self.refuse(line, "options", f"is not a mapping; {_SHAPE}")
            return {}
        options: dict[str, dict[str, list[float]]] = {}
        for preset, (at, below) in node.entries.items():
            field = f"options.{preset}"
            if preset not in known:
                self.refuse(at, field, "is for a preset that stands under no policy of this grid; add it")
            elif PRESETS[preset].names_variant:
                self.refuse(at, field, f"is for {preset}:ID, which has no options: leave it out")
            elif below.entries is None:
                self.refuse(
                    at, field, f"is not a mapping; write {preset}: {{NAME: [values]}}, each NAME an option"
                )
            else:
                options[preset] = {
                    name: list(self._values(line, preset, name, value))
                    for name, (line, value) in below.entries.items()
                }
        return options

    def _values(self, line: int, preset: str, name: str, node: Node) -> Iterator[float]:
        field = f"options.{preset}.{name}"
        items = [node] if node.items is None else node.items
        if not items:
            self.refuse(line, field, f"is an empty list; {_VALUES}")
        seen: set[float] = set()
        for item in items:
            try:
                value = finite_number(item.scalar)
            except ValueError:
                self.refuse(item.line, field, f"holds something else than numbers; {_VALUES}")
                return
            if value in seen:
                self.refuse(item.line, field, f"holds {value:g} twice; keep it once")
            seen.add(value)
            for _, message in presets.check(PolicySpec(preset=_joined(preset, [_pair(name, value)])), ()):
                self.refuse(item.line, field, message)
            yield value

    def _check_together(self, node: Node, text: str, options: dict[str, list[float]]) -> None:
        """What only shows where a policy's own options meet those that it is crossed with."""
        for _, message in presets.check(PolicySpec(preset=next(_crossed(text, options))), ()):
            self.refuse(node.line, "policies", message)


def _preset(text: str) -> str:
    return text.partition(":")[0]


def _crossed(text: str, options: dict[str, list[float]]) -> Iterator[str]:
    for values in product(*options.values()):
        yield _joined(text, [_pair(name, value) for name, value in zip(options, values, strict=True)])


def _joined(text: str, pairs: Sequence[str]) -> str:
    if not pairs:
        return text
    return f"{text}{',' if ':' in text else ':'}{','.join(pairs)}"


def _pair(name: str, value: float) -> str:
    return f"{name}={int(value) if value == int(value) and abs(value) < 1e15 else value!r}"
