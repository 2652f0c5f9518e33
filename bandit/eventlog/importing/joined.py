"""Joined events from elsewhere -> the rows of a new log: decisions and their rewards, in order of time.

The events are sorted by the time of their decisions on disk (`spool`), those of the same time in the order in
which they came. Each becomes a decision row and, if it was rewarded, a reward row of the same time: a source
has one time a line. A tick after the last window lets every decision close. So `read_joined` gives them back
with the same reward, distribution, variants and context.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from bandit.core.errors import Refused
from bandit.core.experiment import Experiment, RewardRule
from bandit.core.joining import closes_on_reward
from bandit.core.records import JoinedEvent, Outcome, RewardStatus, Source, Variant
from bandit.core.signals import Rule, admitted, rules
from bandit.eventlog.codec import (
    TICK,
    encode_call_variants,
    encode_decision,
    encode_experiment,
    encode_reward,
)
from bandit.eventlog.formats.lines import BadLine, OnBad
from bandit.eventlog.importing.bulk import BulkWriter
from bandit.eventlog.importing.spool import Spool
from bandit.eventlog.log import NewReward

REWARD_METRIC: Final = "reward"
"""The primary metric of a definition that was made up."""

BATCH: Final = 1_000
_HEAD = struct.Struct("<HdBHHI")
_REWARDS_KEPT: Final = 1_000
_TAILS_KEPT: Final = 256


def synthesised(experiment_id: str, reward_range: tuple[float, float], default: float | None) -> Experiment:
    """The definition of a log that brings none: every decision its own variants, any signal.

    `default` is the reward of decisions that got none, None to leave such out.
    """
    rule = RewardRule(
        metric=REWARD_METRIC,
        range=reward_range,
        window="1ms",  # type: ignore[call-arg]  # the field by its name in files
        default="none" if default is None else default,
    )
    return Experiment(id=experiment_id, owner="imported", variants=(), signals="open", reward=rule)


@dataclass(slots=True)
class _Target:
    """An experiment that events are imported for."""

    experiment: Experiment
    made_up: bool
    rules: Mapping[str, Rule] | None
    consents: frozenset[str]
    catalogue: Mapping[str, Variant]
    defaults: set[float] = field(default_factory=set)
    """The default rewards that were met; two are as good as more."""
    unrewarded: bool = False
    decisions: int = 0
    rewards: int = 0


class JoinedImport:
    """Takes joined events, then writes them as a log."""

    def __init__(self, spool: Spool, on_bad: OnBad) -> None:
        self.spool = spool
        self._on_bad = on_bad
        self._targets: list[_Target] = []
        # By the object: a reader gives the same one while the variants are the same.
        self._tails: dict[tuple[int, int], tuple[Sequence[Variant], bytes]] = {}
        self._rewards: dict[tuple[str, float], bytes] = {}

    def experiment(self, experiment: Experiment, *, made_up: bool, admitted: bool = False) -> int:
        """Names an experiment; the number is for `add`. One that was `made_up` gets its default later on.

        `admitted`: the caller holds the contexts to the signals.
        """
        signals = None if experiment.signals == "open" or admitted else experiment.signals
        consents = frozenset(signal.consent for signal in (signals or {}).values() if signal.consent)
        self._targets.append(
            _Target(
                experiment,
                made_up,
                None if signals is None else rules(signals),
                consents,
                {variant.id: variant for variant in experiment.catalogue()},
            )
        )
        return len(self._targets) - 1

    def add(self, target_index: int, event: JoinedEvent, number: int) -> None:
        """Takes an event; `number` goes up with each. Raises BadLine, OSError."""
        target = self._targets[target_index]
        decision = event.decision
        if decision.source is Source.FALLBACK:
            raise BadLine("INVALID_EXTRA", "is a fallback, which no log holds")
        rule = target.experiment.reward
        if event.reward is not None and not rule.range[0] <= event.reward <= rule.range[1]:
            low, high = rule.range
            message = f"has a reward outside the declared range [{low:g}, {high:g}]"
            raise BadLine("REWARD_OUT_OF_RANGE", message)
        if event.outcome is Outcome.UNREWARDED:
            if not target.made_up and rule.default_value is not None:
                raise BadLine(
                    "UNREWARDED",
                    "has no reward, but the experiment gives such decisions one; write default: none",
                )
            target.unrewarded = True
        elif event.outcome is Outcome.DEFAULTED and event.reward is not None and len(target.defaults) < 2:
            target.defaults.add(event.reward)
        if target.rules is not None:
            self._admit(target, event)
        tail = self._tail(target, decision.variants)
        record = encode_decision(decision._replace(version=1, call_variants=False), b"")
        if tail:
            record += tail
        decision_id = decision.decision_id.encode()
        subject = decision.subject.encode()
        metrics = json.dumps(dict(event.metrics)).encode() if event.metrics else b""
        reward = 0.0 if event.reward is None else event.reward
        head = _HEAD.pack(target_index, reward, event.outcome, len(decision_id), len(subject), len(metrics))
        self.spool.add(event.at_us, number, b"".join((head, decision_id, subject, metrics, record)))

    def definitions(self) -> list[Experiment]:
        """The definitions as they will be written, once all events were taken."""
        return [_final(target) for target in self._targets]

    def counts(self) -> dict[str, tuple[int, int]]:
        """(decisions, rewards) written, by experiment."""
        return {target.experiment.id: (target.decisions, target.rewards) for target in self._targets}

    def write(
        self,
        writer: BulkWriter,
        salts: Sequence[bytes],
        imported_from: str,
        progress: Callable[[int], None],
        *,
        indexed: bool,
        goes_on_us: int | None = None,
    ) -> None:
        """Writes all that was taken, and tells `progress` how many. May be called again with another writer.

        Not `indexed`: the writer will find out about decisions that come twice, and raise DuplicateRow. With
        it, the later ones go to `on_bad`. Raises sqlite3.Error, OSError.

        `goes_on_us` is the time now, for a log that a server goes on with: what closes later stays open, as
        log time that is ahead of the clock would stand still until the clock has come up; and the definitions
        follow once more, so that the decisions to come are of a version that was not imported.
        """
        definitions = self.definitions()
        ends_us = 0
        started = False
        done = 0
        records = self.spool.sorted()
        while batch := list(islice(records, BATCH)):
            if not started:
                started = True
                for experiment, salt in zip(definitions, salts, strict=True):
                    encoded = encode_experiment(experiment, 1, salt, imported_from)
                    writer.row("experiment", experiment.id, "", batch[0][0], encoded, version=1)
                for target in self._targets:
                    target.decisions = target.rewards = 0
            ids = [_decision_id(body) for _, _, body in batch] if indexed else []
            if indexed:
                writer.flush()
            taken = set(writer.decisions(ids))
            for at_us, number, body in batch:
                if indexed:
                    decision_id = _decision_id(body)
                    if decision_id in taken:
                        self._on_bad(
                            number, BadLine("DUPLICATE_ID", "has the EventId of an earlier decision")
                        )
                        continue
                    taken.add(decision_id)
                ends_us = max(ends_us, self._write(writer, definitions, at_us, body))
            done += len(batch)
            progress(done)
        if not started:
            return
        closed_us = max(ends_us, writer.at_us) + 1
        if goes_on_us is not None:
            closed_us = max(writer.at_us, min(closed_us, goes_on_us))
            for experiment, salt in zip(definitions, salts, strict=True):
                again = encode_experiment(experiment, 2, salt)
                writer.row("experiment", experiment.id, "", closed_us, again, version=2)
        writer.row("tick", "", "", closed_us, TICK)

    def _write(self, writer: BulkWriter, definitions: Sequence[Experiment], at_us: int, body: bytes) -> int:
        """Writes the rows of a record; its window's end."""
        index, reward, outcome, id_size, subject_size, metrics_size = _HEAD.unpack_from(body)
        experiment, target = definitions[index], self._targets[index]
        rule = experiment.reward
        start = _HEAD.size
        decision_id = body[start : (start := start + id_size)].decode()
        subject = body[start : (start := start + subject_size)].decode()
        metrics = body[start : (start := start + metrics_size)]
        seq = writer.row(
            "decision",
            experiment.id,
            decision_id,
            at_us,
            body[start:],
            subject=subject or None,
            version=1,
            closes_us=at_us + rule.window_us,
        )
        target.decisions += 1
        rewards = list(json.loads(metrics).items()) if metrics else []
        rewards = [(metric, value) for metric, value in rewards if metric in experiment.metrics]
        rewarded = outcome == Outcome.REWARDED
        if rewarded or (outcome == Outcome.DEFAULTED and rule.default_value != reward):
            # The last one: with learn: on_reward, what comes after it is late.
            rewards.append((rule.metric, reward))
        for metric, value in rewards:
            closes = closes_on_reward(experiment, metric)
            writer.row(
                "reward",
                experiment.id,
                decision_id,
                at_us,
                self._reward(metric, value),
                key=f"metric:{metric}",
                closes_us=at_us if closes else None,
                closes_seq=seq if closes else None,
            )
            target.rewards += 1
        return at_us + int(rule.window_us)

    def _tail(self, target: _Target, variants: Sequence[Variant]) -> bytes:
        """What the record says of the variants beyond their ids; empty where they are the catalogue's."""
        key = id(target), id(variants)
        known = self._tails.get(key)
        if known is not None and type(variants) is tuple:
            return known[1]
        catalogue = target.catalogue
        own = all(
            variant.id in catalogue and catalogue[variant.id].features == variant.features
            for variant in variants
        )
        tail = b"" if own else encode_call_variants(variants)
        if len(self._tails) >= _TAILS_KEPT:
            self._tails.clear()
        # The object is kept too, so that no other can have its number.
        self._tails[key] = variants, tail
        return tail

    def _reward(self, metric: str, value: float) -> bytes:
        record = self._rewards.get((metric, value))
        if record is None:
            record = encode_reward(NewReward("", metric, value, "", None), metric, RewardStatus.RECORDED)
            if len(self._rewards) >= _REWARDS_KEPT:
                self._rewards.clear()
            self._rewards[metric, value] = record
        return record

    def _admit(self, target: _Target, event: JoinedEvent) -> None:
        """Holds the context to the definition's signals. What was logged had its consent."""
        try:
            admitted(target.rules, event.decision.context, target.consents)
        except Refused as refused:
            raise BadLine(refused.reason.name, f"does not fit the experiment: {refused}") from None


def _final(target: _Target) -> Experiment:
    """A made-up definition says what the default was, if there was one, and each decision got a reward."""
    if not target.made_up or target.unrewarded or len(target.defaults) != 1:
        return target.experiment
    experiment = target.experiment
    return synthesised(experiment.id, experiment.reward.range, *target.defaults)


def _decision_id(body: bytes) -> str:
    _, _, _, id_size, _, _ = _HEAD.unpack_from(body)
    return body[_HEAD.size : _HEAD.size + id_size].decode()
