"""`banditd log import`: a log from elsewhere as the log of a new data folder."""

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandit.cli.usage import told_of_system

if TYPE_CHECKING:
    from bandit.core.experiment import Experiment
    from bandit.eventlog.importing import Imported

_MISSING_EXTRA = "banditd log import needs the extra `replay`: pip install 'banditd[replay]'"


class Format(StrEnum):
    """The formats of an import."""

    JSONL = "jsonl"
    DSJSON = "dsjson"
    PARQUET = "parquet"


def command(
    path: Annotated[
        Path, typer.Argument(metavar="FILE_OR_FOLDER", exists=True, help="What to import; .gz is read too.")
    ],
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            envvar="BANDITD_DATA_DIR",
            file_okay=False,
            help="An empty folder, or one to be made: the import's own.",
        ),
    ],
    from_format: Annotated[
        Format | None,
        typer.Option("--format", help="Told from the name or the first line if left out."),
    ] = None,
    experiments: Annotated[
        Path | None,
        typer.Option("--experiments", exists=True, help="An experiment file with the definition to use."),
    ] = None,
    experiment_id: Annotated[
        str,
        typer.Option(
            "--experiment",
            help="The experiment of that file; without one, the name that a dsjson log's experiment gets, "
            "or the one to take from a Parquet data set.",
        ),
    ] = "",
    reward_range: Annotated[
        str,
        typer.Option(
            "--reward-range",
            metavar="LOW,HIGH",
            help="What rewards of a dsjson log can be; 0,1 if left out. A line outside is a bad one.",
        ),
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ] = False,
) -> None:
    """Makes a log of somebody else's, or of an export: all of it or, if it fails, nothing.

    Bad lines are left out and counted by reason; exit 0 if anything else was imported. The log has the
    source's times, in their order, and its definitions say what it was imported from.
    """
    from bandit.cli.showing import bars
    from bandit.eventlog.files import DATABASE_NAME
    from bandit.eventlog.formats.lines import StoppedAtBadLine
    from bandit.eventlog.importing import BadImport, Options, guess, import_log
    from bandit.eventlog.log import LogUnwritable
    from bandit.secret import key_for_imported

    if (path / DATABASE_NAME).exists():
        raise typer.BadParameter(
            f"{path} is a data folder: serve or judge it as it is, or export it first",
            param_hint="FILE_OR_FOLDER",
        )
    if experiments is not None and reward_range:
        raise typer.BadParameter("the experiment file says it already", param_hint="--reward-range")
    low_high = _range(reward_range)
    definition = None if experiments is None else definition_of(experiments, experiment_id)
    try:
        found_format = guess(path) if from_format is None else str(from_format)
        if found_format == "jsonl" and (experiments is not None or experiment_id or reward_range):
            raise typer.BadParameter(
                "jsonl brings its own definitions", param_hint="--experiments, --experiment, --reward-range"
            )
        options = Options(
            definition=definition,
            experiment_id="" if definition is not None else experiment_id,
            reward_range=low_high,
            strict=strict,
        )
        with bars() as progress:
            imported = import_log(path, data_dir, found_format, options, progress)
        new_key = key_for_imported(data_dir)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("orjson", "pyarrow"):
            raise
        typer.echo(_MISSING_EXTRA, err=True)
        raise typer.Exit(1) from error
    except StoppedAtBadLine as error:
        typer.echo(f"banditd log import: {path}: {error}. Nothing was imported.", err=True)
        raise typer.Exit(1) from error
    except (BadImport, LogUnwritable, OSError) as error:
        typer.echo(f"banditd log import: {told_of_system(error)}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        print(json.dumps({**_result(imported), "subject_key_made": new_key}))
        return
    _show(imported, data_dir)
    if new_key:
        typer.echo(
            "The folder has a subject key of its own now. To serve the same people in the same arms, copy "
            "subject.key of the folder that the log came from over it before you start a server."
        )


def _range(text: str) -> tuple[float, float]:
    if not text:
        return 0.0, 1.0
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise typer.BadParameter(
            f"{text!r} is not two numbers LOW,HIGH, the lower first", param_hint="--reward-range"
        )
    return low, high


def definition_of(path: Path, experiment_id: str) -> "Experiment":
    """The experiment of a file that an id names; without one, its only. Ends the command if there is none."""
    from bandit.experiment_file import load

    loaded = load(path)
    if loaded.problems:
        for problem in loaded.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(1)
    known = {experiment.id: experiment for experiment in loaded.experiments}
    if not experiment_id and len(known) == 1:
        return next(iter(known.values()))
    if experiment_id not in known:
        raise typer.BadParameter(
            f"name one of those in {path}: {', '.join(known) or 'there is none'}", param_hint="--experiment"
        )
    return known[experiment_id]


def _result(imported: "Imported") -> dict[str, Any]:
    return {
        "format": imported.format,
        "lines": imported.lines,
        "events": imported.events,
        "experiments": [
            {"id": experiment_id, "decisions": decisions, "rewards": rewards}
            for experiment_id, (decisions, rewards) in imported.counts.items()
        ],
        "definition_made_up": imported.made_up,
        "out_of_order": imported.late,
        "times_taken_as_utc": imported.naive_times,
        "bad_lines": sum(imported.bad.values()),
        "bad_lines_by_reason": {
            reason: {"count": count, "first_lines": imported.first[reason]}
            for reason, count in sorted(imported.bad.items())
        },
    }


def _show(imported: "Imported", data_dir: Path) -> None:
    from bandit.cli.showing import console_for_people, table

    console = console_for_people()
    shown = table("experiment", "decisions", "rewards", right=("decisions", "rewards"))
    for experiment_id, (decisions, rewards) in imported.counts.items():
        shown.add_row(experiment_id, f"{decisions:,}", f"{rewards:,}")
    console.print(shown)
    console.print(f"{imported.lines:,} lines read, {imported.events:,} events in {data_dir}", soft_wrap=True)
    if imported.late:
        console.print(f"{imported.late:,} lines were older than one before them, and stand in order of time")
    if imported.naive_times:
        console.print(f"{imported.naive_times:,} times had no zone and were taken as UTC")
    if imported.bad:
        console.print()
        bad = table("left out because of", "lines", "the first of them", right=("lines",))
        for reason, count in sorted(imported.bad.items(), key=lambda item: (-item[1], item[0])):
            bad.add_row(reason, f"{count:,}", ", ".join(map(str, imported.first[reason])))
        console.print(bad)
