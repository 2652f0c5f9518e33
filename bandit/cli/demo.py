"""`banditd demo`: a real server, a real data set, and what was learned from it."""

import json
import signal
import sys
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from bandit.cli.usage import told_of_system

QUICK_CUSTOMERS: Final = 12_000


class _Stop:
    """Whether a signal asked to stop, and which. A second one changes nothing: the run is ending already."""

    def __init__(self) -> None:
        self.number = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number

    def asked(self) -> bool:
        """Whether to stop."""
        return self.number != 0


def command(
    quick: Annotated[bool, typer.Option("--quick", help="Play the first 12,000 customers only.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="The order of the customers.")] = 1,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="A folder that is new or empty. Default: demo-data/ and the time."),
    ] = None,
    customers: Annotated[
        int | None,
        typer.Option("--customers", min=1, hidden=True, help="Play this many customers only."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ] = False,
) -> None:
    """Plays a real e-mail experiment through a real server, and shows what was learned.

    Each of 64,000 customers is a Choose; where the choice is what the customer was really sent, the real
    outcome is the Reward, and the round counts.

    --seed permutes the customers. The draws of the service depend on ids and on a salt that are new in every
    run, and what is learned when depends on speed: two runs of one seed differ by chance, too.

    Ctrl-C stops after the calls in flight, shows the figures so far, stops the server, and exits with 130.
    """
    # Imported here, so that the other commands start without them.
    import asyncio

    from rich.console import Console

    from bandit.client import BanditError
    from bandit.demo import player, progress, server, table
    from bandit.demo.customers import EXPERIMENT_ID, EXPERIMENTS, load, shuffled
    from bandit.demo.summary import Paths, summarise

    limit = customers or (QUICK_CUSTOMERS if quick else None)
    paths = Paths.of(_folder(data_dir))
    everyone = shuffled(load(), seed)[:limit]
    notes = Console(stderr=True, quiet=as_json)
    notes.print(f"data folder {paths.data_dir}", soft_wrap=True, highlight=False, markup=False)
    stop = _Stop()
    played = player.Played()
    try:
        with server.running(paths.data_dir, EXPERIMENTS, paths.log, stopping=stop.asked) as address:
            if address is not None:
                notes.print(f"serving on {address}, playing {len(everyone):,} customers", highlight=False)
                with progress.watching(notes, len(everyone)) as watch:
                    playing = player.play(address, everyone, stopping=stop.asked, on_round=watch.on_round)
                    played = asyncio.run(playing)
    except (server.ServerFailed, BanditError) as error:
        print(f"banditd demo: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    summary = summarise(EXPERIMENT_ID, seed, stop.asked(), played, paths)
    if as_json:
        print(json.dumps(summary.as_json()))
    else:
        table.show(Console(), summary)
    raise typer.Exit(128 + stop.number if stop.asked() else 0)


def _folder(given: Path | None) -> Path:
    """A new or empty folder: a log from before would mean a policy that is trained already."""
    folder = given or Path("demo-data") / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise typer.BadParameter(told_of_system(error), param_hint="--data-dir") from error
    if not empty:
        raise typer.BadParameter(f"{folder} is not empty; give a new folder", param_hint="--data-dir")
    return folder.absolute()
