"""`banditd replay`: what a learning policy would have earned, learning as the log goes by."""

from typing import Annotated

import typer

from bandit.cli import judging
from bandit.cli.log_options import Asked, LogPath, with_log_options


@with_log_options()
def command(
    log: LogPath,
    policy: Annotated[
        list[str],
        typer.Option(
            "--policy",
            metavar="POLICY",
            help="A preset as in experiment files, NAME[:option=number,…], or logged; repeatable.",
        ),
    ],
    *,
    asked: Asked,
) -> None:
    """Runs learning policies through a log: each decision is judged by the policy so far, then learned.

    The policy `logged` makes every decision of a data folder again, with the snapshot that it names, and
    compares it with the logged one to the last bit; so it does with the last snapshot.

    Exit 0 even where diagnostics take the headline away; 1 if the log can't be used at all, or if a live run
    was not reproduced.
    """
    from bandit.cli.showing import bars
    from bandit.replay.runner import choose_experiment, replay

    given, declared = asked.options(), asked.declared_range()
    with judging.failures("replay", policy), bars() as progress, judging.opened(log, declared) as source:
        found = replay(source, choose_experiment(source, asked.experiment), policy, given, progress)
        kind = source.kind
    if asked.as_json:
        judging.show_json(judging.result(found, kind, given))
    else:
        judging.show(found, given)
    if found.live_run is not None and not found.live_run.equal:
        raise typer.Exit(1)
