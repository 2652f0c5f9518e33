"""Writes a whole new log at once: every row with a time of its own, as fast as SQLite takes them.

For imports only. It writes a file that nobody else knows yet, so there are no locks and no syncs until the
end, and the indexes may be built then, all at once. The rows are put together as `bandit.eventlog.writing`
does it.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from bandit.eventlog import schema
from bandit.eventlog.chain import Rows

BATCH_ROWS: Final = 2_000

_INSERT = (
    "INSERT INTO events (seq, kind, experiment_id, decision_id, at_us, record, key, subject, version, "
    "closes_us, closes_seq, checksum) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
)


class DuplicateRow(Exception):
    """Two decisions have the same id, or two rewards of a decision the same key."""


class KnownDecision(NamedTuple):
    """A decision that is in the file already."""

    experiment_id: str
    version: int
    seq: int


class BulkWriter:
    """The rows of a new log. Use `finish` at the end; without it nothing counts."""

    def __init__(self, path: Path, *, indexed: bool) -> None:
        """Makes the file. Without `indexed`, duplicates are found only by `finish`, and rows cost much less.

        Raises sqlite3.Error, OSError, LogUnwritable.
        """
        self.at_us = 0
        self._path = path
        self._rows = Rows()
        self._connection = schema.connect(path, create=True)
        schema.prepare(self._connection, path, create=True)
        # A file that is thrown away if anything goes wrong needs no second copy of its pages.
        self._connection.execute("PRAGMA journal_mode = MEMORY")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._indexes: list[str] = []
        if not indexed:
            found = self._connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            ).fetchall()
            for name, sql in found:
                self._connection.execute(f"DROP INDEX {name}")
                self._indexes.append(sql)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def seq(self) -> int:
        """The last row's."""
        return self._rows.seq

    def row(
        self,
        kind: str,
        experiment_id: str,
        decision_id: str,
        at_us: int,
        record: bytes,
        *,
        key: str | None = None,
        subject: str | None = None,
        version: int | None = None,
        closes_us: int | None = None,
        closes_seq: int | None = None,
    ) -> int:
        """Adds a row and returns its seq; one with a closing time but no decision's seq closes itself.

        Raises ValueError for a time before the last row's, DuplicateRow, sqlite3.Error.
        """
        if at_us < self.at_us:
            raise ValueError(f"{at_us} is before {self.at_us}, the time of the row before")
        self.at_us = at_us
        seq = self._rows.add(
            kind, experiment_id, decision_id, at_us, record, key, subject, version, closes_us, closes_seq
        )
        if len(self._rows.stored) >= BATCH_ROWS:
            self.flush()
        return seq

    def flush(self) -> None:
        """Brings the rows so far into the file. Raises DuplicateRow, sqlite3.Error."""
        rows, self._rows.stored = self._rows.stored, []
        self._connection.execute("BEGIN")
        try:
            self._connection.executemany(_INSERT, rows)
        except sqlite3.IntegrityError as error:
            raise DuplicateRow(str(error)) from error
        self._connection.execute("COMMIT")

    def decisions(self, decision_ids: Sequence[str]) -> dict[str, KnownDecision]:
        """Those of the decisions that are in the file; for an indexed one, after `flush`."""
        found: dict[str, KnownDecision] = {}
        for some in _few(decision_ids):
            rows = self._connection.execute(
                "SELECT decision_id, experiment_id, version, seq FROM events "  # noqa: S608  # question marks only
                f"WHERE kind = 'decision' AND decision_id IN ({','.join('?' * len(some))})",
                some,
            )
            found.update((decision_id, KnownDecision(*rest)) for decision_id, *rest in rows)
        return found

    def reward_keys(self, decision_ids: Sequence[str]) -> set[tuple[str, str]]:
        """(decision id, key) of the rewards that these decisions have in the file."""
        found: set[tuple[str, str]] = set()
        for some in _few(decision_ids):
            found.update(
                self._connection.execute(
                    "SELECT decision_id, key FROM events "  # noqa: S608  # question marks only
                    f"WHERE kind = 'reward' AND decision_id IN ({','.join('?' * len(some))})",
                    some,
                )
            )
        return found

    def finish(self) -> None:
        """Builds what indexes are missing and makes the file durable, for a rename to where it belongs.

        Raises DuplicateRow, sqlite3.Error, OSError.
        """
        self.flush()
        try:
            for sql in self._indexes:
                self._connection.execute(sql)
        except sqlite3.IntegrityError as error:
            raise DuplicateRow(str(error)) from error
        # As `schema.prepare` left it: whoever opens it next need not change it.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


_PARAMETERS: Final = 500


def _few(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _PARAMETERS] for start in range(0, len(ids), _PARAMETERS)]
