"""`banditd verify`: proves that the published models are those that the log gives."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bandit.learning.verification import ExperimentVerdict, Verdict


def command(
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            envvar="BANDITD_DATA_DIR",
            exists=True,
            file_okay=False,
            help="The folder of the log and snapshots.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ] = False,
) -> None:
    """Replays the log and compares every published model with what it gives; a server may be running.

    Exit 0 if the log is as it was written and all models that can be compared are equal, 1 if not. A snapshot
    of another release's model format can't be compared, and a folder that is no snapshot by its name is left
    out: both are told as warnings.
    """
    from bandit.cli.showing import bars
    from bandit.eventlog.log import LogUnwritable, SchemaTooNew
    from bandit.eventlog.sqlite import SqliteEventLog
    from bandit.learning.verification import LogVerdict, Verdict, verify
    from bandit.snapshots.store import SnapshotStore

    try:
        log = SqliteEventLog(data_dir.absolute(), create=False)
    except (FileNotFoundError, LogUnwritable, SchemaTooNew) as error:
        verdict = Verdict(LogVerdict(False, 0, str(error)), ())
    else:
        try:
            with bars() as progress:
                verdict = verify(log, SnapshotStore(data_dir), progress)
        finally:
            log.close()
    if as_json:
        print(json.dumps(_result(verdict)))
    else:
        _show(verdict)
    raise typer.Exit(0 if verdict.ok else 1)


def _result(verdict: "Verdict") -> dict[str, Any]:
    return {
        "ok": verdict.ok,
        "experiments": [
            {
                "id": found.experiment_id,
                "position": None if found.position is None else found.position._asdict(),
                "joined": found.joined,
                "snapshot_id": found.snapshot_id,
                "equal": found.equal,
                "reason": found.reason,
                "not_compared": list(found.not_compared),
                "warnings": list(found.warnings),
            }
            for found in verdict.experiments
        ],
        "log": {"ok": verdict.log.ok, "events": verdict.log.events, "reason": verdict.log.reason},
    }


def _show(verdict: "Verdict") -> None:
    from bandit.cli.showing import console_for_people, table

    console = console_for_people()
    if verdict.experiments:
        shown = table("experiment", "joined", "snapshot", "model", right=("joined",))
        for found in verdict.experiments:
            unread = found.snapshot_id and found.position is None
            joined = "-" if unread else f"{found.joined:,}"
            shown.add_row(found.experiment_id, joined, found.snapshot_id or "-", _model(found))
        console.print(shown)
    problems = [f"log: {verdict.log.reason}"] if not verdict.log.ok else []
    if verdict.log.ok:
        problems += [
            f"{found.experiment_id}: {found.reason}" for found in verdict.experiments if found.reason
        ]
    for problem in problems:
        console.print(problem, soft_wrap=True)
    for found in verdict.experiments:
        for warning in found.warnings:
            console.print(f"warning: {found.experiment_id}: {warning}", soft_wrap=True)
    if verdict.ok:
        some_not_compared = any(found.not_compared for found in verdict.experiments)
        models = "every model that can be compared" if some_not_compared else "every model"
        console.print(
            f"ok: {verdict.log.events:,} events are as they were written, and {models} is what they give",
            soft_wrap=True,
        )


def _model(found: "ExperimentVerdict") -> str:
    if not found.equal:
        return "NOT equal"
    if found.snapshot_id:
        return "equal"
    return "not compared" if found.not_compared else "none yet"
