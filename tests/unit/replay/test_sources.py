"""Where joined events come from, and what is counted on the way."""

import gzip
import sys

import pytest

from bandit.core.records import Position
from bandit.replay.errors import BadLog, MissingExtra
from bandit.replay.seen import Seen
from bandit.replay.sources import open_source


def read(path, columns=()):
    with open_source(path) as source:
        [experiment_id] = source.experiments()
        rows = list(source.rows(experiment_id, columns))
        return rows, dict(source.trouble()), source.extent()


def test_lines_are_events_in_their_order(line, log_of):
    rows, trouble, (done, total) = read(log_of([line(n) for n in range(700)]))
    assert [event.decision.decision_id for event, _ in rows] == [f"e{n}" for n in range(700)]
    assert trouble == {}
    assert done == total > 0


def test_a_half_written_last_line_is_counted_and_the_rest_is_read(line, log_of):
    path = log_of([line(1), line(2)])
    path.write_text(path.read_text() + line(3)[:100])
    rows, trouble, _ = read(path)
    assert len(rows) == 2
    assert trouble == {"bad_lines": 1, "bad_line.TRUNCATED_LINE": 1}


def test_bad_lines_are_counted_by_reason_with_the_first_of_each(line, log_of):
    path = log_of([line(1), line(2, reward=7.0), "{}", line(3, reward=8.0)])
    with open_source(path) as source:
        assert len(list(source.events("imported"))) == 1
        assert source.trouble()["bad_lines"] == 3
        assert source.trouble()["bad_line.REWARD_OUT_OF_RANGE"] == 2
        assert source.first_trouble()["REWARD_OUT_OF_RANGE"][0] == 2


def test_a_decision_that_comes_twice_counts_once(line, log_of):
    lines = [line(n % 400, reward=float(n < 400)) for n in range(1_000)]
    rows, trouble, _ = read(log_of(lines))
    assert len(rows) == 400
    assert all(event.reward == 1.0 for event, _ in rows)
    assert trouble["duplicates"] == 600


def test_lines_out_of_order_keep_their_place_at_positions_that_rise(line, log_of):
    rows, trouble, _ = read(log_of([line(5), line(3), line(4), line(6)]))
    positions = [event.position for event, _ in rows]
    assert [event.decision.decision_id for event, _ in rows] == ["e5", "e3", "e4", "e6"]
    assert positions == sorted(set(positions))
    assert positions[1] == Position(positions[0].closing_us, positions[0].seq + 1)
    assert trouble["out_of_order"] == 2


def test_times_of_different_zones_are_compared_in_utc(line, log_of):
    zones = ["2026-01-01T12:00:00+02:00", "2026-01-01T05:30:00-05:00", "2026-01-01T10:45:00Z"]
    lines = [line(n, Timestamp=at) for n, at in enumerate([*zones, "2026-01-01T11:00:00"])]
    rows, trouble, _ = read(log_of(lines))
    minutes = [(event.at_us - rows[0][0].at_us) // 60_000_000 for event, _ in rows]
    assert minutes == [0, 30, 45, 60]
    assert trouble == {"naive_times": 1}  # taken as UTC


def test_columns_stand_beside_the_events(line, log_of):
    path = log_of([line(1, mine=0.25), "broken", line(2), line(1, mine=0.5), line(3, mine=[1, 0, 0])])
    rows, _, _ = read(path, ("mine", "p"))
    assert [values[0] for _, values in rows] == [0.25, None, [1, 0, 0]]
    assert rows[0][1][1] == [0.5, 0.3, 0.2]


def test_a_compressed_file_is_read(line, tmp_path):
    path = tmp_path / "log.dsjson.gz"
    path.write_bytes(gzip.compress(f"{line(1)}\n{line(2)}\n".encode()))
    assert len(read(path)[0]) == 2


def test_a_path_that_is_no_log_is_refused_with_what_would_be_one(tmp_path, line, log_of, live):
    with pytest.raises(BadLog, match="does not exist"), open_source(tmp_path / "none"):
        pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadLog, match="neither an event log"), open_source(tmp_path / "empty"):
        pass
    folder = live(rounds=3)
    with pytest.raises(BadLog, match="leave --reward"), open_source(folder, reward_range=(0.0, 1.0)):
        pass


def test_without_orjson_the_message_names_the_extra(line, log_of, monkeypatch):
    path = log_of([line(1)])
    monkeypatch.setitem(sys.modules, "bandit.eventlog.formats.dsjson", None)
    monkeypatch.delattr("bandit.eventlog.formats.dsjson", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'banditd\[replay\]'"), open_source(path):
        pass


def test_a_data_folder_gives_what_its_learner_joined(live):
    path = live(rounds=40, reward=lambda index, variant: 1.0 if index % 2 else None)
    rows, trouble, (done, total) = read(path)
    assert len(rows) == done == total == 20
    assert trouble == {"still_open": 20}
    with open_source(path) as source, pytest.raises(BadLog, match="has no column 'mine'"):
        source.rows("mail", ("mine",))


@pytest.mark.parametrize("seed", [1, 2])
def test_seen_tells_new_ids_from_known_ones(seed):
    import random

    rng = random.Random(seed)
    seen, known = Seen(), set()
    for _ in range(60):
        batch = [str(rng.randrange(2_000)) for _ in range(rng.randrange(1, 80))]
        expected = []
        for one in batch:
            expected.append(one not in known)
            known.add(one)
        fresh = seen.fresh(batch)
        assert (fresh.tolist() if fresh is not None else [True] * len(batch)) == expected
