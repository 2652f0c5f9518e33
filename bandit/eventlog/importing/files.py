"""Logs from elsewhere -> a new event log in an empty data folder: all of it or nothing.

Sources are dsjson lines, a Parquet data set of banditd's, and the JSON Lines of its export. The log is
written aside, in a folder within the data folder, and renamed once it is whole and on the disk: an import
that fails or is killed leaves nothing that could be taken for a log. Log time is the source's time. For a
while the disk has to take what is sorted as well, which is about as much as the log itself.

What is imported says so: `imported_from` of its definitions names the format and the file. JSON Lines are the
same log once more, so there it says what it said before.
"""

import secrets
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bandit.core.experiment import Experiment
from bandit.core.fields import id_problem
from bandit.eventlog.formats.lines import BadLine, BadLines, read
from bandit.eventlog.handles import DATABASE_NAME
from bandit.eventlog.importing.aside import BadImport as BadImport  # part of this module's interface
from bandit.eventlog.importing.aside import aside_of, commit
from bandit.eventlog.importing.bulk import BulkWriter, DuplicateRow
from bandit.eventlog.importing.joined import JoinedImport, synthesised
from bandit.eventlog.importing.spool import RUN_BYTES, Spool

FORMATS: Final = ("jsonl", "dsjson", "parquet")
IMPORTED_ID: Final = "imported"
"""The experiment that lines without a definition become, unless another name is given."""

_SALT_BYTES: Final = 16
_SNIFFED_BYTES: Final = 4_096
_SOURCE_CHARACTERS: Final = 200

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much it is in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an import may be told.

    `definition` is the experiment that dsjson lines belong to; without it one is made up with `experiment_id`
    and `reward_range`. For Parquet, `experiment_id` picks one experiment; empty for all.
    """

    definition: Experiment | None = None
    experiment_id: str = ""
    reward_range: tuple[float, float] = (0.0, 1.0)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `lines` were read and `events` written, which are the rows of the log; `counts` are
    decisions and rewards by experiment.

    `bad` are the lines that were left out, by reason, and `first` the first line numbers of each reason.
    `late` counts events that came after one of a later time, `naive_times` times taken as UTC.
    """

    format: str
    lines: int
    events: int
    counts: Mapping[str, tuple[int, int]]
    bad: Mapping[str, int]
    first: Mapping[str, list[int]]
    late: int = 0
    naive_times: int = 0
    made_up: bool = False


def guess(path: Path) -> str:
    """The format of a file or folder, by its name, else by how it begins. Raises BadImport, OSError."""
    if path.is_dir() or path.suffix == ".parquet":
        return "parquet"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    for name in ("jsonl", "dsjson"):
        if suffixes[-1:] == [f".{name}"] or suffixes[-2:] == [f".{name}", ".gz"]:
            found = name
            break
    else:
        found = ""
    # Other people's decision logs are called .jsonl or .json as well, so what is in it goes before the name.
    for _, line in read(path, lambda number, bad: None):
        start = line[:_SNIFFED_BYTES]
        if start.startswith(b'{"seq":'):
            return "jsonl"
        if b'"_label' in start or b'"EventId"' in start or b'"_multi"' in start:
            return "dsjson"
        break
    if not found:
        raise BadImport(
            f"{path} is of no format that can be told from its name or its first line. Say which with "
            f"--format ({', '.join(FORMATS)})."
        )
    return found


def import_log(
    path: Path, data_dir: Path, from_format: str, options: Options, progress: Progress
) -> Imported:
    """Imports `path` into `data_dir`, which must be empty or not there yet.

    Raises BadImport, lines.StoppedAtBadLine if `strict`, OSError, LogUnwritable, and ModuleNotFoundError if
    the format needs a package that is not installed. Nothing is left behind then.
    """
    bad = BadLines(strict=options.strict)
    imports = {"jsonl": _jsonl, "dsjson": _dsjson, "parquet": _parquet}
    with aside_of(data_dir) as aside:
        try:
            found = imports[from_format](path, aside, options, bad, progress)
        except sqlite3.Error as error:
            raise unwritable(data_dir, error) from error
        # A log's own export may hold definitions and no decision yet; no other source is as empty.
        decisions = sum(decisions for decisions, _ in found.counts.values())
        if not found.events or (from_format != "jsonl" and not decisions):
            raise BadImport(nothing(path, bad))
        commit(aside, data_dir)
    return found


def unwritable(data_dir: Path, error: Exception) -> BadImport:
    """What is said when the disk does not take the new log."""
    return BadImport(
        f"The log in {data_dir} can't be written ({type(error).__name__}: {error}). Check that its disk has "
        "room and works."
    )


