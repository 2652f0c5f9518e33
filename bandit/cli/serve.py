"""`banditd serve`: a server on one data folder."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from bandit.cli.folder import problem_of
from bandit.cli.usage import told_of_system
from bandit.settings import Settings, Transport

LOCK_WAIT_SECONDS: Final = 1.0
"""A child of a server that was killed as it was forked holds the lock for some milliseconds more."""


def command(
    data_dir: Annotated[
        Path,
        typer.Option("--data-dir", envvar="BANDITD_DATA_DIR", help="The folder of the log and snapshots."),
    ],
    experiments: Annotated[
        Path,
        typer.Option(
            "--experiments", envvar="BANDITD_EXPERIMENTS", help="The experiments file, or a folder of them."
        ),
    ],
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            envvar="BANDITD_LISTEN",
            help="HOST:PORT (0: a free one) or unix:/path, which takes one worker.",
        ),
    ] = "127.0.0.1:50051",
    transport: Annotated[
        Transport,
        typer.Option(
            "--transport",
            envvar="BANDITD_TRANSPORT",
            help="What speaks HTTP/2; native is faster, local only, and needs the extra `fast`.",
        ),
    ] = Transport.GRPCIO,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            envvar="BANDITD_WORKERS",
            min=1,
            max=64,
            help="Serving processes; a Unix socket takes one.",
        ),
    ] = 1,
    drain_seconds: Annotated[
        float,
        typer.Option(
            "--drain-seconds",
            envvar="BANDITD_DRAIN_SECONDS",
            min=0.5,
            max=3600,
            help="After SIGTERM, everything has stopped within this time.",
        ),
    ] = 10.0,
    metrics_listen: Annotated[
        str,
        typer.Option(
            "--metrics-listen",
            envvar="BANDITD_METRICS_LISTEN",
            help="HOST:PORT of /metrics and /health; empty: none.",
        ),
    ] = "",
    no_learner: Annotated[
        bool,
        typer.Option(
            "--no-learner", envvar="BANDITD_NO_LEARNER", help="Serve only; learn elsewhere or later."
        ),
    ] = False,
    calls_in_flight_max: Annotated[
        int,
        typer.Option(
            "--calls-in-flight-max",
            envvar="BANDITD_CALLS_IN_FLIGHT_MAX",
            min=1,
            help="More calls at once than this, a worker, are refused as OVERLOADED.",
        ),
    ] = 1_000,
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
        bool, typer.Option("--json", help="On exit, print one JSON object: the address and the exit code.")
    ] = False,
) -> None:
    """Serves BanditService until SIGTERM, SIGHUP or Ctrl-C; supervises its workers and its learner."""
    # Until there are children, there is nothing to drain.
    signal.signal(signal.SIGTERM, _leave)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _leave)
    # gRPC's own lines are no JSON, and what matters of them is raised, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # One BLAS thread: nothing here needs more, and a process with threads can't be forked safely.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bandit.logs import LEVELS, configure

    if log_level not in LEVELS:
        raise typer.BadParameter(f"use one of {', '.join(LEVELS)}", param_hint="--log-level")
    configure(log_level, process="supervisor")
    address, code = _serve(
        Settings(
            data_dir=data_dir.absolute(),
            experiments=experiments.absolute(),
            listen=listen,
            transport=transport,
            workers=workers,
            drain_seconds=drain_seconds,
            metrics_listen=metrics_listen,
            learner=not no_learner,
            calls_in_flight_max=calls_in_flight_max,
            snapshots_kept=snapshots_kept,
            log_level=log_level,
        )
    )
    if as_json:
        print(json.dumps({"address": address, "exit": code}))
    raise typer.Exit(code)


def _serve(settings: Settings) -> tuple[str, int]:
    """Puts everything in place that a server needs, then supervises it."""
    from bandit.process import FolderBusy, FolderLock
    from bandit.serving import address, metrics

    _check(settings)
    problem = problem_of(settings.data_dir)
    if problem:
        _fail(problem)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FolderLock(settings.data_dir / "server.lock", "A server", wait_s=LOCK_WAIT_SECONDS)
    except FolderBusy as error:
        _fail(str(error))
    except OSError as error:
        _fail(
            f"the data folder {settings.data_dir} can't be used: {error.strerror}; make it writable, or "
            "choose another --data-dir"
        )
    if settings.metrics_listen:
        # Before prometheus_client is imported anywhere.
        metrics.prepare(settings.data_dir)

    from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
    from bandit.secret import BadKey, ensure_key
    from bandit.serving.definitions import apply_file
    from bandit.serving.supervisor import Supervisor

    try:
        # First: a start that is refused for them leaves no definitions behind.
        reserved = address.Reserved(settings.listen)
        page = None
        if settings.metrics_listen:
            page = address.listening(settings.metrics_listen, "--metrics-listen")
        ensure_key(settings.data_dir)
        outcome = apply_file(settings.experiments, settings.data_dir, create=True)
        for problem in outcome.problems:
            print(problem, file=sys.stderr)
        if outcome.problems:
            _fail(f"{settings.experiments} is not in order; mend it and check it with: banditd check")
    except (address.BadAddress, BadKey, CorruptRecord, LogUnwritable, SchemaTooNew, OSError) as error:
        _fail(told_of_system(error))
    return reserved.address, Supervisor(settings, lock, reserved, page, outcome.signature).run()


def _check(settings: Settings) -> None:
    """Refuses, before anything is made, what can't be right on any machine."""
    from bandit.serving import address
    from bandit.serving.transport import Unfit, check

    flag = "--listen"
    try:
        address.check(settings.listen)
        if settings.metrics_listen:
            flag = "--metrics-listen"
            address.host_port(settings.metrics_listen)
    except address.Malformed as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None
    if settings.workers > 1 and address.is_unix(settings.listen):
        raise typer.BadParameter(
            "a Unix socket has one listener; leave it out, or listen on HOST:PORT", param_hint="--workers"
        )
    try:
        check(settings.transport, settings.listen)
    except Unfit as error:
        raise typer.BadParameter(str(error), param_hint="--transport") from None
    except address.BadAddress as error:
        _fail(str(error))


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    print(f"banditd serve: {message}", file=sys.stderr)
    raise typer.Exit(1)
