"""`banditd check`: an experiment file or folder, judged without a server."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bandit import experiment_file


def command(
    file: Annotated[Path, typer.Argument(exists=True, help="A YAML file, or a folder of them.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ] = False,
) -> None:
    """Checks an experiment file; prints FILE:LINE: field: what is wrong and what would be right.

    Exit 0 if the file is in order (warnings are allowed), 1 if it is not.
    """
    from bandit import experiment_file

    loaded = experiment_file.load(file)
    if as_json:
        result = {
            "ok": not loaded.problems,
            "experiments": [experiment.id for experiment in loaded.experiments],
            "problems": [asdict(problem) for problem in loaded.problems],
            "warnings": [asdict(warning) for warning in loaded.warnings],
        }
        print(json.dumps(result))
    else:
        _show(loaded)
    raise typer.Exit(1 if loaded.problems else 0)


def _show(loaded: "experiment_file.Loaded") -> None:
    for problem in loaded.problems:
        print(problem)
    for warning in loaded.warnings:
        print(f"{warning} (warning)")
    if loaded.problems:
        print(_counted(len(loaded.problems), "problem"))
    else:
        ids = ", ".join(experiment.id for experiment in loaded.experiments)
        print(f"ok: {_counted(len(loaded.experiments), 'experiment')}{f': {ids}' if ids else ''}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