def _dsjson(path: Path, aside: Path, options: Options, bad: BadLines, progress: Progress) -> Imported:
    from bandit.eventlog.formats.dsjson import Reader

    experiment = options.definition
    made_up = experiment is None
    if experiment is None:
        experiment_id = options.experiment_id or IMPORTED_ID
        if problem := id_problem(experiment_id):
            raise BadImport(f"The experiment's id {problem}.")
        experiment = synthesised(experiment_id, options.reward_range, None)
    taken = JoinedImport(Spool(aside, RUN_BYTES), bad)
    target = taken.experiment(experiment, made_up=made_up)
    reader = Reader(experiment.id, experiment.reward.range)
    lines = 0
    for number, line in read(path, bad, lambda done, total: progress("read", done, total)):
        lines += 1
        try:
            taken.add(target, reader.event(line, number), number)
        except BadLine as error:
            bad(number, error)
    return _written(taken, path, aside, bad, progress, "dsjson", lines, reader.naive_times, made_up)


def _parquet(path: Path, aside: Path, options: Options, bad: BadLines, progress: Progress) -> Imported:
    from bandit.eventlog.formats import parquet

    try:
        definitions = parquet.definitions(path)
        if options.experiment_id:
            if options.experiment_id not in definitions:
                known = ", ".join(list(definitions)[:5])
                raise BadImport(f"{path} has no experiment {options.experiment_id!r}; it has {known}.")
            definitions = {options.experiment_id: definitions[options.experiment_id]}
        total = sum(parquet.count(path, experiment_id) for experiment_id in definitions)
        taken = JoinedImport(Spool(aside, RUN_BYTES), bad)
        number = 0
        for experiment_id, experiment in definitions.items():
            target = taken.experiment(options.definition or experiment, made_up=False)
            before = number

            def on_bad(row: int, error: BadLine, before: int = before) -> None:
                bad(before + row, error)

            for event in parquet.read(path, experiment_id, on_bad):
                number += 1
                try:
                    taken.add(target, event, number)
                except BadLine as error:
                    bad(number, error)
                if number % 1000 == 0:
                    progress("read", number, total)
    except parquet.BadDataSet as error:
        raise BadImport(str(error)) from error
    return _written(taken, path, aside, bad, progress, "parquet", number, 0, False)


def _written(
    taken: JoinedImport,
    path: Path,
    aside: Path,
    bad: BadLines,
    progress: Progress,
    from_format: str,
    lines: int,
    naive_times: int,
    made_up: bool,
) -> Imported:
    events = write_log(taken, aside, imported_from(from_format, path), progress)
    return Imported(
        from_format,
        lines,
        events,
        taken.counts(),
        bad.counts,
        bad.first,
        late=taken.spool.late,
        naive_times=naive_times,
        made_up=made_up,
    )


def imported_from(from_format: str, path: Path) -> str:
    """What definitions say about where their log is from."""
    return f"{from_format} {path.name}"[:_SOURCE_CHARACTERS].encode("utf-8", "replace").decode()


def write_log(
    taken: JoinedImport, aside: Path, source: str, progress: Progress, *, goes_on_us: int | None = None
) -> int:
    """Writes what was taken as the log of the folder `aside`, and tells its last seq.

    `goes_on_us` is the time now, for a log that a server goes on with; see `JoinedImport.write`. Raises
    sqlite3.Error, OSError.
    """
    salts = [secrets.token_bytes(_SALT_BYTES) for _ in taken.definitions()]
    count = taken.spool.count

    def write(*, indexed: bool) -> int:
        for leftover in aside.glob(f"{DATABASE_NAME}*"):
            leftover.unlink()
        with BulkWriter(aside / DATABASE_NAME, indexed=indexed) as writer:
            taken.write(
                writer,
                salts,
                source,
                indexed=indexed,
                progress=lambda done: progress("write", done, count),
                goes_on_us=goes_on_us,
            )
            writer.finish()
            return writer.seq

    try:
        return write(indexed=False)
    except DuplicateRow:
        # Seldom, so only now the dear way: each decision is looked up before it is written.
        return write(indexed=True)


def _jsonl(path: Path, aside: Path, options: Options, bad: BadLines, progress: Progress) -> Imported:
    from bandit.eventlog.importing.jsonl import JsonlImport

    del options  # the file brings its definitions
    with BulkWriter(aside / DATABASE_NAME, indexed=True) as writer:
        rows = JsonlImport(writer, bad)
        rows.take(read(path, bad, lambda done, total: progress("read", done, total)))
        writer.finish()
        return Imported(
            "jsonl",
            rows.lines,
            writer.seq,
            {experiment_id: (counts[0], counts[1]) for experiment_id, counts in rows.counts.items()},
            bad.counts,
            bad.first,
        )


def nothing(path: Path, bad: BadLines) -> str:
    """Why nothing of `path` was taken, by reason, and what to do."""
    if not bad.total:
        return f"{path} is empty: there is nothing to import."
    found = ", ".join(
        f"{reason} {count:,} (line {bad.first[reason][0]})" for reason, count in sorted(bad.counts.items())
    )
    hint = (
        " Say what range the rewards have: --reward-range LOW,HIGH."
        if "REWARD_OUT_OF_RANGE" in bad.counts
        else ""
    )
    return f"Nothing in {path} could be imported: {found}.{hint}"
