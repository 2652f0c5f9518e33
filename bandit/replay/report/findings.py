"""What a report holds: judgements, and the few figures that its charts show. See `page` for the page.

A log of millions of rows passes once for every few policies; nothing of its length is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bandit.core.experiment import Experiment
from bandit.policies.presets import PRESETS
from bandit.replay.errors import BadPolicy
from bandit.replay.estimators import Estimate
from bandit.replay.judging import Judgement, estimate_json
from bandit.replay.report import series
from bandit.replay.report.exposure import Breakdown, Watched
from bandit.replay.report.series import Running, Served, Weights
from bandit.replay.report.signals import Matters
from bandit.replay.runner import Evaluation, Options, Progress, evaluate, replay
from bandit.replay.sources import Source

POLICIES_MAX: Final = 12
POLICIES_A_PASS: Final = 4
"""Columns of this many policies are in memory together: 16 bytes a row each."""

VARIANTS_SHOWN: Final = 8
SEGMENTS_SHOWN: Final = 8
SIGNALS_SHOWN: Final = 6
TROUBLES_SHOWN: Final = 8
DEFAULT_VARIANTS: Final = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """A policy's judgement and its charts. `learning` tells that it went on learning along the log. `logged`
    is the mean of the very rows that it was judged on: with a `preset:` they are the second half.
    """

    judgement: Judgement
    logged: Estimate
    learning: bool
    running: Running
    weights: Weights


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a page shows.

    `first_us` and `last_us` are the times of the first and the last of `decisions` that were read, both arms;
    None if there are none. `served` are the most served variants, of `variants` in all, and
    `calibration` those that should have been served most. `segments` are
    judgements by the value of `options.segment`, and `segment_logged` the means of their rows. `matters`
    tells which signals do, from the rows of both arms.
    """

    log_name: str
    kind: str
    experiment: Experiment
    options: Options
    logged: Estimate
    judged: tuple[Judged, ...]
    segments: Mapping[str, tuple[Judgement, ...]]
    segment_logged: Mapping[str, Estimate]
    served: tuple[Served, ...]
    calibration: tuple[Served, ...]
    variants: int
    breakdowns: tuple[Breakdown, ...]
    decisions: int
    first_us: int | None
    last_us: int | None
    counts: Mapping[str, int]
    first_trouble: Mapping[str, tuple[int, str]]
    matters: Matters

    def to_json(self) -> dict[str, Any]:
        """JSON values: what `evaluate` and `replay` give for the same policies, and the signals."""
        return {
            "experiment_id": self.experiment.id,
            "logged": estimate_json(self.logged),
            "policies": [one.judgement.to_json() for one in self.judged],
            "segments": {
                value: [judgement.to_json() for judgement in found] for value, found in self.segments.items()
            },
            "signals": [signal.to_json() for signal in self.matters.signals],
            "counts": dict(self.counts),
        }


class _Passes:
    """Tells a pass's number with what is being done."""

    def __init__(self, progress: Progress, passes: int) -> None:
        self._progress = progress
        self._passes = passes
        self.number = 1

    def __call__(self, what: str, done: int, total: int) -> None:
        name = what if self._passes == 1 else f"{what}, pass {self.number} of {self._passes}"
        self._progress(name, done, total)


def default_policies(experiment: Experiment) -> list[str]:
    """What is judged if nothing is named: uniform choice, and always one of the first few of a catalogue."""
    return ["uniform", *(f"fixed:{variant.id}" for variant in experiment.variants[:DEFAULT_VARIANTS])]


def learns(policy: str) -> bool:
    """Whether a policy's name is one of `replay`, a preset that learns along the log."""
    preset = PRESETS.get(policy.partition(":")[0])
    return preset is not None and preset.learns


