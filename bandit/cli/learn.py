"""`banditd learn`: the learner alone; or, with --from, a model out of a historic log (`warm_start`)."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from bandit.cli.folder import problem_of
from bandit.cli.log_import import Format, definition_of
from bandit.cli.usage import told_of_system
from bandit.settings import Settings, Transport

_WITH_FROM = "goes with --from, which names a historic log to start from"


def command(
    data_dir: Annotated[
        Path,
        typer.Option("--data-dir", envvar="BANDITD_DATA_DIR", help="The folder of the log and snapshots."),
    ],
    snapshots_kept: Annotated[
        int,
        typer.Option(
            "--snapshots-kept",
            envvar="BANDITD_SNAPSHOTS_KEPT",
            min=1,
            max=1000,
            help="Snapshots kept an experiment.",
        ),
    ] = 5,
    log_level: Annotated[
        str, typer.Option("--log-level", envvar="BANDITD_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
    historic: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="LOG",
            exists=True,
            help="Start a new experiment from a historic log: a data folder, a Parquet data set, a dsjson or "
            "jsonl file (.gz too). DIR must be empty.",
        ),
    ] = None,
    experiments: Annotated[
        Path | None,
        typer.Option(
            "--experiments", metavar="FILE", exists=True, help="With --from: the file with its definition."
        ),
    ] = None,
    experiment_id: Annotated[
        str,
        typer.Option("--experiment", metavar="ID", help="With --from: the experiment, if FILE has several."),
    ] = "",
    from_format: Annotated[
        Format | None,
        typer.Option(
            "--format", help="With --from: the log's, if it can't be told from its name or beginning."
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="SIGNAL",
            help="With --from: a signal of the log to leave out; may be given again.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --from: stop at the first bad line.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="On exit, print one JSON object: what was done, the exit code.")
    ] = False,
) -> None:
    """Learns from the log of a server that runs with --no-learner, until SIGTERM or Ctrl-C.

    With --from, starts a new experiment instead: the historic log becomes the log of the data folder, marked
    as imported, and what it teaches the first snapshot. All of it or nothing; then banditd serve goes on.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bandit.logs import LEVELS

    if log_level not in LEVELS:
        raise typer.BadParameter(f"use one of {', '.join(LEVELS)}", param_hint="--log-level")
    if historic is not None:
        if experiments is None:
            raise typer.BadParameter(
                "is needed with --from: it says what to learn", param_hint="--experiments"
            )
        from bandit.cli import warm_start
        from bandit.eventlog.importing.seeding import Seed

        what = Seed(
            path=historic,
            experiment=definition_of(experiments, experiment_id),
            from_format="" if from_format is None else str(from_format),
            without=tuple(without or ()),
            strict=strict,
        )
        raise typer.Exit(warm_start.run(what, data_dir, snapshots_kept, log_level, as_json=as_json))
    given = {
        "--experiments": experiments,
        "--experiment": experiment_id,
        "--format": from_format,
        "--without": without,
        "--strict": strict,
    }
    for name, value in given.items():
        if value:
            raise typer.BadParameter(_WITH_FROM, param_hint=name)
    from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
    from bandit.process import FolderBusy
    from bandit.serving import learner

    settings = Settings(
        data_dir=data_dir.absolute(),
        experiments=data_dir,
        listen="",
        transport=Transport.GRPCIO,
        workers=0,
        drain_seconds=0.0,
        metrics_listen="",
        learner=True,
        calls_in_flight_max=0,
        snapshots_kept=snapshots_kept,
        log_level=log_level,
    )
    problem = problem_of(settings.data_dir)
    if not settings.data_dir.exists():
        problem = f"there is no folder {settings.data_dir}; is it a --data-dir of banditd serve?"
    if not problem:
        try:
            learner.run(settings, lambda name, ok, detail: None)
        except (CorruptRecord, FolderBusy, LogUnwritable, SchemaTooNew, OSError) as error:
            problem = told_of_system(error)
    if problem:
        typer.echo(f"banditd learn: {problem}", err=True)
    code = 1 if problem else 0
    if as_json:
        typer.echo(json.dumps({"exit": code}))
    raise typer.Exit(code)
