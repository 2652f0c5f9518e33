"""What `evaluate` and `replay` have in common: their options, how a log is opened, and what is shown."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

if TYPE_CHECKING:
    from bandit.replay.estimators import Estimate
    from bandit.replay.judging import Judgement
    from bandit.replay.runner import Evaluation, Options

LogPath = Annotated[
    Path,
    typer.Argument(metavar="LOG", help="A data folder, a Parquet data set, or a dsjson file (plain or .gz)."),
]
Experiment = Annotated[
    str, typer.Option("--experiment", metavar="ID", help="Which one; needed if the log holds several.")
]
Metric = Annotated[
    str, typer.Option("--metric", metavar="NAME", help="Judge by this metric instead of the reward.")
]
Since = Annotated[
    str,
    typer.Option("--since", metavar="TIME", help="Only decisions from this time (ISO 8601; UTC if no zone)."),
]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Only decisions before this time.")]
Segment = Annotated[
    str, typer.Option("--segment", metavar="SIGNAL", help="Judge each value of this signal apart, too.")
]
Propensity = Annotated[
    str,
    typer.Option(
        "--propensity",
        metavar="own|marginal",
        help="own: treatment rows, with their own. marginal: the rows of both arms, with that over both.",
    ),
]
Estimator = Annotated[
    str,
    typer.Option(
        "--estimator",
        metavar="NAME",
        help="The headline's: snips, ips, cressie_read, anytime, dm, dr, switch_dr or dros.",
    ),
]
RewardModel = Annotated[
    str,
    typer.Option(
        "--reward-model",
        metavar="none|vw|column:NAME",
        help="What predicts rewards for dm and dr: nothing, a regression across folds, or a column.",
    ),
]
RewardRange = Annotated[
    str,
    typer.Option("--reward-range", metavar="LOW,HIGH", help="The range of a dsjson file's rewards (0,1)."),
]
Alpha = Annotated[float, typer.Option("--alpha", help="Intervals hold with probability 1 - alpha.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def options(
    *,
    metric: str,
    since: str,
    until: str,
    segment: str,
    propensity: str,
    estimator: str,
    reward_model: str,
    alpha: float,
) -> "Options":
    """The options as the runner takes them. Raises typer.BadParameter."""
    from bandit.replay.runner import Options

    if propensity not in ("own", "marginal"):
        raise typer.BadParameter(f"--propensity is {propensity!r}; use own or marginal")
    kind, _, column = reward_model.partition(":")
    if kind not in ("none", "vw", "column") or (kind == "column") != bool(column):
        raise typer.BadParameter(f"--reward-model is {reward_model!r}; use none, vw or column:NAME")
    return Options(
        metric=metric,
        since_us=time_us(since, "--since"),
        until_us=time_us(until, "--until"),
        segment=segment,
        propensity=cast(Literal["own", "marginal"], propensity),
        alpha=alpha,
        estimator=estimator,
        reward_model=kind == "vw",
        reward_model_column=column,
    )


def time_us(text: str, option: str) -> int | None:
    """An ISO 8601 time as microseconds since the epoch; None for an empty text. Raises typer.BadParameter."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{option} is {text!r}; write an ISO 8601 time, such as 2026-01-31T18:00:00Z"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // timedelta(microseconds=1)


def reward_range(text: str) -> tuple[float, float] | None:
    """LOW,HIGH as a range; None for an empty text. Raises typer.BadParameter."""
    if not text:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise typer.BadParameter(f"--reward-range is {text!r}; write LOW,HIGH, such as 0,1 or -1,0")
    return low, high


@contextmanager
def failures(command: str) -> Iterator[None]:
    """A log that can't be used ends the command with exit code 1, a policy that there is not with 2."""
    from bandit.replay.errors import BadLog, BadPolicy, MissingExtra

    try:
        yield
    except MissingExtra as error:
        typer.echo(f"banditd {command} {error}", err=True)
        raise typer.Exit(1) from error
    except BadLog as error:
        typer.echo(f"banditd {command}: {error}", err=True)
        raise typer.Exit(1) from error
    except BadPolicy as error:
        typer.echo(f"banditd {command}: {error}", err=True)
        raise typer.Exit(2) from error


