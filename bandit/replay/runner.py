"""One log and some policies -> what each would have earned. The only loop that replays a log.

`evaluate` judges fixed policies; `replay` judges learning ones, each decision before it is learned. Both read
a source as a stream, run the production code on each event, and gather a few numbers a row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from bandit.core.experiment import Experiment
from bandit.core.records import Arm
from bandit.replay.arms import ArmCheck
from bandit.replay.collector import PausedCollector
from bandit.replay.columns import Logged, Target
from bandit.replay.errors import BadLog, BadPolicy
from bandit.replay.estimators import Estimate
from bandit.replay.judging import (
    ESTIMATORS,
    MODELLED,
    Judgement,
    judge,
    on_policy,
    rows,
    target_rows,
)
from bandit.replay.logged import LoggedColumns, Propensity
from bandit.replay.policies import Constant, TargetPolicy
from bandit.replay.problems import nothing_to_judge, problems_of
from bandit.replay.segments import Segments
from bandit.replay.sources import Row, Source
from bandit.replay.targets import TargetColumns, probabilities_of, unsupported_by

if TYPE_CHECKING:
    from bandit.replay.live_run import LiveRun
    from bandit.replay.reward_model import RewardModel

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much it is in all."""

LOGGED: Final = "logged"
"""The policy of the live run itself, in `replay`."""

POLICIES_MAX: Final = 64
UNUSABLE: Final = ("PROPENSITY_OUT_OF_RANGE", "INVALID_DISTRIBUTION", "PROPENSITY_MISMATCH")
"""Why a line has no propensity that could be used."""

PROGRESS_EVERY: Final = 1_000
BATCH_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Options:
    """How a log is judged.

    `metric` is a secondary metric to judge by instead of the reward. Only decisions made at `since_us` or
    later and before `until_us` take part, in learning too. `segment` is a signal whose values are judged
    apart. `reward_model` fits one across folds; `reward_model_column` takes predictions from a column.
    """

    metric: str = ""
    since_us: int | None = None
    until_us: int | None = None
    segment: str = ""
    propensity: Propensity = "own"
    alpha: float = 0.05
    estimator: str = "snips"
    reward_model: bool = False
    reward_model_column: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What became of each policy on the same rows of one experiment.

    `logged` is the mean of these rows as they were served. `judgements` and `targets` are in the order of the
    policies; `segments` holds the judgements by value of the segment's signal, and `segment_logged` its mean.
    `live_run` is set if `logged` was among the policies of a replay.
    """

    experiment_id: str
    logged: Estimate
    judgements: tuple[Judgement, ...]
    segments: Mapping[str, tuple[Judgement, ...]]
    segment_logged: Mapping[str, Estimate]
    counts: Mapping[str, int]
    columns: Logged
    targets: tuple[Target, ...]
    live_run: "LiveRun | None" = None


def choose_experiment(source: Source, experiment_id: str = "") -> str:
    """`experiment_id`, or the only one of the log if it is empty. Raises BadLog, BadPolicy."""
    known = sorted(source.experiments())
    if not known:
        raise BadLog("The log is empty: it holds no experiment.")
    if experiment_id in known:
        return experiment_id
    there = ", ".join(known[:10])
    if experiment_id:
        raise BadLog(f"Experiment {experiment_id!r} is not in the log; there: {there}.")
    if len(known) > 1:
        raise BadPolicy(f"The log holds {len(known)} experiments: choose one with --experiment ({there}).")
    return known[0]


def evaluate(
    source: Source, experiment_id: str, policies: Sequence[str], options: Options, progress: Progress
) -> Evaluation:
    """Judges fixed policies: uniform, fixed:ID, snapshot:ID, preset:NAME[:options], column:NAME.

    With a preset among them, it learns from the first half of the events, and all policies are judged on the
    second half: on the same rows. Raises BadLog if the log can't be used at all, BadPolicy for what it does
    not have.
    """
    with ExitStack() as held:
        run = _Run(source, experiment_id, options, progress, held)
        trained = any(policy.startswith("preset:") for policy in policies)
        half = run.count() // 2 if trained else 0
        for policy in _checked(policies):
            kind, _, rest = policy.partition(":")
            if kind == "column" and rest:
                run.add_column(policy, rest)
            elif kind == "preset" and rest:
                run.add_preset(policy, rest, until=half)
            elif kind == "snapshot" and rest:
                run.add_snapshot(policy, rest)
            elif policy == "uniform" or (kind == "fixed" and rest):
                run.add(Constant(policy, run.experiment, policy))
            else:
                raise BadPolicy(
                    f"{policy!r} is not a policy to evaluate; use uniform, fixed:ID, snapshot:ID, "
                    "preset:NAME, or column:NAME"
                )
        return run.judged(skip=half)


def replay(
    source: Source, experiment_id: str, policies: Sequence[str], options: Options, progress: Progress
) -> Evaluation:
    """Judges learning policies, NAME[:option=number,…], each decision before it is learned.

    The policy `logged` is the live run's own: a data folder's decisions are made again, each with the
    snapshot that it names, and compared to the last bit. Raises as `evaluate`.
    """
    with ExitStack() as held:
        run = _Run(source, experiment_id, options, progress, held)
        live_run = None
        for policy in _checked(policies):
            if policy == LOGGED:
                live_run = _reproduced(source, experiment_id, progress)
            else:
                run.add_preset(policy, policy)
        return run.judged(skip=0, live_run=live_run)


def _reproduced(source: Source, experiment_id: str, progress: Progress) -> "LiveRun":
    # What reads an event log is imported with it: a judgement of a file should not wait for that.
    from bandit.replay.live_run import reproduce
    from bandit.replay.source_folder import FolderSource

    if not isinstance(source, FolderSource):
        raise BadLog(
            f"This log is {source.kind}, and holds no snapshots: give the data folder of the live run to "
            f"replay {LOGGED!r}."
        )
    return reproduce(source, experiment_id, progress)


_JudgedRow = tuple[Sequence[float], int, Sequence[float] | None, float | None]
"""What `TargetColumns.take` needs of a row beside the policy's distribution."""