def collect(
    source: Source,
    log_name: str,
    experiment_id: str,
    policies: Sequence[str],
    options: Options,
    progress: Progress,
) -> Findings:
    """Judges policies, fixed ones as `evaluate` does and learning ones as `replay` does.

    `experiment_id` is one of the source's. Raises BadLog, BadPolicy, and what the source raises.
    """
    experiment = source.experiments()[experiment_id]
    wanted = list(dict.fromkeys(policies)) or default_policies(experiment)
    if len(wanted) > POLICIES_MAX:
        raise BadPolicy(
            f"{len(wanted)} policies are too many for one page; name at most {POLICIES_MAX}, or use "
            "banditd sweep to choose among many"
        )
    watched = Watched(source, options.since_us, options.until_us, metric=options.metric)
    # A snapshot is looked for where the source's own kind keeps it.
    read: Source = source if any(policy.startswith("snapshot:") for policy in wanted) else watched
    passes = _passes(wanted)
    told = _Passes(progress, len(passes))
    found: list[Judged] = []
    segments: dict[str, tuple[Judgement, ...]] = {}
    segment_logged: dict[str, Estimate] = {}
    logged: Estimate | None = None
    counts: Mapping[str, int] = {}
    rows: tuple[Served, ...] = ()
    expected: tuple[Served, ...] = ()
    variants = 0
    for number, names in enumerate(passes, start=1):
        told.number = number
        along = learns(names[0])
        evaluation = (replay if along else evaluate)(read, experiment_id, names, options, told)
        found += _judged(evaluation, along, options)
        for value, judgements in evaluation.segments.items():
            segments[value] = (*segments.get(value, ()), *judgements)
            segment_logged.setdefault(value, evaluation.segment_logged[value])
        if number == 1:
            logged, counts = evaluation.logged, evaluation.counts
            every = series.served(evaluation.columns)
            variants = len(every)
            # The most served of many are those that chance favoured: calibration must not pick by that.
            expected = tuple(sorted(every, key=lambda row: -(row.expected or 0.0))[:VARIANTS_SHOWN])
            rows = tuple(series.with_means(every[:VARIANTS_SHOWN], evaluation.columns, options.alpha))
        # Before the next columns are gathered, these are let go.
        del evaluation
    if logged is None:
        raise BadPolicy("there is no policy to judge")
    if watched.exposure is None:
        for _ in watched.events(experiment_id):
            pass
    exposure = watched.exposure
    return Findings(
        log_name=log_name,
        kind=source.kind,
        experiment=experiment,
        options=options,
        logged=logged,
        judged=tuple(found),
        segments=segments,
        segment_logged=segment_logged,
        served=rows,
        calibration=expected,
        variants=variants,
        breakdowns=tuple(exposure.breakdowns(SEGMENTS_SHOWN)[:SIGNALS_SHOWN]) if exposure else (),
        decisions=exposure.decisions if exposure else 0,
        first_us=exposure.first_us if exposure else None,
        last_us=exposure.last_us if exposure else None,
        counts=counts,
        first_trouble=dict(list(source.first_trouble().items())[:TROUBLES_SHOWN]),
        matters=exposure.signals.matters() if exposure else Matters(),
    )


def _judged(evaluation: Evaluation, along: bool, options: Options) -> list[Judged]:
    columns = evaluation.columns
    return [
        Judged(
            judgement,
            evaluation.logged,
            along,
            series.running(columns, target, options.estimator, options.alpha),
            series.weights(columns, target),
        )
        for judgement, target in zip(evaluation.judgements, evaluation.targets, strict=True)
    ]


def _passes(policies: Sequence[str]) -> list[list[str]]:
    """The policies in groups that go through the log together; fixed ones apart from learning ones."""
    groups = []
    for kind in (False, True):
        names = [policy for policy in policies if learns(policy) is kind]
        # A preset makes all that are judged with it be judged on the second half: on the same rows, then.
        size = len(names) if any(name.startswith("preset:") for name in names) else POLICIES_A_PASS
        groups += [names[at : at + size] for at in range(0, len(names), size or 1)]
    return groups
