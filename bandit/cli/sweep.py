"""`banditd sweep`: many policies and options replayed in parallel, and a winner that is told honestly."""

import math
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandit import __version__
from bandit.cli import judging
from bandit.cli.log_options import Asked, LogPath, with_log_options
from bandit.cli.usage import told_of_system

if TYPE_CHECKING:
    from bandit.replay.runner import Options
    from bandit.replay.sweep import Done, Ranking
    from bandit.replay.sweep.cells import Cell, Kept

ROWS_SHOWN = 30
CELLS_NAMED = 3
INTERRUPTED = 130


@with_log_options(
    without=("segment",),
    written={
        "alpha": Annotated[
            float, typer.Option("--alpha", help="All intervals hold together with probability 1 - alpha.")
        ]
    },
)
def command(
    log: LogPath,
    grid: Annotated[
        Path,
        typer.Option(
            "--grid",
            exists=True,
            dir_okay=False,
            help="A YAML file: policies: [squarecb] and options: {squarecb: {gamma_scale: [10, 30]}}.",
        ),
    ],
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Processes that replay at the same time.")
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            file_okay=False,
            help="Where finished cells are kept. Default: the log's name and .sweep, in this folder.",
        ),
    ] = None,
    *,
    asked: Asked,
) -> None:
    """Replays every cell of a grid, and ranks them by intervals that hold for all of them at once.

    A cell is one policy with one choice of its options, judged and then learned decision by decision, as in
    banditd replay. Finished cells are kept: the same command later does only what is missing. Ctrl-C keeps
    what is finished, and exits with 130.

    Exit 0 even where diagnostics take headlines away; 1 if a cell failed; 2 for a grid that can't be used.
    """
    from bandit.replay.sweep import grid as grids

    given, declared = asked.options(), asked.declared_range()
    found = grids.load(grid)
    if found.problems:
        for problem in found.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(2)
    cells = _cells(log, asked.experiment, declared, found.policies, given)
    kept = _kept(output if output is not None else Path(f"{log.resolve().name}.sweep"))
    done = _swept(cells, kept, workers)

    from bandit.replay.sweep import rank

    ranking = rank(done, given.alpha)
    if asked.as_json:
        judging.show_json(_result(done, ranking, kept, given))
    else:
        _show(done, ranking, kept, given)
    raise typer.Exit(1 if ranking.failed else 0)


def _cells(
    log: Path,
    experiment: str,
    declared: tuple[float, float] | None,
    policies: Sequence[str],
    given: "Options",
) -> "list[Cell]":
    """The cells of a grid. What keeps all of them from being judged ends the command here."""
    from bandit.eventlog.log import LogUnwritable, SchemaTooNew
    from bandit.replay.errors import BadLog
    from bandit.replay.policies import with_policy
    from bandit.replay.runner import choose_experiment
    from bandit.replay.sweep import cell_alpha
    from bandit.replay.sweep.cells import Cell, log_state

    with judging.failures("sweep"):
        try:
            # Before anything else is read: what is written meanwhile makes another log.
            state = log_state(log)
        except FileNotFoundError:
            raise BadLog(
                f"{log} does not exist. Give a data folder, a Parquet data set, or a dsjson file."
            ) from None
        except (LogUnwritable, SchemaTooNew) as error:
            raise BadLog(str(error)) from error
        except OSError as error:
            raise BadLog(told_of_system(error)) from error
        with judging.opened(log, declared) as source:
            experiment_id = choose_experiment(source, experiment)
            definition = source.experiments()[experiment_id]
        for policy in policies:
            with_policy(definition, policy)
    shared = replace(given, alpha=cell_alpha(given.alpha, len(policies)))
    path = str(log.resolve())
    return [Cell(__version__, policy, path, state, experiment_id, declared, shared) for policy in policies]


def _kept(folder: Path) -> "Kept":
    from bandit.replay.sweep.cells import Kept

    try:
        return Kept(folder)
    except OSError as error:
        typer.echo(
            f"banditd sweep: {folder} can't be made: {error.strerror}; give another --output", err=True
        )
        raise typer.Exit(1) from error


