"""Who was shown what: decisions by variant and by the values of signals, counted in bounded memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from bandit.core.experiment import Experiment
from bandit.core.records import FeatureValue, JoinedEvent
from bandit.replay.report.signals import Signals
from bandit.replay.sources import Row, Source

T = TypeVar("T")

SIGNALS_MAX: Final = 24
"""Signals that are counted: the declared ones in their order, else the first that come."""

VALUES_MAX: Final = 200
"""Values of one signal that are counted apart; those that come later are others."""

VARIANTS_MAX: Final = 1_000
BINS: Final = 4

OTHERS: Final = "others"
ABSENT: Final = "(absent)"


@dataclass(frozen=True, slots=True)
class Segment:
    """The decisions with one value of a signal: how many, and how many of them served each variant."""

    value: str
    decisions: int
    served: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One signal's segments, the largest first, `others` and those without it last."""

    signal: str
    segments: tuple[Segment, ...]


class Exposure:
    """Counts events as they pass."""

    def __init__(
        self,
        experiment: Experiment,
        since_us: int | None,
        until_us: int | None,
        *,
        metric: str = "",
        settled_us: int | None = None,
    ) -> None:
        """Counts decisions of `since_us` <= time < `until_us`; None is no end.

        What signals do to rewards is told of `metric` (empty: the reward), and of decisions before
        `settled_us` alone: later ones that got none are still open.
        """
        declared = {} if experiment.signals == "open" else experiment.signals
        self._names: list[str] = list(declared)[:SIGNALS_MAX]
        self._open = experiment.signals == "open"
        self._ranges = {name: signal.range for name, signal in declared.items() if signal.range is not None}
        self._since_us = 0 if since_us is None else since_us
        self._until_us = 1 << 63 if until_us is None else until_us
        self._counts: dict[str, dict[str, Counter[str]]] = {name: {} for name in self._names}
        self._settled_us = 1 << 63 if settled_us is None else settled_us
        self.signals = Signals(experiment, metric)
        self.served: Counter[str] = Counter()
        self.first_us: int | None = None
        self.last_us: int | None = None

    @property
    def decisions(self) -> int:
        """How many were counted."""
        return self.served.total()

    def take(self, event: JoinedEvent) -> None:
        """Counts one event."""
        at_us = event.at_us
        if not self._since_us <= at_us < self._until_us:
            return
        self.first_us = at_us if self.first_us is None else min(self.first_us, at_us)
        self.last_us = at_us if self.last_us is None else max(self.last_us, at_us)
        if at_us < self._settled_us:
            self.signals.take(event)
        decision = event.decision
        variant = decision.variants[decision.chosen].id
        if variant not in self.served and len(self.served) >= VARIANTS_MAX:
            variant = OTHERS
        self.served[variant] += 1
        context = decision.context
        if self._open and len(self._names) < SIGNALS_MAX:
            self._discover(context)
        for name in self._names:
            value = context.get(name)
            if value is not None:
                self._count(name, value, variant)

    def breakdowns(self, segments: int) -> list[Breakdown]:
        """Every signal that says something, with at most `segments` values apart.

        Left out are signals with a single value, and those whose values are nearly all different.
        """
        return [found for name in self._names if (found := self._breakdown(name, segments)) is not None]

    def _discover(self, context: Mapping[str, FeatureValue]) -> None:
        for name in context:
            if name not in self._counts and len(self._names) < SIGNALS_MAX:
                self._names.append(name)
                self._counts[name] = {}

    def _count(self, name: str, value: FeatureValue, variant: str) -> None:
        counts = self._counts[name]
        for label in self._labels(name, value):
            counter = counts.get(label)
            if counter is None:
                if len(counts) >= VALUES_MAX:
                    counter = counts.setdefault(OTHERS, Counter())
                else:
                    counter = counts[label] = Counter()
            counter[variant] += 1

    def _labels(self, name: str, value: FeatureValue) -> Iterable[str]:
        if isinstance(value, str):
            return (value,)
        if isinstance(value, bool):
            return ("true",) if value else ("false",)
        if isinstance(value, tuple):
            return dict.fromkeys(value)
        bounds = self._ranges.get(name)
        return (f"{value:g}",) if bounds is None else (_bin(value, *bounds),)

    def _breakdown(self, name: str, most: int) -> Breakdown | None:
        counts = dict(self._counts[name])
        others = counts.pop(OTHERS, Counter[str]())
        ordered = sorted(counts, key=lambda label: (-counts[label].total(), label))
        if others.total() > self.decisions / 2 or len(ordered) < 2:
            return None
        shown = ordered if len(ordered) <= most else ordered[: most - 1]
        if name in self._ranges:
            shown.sort(key=lambda label: float(label.split()[0]))
        rows = [Segment(label, counts[label].total(), counts[label]) for label in shown]
        for label in ordered[len(shown) :]:
            others += counts[label]
        if others.total():
            rows.append(Segment(OTHERS, others.total(), others))
        return Breakdown(name, tuple(rows))


def _bin(value: float, low: float, high: float) -> str:
    width = (high - low) / BINS
    index = min(max(int((value - low) / width), 0), BINS - 1)
    return f"{low + index * width:g} to {low + (index + 1) * width:g}"


class Watched:
    """A source that shows its events to an Exposure on their way.

    The first iteration that comes to its end is the one that counts; none after it is watched.
    """

    def __init__(
        self, source: Source, since_us: int | None, until_us: int | None, *, metric: str = ""
    ) -> None:
        """Reads nothing yet."""
        self._source = source
        self._since_us = since_us
        self._until_us = until_us
        self._metric = metric
        self._whole = False
        self.kind = source.kind
        self.exposure: Exposure | None = None
        """What was counted; None as long as nothing was read."""

    def experiments(self) -> Mapping[str, Experiment]:
        """The source's."""
        return self._source.experiments()

    def trouble(self) -> Mapping[str, int]:
        """The source's."""
        return self._source.trouble()

    def first_trouble(self) -> Mapping[str, tuple[int, str]]:
        """The source's."""
        return self._source.first_trouble()

    def settled_us(self, experiment_id: str, metric: str = "") -> int | None:
        """The source's."""
        return self._source.settled_us(experiment_id, metric)

    def extent(self) -> tuple[int, int]:
        """The source's."""
        return self._source.extent()

    def events(self, experiment_id: str) -> Iterator[JoinedEvent]:
        """The source's, watched."""
        events = self._source.events(experiment_id)
        return events if self._whole else self._watched(experiment_id, events, lambda event: event)

    def rows(self, experiment_id: str, columns: Sequence[str], *, contexts: bool = True) -> Iterator[Row]:
        """The source's, watched."""
        # Whoever watches counts the contexts, too.
        rows = self._source.rows(experiment_id, columns, contexts=contexts or not self._whole)
        return rows if self._whole else self._watched(experiment_id, rows, lambda row: row[0])

    def _watched(
        self, experiment_id: str, items: Iterator[T], event_of: Callable[[T], JoinedEvent]
    ) -> Iterator[T]:
        exposure = Exposure(
            self.experiments()[experiment_id],
            self._since_us,
            self._until_us,
            metric=self._metric,
            settled_us=self.settled_us(experiment_id, self._metric),
        )
        whole = False
        try:
            for item in items:
                exposure.take(event_of(item))
                yield item
            whole = True
        finally:
            # A reader that stops early has seen all that it wants to judge; one that only peeks comes again.
            if self.exposure is None or exposure.decisions >= self.exposure.decisions:
                self.exposure = exposure
                self._whole = whole
