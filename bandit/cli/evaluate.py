"""`banditd evaluate`: what a fixed policy would have earned, by the log of another one."""

from typing import Annotated

import typer

from bandit.cli import judging


def command(
    log: judging.LogPath,
    policy: Annotated[
        list[str],
        typer.Option(
            "--policy",
            metavar="POLICY",
            help="uniform, fixed:ID, snapshot:ID, preset:NAME[:option=number,…] or column:NAME; repeatable.",
        ),
    ],
    experiment: judging.Experiment = "",
    metric: judging.Metric = "",
    since: judging.Since = "",
    until: judging.Until = "",
    segment: judging.Segment = "",
    propensity: judging.Propensity = "own",
    estimator: judging.Estimator = "snips",
    reward_model: judging.RewardModel = "none",
    reward_range: judging.RewardRange = "",
    alpha: judging.Alpha = 0.05,
    as_json: judging.AsJson = False,
) -> None:
    """Judges fixed policies on what a log holds, with intervals, and says where the log can't tell.

    preset:NAME learns from the first half of the log, and every policy is then judged on the second half.
    column:NAME takes the served variant's probability under your policy, or a list with one a variant, from
    that column of a Parquet data set or that top-level key of a dsjson file.

    Exit 0 even where diagnostics take the headline away; 1 if the log can't be used at all.
    """
    from bandit.cli.showing import bars

    given = judging.options(
        metric=metric,
        since=since,
        until=until,
        segment=segment,
        propensity=propensity,
        estimator=estimator,
        reward_model=reward_model,
        alpha=alpha,
    )
    declared = judging.reward_range(reward_range)
    from bandit.replay.runner import choose_experiment, evaluate
    from bandit.replay.sources import open_source

    with judging.failures("evaluate"), bars() as progress, open_source(log, reward_range=declared) as source:
        found = evaluate(source, choose_experiment(source, experiment), policy, given, progress)
        kind = source.kind
    if as_json:
        judging.show_json(judging.result(found, kind, given))
    else:
        judging.show(found, given)