class _Run:
    """One pass, or several, over one experiment of a source."""

    def __init__(
        self, source: Source, experiment_id: str, options: Options, progress: Progress, held: ExitStack
    ) -> None:
        if options.estimator not in ESTIMATORS:
            raise BadPolicy(f"{options.estimator!r} is not an estimator; use one of {', '.join(ESTIMATORS)}")
        if not 0.0 < options.alpha < 1.0:
            raise BadPolicy(f"alpha is {options.alpha:g}; it lies between 0 and 1, such as 0.05")
        self._source = source
        self._options = options
        self._progress = progress
        self._held = held
        self._collector = held.enter_context(PausedCollector())
        self.experiment = source.experiments()[choose_experiment(source, experiment_id)]
        self._range, self._metric = _judged_by(self.experiment, options.metric)
        self._policies: list[tuple[TargetPolicy, TargetColumns]] = []
        self._columns: list[tuple[str, TargetColumns]] = []
        self._order: list[TargetColumns] = []
        self._modelled = bool(
            options.reward_model or options.reward_model_column or options.estimator in MODELLED
        )

    def add(self, policy: TargetPolicy) -> None:
        """A policy that gives a distribution."""
        self._held.callback(policy.close)
        target = TargetColumns(policy.name, modelled=self._modelled)
        self._policies.append((policy, target))
        self._order.append(target)

    # The model library and the reward model are imported by what uses them: a judgement of `uniform` should
    # not wait for them.

    def add_preset(self, name: str, preset: str, until: int | None = None) -> None:
        """A policy that learns as the log goes by, up to event number `until`."""
        from bandit.replay.models import Learning

        self.add(Learning(name, self.experiment, preset, until))

    def add_snapshot(self, name: str, snapshot_id: str) -> None:
        """A policy that is stored in the data folder."""
        from bandit.replay.models import snapshot_policy

        self.add(snapshot_policy(name, self.experiment, self._source, snapshot_id))

    def add_column(self, name: str, column: str) -> None:
        """A policy whose probabilities stand in the log."""
        target = TargetColumns(name, modelled=self._modelled)
        self._columns.append((column, target))
        self._order.append(target)

    def count(self) -> int:
        """How many events there are to take part."""
        return sum(1 for _ in self._rows("count", ()))

    def judged(self, *, skip: int, live_run: "LiveRun | None" = None) -> Evaluation:
        """Judges all rows after the first `skip` events."""
        options = self._options
        model = self._model()
        gathered = LoggedColumns(self._range, self.experiment.baseline, options.propensity, self._metric)
        segments = Segments(options.segment) if options.segment else None
        self._gather(gathered, segments, model, skip)
        trouble = dict(self._source.trouble())
        trouble["bad_propensity"] = sum(trouble.get(f"bad_line.{reason}", 0) for reason in UNUSABLE)
        trouble["out_of_range"] = trouble.get("bad_line.REWARD_OUT_OF_RANGE", 0)
        logged = gathered.logged(trouble)
        if not len(logged.reward) and (self._order or live_run is None):
            raise BadLog(
                nothing_to_judge(
                    logged.counts,
                    self._source.first_trouble(),
                    part=options.since_us is not None or options.until_us is not None,
                    metric=self._metric,
                )
            )
        targets = tuple(target.target() for target in self._order)
        self._check_fixed(logged)
        judgements = tuple(self._judge(logged, target) for target in targets)
        by_segment: dict[str, tuple[Judgement, ...]] = {}
        means: dict[str, Estimate] = {}
        if segments is not None:
            if not segments.found:
                raise BadPolicy(f"No judged decision has a signal {options.segment!r} to segment by.")
            for value, mask in segments.masks().items():
                some = rows(logged, mask)
                means[value] = on_policy(some, options.alpha)
                by_segment[value] = tuple(self._judge(some, target_rows(target, mask)) for target in targets)
        return Evaluation(
            experiment_id=self.experiment.id,
            logged=on_policy(logged, options.alpha),
            judgements=judgements,
            segments=by_segment,
            segment_logged=means,
            counts=logged.counts,
            columns=logged,
            targets=targets,
            live_run=live_run,
        )

    def _judge(self, logged: Logged, target: Target) -> Judgement:
        options = self._options
        problems = problems_of(logged, target)
        notes = [
            note for policy, _ in self._policies if policy.name == target.name for note in policy.notes()
        ]
        return judge(
            logged, target, alpha=options.alpha, estimator=options.estimator, problems=problems, notes=notes
        )

    def _model(self) -> "RewardModel | None":
        """The reward model, fitted in a pass of its own."""
        if not self._modelled:
            return None
        from bandit.replay.reward_model import CrossFitted, FromColumn

        column = self._options.reward_model_column
        if column:
            return FromColumn(column)
        fitted = CrossFitted(self.experiment, self._range, self._metric)
        self._held.callback(fitted.close)
        for event, _ in self._rows("reward model", ()):
            fitted.learn(event)
        return fitted

    def _gather(
        self, gathered: LoggedColumns, segments: Segments | None, model: "RewardModel | None", skip: int
    ) -> None:
        model_column = self._options.reward_model_column
        names = [column for column, _ in self._columns] + ([model_column] if model_column else [])
        policies, columns = self._policies, self._columns
        learning = any(policy.learns for policy, _ in policies)
        arms = ArmCheck() if self._options.propensity == "marginal" else None
        settled_us = self._source.settled_us(self.experiment.id, self._metric)
        contexts = bool(segments or model or arms) or any(policy.reads_context for policy, _ in policies)
        rows = self._rows("replay" if learning else "evaluate", names, contexts=contexts)
        # One thing at a time for some dozens of rows: what does it stays in the processor's caches.
        while batch := list(islice(rows, BATCH_ROWS)):
            judged: list[_JudgedRow | None] = []
            for event, values in batch:
                judged.append(None)
                if skip:
                    skip -= 1
                    continue
                if settled_us is not None and event.at_us >= settled_us:
                    gathered.counts["too_recent"] += 1
                    continue
                decision = event.decision
                if not gathered.treated and decision.arm is Arm.TREATMENT and gathered.begin():
                    for target in self._order:
                        target.clear()
                    if segments is not None:
                        segments.clear()
                    judged = [None] * len(judged)
                if arms is not None:
                    arms.take(event)
                if gathered.take(event):
                    logged = gathered.distribution
                    predicted = (
                        None if model is None else model.predict(event, values[-1] if values else None)
                    )
                    judged[-1] = (logged, decision.chosen, predicted, unsupported_by(logged))
                    if segments is not None:
                        segments.take(event)
            for policy, target in policies:
                for (event, _), row in zip(batch, judged, strict=True):
                    if row is not None:
                        target.take(policy.distribution(event), *row)
                    if policy.learns:
                        policy.learn(event)
            for index, (column, target) in enumerate(columns):
                for (event, values), row in zip(batch, judged, strict=True):
                    if row is not None:
                        found = probabilities_of(event, values[index], column)
                        if isinstance(found, float):
                            target.take_probability(found, *row)
                        else:
                            target.take(found, *row)
        if arms is not None:
            arms.verdict()

    def _rows(self, what: str, columns: Sequence[str], *, contexts: bool = True) -> Iterator[Row]:
        """The events that take part, with the values of `columns` beside them."""
        options = self._options
        since = options.since_us if options.since_us is not None else -(1 << 63)
        until = options.until_us if options.until_us is not None else 1 << 63
        source = self._source
        left = PROGRESS_EVERY
        for row in source.rows(self.experiment.id, columns, contexts=contexts):
            left -= 1
            if not left:
                left = PROGRESS_EVERY
                self._collector.tick()
                self._progress(what, *source.extent())
            if since <= row[0].at_us < until:
                yield row
        done, total = source.extent()
        self._progress(what, done, total)

    def _check_fixed(self, logged: Logged) -> None:
        """Raises BadPolicy for a fixed variant that no decision could have served: a name misspelt."""
        known = {*logged.variant_ids, *(variant.id for variant in self.experiment.variants)}
        for policy, _ in self._policies:
            kind, _, variant_id = policy.name.rpartition("fixed:")
            if not kind and policy.name.startswith("fixed:") and variant_id not in known:
                there = ", ".join(sorted(known)[:10])
                raise BadPolicy(f"{policy.name} names a variant that no decision could serve; there: {there}")


def _checked(policies: Sequence[str]) -> Sequence[str]:
    if not policies:
        raise BadPolicy("no policy is given: name one with --policy")
    if len(policies) > POLICIES_MAX:
        raise BadPolicy(f"{len(policies)} policies are given; at most {POLICIES_MAX} are judged in one go")
    twice = {policy for policy in policies if list(policies).count(policy) > 1}
    if twice:
        raise BadPolicy(f"{min(twice)!r} is given twice")
    return policies


def _judged_by(experiment: Experiment, metric: str) -> tuple[tuple[float, float], str]:
    """The declared range of what is judged, and the secondary metric's name, or empty. Raises BadPolicy."""
    if metric in ("", experiment.reward.metric):
        return experiment.reward.range, ""
    if metric not in experiment.metrics:
        known = ", ".join([experiment.reward.metric, *experiment.metrics])
        raise BadPolicy(f"metric {metric!r} is not declared by the experiment; there: {known}")
    return experiment.metrics[metric].range, metric
