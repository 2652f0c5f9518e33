"""Holds events from elsewhere to a definition that is to learn from them, and says what does not fit.

An event that does not fit is left out and counted. Where that would make the model wrong, the whole log is
refused: rewards outside the range, which are the best or the worst ones; decisions without a reward; too many
whose signals are not those of the definition. What was served and is no longer in the catalogue stays:
it was drawn with the probability that the log says, which is needed to judge the log, and what it teaches of
the variants' features is true.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from bandit.core.errors import Refused
from bandit.core.experiment import Experiment
from bandit.core.records import Decision, JoinedEvent, Outcome
from bandit.core.signals import admitted, rules
from bandit.eventlog.formats.lines import BadLine, BadLines

MISFIT_SHARE_MAX: Final = 0.01
"""If a larger share of the events has signals that do not fit, what is left is a selection, not the log."""

_SIGNAL_REASONS: Final = (
    "UNDECLARED_SIGNAL",
    "WRONG_TYPE",
    "MISSING_VALUE",
    "NON_FINITE_VALUE",
    "SIGNAL_OUT_OF_RANGE",
)
_NAMES_TOLD: Final = 5


class Fit:
    """What fits of a log: `admit` each event, tell what `took`, then see what `problems` there are."""

    def __init__(self, experiment: Experiment, now_us: int, without: Collection[str] = ()) -> None:
        """`without` are signals to leave out of every event."""
        self._experiment = experiment
        self._now_us = now_us
        self._without = frozenset(without)
        declared = None if experiment.signals == "open" else experiment.signals
        self._rules = None if declared is None else rules(declared)
        self._consents = frozenset(signal.consent for signal in (declared or {}).values() if signal.consent)
        self._catalogue = {variant.id: variant.features for variant in experiment.catalogue()}
        self._outside = (math.inf, -math.inf)
        self._known = 0
        self.misfits: dict[str, Counter[str]] = {}
        """By reason, the signals that did not fit, and in how many events."""
        self.dropped: Counter[str] = Counter()
        """The signals of `without` that were met, and in how many events."""
        self.served: Counter[str] = Counter()
        self.other_features: Counter[str] = Counter()
        """Catalogue variants that were served with other features than they have now."""
        self.defaults_kept = 0
        """Events without a reward of their own, whose default is not the definition's."""

    def admit(self, event: JoinedEvent) -> JoinedEvent:
        """The event without the signals to leave out. Raises BadLine."""
        if event.at_us > self._now_us:
            raise BadLine("IN_THE_FUTURE", "is of a time that has not come yet")
        decision = event.decision
        if math.isnan(decision.propensity):
            raise BadLine("PROPENSITY_MISSING", "does not say how probable what was served was")
        self._check_reward(event)
        if self._without and not self._without.isdisjoint(decision.context):
            self.dropped.update(self._without & decision.context.keys())
            kept = {name: value for name, value in decision.context.items() if name not in self._without}
            decision = decision._replace(context=kept)
        self._check_signals(decision)
        return event._replace(decision=decision)

    def took(self, event: JoinedEvent) -> None:
        """Counts an event that was taken."""
        variant = event.decision.variant
        self.served[variant.id] += 1
        if variant.id in self._catalogue:
            self._known += 1
            if self._catalogue[variant.id] != variant.features:
                self.other_features[variant.id] += 1
        default = self._experiment.reward.default_value
        self.defaults_kept += event.outcome is Outcome.DEFAULTED and event.reward != default

    @property
    def gone(self) -> Mapping[str, int]:
        """The variants that were served and are not in the catalogue, and how often they were."""
        if not self._catalogue:
            return {}
        return {name: count for name, count in sorted(self.served.items()) if name not in self._catalogue}

    @property
    def never_served(self) -> list[str]:
        """The catalogue's variants that the log knows nothing of."""
        return [name for name in self._catalogue if name not in self.served]

    def problems(self, path: Path, bad: BadLines) -> list[str]:
        """Why the log must not be learned from, a sentence or two each; empty if it may."""
        found = []
        rule = self._experiment.reward
        if count := bad.counts.get("REWARD_OUT_OF_RANGE", 0):
            low, high = min(self._outside[0], rule.range[0]), max(self._outside[1], rule.range[1])
            found.append(
                f"{count:,} rewards are outside the declared range [{rule.range[0]:g}, {rule.range[1]:g}]. "
                "Without the best or worst ones the model would be wrong. Declare a range that holds all of "
                f"them, such as [{low:g}, {high:g}], in the experiment file."
            )
        if count := bad.counts.get("UNREWARDED", 0):
            found.append(
                f"{count:,} decisions have no reward, and the experiment would give them {rule.default:g}, "
                "which the log does not say. Write default: none in the experiment file."
            )
        taken = sum(self.served.values())
        misfit = sum(bad.counts.get(reason, 0) for reason in _SIGNAL_REASONS)
        if misfit > MISFIT_SHARE_MAX * (taken + misfit):
            found.append(self._signals_problem(misfit, taken + misfit))
        if taken and self._catalogue and not self._known:
            found.append(
                f"No decision served a variant of the catalogue ({_few(self._catalogue)}); the log has "
                f"{_few(self.served)}. Give the variants of the experiment file the ids that the log has."
            )
        if not taken and bad.counts.keys() == {"PROPENSITY_MISSING"}:
            found.append(
                f"{path} does not say how probable what was served was, so nobody could judge what it taught."
                "  `banditd log import` takes such a log as it is."
            )
        return found

    def _signals_problem(self, misfit: int, of: int) -> str:
        told = [f"The signals of {misfit:,} of {of:,} decisions do not fit the experiment."]
        if names := self.misfits.get("UNDECLARED_SIGNAL"):
            flags = " ".join(f"--without {name}" for name in sorted(names))
            told.append(
                f"Not declared: {_few(names)}. Declare them in the experiment file; or, if the policy that "
                f"served did not look at them, leave them out with {flags}."
            )
        others = Counter[str]()
        for reason, names in self.misfits.items():
            if reason != "UNDECLARED_SIGNAL":
                others.update(names)
        if others:
            told.append(
                f"Of another type or range: {_few(others)}. Declare them as the log has them; no value is "
                "converted."
            )
        return " ".join(told)

    def _check_reward(self, event: JoinedEvent) -> None:
        experiment, reward = self._experiment, event.reward
        low, high = experiment.reward.range
        if reward is None:
            if experiment.reward.default_value is not None:
                raise BadLine("UNREWARDED", "has no reward, but the experiment gives such decisions one")
        elif not low <= reward <= high:
            self._outside = min(self._outside[0], reward), max(self._outside[1], reward)
            raise BadLine("REWARD_OUT_OF_RANGE", f"has a reward outside the range [{low:g}, {high:g}]")
        for name, value in event.metrics.items():
            metric = experiment.metrics.get(name)
            if metric is not None and not metric.range[0] <= value <= metric.range[1]:
                raise BadLine("METRIC_OUT_OF_RANGE", "has a secondary metric outside its declared range")

    def _check_signals(self, decision: Decision) -> None:
        if self._rules is None:
            return
        undeclared = decision.context.keys() - self._rules.keys()
        if undeclared:
            self.misfits.setdefault("UNDECLARED_SIGNAL", Counter()).update(undeclared)
            raise BadLine("UNDECLARED_SIGNAL", "has a signal that the experiment does not declare")
        try:
            # What was logged had its consent.
            admitted(self._rules, decision.context, self._consents)
        except Refused as refused:
            reason = refused.reason.name
            self.misfits.setdefault(reason, Counter())[refused.metadata.get("signal", "")] += 1
            raise BadLine(reason, f"does not fit the experiment: {refused}") from None


def _few(names: Collection[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_NAMES_TOLD]) + (", …" if len(ordered) > _NAMES_TOLD else "")