def result(found: "Evaluation", kind: str, given: "Options") -> dict[str, Any]:
    """An evaluation as JSON values."""
    from bandit.replay.judging import estimate_json

    body: dict[str, Any] = {
        "experiment_id": found.experiment_id,
        "source": kind,
        "metric": given.metric or None,
        "propensity": given.propensity,
        "alpha": given.alpha,
        "logged": estimate_json(found.logged),
        "policies": [judgement.to_json() for judgement in found.judgements],
        "segments": [
            {
                "signal": given.segment,
                "value": value,
                "logged": estimate_json(found.segment_logged[value]),
                "policies": [judgement.to_json() for judgement in judgements],
            }
            for value, judgements in found.segments.items()
        ],
        "counts": dict(found.counts),
    }
    if len(found.judgements) == 1:
        body |= {name: body["policies"][0][name] for name in ("headline", "reason")}
    if found.live_run is not None:
        body["live_run"] = {
            "reproduced": found.live_run.reproduced,
            "of": found.live_run.of,
            "final_snapshot_equal": found.live_run.final_snapshot_equal,
            "differs": found.live_run.differs,
        }
    return body


def show(found: "Evaluation", given: "Options") -> None:
    """An evaluation as tables for people."""
    from bandit.cli.showing import console_for_people, table

    console = console_for_people()
    by = given.metric or "reward"
    level = f"{100 * (1 - given.alpha):g} %"
    shown = table("policy", "value", f"{level} interval", "rows", "effective", right=("rows", "effective"))
    _add(shown, "as logged", found.logged)
    _add_judgements(shown, found.judgements)
    for value, judgements in found.segments.items():
        shown.add_section()
        _add(shown, f"{given.segment} = {value}: as logged", found.segment_logged[value])
        _add_judgements(shown, judgements)
    console.print(f"{found.experiment_id}: {by} a decision, by {given.estimator}", soft_wrap=True)
    console.print(shown)
    for line in _remarks(found):
        console.print(line, soft_wrap=True)


def show_json(body: Mapping[str, Any]) -> None:
    """One object on stdout."""
    print(json.dumps(body, allow_nan=False))


def _add_judgements(shown: Any, judgements: "Sequence[Judgement]") -> None:
    for judgement in judgements:
        _add(shown, judgement.policy, judgement.headline)


def _add(shown: Any, name: str, estimate: "Estimate | None") -> None:
    if estimate is None:
        shown.add_row(name, "none", "", "", "")
        return
    interval = f"{estimate.low:.4f} to {estimate.high:.4f}"
    shown.add_row(name, f"{estimate.value:.4f}", interval, f"{estimate.n:,}", f"{estimate.ess:,.0f}")


def _remarks(found: "Evaluation") -> Iterator[str]:
    for judgement in found.judgements:
        if judgement.headline is None:
            yield f"{judgement.policy}: no value. {judgement.reason}"
        for check in judgement.diagnostics.checks:
            if check.verdict == "warn":
                yield f"{judgement.policy}: {check.advice}"
        for note in judgement.notes:
            yield f"{judgement.policy}: {note}"
    told = [f"{count:,} {name.replace('_', ' ')}" for name, count in found.counts.items() if count]
    yield f"counted: {', '.join(told)}"
    live = found.live_run
    if live is not None:
        snapshot = {
            None: "there is no snapshot",
            True: "the last snapshot is equal",
            False: "it is NOT equal",
        }
        made = f"live run: {live.reproduced:,} of {live.of:,} decisions came out as logged"
        differs = f"; first difference: {live.differs}" if live.differs else ""
        yield f"{made}, {snapshot[live.final_snapshot_equal]}{differs}"