def _swept(cells: "Sequence[Cell]", kept: "Kept", workers: int) -> "list[Done]":
    from bandit.cli.showing import bars
    from bandit.replay.sweep import Stopped, sweep
    from bandit.replay.sweep.pool import processes

    asked = False

    def stop(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    # It must not raise where it comes: see `processes`.
    before = signal.signal(signal.SIGINT, stop)
    try:
        with bars() as progress, processes(min(workers, len(cells))) as executor:
            return sweep(cells, executor, kept, progress, stopping=lambda: asked)
    except Stopped:
        count = sum(kept.find(cell) is not None for cell in cells)
        typer.echo(
            f"banditd sweep: stopped. {count:,} of {len(cells):,} cells are kept in {kept.folder}; the same "
            "command goes on from there.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        typer.echo(f"banditd sweep: a finished cell can't be kept: {told_of_system(error)}", err=True)
        raise typer.Exit(1) from error
    finally:
        signal.signal(signal.SIGINT, before)


def _result(done: "Sequence[Done]", ranking: "Ranking", kept: "Kept", given: "Options") -> dict[str, Any]:
    winner = ranking.winner
    return {
        "experiment_id": done[0].cell.experiment_id,
        "metric": given.metric or None,
        "propensity": given.propensity,
        "estimator": given.estimator,
        "alpha": given.alpha,
        "cells": len(done),
        "cell_alpha": done[0].cell.options.alpha,
        "reused": sum(one.reused for one in done),
        "folder": str(kept.folder),
        "winner": None if winner is None else {"policy": winner.cell.policy, **_headline(winner)},
        "winner_gain": None
        if ranking.gain is None
        else dict(zip(("value", "low", "high"), map(_finite, ranking.gain), strict=True)),
        "best": list(ranking.best),
        "paired": ranking.paired,
        "uneven": ranking.uneven,
        "results": [_told(one) for one in ranking.rows],
        "failed": [{"policy": one.cell.policy, "error": one.error} for one in ranking.failed],
    }


def _told(one: "Done") -> dict[str, Any]:
    # Block sums are for comparing cells: nobody reads them.
    hidden = ("blocks", "logged_blocks")
    return {name: value for name, value in (one.result or {}).items() if name not in hidden} | {
        "reused": one.reused
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _headline(one: "Done") -> dict[str, Any]:
    return dict((one.result or {})["headline"])


def _show(done: "Sequence[Done]", ranking: "Ranking", kept: "Kept", given: "Options") -> None:
    from bandit.cli.showing import console_for_people, table

    console = console_for_people()
    level = f"{100 * (1 - given.alpha):g} %"
    by = given.metric or "reward"
    shown = table("", "policy", "value", "interval for all", "effective", right=("value", "effective"))
    for one in ranking.rows[:ROWS_SHOWN]:
        if (one.result or {}).get("headline") is None:
            shown.add_row("", one.cell.policy, "none", "", "")
            continue
        headline = _headline(one)
        interval = f"{headline['low']:.4f} to {headline['high']:.4f}"
        mark = "*" if one.cell.policy in ranking.best else ""
        shown.add_row(mark, one.cell.policy, f"{headline['value']:.4f}", interval, f"{headline['ess']:,.0f}")
    console.print(f"{done[0].cell.experiment_id}: {by} a decision, by {given.estimator}", soft_wrap=True)
    if ranking.rows:
        console.print(shown)
    for line in _remarks(done, ranking, kept, level):
        console.print(line, soft_wrap=True)


def _remarks(done: "Sequence[Done]", ranking: "Ranking", kept: "Kept", level: str) -> list[str]:
    lines = []
    hidden = len(ranking.rows) - ROWS_SHOWN
    if hidden > 0:
        lines.append(f"{hidden:,} more cells are in --json")
    logged = next(((one.result or {})["logged"] for one in ranking.rows), None)
    if logged is not None and logged["value"] is not None:
        lines.append(f"as logged: {logged['value']:.4f} over {logged['n']:,} decisions")
    winner = ranking.winner
    if winner is not None:
        cell_alpha = done[0].cell.options.alpha
        lines.append(
            f"the intervals of all {len(done):,} cells hold together with probability {level}, so the "
            f"winner's does though it was picked (Bonferroni: each at alpha {cell_alpha:.2g})"
        )
        apart = "one" if len(ranking.best) == 1 else f"{len(ranking.best):,}, which this log can't tell apart"
        how = "by differences on the same rows" if ranking.paired else "by their intervals"
        lines.append(f"with probability {level} the best cell is among those marked * ({apart}), {how}")
    if winner is not None and ranking.gain is not None:
        value, low, high = ranking.gain
        lines.append(f"the winner earns {value:+.4f} against what was served ({low:+.4f} to {high:+.4f})")
    unvalued: dict[str, list[str]] = {}
    for one in ranking.rows:
        if not (one.result or {})["headline"]:
            unvalued.setdefault(str((one.result or {})["reason"]), []).append(one.cell.policy)
    lines += [f"{_named(policies)}: no value. {reason}" for reason, policies in unvalued.items()]
    if ranking.uneven:
        lines.append("cells judged different numbers of rows: the log changed meanwhile; sweep again")
    failed: dict[str, list[str]] = {}
    for one in ranking.failed:
        failed.setdefault(one.error, []).append(one.cell.policy)
    lines += [f"{_named(policies)}: failed: {error}" for error, policies in failed.items()]
    reused = sum(one.reused for one in done)
    lines.append(f"{len(done) - reused:,} cells replayed, {reused:,} kept from before, in {kept.folder}")
    return lines


def _named(policies: Sequence[str]) -> str:
    """The cells that a remark is about: all of a few, the first of many."""
    hidden = len(policies) - CELLS_NAMED
    return ", ".join(policies[:CELLS_NAMED]) + (f" and {hidden:,} more" if hidden > 0 else "")
