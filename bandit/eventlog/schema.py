"""The embedded log's file: its one table, its version, and how connections to it are opened.

This is the contract with whoever reads `events.db` by hand: columns are added, never renamed or renumbered.
"""

import sqlite3
from pathlib import Path

from bandit.eventlog.log import LogUnwritable, SchemaTooNew

VERSION = 1
"""The schema version that this code writes, kept in `PRAGMA user_version`."""

BUSY_TIMEOUT_MS = 1_000
"""How long SQLite itself waits for a lock. Our writers queue at the lock file; this is for strangers."""

STATEMENTS_KEPT = 256
"""So many prepared statements a connection keeps: there are two inserts for each size of a batch."""

# Two rows never close at the same place in the joined order but by their own closing time, so the third index
# gives the order by itself: a decision row stands at its window's end, a reward row that closes its decision
# at the reward's time.
_TABLE = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    experiment_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    record BLOB NOT NULL,
    key TEXT,
    subject TEXT,
    version INTEGER,
    closes_us INTEGER,
    closes_seq INTEGER,
    checksum BLOB NOT NULL
);
CREATE UNIQUE INDEX events_decision ON events (decision_id) WHERE kind = 'decision';
CREATE UNIQUE INDEX events_reward ON events (decision_id, key) WHERE kind = 'reward';
CREATE INDEX events_closing ON events (experiment_id, closes_us, closes_seq) WHERE closes_us IS NOT NULL;
CREATE UNIQUE INDEX events_experiment ON events (experiment_id, version) WHERE kind = 'experiment';
"""


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time. Raises sqlite3.Error.

    Checkpoints are ours to time, and so are syncs: a commit is in the file system's hands (it survives the
    death of every process), and `SqliteEventLog.sync` brings it to the disk.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS_KEPT,
    )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def prepare(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    """Checks that the file is a log this code can write, or makes one of an empty file if it may.

    The caller holds the writers' lock. Raises SchemaTooNew, LogUnwritable for a file that is no log, and
    sqlite3.Error.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SchemaTooNew(
            f"The event log {path} has schema version {version}, and this banditd knows versions up to "
            f"{VERSION}. Upgrade banditd to use it; nothing was changed."
        )
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version < VERSION and (tables or not create):
        raise LogUnwritable(f"{path} is not an event log of banditd. Use another data folder.")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LogUnwritable(
            f"SQLite can't keep a write-ahead log for {path} (journal mode {mode!r}). Put the data folder on "
            "a local file system."
        )
    if version < VERSION:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLE} PRAGMA user_version = {VERSION}; COMMIT;")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
