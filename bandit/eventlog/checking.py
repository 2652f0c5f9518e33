"""Reads the whole log and finds the first row that is not the one that was written."""

import sqlite3
from collections.abc import Callable
from typing import cast

from bandit.eventlog.chain import START, Row, is_sound
from bandit.eventlog.reading import bounded, head


def first_unsound(
    connection: sqlite3.Connection, rows_at_once: int, progress: Callable[[int], None] | None
) -> int | None:
    """The first seq whose row was edited, deleted, inserted or moved; None if all rows are sound.

    Changes the connection's way with text: give it one of its own. `progress` is called with the seq reached.
    """
    # A text that is not UTF-8 must be found, not stumbled over.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    # SQLite keeps the highest seq ever given: that shows when the last rows are gone.
    given = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'").fetchone()[0]
    last = max(head(connection)[0], given if isinstance(given, int) else 0)
    previous, seq = START, 0
    while seq < last:
        rows, _ = bounded(
            connection.execute(
                "SELECT seq, kind, experiment_id, decision_id, at_us, record, key, subject, version, "
                "closes_us, closes_seq, checksum FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
                (seq, rows_at_once),
            ),
            record_column=5,
        )
        if not rows:
            return seq + 1
        for *columns, stored in rows:
            if columns[0] != seq + 1 or not is_sound(previous, cast(Row, tuple(columns)), stored):
                return seq + 1
            previous, seq = stored, seq + 1
        if progress is not None:
            progress(seq)
    return None
