"""A cell of a sweep: one policy's progressive replay as plain data, and the folder of finished ones.

A cell holds paths, numbers and text, and its result is JSON, so it may run in any process or machine that
can read the log. What is kept is only ever written by the process that sweeps.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bandit.eventlog.handles import DATABASE_NAME
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.replay.judging import estimate_json
from bandit.replay.runner import Options, replay
from bandit.replay.sources import open_source
from bandit.replay.sweep import paired

FORMAT: Final = 1
"""Of a kept file. Raised when what a cell computes changes its meaning."""

KEPT_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy, as `replay` takes it, on one experiment of the log at the path `log`.

    `version` is banditd's; `log_state` is what the log was when the sweep began (see `log_state`).
    """

    version: str
    policy: str
    log: str
    log_state: str
    experiment_id: str
    reward_range: tuple[float, float] | None
    options: Options

    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values. Where the log stands is not part of it."""
        return {
            "format": FORMAT,
            "version": self.version,
            "policy": self.policy,
            "log_state": self.log_state,
            "experiment_id": self.experiment_id,
            "reward_range": None if self.reward_range is None else list(self.reward_range),
            "options": asdict(self.options),
        }

    @property
    def digest(self) -> str:
        """Sixteen hex characters; equal identities give equal ones."""
        return sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:16]


def run(cell: Cell) -> dict[str, Any]:
    """Replays a cell's policy: its judgement as JSON values, with `logged` (the mean reward of the judged
    rows as they were served), `counts`, and what `paired` keeps of both (`blocks` and `logged_blocks`, None
    where there is none). Raises what the log's reading and the replay raise.
    """
    with open_source(Path(cell.log), reward_range=cell.reward_range) as source:
        found = replay(
            source, cell.experiment_id, [cell.policy], cell.options, lambda what, done, total: None
        )
    [judgement] = found.judgements
    result = {
        **judgement.to_json(),
        "logged": estimate_json(found.logged),
        "counts": {name: int(count) for name, count in found.counts.items()},
        "blocks": paired.of_policy(found.columns, found.targets[0], cell.options.estimator),
        "logged_blocks": paired.of_logged(found.columns),
    }
    # Through JSON now: a result that was kept and one that was not are then the same.
    plain: dict[str, Any] = json.loads(json.dumps(result, allow_nan=False))
    return plain


def log_state(path: Path) -> str:
    """Text that changes when the log at `path` does: the last row of a data folder, sizes and times of files.

    Raises OSError, eventlog.log.LogUnwritable, SchemaTooNew.
    """
    if (path / DATABASE_NAME).exists():
        log = SqliteEventLog(path, create=False)
        try:
            seq, at_us = log.head()
        finally:
            log.close()
        return f"row {seq} at {at_us}"
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    states = []
    for file in files:
        stat = file.stat()
        name = str(file.relative_to(path)) if file != path else ""
        states.append(f"{name} {stat.st_size} {stat.st_mtime_ns}")
    return f"{len(files)} files {sha256(json.dumps(states).encode()).hexdigest()[:16]}"


class Kept:
    """The folder in which finished cells stand, a small JSON file each, named after their digest."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if need be. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def find(self, cell: Cell) -> dict[str, Any] | None:
        """A finished cell's result; None if it is not there, or not whole."""
        path = self._path(cell)
        try:
            if path.stat().st_size > KEPT_BYTES_MAX:
                return None
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(held, dict) or held.get("cell") != cell.identity():
            return None
        result = held.get("result")
        return result if _whole(result, cell) else None

    def keep(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Writes a result aside and renames it. Raises OSError."""
        path = self._path(cell)
        aside = path.with_suffix(".part")
        text = json.dumps({"cell": cell.identity(), "result": result}, sort_keys=True, indent=1)
        try:
            aside.write_text(text + "\n", encoding="utf-8")
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.digest}.json"


def _whole(result: object, cell: Cell) -> bool:
    """Whether a file from outside holds what a sweep reads in it."""
    if not isinstance(result, dict) or result.get("policy") != cell.policy:
        return False
    if not isinstance(result.get("counts"), dict) or not isinstance(result.get("reason"), str):
        return False
    logged, headline = result.get("logged"), result.get("headline")
    if not isinstance(logged, dict) or not isinstance(logged.get("n"), int):
        return False
    if not all(_are_blocks(result.get(name, "")) for name in ("blocks", "logged_blocks")):
        return False
    if headline is None:
        return True
    return isinstance(headline, dict) and all(
        isinstance(headline.get(name), int | float) for name in ("value", "low", "high", "ess")
    )


def _are_blocks(value: object) -> bool:
    if not isinstance(value, dict):
        return value is None
    sizes = {"sums": paired.BLOCKS, "extremes": 2}
    return all(
        isinstance(value.get(name), list)
        and len(value[name]) == size
        and all(isinstance(number, int | float) for number in value[name])
        for name, size in sizes.items()
    )
