"""A historic log -> the log of a new experiment in an empty data folder, to be learned from and gone on with.

An import in all but this: the events are held to the new experiment's definition (`fitting`), no log time is
ahead of the clock, and the log goes on with a version of the definition that was not imported.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bandit.core.experiment import Experiment
from bandit.eventlog.formats.lines import BadLine, BadLines
from bandit.eventlog.handles import DATABASE_NAME
from bandit.eventlog.importing.aside import BadImport, aside_of, commit
from bandit.eventlog.importing.files import guess, imported_from, nothing, unwritable, write_log
from bandit.eventlog.importing.fitting import Fit
from bandit.eventlog.importing.history import FOLDER, History, Progress
from bandit.eventlog.importing.joined import JoinedImport
from bandit.eventlog.importing.spool import RUN_BYTES, Spool
from bandit.eventlog.log import LogUnwritable, SchemaTooNew
from bandit.eventlog.sqlite import SqliteEventLog

SNAPSHOTS: Final = "snapshots"
"""What `learn` leaves in the folder that it is given, and comes to the data folder with the log."""

Learn = Callable[[Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What to start from. `from_format` is empty if it is to be told from the log; `without` are signals to
    leave out."""

    path: Path
    experiment: Experiment
    from_format: str = ""
    without: tuple[str, ...] = ()
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Seeded:
    """What came of it; `fit` has more. `lines` were read; `still_open` decisions are not closed yet.

    `bad` are the lines that were left out, by reason, and `first` the first numbers of each reason.
    """

    format: str
    source_experiment: str
    lines: int
    decisions: int
    rewards: int
    still_open: int
    bad: Mapping[str, int]
    first: Mapping[str, list[int]]
    fit: Fit
    late: int
    naive_times: int


def format_of(path: Path) -> str:
    """What a log from elsewhere is: a format of `guess`, or a data folder. Raises BadImport, OSError."""
    return FOLDER if (path / DATABASE_NAME).exists() else guess(path)


def seed(what: Seed, data_dir: Path, now_us: int, learn: Learn, progress: Progress) -> Seeded:
    """Makes the log, lets `learn` learn it where it is made, then puts both in the data folder.

    Raises BadImport, lines.StoppedAtBadLine, LogUnwritable, OSError, what `learn` raises, and
    ModuleNotFoundError if the format needs a package that is not installed. Nothing is left behind then.
    """
    _refuse_used(data_dir, what.experiment.id)
    from_format = what.from_format or format_of(what.path)
    bad = BadLines(strict=what.strict)
    fit = Fit(what.experiment, now_us, what.without)
    with aside_of(data_dir) as aside:
        try:
            taken = JoinedImport(Spool(aside, RUN_BYTES), bad)
            target = taken.experiment(what.experiment, made_up=False, admitted=True)
            history = History(what.path, from_format, what.experiment.id, aside, bad)
            for number, event in history.events(progress):
                try:
                    fitting = fit.admit(event)
                    taken.add(target, fitting, number)
                except BadLine as error:
                    bad(number, error)
                else:
                    fit.took(fitting)
            problems = fit.problems(what.path, bad)
            if problems or not taken.spool.count:
                raise BadImport("\n".join(problems) or nothing(what.path, bad))
            source = imported_from(from_format, what.path)
            write_log(taken, aside, source, progress, goes_on_us=now_us)
            still_open = _still_open(aside, what.experiment.id)
            learn(aside)
        except sqlite3.Error as error:
            raise unwritable(data_dir, error) from error
        commit(aside, data_dir, SNAPSHOTS)
    ((decisions, rewards),) = taken.counts().values()
    return Seeded(
        from_format,
        history.experiment_id,
        history.lines,
        decisions,
        rewards,
        still_open,
        bad.counts,
        bad.first,
        fit,
        taken.spool.late,
        history.naive_times,
    )


def _refuse_used(data_dir: Path, experiment_id: str) -> None:
    """Raises BadImport for a folder whose log has decisions of the experiment; other folders are looked at
    as for any import."""
    if not (data_dir / DATABASE_NAME).exists():
        return
    try:
        log = SqliteEventLog(data_dir, create=False)
        try:
            counts = {one.experiment_id: one.rows for one in log.counts() if one.kind == "decision"}
        finally:
            log.close()
    except (LogUnwritable, SchemaTooNew) as error:
        raise BadImport(str(error)) from error
    if held := counts.get(experiment_id, 0):
        raise BadImport(
            f"The log in {data_dir} has {held:,} decisions of {experiment_id!r} already, and "
            "what happened before them can't be put behind them. Name a new folder to start from a historic "
            "log; banditd serve, or learn without --from, goes on with this one."
        )


def _still_open(folder: Path, experiment_id: str) -> int:
    log = SqliteEventLog(folder, create=False)
    try:
        return log.open_decisions(experiment_id)
    finally:
        log.close()
