"""`banditd learn`: the learner alone."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from bandit.settings import Settings


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
    as_json: Annotated[
        bool, typer.Option("--json", help="On exit, print one JSON object: the exit code.")
    ] = False,
) -> None:
    """Learns from the log of a server that runs with --no-learner, until SIGTERM or Ctrl-C."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bandit.eventlog.log import LogUnwritable, SchemaTooNew
    from bandit.logs import LEVELS
    from bandit.process import FolderBusy
    from bandit.serving import learner

    if log_level not in LEVELS:
        raise typer.BadParameter(f"use one of {', '.join(LEVELS)}", param_hint="--log-level")
    settings = Settings(
        data_dir=data_dir.absolute(),
        experiments=data_dir,
        listen="",
        workers=0,
        drain_seconds=0.0,
        metrics_listen="",
        learner=True,
        calls_in_flight_max=0,
        snapshots_kept=snapshots_kept,
        log_level=log_level,
    )
    code = 0
    try:
        learner.run(settings, lambda name, ok, detail: None)
    except (FolderBusy, LogUnwritable, SchemaTooNew, OSError) as error:
        typer.echo(f"banditd learn: {error}", err=True)
        code = 1
    if as_json:
        typer.echo(json.dumps({"exit": code}))
    raise typer.Exit(code)
