"""`banditd log`: what the event log holds, and how to get it out."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bandit.eventlog.sqlite import SqliteEventLog

app = typer.Typer(no_args_is_help=True, help="Look into the event log, or export it.")

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


class Format(StrEnum):
    """The formats of an export."""

    JSONL = "jsonl"


@app.command("inspect")
def inspect(
    data_dir: DataDir,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ] = False,
) -> None:
    """Counts the events by kind and experiment, and shows how far the log has come and its size."""
    with _opened(data_dir, "inspect") as log:
        found = _inspected(log)
    if as_json:
        print(json.dumps(found))
    else:
        _show(found)


@app.command("export")
def export(
    data_dir: DataDir,
    to_format: Annotated[
        Format, typer.Option("--format", help="jsonl: JSON Lines, one event a line, in log order.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", dir_okay=False, help="The file to write or replace; stdout if left out."),
    ] = None,
) -> None:
    """Writes every event of the log, up to the last one when it starts; a server may be running."""
    from bandit.cli.showing import bars
    from bandit.eventlog.formats import jsonl

    del to_format  # there is one so far
    # Lines on the terminal are progress enough.
    seen = output is None and sys.stdout.isatty()
    with _opened(data_dir, "export") as log, bars(drawn=not seen) as progress:
        total, _ = log.head()

        def lines() -> Iterator[str]:
            for done, line in enumerate(jsonl.lines(log), start=1):
                yield f"{line}\n"
                if done % 1000 == 0 or done == total:
                    progress("export", done, max(done, total))

        if output is None:
            sys.stdout.writelines(lines())
            sys.stdout.flush()
            return
        # Written aside and renamed, so that nobody takes half an export for a whole one.
        aside = output.with_name(f".{output.name}.part")
        try:
            with aside.open("w", encoding="utf-8") as file:
                file.writelines(lines())
            aside.replace(output)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def _opened(data_dir: Path, verb: str) -> "Iterator[SqliteEventLog]":
    """The log of a folder; whatever is wrong with it ends the command with a message and exit code 1."""
    from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
    from bandit.eventlog.sqlite import SqliteEventLog

    try:
        log = SqliteEventLog(data_dir, create=False)
        try:
            yield log
        finally:
            log.close()
    except BrokenPipeError:
        # The reader has had enough: click ends the command without a word.
        raise
    except (CorruptRecord, LogUnwritable, SchemaTooNew, OSError) as error:
        typer.echo(f"banditd log {verb}: {error}", err=True)
        raise typer.Exit(1) from error


def _inspected(log: "SqliteEventLog") -> dict[str, Any]:
    from bandit.eventlog.schema import VERSION

    seq, at_us = log.head()
    counts = log.counts()
    experiment_ids = sorted({count.experiment_id for count in counts if count.experiment_id})
    return {
        "schema_version": VERSION,
        "seq": seq,
        "first_at_us": min((count.first_us for count in counts), default=None),
        "last_at_us": at_us if seq else None,
        "size_bytes": log.size_bytes(),
        "events": [count._asdict() for count in counts],
        "open_decisions": {
            experiment_id: log.open_decisions(experiment_id) for experiment_id in experiment_ids
        },
    }


def _show(found: dict[str, Any]) -> None:
    from bandit.cli.showing import console_for_people, table, time_text

    console = console_for_people()
    shown = table("kind", "experiment", "events", "first", "last", right=("events",))
    for count in found["events"]:
        shown.add_row(
            count["kind"],
            count["experiment_id"] or "-",
            f"{count['rows']:,}",
            time_text(count["first_us"]),
            time_text(count["last_us"]),
        )
    if found["events"]:
        console.print(shown)
        console.print()
    still_open = sum(found["open_decisions"].values())
    lines = [
        f"{found['seq']:,} events, {still_open:,} decisions not yet closed, {found['size_bytes']:,} bytes",
        f"from {time_text(found['first_at_us'])} to {time_text(found['last_at_us'])}, "
        f"schema version {found['schema_version']}",
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
