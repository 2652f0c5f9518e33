"""One transaction of the embedded log: items in, rows with their seq, time and checksum out.

The caller holds the writers' lock, so that nobody else writes between reading the last row and committing.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

from bandit.core.errors import Refused
from bandit.core.records import RewardStatus
from bandit.eventlog import rewards
from bandit.eventlog.chain import START, Row, Rows, StoredRow, Value
from bandit.eventlog.chain import checksum as checksum_of
from bandit.eventlog.codec import TICK, decode_digest, decode_experiment, encode_experiment, encode_reward
from bandit.eventlog.log import (
    Clock,
    Definition,
    Item,
    NewDecision,
    NewExperiment,
    NewReward,
    Result,
    RewardOutcome,
    StoredDecision,
)
from bandit.eventlog.schema import STATEMENTS_KEPT

DefinitionOf = Callable[[str, int], Definition]

# Each step of a statement releases and retakes the GIL, which costs more than the insert itself: so many rows
# go into one. SQLite keeps a prepared statement a text, so there are only so many texts.
_ROWS_PER_INSERT = STATEMENTS_KEPT // 2
_INSERT = (
    "INSERT INTO events (seq, kind, experiment_id, decision_id, at_us, record, key, subject, version, "
    "closes_us, closes_seq, checksum) VALUES "
)


@cache
def _insert_rows(rows: int) -> str:
    return _INSERT + ",".join(["(?,?,?,?,?,?,?,?,?,?,?,?)"] * rows)


@cache
def _insert_decisions(rows: int) -> str:
    """What is the same in every decision's row, or twice in it, is not handed over again and again."""
    values = 9
    return _INSERT + ",".join(
        [
            f"(?{at},'decision',?{at + 1},?{at + 2},?{at + 3},?{at + 4},NULL,?{at + 5},?{at + 6},?{at + 7},"
            f"?{at},?{at + 8})"
            for at in range(1, values * rows, values)
        ]
    )


class Tail(NamedTuple):
    """The log's last row, as far as the next one needs it."""

    seq: int
    at_us: int
    checksum: bytes


_EMPTY = Tail(0, 0, START)


class Written(NamedTuple):
    """What became of a batch: a result an item, the definitions that came into force, the log's new end."""

    results: list[Result]
    definitions: list[Definition]
    tail: Tail


def write(
    connection: sqlite3.Connection,
    batch: Sequence[Item],
    clock_us: Clock,
    tail: Tail | None,
    definition_of: DefinitionOf,
    stored_decisions: Callable[[Sequence[str]], Mapping[str, StoredDecision]],
) -> Written:
    """Writes a batch as one transaction.

    Nothing is looked up beforehand that a conflict would tell. `tail` is the log's last row if the caller
    knows it; then one insert is the whole transaction. If a stranger has written meanwhile, or a decision id
    is known, that insert meets the unique `seq` or id and leaves nothing behind; then the log is read. Raises
    sqlite3.Error, and whatever an item that can't be encoded raises; nothing is written then.
    """
    if len(batch) <= _ROWS_PER_INSERT:
        tail = tail or _tail(connection)
        decisions = [item for item in batch if type(item) is NewDecision]
        try:
            if decisions and len(decisions) == len(batch):
                return _write_decisions(connection, decisions, clock_us, tail)
            composed = _Transaction(connection, tail, clock_us, definition_of, {})
            written = composed.of(batch)
            _insert(connection, composed.rows)
            return written
        except sqlite3.IntegrityError:
            pass
    stored: Mapping[str, StoredDecision] | None = None
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            composed = _Transaction(connection, _tail(connection), clock_us, definition_of, stored or {})
            written = composed.of(batch)
            _insert(connection, composed.rows)
            connection.execute("COMMIT")
            return written
        except BaseException as error:
            # SQLite has rolled back by itself after a full disk or a failed write.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            # Only decisions can be there already, and now it is known which.
            if not isinstance(error, sqlite3.IntegrityError) or stored is not None:
                raise
        stored = stored_decisions(
            [item.decision.decision_id for item in batch if isinstance(item, NewDecision)]
        )


def _write_decisions(
    connection: sqlite3.Connection, decisions: Sequence[NewDecision], clock_us: Clock, tail: Tail
) -> Written:
    """Writes decisions that are all new, as they nearly always are, after `tail`, the log's last row.

    The same rows as `_Transaction` would make of them, in half the time. Raises sqlite3.IntegrityError if one
    is not new or `tail` not the last row, sqlite3.Error; nothing is written then.
    """
    seq, checksum = tail.seq, tail.checksum
    stamp_us = max(clock_us(), tail.at_us)
    values: list[Value] = []
    for decision, record, window_us in decisions:
        experiment_id, decision_id, version = decision.experiment_id, decision.decision_id, decision.version
        subject = decision.subject or None
        closes_us = stamp_us + window_us
        seq += 1
        row: Row = (
            seq,
            "decision",
            experiment_id,
            decision_id,
            stamp_us,
            record,
            None,
            subject,
            version,
            closes_us,
            seq,
        )
        checksum = checksum_of(checksum, row)
        values += (
            seq,
            experiment_id,
            decision_id,
            stamp_us,
            record,
            subject,
            version,
            closes_us,
            checksum,
        )
    _execute(connection, _insert_decisions(len(decisions)), len(decisions), values)
    return Written([None] * len(decisions), [], Tail(seq, stamp_us, checksum))


