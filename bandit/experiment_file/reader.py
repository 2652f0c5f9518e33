"""File or folder -> Loaded: the experiments, or every problem found, with file, line and field."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bandit.core import limits
from bandit.core.experiment import Experiment
from bandit.experiment_file import advice, wording, yaml_source
from bandit.experiment_file.tree import Node, Unreadable
from bandit.experiment_file.tree import Path as TreePath
from bandit.policies import presets

_SUFFIXES = (".yaml", ".yml")
_SHAPE = "write experiments: and a list of them below"
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to change in an experiment file. `field` is a path such as experiments[0].reward.window."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}: {field}{self.message}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read. With any problem there are no experiments; a warning forbids nothing."""

    experiments: tuple[Experiment, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def load(path: Path) -> Loaded:
    """The experiments of a YAML file, or of all *.yaml and *.yml files that stand directly in a folder.

    Raises nothing about its content: what can't be read is a problem.
    """
    reading = _Reading(str(path))
    try:
        files = _files(path)
    except OSError as error:
        files = []
        reading.problem(str(path), 1, (), f"can't be listed: {_reason(error)}")
    else:
        if not files:
            reading.problem(str(path), 1, (), "has no .yaml or .yml file; put one in, or name a file")
    for file in files:
        try:
            text = _text(file)
        except (OSError, _Unfit) as error:
            line = error.line if isinstance(error, _Unfit) else 1
            reading.problem(str(file), line, (), _reason(error))
        else:
            reading.read(text, str(file))
    return reading.loaded()


def parse(text: str, name: str) -> Loaded:
    """The experiments of a YAML text; `name` stands for the file in problems."""
    reading = _Reading(name)
    if len(text) > limits.EXPERIMENT_FILE_BYTES:
        reading.problem(name, 1, (), _too_large())
    else:
        reading.read(text, name)
    return reading.loaded()


class _Unfit(Exception):
    """Bytes that are no experiment file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Reading:
    """Gathers what one or several files hold."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._experiments: list[Experiment] = []
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._where: dict[str, str] = {}

    def loaded(self) -> Loaded:
        if not self._experiments and not self._problems:
            self._warnings.append(
                Problem(self._name, 1, "experiments", "is an empty list; nothing will be served")
            )
        experiments = () if self._problems else tuple(self._experiments)
        return Loaded(experiments, _in_order(self._problems), _in_order(self._warnings))

    def problem(self, file: str, line: int, path: TreePath, message: str) -> None:
        self._problems.append(Problem(file, line, _field(path), message))

    def read(self, text: str, file: str) -> None:
        root, faults = yaml_source.compose(text)
        for fault in faults:
            self.problem(file, fault.line, fault.path, fault.message)
        if faults:
            return  # what is left of the tree would be judged by what is missing from it
        if root is None:
            self.problem(file, 1, (), f"is empty; {_SHAPE}")
            return
        try:
            for index, node in self._nodes(root, file):
                self._experiment(node, root, index, file)
        except Unreadable as unreadable:
            self.problem(file, unreadable.fault.line, unreadable.fault.path, unreadable.fault.message)

    def _nodes(self, root: Node, file: str) -> Iterator[tuple[int, Node]]:
        if root.entries is None or "experiments" not in root.entries:
            self.problem(file, root.line, (), f"has no key experiments at its top; {_SHAPE}")
            return
        for key, (line, _) in root.entries.items():
            if key != "experiments":
                self.problem(file, line, (key,), "is not known here; the only key at the top is experiments")
        line, node = root.entries["experiments"]
        if node.items is None:
            self.problem(
                file, line, ("experiments",), "is not a list; start each experiment with '- id: NAME'"
            )
            return
        for index, item in enumerate(node.items):
            if len(self._where) >= limits.EXPERIMENTS:
                message = f"has over {limits.EXPERIMENTS:,} experiments; serve the others from another server"
                self.problem(file, item.line, ("experiments",), message)
                return
            yield index, item

    def _experiment(self, node: Node, root: Node, index: int, file: str) -> None:
        base: TreePath = ("experiments", index)
        try:
            experiment = Experiment.model_validate(node.plain())
        except ValidationError as error:
            for path, message in wording.told(error, node):
                self.problem(file, node.find(path)[0], (*base, *path), message)
            return
        ids = [variant.id for variant in experiment.variants]
        for field, message in presets.check(experiment.policy, ids):
            path = tuple(field.split(".", 1))
            self.problem(file, node.find(path)[0], (*base, *path), message)
        line = node.find(("id",))[0]
        first = self._where.setdefault(experiment.id, f"{file}:{line}")
        if first != f"{file}:{line}":
            self.problem(
                file, line, (*base, "id"), f"is {experiment.id!r}, as on {first}; rename one of them"
            )
        self._experiments.append(experiment)
        for path, message in advice.given(experiment, node):
            self._warnings.append(Problem(file, node.find(path)[0], _field((*base, *path)), message))


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    # Hidden entries are editors' and mounted config maps' bookkeeping.
    entries = (entry for entry in path.iterdir() if not entry.name.startswith("."))
    return sorted(entry for entry in entries if entry.suffix in _SUFFIXES and not entry.is_dir())


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        data = stream.read(limits.EXPERIMENT_FILE_BYTES + 1)
    if len(data) > limits.EXPERIMENT_FILE_BYTES:
        raise _Unfit(1, _too_large())
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unfit(data.count(b"\n", 0, error.start) + 1, "is not UTF-8 text; save it as UTF-8") from error


def _too_large() -> str:
    return f"is over {limits.EXPERIMENT_FILE_BYTES >> 20} MiB; split it into several files in a folder"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"can't be read: {os.strerror(error.errno) if error.errno else error}"
    return str(error)


def _field(path: TreePath) -> str:
    parts: list[str] = []
    for part in path:
        if isinstance(part, str) and _PLAIN_KEY.fullmatch(part):
            parts.append(f".{part}" if parts else part)
        else:
            parts.append(f"[{part!r}]" if isinstance(part, str) else f"[{part}]")
    return "".join(parts)
