"""The key of a data folder: subjects are stored, and requests compared, only as hashes under it."""

import os
import secrets
from pathlib import Path
from typing import Final

KEY_VARIABLE: Final = "BANDITD_SUBJECT_KEY"
_FILE: Final = "subject.key"
_BYTES: Final = 32


class BadKey(ValueError):
    """The key can't be used. The message says what to do; it never holds the key."""


def ensure_key(data_dir: Path) -> None:
    """Makes the key file if there is none and the environment gives none. Raises BadKey, OSError."""
    path = data_dir / _FILE
    if not os.environ.get(KEY_VARIABLE) and not path.exists():
        aside = data_dir / f".{_FILE}"
        aside.unlink(missing_ok=True)
        fd = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(fd, secrets.token_hex(_BYTES).encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        aside.rename(path)
    read_key(data_dir)


def read_key(data_dir: Path) -> bytes:
    """The key: from the environment if it is there, else from the data folder. Raises BadKey, OSError."""
    text = os.environ.get(KEY_VARIABLE) or (data_dir / _FILE).read_text(encoding="ascii").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise BadKey(
            f"The subject key is not hexadecimal; give {KEY_VARIABLE} {2 * _BYTES} hex digits."
        ) from None
    if len(key) != _BYTES:
        raise BadKey(
            f"The subject key has {len(key)} bytes; give {KEY_VARIABLE} {_BYTES} bytes as hex digits."
        )
    return key