def _tail(connection: sqlite3.Connection) -> Tail:
    last = connection.execute("SELECT seq, at_us, checksum FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return Tail(*last) if last else _EMPTY


class _Transaction:
    """The rows of one transaction while it is put together: stamped, and chained to the one before."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        tail: Tail,
        clock_us: Clock,
        definition_of: DefinitionOf,
        stored: Mapping[str, StoredDecision],
    ) -> None:
        self._connection = connection
        self._definition_of = definition_of
        self._stored = stored
        self._last_us = tail.at_us
        self._rows = Rows(tail.seq, tail.checksum)
        self.rows = self._rows.stored
        # One stamp serves the batch; log time never runs backwards, whatever the clock does.
        self._stamp_us = max(clock_us(), self._last_us)
        self._new: dict[str, tuple[NewDecision, int]] = {}
        self._rewarded: dict[str, rewards.RewardedDecision] = {}
        self.definitions: list[Definition] = []

    def of(self, batch: Sequence[Item]) -> Written:
        """What becomes of each item once `rows` are in the log."""
        results = self._results(batch)
        # A stamp that no row carries is not log time.
        at_us = self._stamp_us if self.rows else self._last_us
        return Written(results, self.definitions, Tail(self._rows.seq, at_us, self._rows.checksum))

    def _results(self, batch: Sequence[Item]) -> list[Result]:
        rewarded = {item.decision_id for item in batch if type(item) is NewReward}
        if rewarded:
            self._rewarded = rewards.load(self._connection, rewarded)
        results: list[Result] = []
        for item in batch:
            if type(item) is NewDecision:
                results.append(self._decision(item))
            elif type(item) is NewReward:
                results.append(self._reward(item))
            elif type(item) is NewExperiment:
                results.append(self._experiment(item))
            else:
                self._rows.add("tick", "", "", self._stamp_us, TICK)
                results.append(None)
        return results

    def _decision(self, item: NewDecision) -> StoredDecision | None:
        decision = item.decision
        decision_id = decision.decision_id
        if decision_id in self._stored:
            return self._stored[decision_id]
        if decision_id in self._new:
            first, seq = self._new[decision_id]
            return StoredDecision(first.decision, decode_digest(first.record), seq, self._stamp_us)
        seq = self._rows.add(
            "decision",
            decision.experiment_id,
            decision_id,
            self._stamp_us,
            item.record,
            subject=decision.subject or None,
            version=decision.version,
            closes_us=self._stamp_us + item.window_us,
        )
        self._new[decision_id] = item, seq
        return None

    def _reward(self, item: NewReward) -> RewardOutcome | Refused:
        decision = self._rewarded_decision(item.decision_id)
        if decision is None:
            status = RewardStatus.UNKNOWN_DECISION
            record = encode_reward(item, item.metric, status)
            self._rows.add("reward_unknown", "", item.decision_id, self._stamp_us, record)
            return RewardOutcome(status, "", item.metric)
        experiment = self._definition(decision.experiment_id, decision.version).experiment
        verdict = rewards.judge(decision, experiment, item, self._stamp_us)
        if isinstance(verdict, Refused):
            return verdict
        if verdict.status is not RewardStatus.DUPLICATE:
            self._rows.add(
                "reward",
                decision.experiment_id,
                item.decision_id,
                self._stamp_us,
                encode_reward(item, verdict.metric, verdict.status),
                key=verdict.key,
                closes_us=self._stamp_us if verdict.closes else None,
                closes_seq=decision.seq if verdict.closes else None,
            )
            decision.stored[verdict.key] = verdict.metric, item.value
            decision.closed = decision.closed or verdict.closes
        return RewardOutcome(verdict.status, decision.experiment_id, verdict.metric)

    def _rewarded_decision(self, decision_id: str) -> rewards.RewardedDecision | None:
        known = self._rewarded.get(decision_id)
        if known is None and decision_id in self._new:
            item, seq = self._new[decision_id]
            known = rewards.RewardedDecision(
                item.decision.experiment_id, item.decision.version, seq, self._stamp_us
            )
            self._rewarded[decision_id] = known
        return known

    def _experiment(self, item: NewExperiment) -> Definition:
        latest = self._latest(item.experiment.id)
        if latest is not None and latest.experiment.canonical_json() == item.experiment.canonical_json():
            return latest
        version = 1 if latest is None else latest.version + 1
        salt = item.salt if latest is None else latest.salt
        record = encode_experiment(item.experiment, version, salt)
        seq = self._rows.add("experiment", item.experiment.id, "", self._stamp_us, record, version=version)
        definition = Definition(item.experiment, version, salt, seq)
        self.definitions.append(definition)
        return definition

    def _latest(self, experiment_id: str) -> Definition | None:
        for definition in reversed(self.definitions):
            if definition.experiment.id == experiment_id:
                return definition
        row = self._connection.execute(
            "SELECT record, seq FROM events WHERE kind = 'experiment' AND experiment_id = ? "
            "ORDER BY version DESC LIMIT 1",
            (experiment_id,),
        ).fetchone()
        return None if row is None else decode_experiment(*row)

    def _definition(self, experiment_id: str, version: int) -> Definition:
        for definition in self.definitions:
            if definition.experiment.id == experiment_id and definition.version == version:
                return definition
        return self._definition_of(experiment_id, version)


def _insert(connection: sqlite3.Connection, rows: Sequence[StoredRow]) -> None:
    """Raises sqlite3.IntegrityError for a row that conflicts with one that is there."""
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        some = rows[start : start + _ROWS_PER_INSERT]
        _execute(connection, _insert_rows(len(some)), len(some), list(chain.from_iterable(some)))


def _execute(connection: sqlite3.Connection, insert: str, rows: int, values: Sequence[Value]) -> None:
    inserted = connection.execute(insert, values).rowcount
    if inserted != rows:
        raise sqlite3.DatabaseError(f"{inserted} of {rows} rows were stored; the log was altered")
