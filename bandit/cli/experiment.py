"""`banditd experiment`: the experiments of a data folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandit.cli.usage import told_of_system

if TYPE_CHECKING:
    from bandit.learning.overview import Standing

app = typer.Typer(no_args_is_help=True, help="The experiments of a data folder, and how they stand.")


@app.callback()
def _experiment() -> None:
    """The experiments of a data folder, and how they stand."""


@app.command("list")
def list_all(
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
    """Shows the definitions in force and the rewards of what closed so far; a server may be running.

    The figures are plain means of what was served: they don't compare variants fairly. Also printed: what was
    wrong with the experiments file when the server last looked at it.
    """
    from bandit.cli.showing import bars
    from bandit.eventlog.log import CorruptRecord, LogUnwritable, SchemaTooNew
    from bandit.eventlog.sqlite import SqliteEventLog
    from bandit.learning.overview import overview
    from bandit.snapshots.store import SnapshotStore

    try:
        log = SqliteEventLog(data_dir.absolute(), create=False)
        try:
            with bars() as progress:
                standings = overview(log, SnapshotStore(data_dir), progress)
        finally:
            log.close()
    except (CorruptRecord, LogUnwritable, SchemaTooNew, OSError) as error:
        typer.echo(f"banditd experiment list: {told_of_system(error)}", err=True)
        raise typer.Exit(1) from error
    problems = _problems(data_dir)
    if as_json:
        print(json.dumps({"experiments": [_result(one) for one in standings], "problems": problems}))
    else:
        _show(standings, problems)


def _problems(data_dir: Path) -> list[str]:
    """What a server last found wrong with its experiments file."""
    from bandit.serving.components import EXPERIMENTS, read_components

    state = read_components(data_dir).get(EXPERIMENTS, {"ok": True})
    return [] if state["ok"] else str(state["detail"]).splitlines()


def _result(standing: "Standing") -> dict[str, Any]:
    experiment, retraining, pinned = standing.definition.experiment, standing.retraining, standing.pinned
    return {
        "id": experiment.id,
        "version": standing.definition.version,
        "owner": experiment.owner,
        "stage": experiment.rollout.stage.name.lower(),
        "percent": experiment.rollout.percent,
        "holdout_percent": experiment.rollout.holdout_percent,
        "preset": experiment.policy.preset,
        "metric": experiment.reward.metric,
        "snapshot_id": standing.snapshot_id,
        "oracles": standing.oracles and standing.oracles._asdict(),
        "retraining": retraining and {**asdict(retraining), "share": retraining.share},
        "pinned": pinned and {**asdict(pinned), "ok": not pinned.problem},
        **standing.summary.report(),
    }


def _show(standings: "list[Standing]", problems: list[str]) -> None:
    from bandit.cli.showing import console_for_people, table

    console = console_for_people()
    for standing in standings:
        found = _result(standing)
        stage = f"{found['stage']} ({found['percent']:g} % treatment, {found['holdout_percent']:g} % holdout)"
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in found["outcomes"].items() if count)
        lines = [
            f"{found['id']}: {stage}, version {found['version']}, {found['preset']} on {found['metric']}",
            f"closed: {outcomes or 'nothing yet'}; snapshot: {found['snapshot_id'] or 'none yet'}",
            *_serving(found["oracles"]),
            *_changing(found),
        ]
        for line in lines:
            console.print(line, soft_wrap=True)
        if found["joined"]:
            figures = ("joined", "share", "mean reward")
            shown = table("served", *figures, right=figures)
            shown.add_row("all", *_figures(found))
            arms = {f"{arm} arm": row for arm, row in found["arms"].items()}
            for name, row in [*arms.items(), *found["variants"].items()]:
                if row["joined"]:
                    shown.add_row(name, *_figures(row))
            console.print(shown)
        console.print()
    if not standings:
        console.print("no experiments yet")
    for problem in problems:
        console.print(problem, soft_wrap=True)


def _serving(oracles: dict[str, Any] | None) -> list[str]:
    """Which oracle serves, if there are several."""
    if oracles is None or len(oracles["leads"]) < 2:
        return []
    others = [f"{name} {lead:+.1f}" for name, lead in oracles["leads"].items() if name != oracles["serving"]]
    behind = f"standard errors better than it lately: {', '.join(others)}"
    past = f"after {oracles['switches']:,} switches and {oracles['alarms']:,} sudden changes of the world"
    return [f"oracle: {oracles['serving']} serves, {past}; {behind}"]


def _changing(found: dict[str, Any]) -> list[str]:
    """What serves, where that is not the policy in force with all that it has learned."""
    lines = []
    pinned = found["pinned"]
    if retraining := found["retraining"]:
        learned = f"{retraining['learned']:,} of {retraining['of']:,} joined events"
        serves = "the pinned snapshot" if pinned and pinned["ok"] else "the model before"
        lines.append(f"retraining: {learned} learned ({retraining['share']:.1%}); {serves} serves meanwhile")
    if pinned:
        wrong = f", which can't serve: {pinned['problem']}. The newest serves" if pinned["problem"] else ""
        lines.append(f"pinned: {pinned['snapshot_id']}{wrong}")
    return lines


def _figures(row: dict[str, Any]) -> tuple[str, str, str]:
    mean = row["mean_reward"]
    return f"{row['joined']:,}", f"{row['share']:.1%}", "-" if mean is None else f"{mean:.4f}"
