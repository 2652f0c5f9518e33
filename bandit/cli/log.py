"""`banditd log`: what the event log holds, and how to get it out, or one from elsewhere in."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandit.cli import log_export, log_import
from bandit.cli.log_export import DataDir, opened

if TYPE_CHECKING:
    from bandit.eventlog.sqlite import SqliteEventLog

app = typer.Typer(no_args_is_help=True, help="Look into the event log, export it, or import one.")


@app.command("inspect")
def inspect(
    data_dir: DataDir,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ] = False,
) -> None:
    """Counts the events by kind and experiment, and shows how far the log has come and its size."""
    with opened(data_dir, "inspect") as log:
        found = _inspected(log)
    if as_json:
        print(json.dumps(found))
    else:
        _show(found)


app.command("export")(log_export.command)
app.command("import")(log_import.command)


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
        "imported_from": sorted(
            {definition.imported_from for definition in log.definitions() if definition.imported_from}
        ),
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
    if found["imported_from"]:
        lines.append(f"imported from {', '.join(found['imported_from'])}")
    for line in lines:
        console.print(line, soft_wrap=True)
