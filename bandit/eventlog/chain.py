"""The checksum of a row: a hash over all its columns and the checksum of the row before it.

So an edited, deleted, inserted or reordered row is found where it stands. It is no signature: who can write
the file can write new checksums too.
"""

import struct
from hashlib import blake2b

CHECKSUM_BYTES = 8
START = bytes(CHECKSUM_BYTES)
"""What stands before the first row."""

Row = tuple[int, str, str, str, int, bytes, str | None, str | None, int | None, int | None, int | None]
"""A row without its checksum: seq, kind, experiment_id, decision_id, at_us, record, key, subject, version,
closes_us, closes_seq."""

Value = int | str | bytes | None
"""What a column may hold."""

StoredRow = tuple[Value, ...]
"""A row and its checksum."""

_ABSENT = -1
# Five numbers, then the sizes of the six texts: with the sizes in front, no two rows give the same bytes.
_HEAD = struct.Struct(">5q6i")


def checksum(previous: bytes, row: Row) -> bytes:
    """The checksum of `row` after a row with the checksum `previous`. Numbers are not negative."""
    seq, kind, experiment_id, decision_id, at_us, record, key, subject, version, closes_us, closes_seq = row
    texts = (
        kind.encode(),
        experiment_id.encode(),
        decision_id.encode(),
        record,
        b"" if key is None else key.encode(),
        b"" if subject is None else subject.encode(),
    )
    head = _HEAD.pack(
        seq,
        at_us,
        _ABSENT if version is None else version,
        _ABSENT if closes_us is None else closes_us,
        _ABSENT if closes_seq is None else closes_seq,
        len(texts[0]),
        len(texts[1]),
        len(texts[2]),
        len(record),
        _ABSENT if key is None else len(texts[4]),
        _ABSENT if subject is None else len(texts[5]),
    )
    return blake2b(b"".join((previous, head, *texts)), digest_size=CHECKSUM_BYTES).digest()


def is_sound(previous: bytes, row: Row, stored: object) -> bool:
    """Whether `stored` is the checksum of a row as read back, which may hold anything."""
    seq, _, _, _, at_us, record, _, _, *nullable = row
    try:
        # A negative number could pass for an absent one; the log never writes any.
        if min(seq, at_us, *(number for number in nullable if number is not None)) < 0:
            return False
        return isinstance(record, bytes) and checksum(previous, row) == stored
    except (TypeError, AttributeError, ValueError, struct.error):
        return False


class Rows:
    """Rows in the order in which they are added: numbered on, and chained to the one before."""

    __slots__ = ("checksum", "seq", "stored")

    def __init__(self, seq: int = 0, checksum: bytes = START) -> None:
        """They go on after a row with this `seq` and `checksum`; by default they are the first ones."""
        self.seq = seq
        self.checksum = checksum
        self.stored: list[StoredRow] = []

    def add(
        self,
        kind: str,
        experiment_id: str,
        decision_id: str,
        at_us: int,
        record: bytes,
        key: str | None = None,
        subject: str | None = None,
        version: int | None = None,
        closes_us: int | None = None,
        closes_seq: int | None = None,
    ) -> int:
        """Adds a row and returns its seq; a row with a closing time but no decision's seq closes itself."""
        seq = self.seq = self.seq + 1
        if closes_us is not None and closes_seq is None:
            closes_seq = seq
        row: Row = (
            seq,
            kind,
            experiment_id,
            decision_id,
            at_us,
            record,
            key,
            subject,
            version,
            closes_us,
            closes_seq,
        )
        self.checksum = checksum(self.checksum, row)
        self.stored.append((*row, self.checksum))
        return seq
