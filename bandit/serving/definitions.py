"""The experiments file -> experiment events: in force is what the log says, and this alone writes it."""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from bandit.core.experiment import Experiment
from bandit.core.records import Stage
from bandit.eventlog.log import Definition, NewExperiment
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.experiment_file import Loaded, load

SALT_BYTES: Final = 16

Signature = tuple[tuple[str, int, int, int], ...]
"""What tells whether an experiments file was changed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: how many definitions changed, or what is wrong with it; and what it looked like
    before it was read, None if it could not be looked at.
    """

    changed: int
    problems: tuple[str, ...]
    signature: Signature | None


def apply_file(path: Path, data_dir: Path, *, create: bool = False) -> Outcome:
    """Puts a file in force if all of it is sound; a broken one changes nothing.

    `create` makes a log if there is none: once at the start, since one that is gone later was deleted. Raises
    LogUnwritable, FileNotFoundError.
    """
    before = None
    with suppress(OSError):
        before = signature(path)
    loaded = load(path)
    if loaded.problems:
        return Outcome(0, tuple(str(problem) for problem in loaded.problems), before)
    log = SqliteEventLog(data_dir, create=create)
    try:
        changed = _apply(loaded, log)
    finally:
        log.close()
    # Also where nothing changes: whoever has mended a broken file waits for a word.
    structlog.get_logger("experiments").info(
        "experiments file in order", file=str(path), experiments=len(loaded.experiments), changed=changed
    )
    return Outcome(changed, (), before)


def _apply(loaded: Loaded, log: SqliteEventLog) -> int:
    latest: dict[str, Definition] = {}
    for definition in log.definitions():
        latest[definition.experiment.id] = definition
    wanted = {experiment.id: experiment for experiment in loaded.experiments}
    for experiment_id, definition in latest.items():
        if experiment_id not in wanted:
            wanted[experiment_id] = _stopped(definition.experiment)
    logger = structlog.get_logger("experiments")
    new = []
    for experiment_id, experiment in wanted.items():
        before = latest.get(experiment_id)
        if before is not None and before.experiment.canonical_json() == experiment.canonical_json():
            continue
        salt = before.salt if before is not None else secrets.token_bytes(SALT_BYTES)
        new.append(NewExperiment(experiment, salt))
        logger.info(
            "experiment in force",
            experiment_id=experiment_id,
            version=1 if before is None else before.version + 1,
            stage=experiment.rollout.stage.name.lower(),
        )
    if new:
        log.append(new)
        log.sync()
    return len(new)


def _stopped(experiment: Experiment) -> Experiment:
    """What an experiment becomes when it is taken out of the file: still learned, serving the baseline."""
    rollout = experiment.rollout.model_copy(update={"stage": Stage.STOPPED})
    return experiment.model_copy(update={"rollout": rollout})


def signature(path: Path) -> Signature:
    """Changes whenever the file, or a file of the folder, does."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = []
    for file in files:
        try:
            stat = file.stat()
            stats.append((file.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            stats.append((file.name, 0, 0, 0))
    return tuple(stats)
