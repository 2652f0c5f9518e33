"""`banditd evaluate`: what a fixed policy would have earned, by the log of another one."""

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
            help="uniform, fixed:ID, snapshot:ID, preset:NAME[:option=number,…] or column:NAME; repeatable.",
        ),
    ],
    *,
    asked: Asked,
) -> None:
    """Judges fixed policies on what a log holds, with intervals, and says where the log can't tell.

    preset:NAME learns from the first half of the log, and every policy is then judged on the second half.
    column:NAME takes the served variant's probability under your policy, or a list with one a variant, from
    that column of a Parquet data set or that top-level key of a dsjson file.

    Exit 0 even where diagnostics take the headline away; 1 if the log can't be used at all.
    """
    from bandit.cli.showing import bars
    from bandit.replay.runner import choose_experiment, evaluate

    given, declared = asked.options(), asked.declared_range()
    with judging.failures("evaluate", policy), bars() as progress, judging.opened(log, declared) as source:
        found = evaluate(source, choose_experiment(source, asked.experiment), policy, given, progress)
        kind = source.kind
    if asked.as_json:
        judging.show_json(judging.result(found, kind, given))
    else:
        judging.show(found, given)
