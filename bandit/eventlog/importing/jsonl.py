"""JSON Lines as `banditd log export --format jsonl` wrote them -> the very same rows.

Every seq, kind, id, time and record comes back as it was, salts and request digests included, so that the
imported log gives the same models and `banditd verify` can prove it. Columns that a line does not have (key,
version, closing time) follow from the others.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from bandit.core import limits
from bandit.core.fields import id_problem
from bandit.core.joining import closes_on_reward
from bandit.core.records import Variant
from bandit.eventlog.codec import decode_decision, decode_experiment
from bandit.eventlog.formats.lines import BadLine, OnBad
from bandit.eventlog.importing.bulk import BulkWriter, KnownDecision
from bandit.eventlog.log import CorruptRecord, Definition
from bandit.log.v1 import records_pb2 as pb

BATCH_LINES: Final = 1_000

_MESSAGES: Mapping[str, type[Message]] = MappingProxyType(
    {
        "decision": pb.DecisionRecord,
        "reward": pb.RewardRecord,
        "reward_unknown": pb.RewardRecord,
        "experiment": pb.ExperimentRecord,
        "tick": pb.TickRecord,
    }
)
_REWARD_STATUSES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "reward": (pb.REWARD_STATUS_RECORDED, pb.REWARD_STATUS_LATE),
        "reward_unknown": (pb.REWARD_STATUS_UNKNOWN_DECISION,),
    }
)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    seq: int
    kind: str
    experiment_id: str
    decision_id: str
    at_us: int
    subject: str | None
    message: Any


class JsonlImport:
    """Writes lines as rows, in their order."""

    def __init__(self, writer: BulkWriter, on_bad: OnBad) -> None:
        self._writer = writer
        self._on_bad = on_bad
        self._definitions: dict[str, dict[int, Definition]] = {}
        self._decisions: dict[str, KnownDecision] = {}
        self._keys: set[tuple[str, str]] = set()
        self._last_seq = 0
        self._gap_counted = False
        self.lines = 0
        self.counts: dict[str, list[int]] = {}
        """By experiment: decisions, rewards."""

    @property
    def definitions(self) -> dict[str, Definition]:
        """The latest definition of each experiment."""
        return {
            experiment_id: versions[max(versions)] for experiment_id, versions in self._definitions.items()
        }

    def take(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Writes all the lines; bad ones go to `on_bad`. Raises sqlite3.Error, OSError."""
        source = iter(lines)
        while batch := list(islice(source, BATCH_LINES)):
            self.lines += len(batch)
            parsed: list[_Line | tuple[int, BadLine]] = []
            for number, raw in batch:
                try:
                    parsed.append(_parsed(raw, number))
                except BadLine as bad:
                    parsed.append((number, bad))
            self._writer.flush()
            ids = [
                line.decision_id
                for line in parsed
                if isinstance(line, _Line) and line.kind in ("decision", "reward")
            ]
            self._decisions = self._writer.decisions(ids)
            self._keys = self._writer.reward_keys(ids)
            for line in parsed:
                try:
                    if not isinstance(line, _Line):
                        raise line[1]
                    self._write(line)
                except BadLine as bad:
                    self._on_bad(line.number if isinstance(line, _Line) else line[0], bad)
                    # Its seq is missing now, and was told of.
                    self._gap_counted = True

    def _write(self, line: _Line) -> None:
        if line.seq <= self._last_seq or line.at_us < self._writer.at_us:
            raise BadLine("OUT_OF_ORDER", "is earlier than a line before it; an export is in order of seq")
        if line.seq != self._last_seq + 1 and not self._gap_counted:
            # The rows that are there are worth having; the ones after the gap get other seqs.
            self._on_bad(line.number, BadLine("SEQ_GAP", f"is seq {line.seq} after {self._last_seq}"))
        self._last_seq = line.seq
        self._gap_counted = False
        row = partial(
            self._writer.row,
            line.kind,
            line.experiment_id,
            line.decision_id,
            line.at_us,
            line.message.SerializeToString(deterministic=True),
        )
        if line.kind == "experiment":
            self._experiment(line, row)
        elif line.kind == "decision":
            self._decision(line, row)
        elif line.kind == "reward":
            self._reward(line, row)
        else:
            row()

    def _experiment(self, line: _Line, row: Callable[..., int]) -> None:
        definition = _sound(decode_experiment, line.message.SerializeToString(), line.seq)
        versions = self._definitions.setdefault(line.experiment_id, {})
        if definition.experiment.id != line.experiment_id or definition.version != len(versions) + 1:
            raise BadLine("INVALID_RECORD", "is a definition whose id or version is not the next one")
        if versions and versions[1].salt != definition.salt:
            raise BadLine("INVALID_RECORD", "is a definition with another salt than the one before")
        row(version=definition.version)
        versions[definition.version] = definition
        self.counts.setdefault(line.experiment_id, [0, 0])

    def _decision(self, line: _Line, row: Callable[..., int]) -> None:
        versions = self._definitions.get(line.experiment_id, {})
        definition = versions.get(line.message.version)
        if definition is None:
            raise BadLine("UNKNOWN_EXPERIMENT", "is a decision of a definition that no earlier line has")
        if line.decision_id in self._decisions:
            raise BadLine("DUPLICATE_ID", "has the id of an earlier decision")

        def catalogue(version: int) -> tuple[Variant, ...]:
            return versions[version].catalogue

        record = line.message.SerializeToString()
        _sound(decode_decision, line.experiment_id, line.decision_id, line.subject, record, catalogue)
        seq = row(
            subject=line.subject,
            version=definition.version,
            closes_us=line.at_us + definition.experiment.reward.window_us,
        )
        self._decisions[line.decision_id] = KnownDecision(line.experiment_id, definition.version, seq)
        self.counts[line.experiment_id][0] += 1

    def _reward(self, line: _Line, row: Callable[..., int]) -> None:
        decision = self._decisions.get(line.decision_id)
        if decision is None or decision.experiment_id != line.experiment_id:
            raise BadLine("UNKNOWN_DECISION", "is a reward of a decision that no earlier line has")
        experiment = self._definitions[decision.experiment_id][decision.version].experiment
        metric = line.message.metric
        if metric != experiment.reward.metric and metric not in experiment.metrics:
            raise BadLine("UNKNOWN_METRIC", "is a reward of a metric that the experiment does not have")
        key = f"id:{line.message.reward_id}" if line.message.reward_id else f"metric:{metric}"
        if (line.decision_id, key) in self._keys:
            raise BadLine("DUPLICATE_REWARD", "is a reward that its decision has already")
        closes = line.message.status == pb.REWARD_STATUS_RECORDED and closes_on_reward(experiment, metric)
        row(
            key=key,
            closes_us=line.at_us if closes else None,
            closes_seq=decision.seq if closes else None,
        )
        self._keys.add((line.decision_id, key))
        self.counts[line.experiment_id][1] += 1


