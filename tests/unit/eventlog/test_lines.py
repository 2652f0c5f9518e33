"""Files of lines: whatever end, mark or packing they have, the same lines with the same numbers."""

import gzip

import pytest

from bandit.eventlog.formats import lines
from bandit.eventlog.formats.lines import BadLine, BadLines, StoppedAtBadLine, read


def lines_of(path, bad=None):
    return list(read(path, bad if bad is not None else BadLines(strict=True)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"a\n\n \t\nb", [(1, b"a"), (4, b"b")]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [(1, b"a"), (2, b"\xef\xbb\xbfb")]),
        (b"\xef\xbb\xbf\nb\n", [(2, b"b")]),
    ],
)
def test_lines_have_their_numbers_and_not_their_ends(tmp_path, pack, data, expected):
    path = tmp_path / "log"
    path.write_bytes(pack(data))
    assert lines_of(path) == expected


def test_a_line_over_the_limit_is_passed_over_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 10)
    path = tmp_path / "log"
    path.write_bytes(b"x" * 10 + b"\n" + b"y" * 35 + b"\nz\n" + b"y" * 11)
    bad = BadLines()
    assert lines_of(path, bad) == [(1, b"x" * 10), (3, b"z")]
    assert (bad.counts, bad.first) == ({"LINE_TOO_LONG": 2}, {"LINE_TOO_LONG": [2, 4]})


@pytest.mark.parametrize("cut", [5, -1, -9])
def test_a_gzip_file_that_was_cut_off_gives_what_it_has_and_says_so(tmp_path, cut):
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"".join(b"line %d\n" % number for number in range(100)))[:cut])
    bad = BadLines()
    found = lines_of(path, bad)
    assert found == [(number + 1, b"line %d" % number) for number in range(len(found))]
    assert bad.counts == {"TRUNCATED_FILE": 1}


def test_a_damaged_gzip_file_is_found(tmp_path):
    path = tmp_path / "log.gz"
    data = bytearray(gzip.compress(bytes(range(256)) * 100))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    bad = BadLines()
    lines_of(path, bad)
    assert bad.counts == {"TRUNCATED_FILE": 1}


def test_progress_is_told_in_bytes_and_comes_to_the_end(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"0123456789\n" * 10_000)
    told = []
    assert len(list(read(path, BadLines(), lambda done, total: told.append((done, total))))) == 10_000
    assert [total for _, total in told] == [110_000] * len(told)
    assert told[-1] == (110_000, 110_000)
    assert sorted(told) == told
    assert len(told) > 3


def test_bad_lines_are_counted_by_reason_with_the_first_numbers():
    bad = BadLines()
    for number in range(1, 9):
        bad(number, BadLine("ODD" if number % 2 else "EVEN", "is so"))
    assert bad.counts == {"ODD": 4, "EVEN": 4}
    assert bad.first == {"ODD": [1, 3, 5, 7], "EVEN": [2, 4, 6, 8]}
    assert bad.total == 8


def test_the_first_bad_line_stops_where_none_is_allowed():
    with pytest.raises(StoppedAtBadLine, match=r"^line 7: is so \(ODD\)$"):
        BadLines(strict=True)(7, BadLine("ODD", "is so"))
