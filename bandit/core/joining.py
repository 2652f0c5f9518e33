"""Decisions and rewards -> JoinedEvents, in an order that depends on the log alone.

A decision closes at `at + window`; with `learn: on_reward` at its first primary reward or at `at + window`,
whichever is first. The order is (closing time, decision seq). Nothing here reads a clock: an event may be
emitted once log time has passed its closing time, whenever and wherever that is computed.
"""

import heapq
from collections.abc import Iterable, Sequence

from bandit.core.experiment import Experiment
from bandit.core.records import Decision, JoinedEvent, Outcome, Position, Reward
from bandit.core.rewards import AGGREGATES, clamp

_STALE_KEPT = 1_000
# What the constructor of a named tuple does, without its detour.
_new_event = _new_position = tuple.__new__
# Asking an enumeration for its member takes as long as making the event.
_REWARDED, _DEFAULTED, _UNREWARDED = Outcome.REWARDED, Outcome.DEFAULTED, Outcome.UNREWARDED


def closes_on_reward(experiment: Experiment, metric: str) -> bool:
    """Whether a reward of `metric` closes its decision at once."""
    return experiment.reward.learn == "on_reward" and metric == experiment.reward.metric


def closing_us(experiment: Experiment, at_us: int, rewards: Iterable[Reward]) -> int:
    """When a decision made at `at_us` closes, given its rewards in log order."""
    end_us = at_us + experiment.reward.window_us
    if experiment.reward.learn != "on_reward":
        return end_us
    for reward in rewards:
        if reward.at_us < end_us and closes_on_reward(experiment, reward.metric):
            return reward.at_us
    return end_us


def join(
    experiment: Experiment, decision: Decision, seq: int, at_us: int, rewards: Sequence[Reward]
) -> JoinedEvent:
    """The JoinedEvent of a closed decision.

    `experiment` is the version that the decision carries; `rewards` are all of the decision's rewards in log
    order, late ones included: a reward counts iff it arrived before the window's end, and one of the primary
    metric no later than the reward that closed the decision. So where rewards close decisions, secondary
    metrics grow until the window's end, whenever this is asked; position, outcome and reward don't.
    """
    rule = experiment.reward
    value: float | None
    if not rewards:
        # Most decisions get none, so theirs is the short way.
        value = rule.default_value
        outcome = _UNREWARDED if value is None else _DEFAULTED
        position = _new_position(Position, (at_us + rule.window_us, seq))
        return _new_event(JoinedEvent, (position, at_us, decision, outcome, value, False, {}))
    close_us = closing_us(experiment, at_us, rewards)
    end_us = at_us + rule.window_us
    in_time: dict[str, list[float]] = {}
    for reward in rewards:
        if reward.at_us < end_us and (reward.at_us <= close_us or reward.metric != rule.metric):
            in_time.setdefault(reward.metric, []).append(reward.value)
    metrics = {
        name: AGGREGATES[metric.aggregate](in_time[name])
        for name, metric in experiment.metrics.items()
        if name in in_time
    }
    if rule.metric in in_time:
        raw = AGGREGATES[rule.aggregate](in_time[rule.metric])
        value, outcome = clamp(raw, *rule.range), _REWARDED
        clamped = value != raw
    else:
        value, clamped = rule.default_value, False
        outcome = _UNREWARDED if value is None else _DEFAULTED
    position = _new_position(Position, (close_us, seq))
    return _new_event(JoinedEvent, (position, at_us, decision, outcome, value, clamped, metrics))


class Joiner:
    """Joins in memory, for one process without a log file. Feed it in log order; it has no clock.

    The event log does the same join with an index instead of a table of open decisions
    (`bandit.eventlog.joined`); a property test holds the two equal.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[Experiment, Decision, int, int, list[Reward]]] = {}
        self._due: list[tuple[int, int, str]] = []

    def decision(self, experiment: Experiment, decision: Decision, seq: int, at_us: int) -> None:
        """Opens a decision."""
        self._open[decision.decision_id] = (experiment, decision, seq, at_us, [])
        heapq.heappush(self._due, (at_us + experiment.reward.window_us, seq, decision.decision_id))

    def reward(self, decision_id: str, reward: Reward) -> None:
        """Adds a reward; one for a decision that is not open is left out."""
        if decision_id not in self._open:
            return
        experiment, _, seq, at_us, rewards = self._open[decision_id]
        before = closing_us(experiment, at_us, rewards)
        rewards.append(reward)
        now = closing_us(experiment, at_us, rewards)
        if now < before:
            heapq.heappush(self._due, (now, seq, decision_id))

    def closed(self, before_us: int) -> list[JoinedEvent]:
        """All events that close strictly before `before_us` and were not returned yet, in order."""
        events = []
        while self._due and self._due[0][0] < before_us:
            due = heapq.heappop(self._due)
            if self._is_open(due):
                experiment, decision, seq, at_us, rewards = self._open.pop(due[2])
                events.append(join(experiment, decision, seq, at_us, rewards))
        if len(self._due) > 2 * len(self._open) + _STALE_KEPT:
            # Decisions that a reward closed leave the end of their window behind.
            self._due = [due for due in self._due if self._is_open(due)]
            heapq.heapify(self._due)
        return events

    def due_us(self) -> int | None:
        """A time before which no open decision closes without a further reward; None if there is nothing."""
        return self._due[0][0] if self._due else None

    def _is_open(self, due: tuple[int, int, str]) -> bool:
        # A caller may forget a closed decision and take its id again: the seq tells which one is meant.
        return due[2] in self._open and self._open[due[2]][2] == due[1]
