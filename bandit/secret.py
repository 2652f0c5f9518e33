"""The key of a data folder: subjects are stored, and requests compared, only as hashes under it."""

import os
import secrets
import shlex
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bandit.eventlog.sqlite import SqliteEventLog

KEY_VARIABLE: Final = "BANDITD_SUBJECT_KEY"
_FILE: Final = "subject.key"
_BYTES: Final = 32
_LOOK_SEQS: Final = 1_000


class BadKey(ValueError):
    """The key can't be used. The message says what to do; it never holds the key."""


def ensure_key(data_dir: Path) -> None:
    """Makes the key file if there is none and the environment gives none; not beside a log that needs the old
    one. Raises BadKey, LogUnwritable, SchemaTooNew, CorruptRecord, OSError.
    """
    path = data_dir / _FILE
    if not os.environ.get(KEY_VARIABLE) and not path.exists():
        if _needed(data_dir):
            raise BadKey(_lost(data_dir, path))
        _make(data_dir)
    read_key(data_dir)


def key_for_imported(data_dir: Path) -> bool:
    """Makes a key file beside a log that was just imported if its decisions were made under one that isn't
    here; whether it did. Raises LogUnwritable, SchemaTooNew, CorruptRecord, OSError.
    """
    made = not os.environ.get(KEY_VARIABLE) and not (data_dir / _FILE).exists() and _needed(data_dir)
    if made:
        _make(data_dir)
    return made


def _make(data_dir: Path) -> None:
    aside = data_dir / f".{_FILE}"
    aside.unlink(missing_ok=True)
    fd = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(fd, secrets.token_hex(_BYTES).encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    aside.rename(data_dir / _FILE)


def read_key(data_dir: Path) -> bytes:
    """The key: from the environment if it is there, else from the data folder. Raises BadKey, OSError."""
    path = data_dir / _FILE
    text = os.environ.get(KEY_VARIABLE)
    mend = f"give {KEY_VARIABLE}" if text else f"restore {path} from the backup: it has"
    try:
        key = bytes.fromhex(text or path.read_bytes().decode("ascii").strip())
    except ValueError:
        raise BadKey(f"The subject key is not hexadecimal; {mend} {2 * _BYTES} hex digits.") from None
    except FileNotFoundError:
        raise BadKey(f"{path} is gone; restore it from the backup.") from None
    except PermissionError:
        raise BadKey(f"{path} can't be read; give it to the user that serves, with mode 0600.") from None
    if len(key) != _BYTES:
        raise BadKey(f"The subject key has {len(key)} bytes; {mend} {2 * _BYTES} hex digits.")
    return key


def _lost(data_dir: Path, path: Path) -> str:
    make = f"python3 -c 'import secrets; print(secrets.token_hex({_BYTES}))'"
    return (
        f"The log in {data_dir} was written under a subject key, and {path} is gone. Restore it from the "
        f"backup, or set {KEY_VARIABLE}. With another key every subject would be a new one, "
        "perhaps in another arm, and every repeated call a conflict. If it is lost for good, go on knowingly "
        "with a new one: "
        f"(umask 077; {make} > {shlex.quote(str(path))})"
    )


def _needed(data_dir: Path) -> bool:
    """Whether decisions of the log were made under a key: for a subject, or with the digest of a request.

    Those that were imported from other formats than our own JSON Lines stand before all others, and were not;
    so the newest decisions tell, however long the log is.
    """
    from bandit.eventlog.sqlite import SqliteEventLog

    try:
        log = SqliteEventLog(data_dir, create=False)
    except FileNotFoundError:
        return False
    try:
        up_to, _ = log.head()
        while up_to > 0:
            found = _under_a_key(log, up_to)
            if found:
                return any(found)
            up_to -= _LOOK_SEQS
        return False
    finally:
        log.close()


def _under_a_key(log: "SqliteEventLog", up_to_seq: int) -> list[bool]:
    """Of each decision among the `_LOOK_SEQS` rows up to a seq, whether it was made under a key."""
    from bandit.eventlog.codec import decode_digest

    imported = {
        (definition.experiment.id, definition.version)
        for definition in log.definitions()
        if definition.imported_from
    }
    rows = log.events(max(0, up_to_seq - _LOOK_SEQS), ("decision",), batch=_LOOK_SEQS)
    return [
        (row.experiment_id, row.version) not in imported and bool(row.subject or decode_digest(row.record))
        for row in takewhile(lambda row: row.seq <= up_to_seq, rows)
    ]