def _parsed(raw: bytes, number: int) -> _Line:
    try:
        row = json.loads(raw)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc) or error.msg.startswith("Unterminated"):
            raise BadLine("TRUNCATED_LINE", "ends in the middle: the file was cut off here") from None
        raise BadLine("INVALID_JSON", "is not JSON") from None
    except (ValueError, RecursionError):
        raise BadLine("INVALID_JSON", "is not JSON") from None
    if type(row) is not dict or not {"seq", "kind", "at_us", "record"} <= row.keys():
        raise BadLine("NOT_AN_EVENT", "is not a line that `banditd log export --format jsonl` writes")
    kind, seq, at_us = row["kind"], row["seq"], row["at_us"]
    message_type = _MESSAGES.get(kind) if type(kind) is str else None
    if message_type is None:
        raise BadLine("UNKNOWN_KIND", "is of a kind that this banditd does not know")
    if type(seq) is not int or type(at_us) is not int or not 0 <= at_us < 2**62 or seq < 1:
        raise BadLine("NOT_AN_EVENT", "has a seq or at_us that is not a whole number from 1 or 0 on")
    experiment_id, decision_id = row.get("experiment_id", ""), row.get("decision_id", "")
    subject = row.get("subject")
    for text, needed in (
        (experiment_id, kind in ("experiment", "decision", "reward")),
        (decision_id, kind not in ("experiment", "tick")),
    ):
        if type(text) is not str or (id_problem(text) if needed else text):
            raise BadLine("INVALID_ID", "has an id that a row of its kind can't have")
    if subject is not None and (
        type(subject) is not str or kind != "decision" or not 0 < len(subject) <= limits.SUBJECT_BYTES
    ):
        raise BadLine("INVALID_ID", "has a subject that a row of its kind can't have")
    try:
        message: Any = ParseDict(row["record"], message_type())
    except (ParseError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadLine("INVALID_RECORD", f"has a record that is no {message_type.DESCRIPTOR.name}") from error
    statuses: Sequence[int] = _REWARD_STATUSES.get(kind, ())
    if statuses and message.status not in statuses:
        raise BadLine("INVALID_RECORD", "has a reward's status that a row of its kind can't have")
    return _Line(number, seq, kind, experiment_id, decision_id, at_us, subject, message)


def _sound(decode: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return decode(*arguments)
    except CorruptRecord as error:
        raise BadLine("INVALID_RECORD", "has a record that does not hold together") from error
