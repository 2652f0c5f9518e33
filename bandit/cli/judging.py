"""What `evaluate` and `replay` have in common: how a log is opened, how they fail, and what is shown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from bandit.replay.estimators import Estimate
    from bandit.replay.judging import Judgement
    from bandit.replay.runner import Evaluation, Options
    from bandit.replay.sources import Source

_SQLITE: Final = b"SQLite format 3\0"
_EXPORT_KEYS: Final = {"seq", "kind", "record"}


@contextmanager
def failures(command: str, policies: Sequence[str] = ()) -> Iterator[None]:
    """A log that can't be used ends the command with exit code 1, a policy that there is not with 2.

    `policies` are those that were asked for: where one is misspelt, the one that was meant is told.
    """
    from bandit.cli.spelling import meant
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
        question = meant(command, policies)
        typer.echo(f"banditd {command}: {error}{question and f'; {question}'}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def opened(log: Path, reward_range: tuple[float, float] | None) -> "Iterator[Source]":
    """The source that a log is, as `open_source` gives it. Raises BadLog, also for what it can't be told from
    decision lines by: files of banditd's own that hold a log in another form.
    """
    from bandit.replay.errors import BadLog
    from bandit.replay.sources import open_source

    with ExitStack() as stack:
        try:
            if log.is_file() and (advice := _advice(log)):
                raise BadLog(f"{log} {advice}")
            source = stack.enter_context(open_source(log, reward_range=reward_range))
        except PermissionError as error:
            raise BadLog(
                f"{error.filename or log} can't be read: {error.strerror}; make it readable"
            ) from error
        yield source


def _advice(log: Path) -> str:
    """What to do with a file that holds a log which is no decision lines; empty for any other."""
    from bandit.eventlog.formats.lines import read

    with log.open("rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            return "is the database of a data folder; give the folder that it stands in"
    for _, line in islice(read(log, lambda number, bad: None), 1):
        try:
            first = json.loads(line)
        except ValueError:
            return ""
        if isinstance(first, dict) and first.keys() >= _EXPORT_KEYS:
            return (
                "is a jsonl export, event by event; make a data folder of it (banditd log import "
                f"{log} --data-dir NEW) and give that, or export as dsjson or parquet"
            )
    return ""


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
            "other_release": found.live_run.other_release,
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
        if live.other_release:
            yield (
                f"live run: {live.other_release:,} more decisions were made with models of another release's "
                "format, which this one can't learn again: compare them with that release"
            )
