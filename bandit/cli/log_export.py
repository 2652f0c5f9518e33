"""`banditd log export`: the event log as a file, or as a folder for Parquet, that other tools read."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandit.cli.usage import told_of_system

if TYPE_CHECKING:
    from bandit.core.experiment import Experiment
    from bandit.core.records import JoinedEvent
    from bandit.eventlog.sqlite import SqliteEventLog

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="BANDITD_DATA_DIR",
        exists=True,
        file_okay=False,
        help="The folder of the log and snapshots.",
    ),
]

MISSING_EXTRA = "needs the extra `replay`: pip install 'banditd[replay]'"

_BATCH_EVENTS = 500


class Format(StrEnum):
    """The formats of an export."""

    JSONL = "jsonl"
    DSJSON = "dsjson"
    PARQUET = "parquet"
    VW = "vw"


def command(
    data_dir: DataDir,
    to_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="jsonl: every event of the log, in log order. The others hold closed decisions with their "
            "rewards: dsjson (a line each, for VW with --dsjson --chain_hash), parquet (a row each), "
            "vw (VW's text, as the model reads it).",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="The file to write or replace, stdout if left out; for parquet a new folder."
        ),
    ] = None,
    experiment_id: Annotated[
        str, typer.Option("--experiment", help="Only this one; dsjson and vw hold one experiment each.")
    ] = "",
) -> None:
    """Writes the log, up to its last event when this starts; a server may be running."""
    from bandit.cli.showing import bars

    if to_format is Format.PARQUET and output is None:
        raise typer.BadParameter("parquet is a folder: name one", param_hint="--output")
    if output is not None and output.is_dir() and to_format is not Format.PARQUET:
        raise typer.BadParameter(f"{output} is a folder; name a file", param_hint="--output")
    if output is not None and not output.absolute().parent.is_dir():
        typer.echo(f"banditd log export: {output.absolute().parent} is not a folder; make it first", err=True)
        raise typer.Exit(1)
    # Lines on the terminal are progress enough.
    seen = output is None and sys.stdout.isatty()
    with opened(data_dir, "export") as log, bars(drawn=not seen) as progress:
        definitions = _definitions(log)
        if experiment_id and experiment_id not in definitions:
            known = ", ".join(definitions) or "none"
            raise typer.BadParameter(
                f"the log has no experiment {experiment_id!r} (it has: {known})", param_hint="--experiment"
            )
        report = _Reported(log, lambda done, total: progress("export", done, total))
        if to_format is Format.PARQUET and output is not None:
            _export_parquet(log, definitions, experiment_id, output, report)
            return
        if to_format is not Format.JSONL:
            experiment_id = experiment_id or _only(definitions, to_format)
        lines = _lines(log, to_format, definitions, experiment_id, report)
        if output is None:
            sys.stdout.writelines(lines)
            sys.stdout.flush()
            return
        # Written aside and renamed, so that nobody takes half an export for a whole one.
        aside = output.with_name(f".{output.name}.part")
        try:
            with aside.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(lines)
            aside.replace(output)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def opened(data_dir: Path, verb: str) -> "Iterator[SqliteEventLog]":
    """The log of a folder; whatever is wrong with it ends the command with a message and exit code 1."""
    from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
    from bandit.eventlog.sqlite import SqliteEventLog

    try:
        log = SqliteEventLog(data_dir.absolute(), create=False)
        try:
            yield log
        finally:
            log.close()
    except BrokenPipeError:
        # The reader has had enough: click ends the command without a word.
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("orjson", "pyarrow"):
            raise
        typer.echo(f"banditd log {verb} {MISSING_EXTRA}", err=True)
        raise typer.Exit(1) from error
    except (CorruptRecord, LogUnwritable, SchemaTooNew, OSError) as error:
        typer.echo(f"banditd log {verb}: {told_of_system(error)}", err=True)
        raise typer.Exit(1) from error


class _Reported:
    """Progress by the rows of the log that what was exported stands at."""

    def __init__(self, log: "SqliteEventLog", progress: Callable[[int, int], None]) -> None:
        self._progress = progress
        self.total, _ = log.head()
        self._count = 0

    def __call__(self, seq: int) -> None:
        self._count += 1
        if self._count % 1000 == 0 or seq == self.total:
            self._progress(seq, max(seq, self.total))


def _lines(
    log: "SqliteEventLog",
    to_format: Format,
    definitions: "dict[str, Experiment]",
    experiment_id: str,
    report: _Reported,
) -> Iterator[str]:
    if to_format is Format.JSONL:
        from bandit.eventlog.formats import jsonl

        lines = jsonl.lines(log, experiment_id or None)
        return (_counted(f"{line}\n", done, report) for done, line in enumerate(lines, start=1))
    events = _events(log, experiment_id, report)
    if to_format is Format.DSJSON:
        from bandit.eventlog.formats import dsjson

        return (f"{line}\n" for line in dsjson.lines(events))
    from bandit.eventlog.formats import vwtext
    from bandit.policies.vw.text import TextEncoder

    experiment = definitions[experiment_id]
    signals = None if experiment.signals == "open" else experiment.signals
    encoder = TextEncoder(signals)
    return (f"{line}\n" for line in vwtext.lines(events, encoder, experiment.reward.range))


def _counted(line: str, done: int, report: _Reported) -> str:
    report(done)
    return line


def _export_parquet(
    log: "SqliteEventLog",
    definitions: "dict[str, Experiment]",
    experiment_id: str,
    output: Path,
    report: _Reported,
) -> None:
    from bandit.eventlog.formats import parquet

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} is there and not empty; name a new folder")
    aside = output.with_name(f".{output.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        wanted = [experiment_id] if experiment_id else list(definitions)
        parquet.write({one: _events(log, one, report) for one in wanted}, aside, definitions)
        # Takes the place of an empty folder too.
        aside.replace(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _definitions(log: "SqliteEventLog") -> "dict[str, Experiment]":
    """The latest definition of each experiment."""
    return {found.experiment.id: found.experiment for found in log.definitions()}


def _only(definitions: "dict[str, Experiment]", to_format: Format) -> str:
    if len(definitions) != 1:
        known = ", ".join(definitions) or "none"
        raise typer.BadParameter(
            f"{to_format} holds one experiment, and the log has {len(definitions)}: name one of {known}",
            param_hint="--experiment",
        )
    return next(iter(definitions))


def _events(log: "SqliteEventLog", experiment_id: str, report: _Reported) -> "Iterator[JoinedEvent]":
    """What is closed at the log's end now, in joined order."""
    from bandit.core.records import ORIGIN
    from bandit.eventlog.joined import read_joined

    _, before_us = log.head()
    after = ORIGIN
    while events := read_joined(log, experiment_id, after, before_us, _BATCH_EVENTS):
        for event in events:
            report(event.position.seq)
            yield event
        after = events[-1].position
