"""The queries of the embedded log. Each is one statement that is read to its end at once.

So no read transaction outlives the few milliseconds of its query, however long the log is: what may be long
is asked for in pages, bounded in rows and bytes.
"""

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from bandit.core.records import Position, Reward
from bandit.eventlog.codec import decode_experiment, decode_reward
from bandit.eventlog.log import Closing, CorruptRecord, Definition, Event

PAGE_BYTES = 16 * 1024 * 1024
"""A page ends when its records are together over this, so that big contexts can't fill the memory."""


def head(connection: sqlite3.Connection) -> tuple[int, int]:
    """(seq, at_us) of the last row; (0, 0) if there is none."""
    row = connection.execute("SELECT seq, at_us FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def definitions(connection: sqlite3.Connection, after_seq: int) -> list[Definition]:
    """The definitions that came into force after `after_seq`, in seq order."""
    rows = connection.execute(
        "SELECT record, seq FROM events INDEXED BY events_experiment "
        "WHERE kind = 'experiment' AND seq > ? ORDER BY seq",
        (after_seq,),
    ).fetchall()
    return [decode_experiment(record, seq) for record, seq in rows]


def definition(connection: sqlite3.Connection, experiment_id: str, version: int) -> Definition:
    """One version of an experiment. Raises CorruptRecord if the log has none."""
    row = connection.execute(
        "SELECT record, seq FROM events WHERE kind = 'experiment' AND experiment_id = ? AND version = ?",
        (experiment_id, version),
    ).fetchone()
    if row is None:
        raise CorruptRecord(f"The event log has no version {version} of experiment {experiment_id!r}.")
    return decode_experiment(*row)


DecisionRow = tuple[str, str, str | None, bytes, int, int]
"""experiment_id, decision_id, subject, record, seq, at_us."""


def decisions(connection: sqlite3.Connection, decision_ids: Sequence[str]) -> list[DecisionRow]:
    """The rows of those of the decisions that the log has."""
    return connection.execute(
        "SELECT experiment_id, decision_id, subject, record, seq, at_us FROM events "
        "WHERE kind = 'decision' AND decision_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(decision_ids)),),
    ).fetchall()


def page(
    connection: sqlite3.Connection, after_seq: int, up_to_seq: int, kinds: Collection[str] | None
) -> tuple[list[Event], int]:
    """The rows in (after_seq, up_to_seq], of `kinds` only if given, and the seq up to which these are all."""
    # The plus keeps SQLite from leaving the order of seq for an index that knows the kind.
    cursor = connection.execute(
        "SELECT seq, kind, experiment_id, decision_id, at_us, record, key, subject, version FROM events "
        "WHERE seq > ? AND seq <= ? AND (? IS NULL OR +kind IN (SELECT value FROM json_each(?))) "
        "ORDER BY seq",
        (after_seq, up_to_seq, *[None if kinds is None else json.dumps(list(kinds))] * 2),
    )
    rows, complete = bounded(cursor, record_column=5)
    return [Event(*row) for row in rows], up_to_seq if complete else rows[-1][0]


def experiments_touched(connection: sqlite3.Connection, after_seq: int, up_to_seq: int) -> set[str]:
    """The experiments with rows in (after_seq, up_to_seq]."""
    rows = connection.execute(
        "SELECT DISTINCT experiment_id FROM events WHERE seq > ? AND seq <= ?", (after_seq, up_to_seq)
    ).fetchall()
    return {experiment_id for (experiment_id,) in rows if experiment_id}


CountRow = tuple[str, str, int, int, int]
"""kind, experiment_id, how many rows, the first one's at_us, the last one's at_us."""


def counts(connection: sqlite3.Connection, after_seq: int, up_to_seq: int) -> list[CountRow]:
    """The rows in (after_seq, up_to_seq], counted by kind and experiment."""
    return connection.execute(
        "SELECT kind, experiment_id, count(*), min(at_us), max(at_us) FROM events "
        "WHERE seq > ? AND seq <= ? GROUP BY kind, experiment_id",
        (after_seq, up_to_seq),
    ).fetchall()


def count_closings(
    connection: sqlite3.Connection, experiment_id: str, after: Position, before_us: int, entries: int
) -> tuple[int, Position | None]:
    """How many of the next entries of the joined order are events, and the last entry; None at the end.

    Only those that close before `before_us` are looked at.
    """
    rows = connection.execute(
        "SELECT e.closes_us, e.closes_seq, e.seq <> e.closes_seq OR NOT EXISTS ("
        "SELECT 1 FROM events AS d JOIN events AS r ON r.kind = 'reward' AND r.decision_id = d.decision_id "
        "WHERE d.seq = e.closes_seq AND r.closes_us IS NOT NULL) FROM ("
        "SELECT seq, closes_us, closes_seq FROM events INDEXED BY events_closing "
        "WHERE experiment_id = ? AND (closes_us, closes_seq) > (?, ?) AND closes_us < ? "
        "ORDER BY closes_us, closes_seq LIMIT ?) AS e",
        (experiment_id, *after, before_us, entries),
    ).fetchall()
    return sum(row[2] for row in rows), Position(*rows[-1][:2]) if rows else None


def closings(
    connection: sqlite3.Connection, experiment_id: str, after: Position, before_us: int, limit: int
) -> list[Closing]:
    """The entries of the joined order after `after` and before `before_us`; empty only at its end."""
    rows, _ = bounded(
        connection.execute(
            "SELECT e.closes_us, d.seq, d.decision_id, d.at_us, d.subject, "
            "CASE WHEN e.seq = d.seq AND EXISTS (SELECT 1 FROM events AS r WHERE r.kind = 'reward' "
            "AND r.decision_id = d.decision_id AND r.closes_us IS NOT NULL) THEN NULL ELSE d.record END "
            "FROM events AS e INDEXED BY events_closing CROSS JOIN events AS d ON d.seq = e.closes_seq "
            "WHERE e.experiment_id = ? AND (e.closes_us, e.closes_seq) > (?, ?) AND e.closes_us < ? "
            "ORDER BY e.closes_us, e.closes_seq LIMIT ?",
            (experiment_id, *after, before_us, limit),
        ),
        record_column=5,
    )
    return list(map(Closing._make, rows))


def rewards_of(connection: sqlite3.Connection, decision_ids: Sequence[str]) -> dict[str, list[Reward]]:
    """The rewards of each decision that has any, in log order."""
    found: dict[str, list[Reward]] = {}
    # Most rewards say the same: equal records are decoded once.
    decoded: dict[bytes, tuple[str, float]] = {}
    rows = connection.execute(
        "SELECT decision_id, seq, at_us, record FROM events "
        "WHERE kind = 'reward' AND decision_id IN (SELECT value FROM json_each(?)) ORDER BY seq",
        (json.dumps(list(decision_ids)),),
    ).fetchall()
    for decision_id, seq, at_us, record in rows:
        if record not in decoded:
            decoded[record] = decode_reward(record)
        found.setdefault(decision_id, []).append(Reward(seq, at_us, *decoded[record]))
    return found


_UNREAD = (
    "SELECT seq, closes_us, closes_seq FROM events INDEXED BY events_closing "
    "WHERE experiment_id = ? AND (closes_us, closes_seq) > (?, ?) AND closes_us IS NOT NULL "
    "ORDER BY closes_us, closes_seq LIMIT ?"
)


def next_closing(
    connection: sqlite3.Connection, experiment_id: str, after: Position, entries: int
) -> tuple[int | None, Position | None]:
    """Looks through the next entries of the joined order for one that is an event.

    Answers with its closing time if there is one; else with the last entry looked at, None at the end.
    """
    row = connection.execute(
        f"SELECT e.closes_us FROM ({_UNREAD}) AS e WHERE e.seq <> e.closes_seq OR NOT EXISTS ("  # noqa: S608
        "SELECT 1 FROM events AS d JOIN events AS r ON r.kind = 'reward' AND r.decision_id = d.decision_id "
        "WHERE d.seq = e.closes_seq AND r.closes_us IS NOT NULL) LIMIT 1",
        (experiment_id, *after, entries),
    ).fetchone()
    if row is not None:
        return row[0], None
    last = connection.execute(
        f"SELECT closes_us, closes_seq FROM ({_UNREAD} OFFSET ?)",  # noqa: S608
        (experiment_id, *after, 1, entries - 1),
    ).fetchone()
    return None, None if last is None else Position(*last)


def bounded(cursor: sqlite3.Cursor, *, record_column: int) -> tuple[list[Any], bool]:
    """The rows, until their records are together over PAGE_BYTES, and whether these are all."""
    rows, size = [], 0
    try:
        for row in cursor:
            rows.append(row)
            record = row[record_column]
            size += len(record) if isinstance(record, bytes) else 0
            if size > PAGE_BYTES:
                return rows, False
        return rows, True
    finally:
        cursor.close()
