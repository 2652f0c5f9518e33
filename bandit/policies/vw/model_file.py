"""What Vowpal Wabbit stores, read without it: whose model a file is, and its weights apart from mere
counters.

The layout is that of VW's save_load_header (parse_regressor.cc) and save_load_online_state_gd (gd.cc); only
files of the version in use are read.
"""

import struct
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bandit.policies.errors import IncompatibleModel

_LENGTH = struct.Struct("<I")
_HEADER = struct.Struct("<cffIIIII")
"""The letter m, smallest and largest label, bits, lda, ngrams, skips, and the length of the options' text."""
_CHECKSUM = struct.Struct("<II")
_ONLINE = struct.Struct("<QQ?fddddfffdddQQddQdd")
"""What `_LEARNED` picks from: examples and actions seen, resumable, initial t, norm, t, loss, recent loss,
dump interval, smallest and largest label, labelled, labels, unlabelled, examples, features, total weight,
loss weight, pass, l1 state, l2 state.
"""
_LEARNED = (0, 1, 2, 3, 4, 9, 10, 11, 16, 19, 20)
"""Left out are the counters that predictions advance too: they change nothing that is learned or
predicted.
"""


@dataclass(frozen=True, slots=True)
class Header:
    """Who made a model file, and with what."""

    version: str
    bits: int
    options: tuple[str, ...]


def read_header(content: bytes) -> Header:
    """The header of a model file's content. Raises IncompatibleModel if it has none."""
    return _header(content)[0]


def learned_digest(path: Path) -> bytes:
    """A sum over all that a model file knows: equal for models that learned the same, however often they were
    stored, loaded, or asked in between. Raises IncompatibleModel, OSError.
    """
    data = path.read_bytes()
    header, end = _header(data)
    try:
        online = _ONLINE.unpack_from(data, end + _CHECKSUM.size)
    except struct.error as error:
        raise IncompatibleModel(f"{path.name} ends within its header") from error
    learned = [online[index] for index in _LEARNED]
    return sha256(repr((header, learned)).encode() + data[end + _CHECKSUM.size + _ONLINE.size :]).digest()


def _header(data: bytes) -> tuple[Header, int]:
    """The header and where it ends."""
    try:
        version, at = _text(data, 0)
        _, at = _text(data, at)
        letter, _, _, bits, _, _, _, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        options = data[at : at + length].rstrip(b"\0").decode("ascii")
    except (struct.error, UnicodeDecodeError) as error:
        raise IncompatibleModel("this is not a Vowpal Wabbit model file") from error
    if letter != b"m" or at + length > len(data):
        raise IncompatibleModel("this is not a Vowpal Wabbit model file")
    return Header(version, bits, tuple(options.split())), at + length


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    return data[at : at + length].rstrip(b"\0").decode("ascii"), at + length
