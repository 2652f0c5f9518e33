"""The options of the commands that judge policies by a log, each written once.

A command takes `asked: Asked`, and `with_log_options` gives it an option for each field instead.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

if TYPE_CHECKING:
    from bandit.replay.runner import Options

LogPath = Annotated[
    Path,
    typer.Argument(metavar="LOG", help="A data folder, a Parquet data set, or a dsjson file (plain or .gz)."),
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was given on the command line, as it was written."""

    experiment: Annotated[
        str, typer.Option("--experiment", metavar="ID", help="Which one; needed if the log holds several.")
    ] = ""
    metric: Annotated[
        str, typer.Option("--metric", metavar="NAME", help="Judge by this metric instead of the reward.")
    ] = ""
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="Only decisions from this time (ISO 8601; UTC if no zone)."
        ),
    ] = ""
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="Only decisions before this time.")
    ] = ""
    segment: Annotated[
        str, typer.Option("--segment", metavar="SIGNAL", help="Judge each value of this signal apart, too.")
    ] = ""
    propensity: Annotated[
        str,
        typer.Option(
            "--propensity",
            metavar="own|marginal",
            help="own: treatment rows, with their own. marginal: the rows of both arms, with that over both.",
        ),
    ] = "own"
    estimator: Annotated[
        str,
        typer.Option(
            "--estimator",
            metavar="NAME",
            help="The headline's: snips, ips, cressie_read, anytime, dm, dr, switch_dr or dros.",
        ),
    ] = "snips"
    reward_model: Annotated[
        str,
        typer.Option(
            "--reward-model",
            metavar="none|vw|column:NAME",
            help="What predicts rewards for dm and dr: nothing, a regression across folds, or a column.",
        ),
    ] = "none"
    reward_range: Annotated[
        str,
        typer.Option(
            "--reward-range", metavar="LOW,HIGH", help="The range of a dsjson file's rewards (0,1)."
        ),
    ] = ""
    alpha: Annotated[float, typer.Option("--alpha", help="Intervals hold with probability 1 - alpha.")] = 0.05
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ] = False

    def options(self) -> "Options":
        """The options as the runner takes them. Raises typer.BadParameter."""
        from bandit.replay.runner import Options

        if self.propensity not in ("own", "marginal"):
            raise typer.BadParameter(
                f"{self.propensity!r} is neither; use own or marginal", param_hint="--propensity"
            )
        kind, _, column = self.reward_model.partition(":")
        if kind not in ("none", "vw", "column") or (kind == "column") != bool(column):
            raise typer.BadParameter(
                f"{self.reward_model!r} is none; use none, vw or column:NAME", param_hint="--reward-model"
            )
        return Options(
            metric=self.metric,
            since_us=_time_us(self.since, "--since"),
            until_us=_time_us(self.until, "--until"),
            segment=self.segment,
            propensity=cast(Literal["own", "marginal"], self.propensity),
            alpha=self.alpha,
            estimator=self.estimator,
            reward_model=kind == "vw",
            reward_model_column=column,
        )

    def declared_range(self) -> tuple[float, float] | None:
        """The range of the rewards; None if it was not given. Raises typer.BadParameter."""
        if not self.reward_range:
            return None
        try:
            low, high = map(float, self.reward_range.split(","))
        except ValueError:
            low, high = math.nan, math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise typer.BadParameter(
                f"{self.reward_range!r} is no range; write LOW,HIGH, such as 0,1 or -1,0",
                param_hint="--reward-range",
            )
        return low, high


def with_log_options(
    *, without: tuple[str, ...] = (), written: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that takes the keyword `asked` the options of Asked in its place.

    Those in `without` are left out; `written` are annotations that differ from those of Asked.
    """
    kept = [field for field in fields(Asked) if field.name not in without]
    added = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=(written or {}).get(field.name, field.type),
        )
        for field in kept
    ]

    def changed(command: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in inspect.signature(command).parameters.values() if one.name != "asked"]

        @wraps(command)
        def spread(**given: Any) -> None:
            asked = Asked(**{field.name: given.pop(field.name) for field in kept})
            command(**given, asked=asked)

        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + added
        # Where typer looks.
        spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        spread.__annotations__ = {one.name: one.annotation for one in parameters}
        return spread

    return changed


def _time_us(text: str, option: str) -> int | None:
    """An ISO 8601 time as microseconds since the epoch; None for an empty text. Raises typer.BadParameter."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write it by ISO 8601, such as 2026-01-31T18:00:00Z", param_hint=option
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // timedelta(microseconds=1)
