"""Logs from elsewhere: all of it or nothing, in order of source time, and the same events as before."""

import fcntl
import gzip
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from bandit.eventlog.formats import dsjson, jsonl, parquet
from bandit.eventlog.formats.dsjson import Reader
from bandit.eventlog.formats.lines import StoppedAtBadLine
from bandit.eventlog.importing import BadImport, Options, files, guess, import_log
from bandit.eventlog.importing import joined as joined_rows
from bandit.eventlog.sqlite import SqliteEventLog

FIXTURES = Path(__file__).parents[3] / "fixtures" / "dsjson"
SOUND = (FIXTURES / "sound.dsjson").read_bytes().strip()
ODD = "../odd\u00e9 id/=%"


def line(**changes):
    return json.dumps({**json.loads(SOUND), **changes}).encode()


@pytest.fixture
def imported(tmp_path):
    """Imports bytes or a path into a new folder; (what was done, the log that came of it)."""
    logs = []

    def run(source, from_format=None, name="log", **options):
        path = source
        if isinstance(source, bytes):
            path = tmp_path / name
            path.write_bytes(source)
        data_dir = tmp_path / f"data{len(logs)}"
        done = import_log(
            path, data_dir, from_format or guess(path), Options(**options), lambda what, some, total: None
        )
        assert sorted(item.name for item in data_dir.iterdir()) == ["events.db"]
        logs.append(SqliteEventLog(data_dir, create=False))
        assert logs[-1].check_chain() is None
        return done, logs[-1]

    yield run
    for log in logs:
        log.close()


def refused(tmp_path, source, match, from_format="dsjson", error=BadImport, **options):
    path = tmp_path / "refused"
    path.write_bytes(source)
    data_dir = tmp_path / "none"
    with pytest.raises(error, match=match):
        import_log(path, data_dir, from_format, Options(**options), lambda *told: None)
    assert not data_dir.exists()


def same(event):
    """What an imported event has of the one that was read: all but its position and what became of it."""
    decision = event.decision._replace(call_variants=True, variants=tuple(event.decision.variants), version=1)
    decision = decision._replace(
        distribution=list(decision.distribution), policy_distribution=list(decision.policy_distribution)
    )
    return event.at_us, event.reward, decision


def test_lines_come_back_as_the_events_that_the_reader_gives(imported, joined):
    chance = random.Random(3)
    lines = []
    for number in range(300):
        first = chance.randint(1, 3)
        p = chance.choice([0.5, 0.8, 1.0])
        rest = [n for n in (1, 2, 3) if n != first]
        lines.append(
            line(
                EventId=f"e{number}",
                Timestamp=f"2020-01-31T{chance.randint(0, 23):02d}:00:00Z",
                _label_cost=-chance.choice([0.0, 0.25, 1.0]),
                o=[{"v": 1}],
                **({"pdrop": 0.25} if number % 7 == 0 else {}),
                _label_Action=first,
                _labelIndex=first - 1,
                _label_probability=p,
                a=[first, *rest],
                p=[p, 1 - p, 0.0],
                c={"U": {"n": chance.random(), "t": ["a", "b"]}, "_multi": [{"id": n} for n in "xyz"[:3]]},
            )
        )
    done, log = imported(b"\n".join(lines))
    read = [Reader().event(one, number) for number, one in enumerate(lines)]
    expected = sorted(read, key=lambda event: event.at_us)
    assert [same(event) for event in joined(log, "imported")] == [same(event) for event in expected]
    assert done.counts == {"imported": (300, 300)}
    assert done.late > 0
    times = [event.at_us for event in log.events()]
    assert times == sorted(times)
    assert log.open_decisions("imported") == 0
    [definition] = log.definitions()
    assert definition.imported_from == "dsjson log"
    assert (definition.experiment.variants, definition.experiment.signals) == ((), "open")
    assert definition.experiment.policy.preset == "squarecb"


def test_what_was_exported_comes_back_as_the_same_events(every_kind, joined, imported, tmp_path):
    for experiment_id, reward_range in (("front-page", (0.0, 2.0)), (ODD, (0.0, 1.0))):
        events = joined(every_kind, experiment_id)
        text = "".join(f"{one}\n" for one in dsjson.lines(events)).encode()
        _, log = imported(text, experiment_id=experiment_id, reward_range=reward_range)
        back = joined(log, experiment_id)
        by_time = sorted(events, key=lambda event: event.at_us)
        assert [same(event) for event in back] == [same(event) for event in by_time]
        # The default is known where all that were defaulted have the same one.
        assert [event.outcome for event in back] == [event.outcome for event in by_time]


def test_a_parquet_set_comes_back_with_its_definitions_and_metrics(every_kind, joined, imported, tmp_path):
    definitions = {found.experiment.id: found.experiment for found in every_kind.definitions()}
    events = {experiment_id: joined(every_kind, experiment_id) for experiment_id in definitions}
    parquet.write(events, tmp_path / "set", definitions)
    done, log = imported(tmp_path / "set")
    assert {d.experiment.id: d.experiment for d in log.definitions()} == definitions
    for experiment_id, found in events.items():
        back = joined(log, experiment_id)
        assert [same(event) for event in back] == [same(event) for event in found]
        assert [(event.outcome, event.metrics) for event in back] == [(e.outcome, e.metrics) for e in found]
        # What came from the catalogue does so again.
        assert [e.decision.call_variants for e in back] == [e.decision.call_variants for e in found]
    assert done.format == "parquet"
    only, log = imported(tmp_path / "set", experiment_id=ODD)
    assert only.counts == {ODD: (2, 1)}


def test_an_exported_log_comes_back_row_by_row(every_kind, imported):
    text = "".join(f"{one}\n" for one in jsonl.lines(every_kind))
    done, log = imported(text.encode())
    assert "".join(f"{one}\n" for one in jsonl.lines(log)) == text
    assert done.counts == {"front-page": (4, 5), ODD: (2, 1)}
    columns = (
        "SELECT seq, kind, experiment_id, decision_id, at_us, key, subject, version, closes_us, closes_seq "
        "FROM events ORDER BY seq"
    )
    rows = [one._handles.reader.execute(columns).fetchall() for one in (every_kind, log)]
    assert rows[0] == rows[1]
    assert [d.salt for d in log.definitions()] == [d.salt for d in every_kind.definitions()]


def test_an_exported_log_that_closed_by_reward_closes_so_again(
    log, define, decide, reward, clock, imported, joined
):
    experiment = define(reward={"metric": "visit", "window": "10m", "learn": "on_reward", "default": "none"})
    from bandit.eventlog.log import NewExperiment, Tick

    log.append([NewExperiment(experiment, b"salt"), decide(experiment, "d1"), decide(experiment, "d2")])
    clock.now_us += 5
    log.append([reward("d2"), reward("d1", 0.0)])
    clock.now_us += 5
    log.append([reward("d1", 1.0, reward_id="again"), Tick()])
    _, copy = imported("".join(f"{one}\n" for one in jsonl.lines(log)).encode())
    assert joined(copy, "front-page") == joined(log, "front-page")
    assert [event.decision.decision_id for event in joined(copy, "front-page")] == ["d1", "d2"]


def jsonl_lines(log):
    return [one.encode() for one in jsonl.lines(log)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows.pop(0), "UNKNOWN_EXPERIMENT"),
        (lambda rows: rows.pop(2), "UNKNOWN_DECISION"),
        (lambda rows: rows.insert(3, rows[2]), "OUT_OF_ORDER"),
        (lambda rows: rows.pop(7), "SEQ_GAP"),
        (lambda rows: rows.insert(4, b'{"seq":5'), "TRUNCATED_LINE"),
        (lambda rows: rows.insert(4, b"nonsense"), "INVALID_JSON"),
        (lambda rows: rows.insert(4, b'{"seq":5}'), "NOT_AN_EVENT"),
        (lambda rows: rows.append(rows[2].replace(b'"seq":3', b'"seq":99')), "OUT_OF_ORDER"),
        (lambda rows: rows.append(again(rows, 2)), "DUPLICATE_ID"),
        (lambda rows: rows.append(again(rows, 8)), "DUPLICATE_REWARD"),
        (lambda rows: rows.append(again(rows, 8).replace(b'"visit"', b'"fun"')), "UNKNOWN_METRIC"),
        (lambda rows: rows.append(again(rows, 8).replace(b'"reward"', b'"gift"')), "UNKNOWN_KIND"),
        (
            lambda rows: rows.append(
                again(rows, 2).replace(b'"d1"', b'"d9"').replace(b'"chosen":1', b'"chosen":9')
            ),
            "INVALID_RECORD",
        ),
        (lambda rows: rows.append(again(rows, 2).replace(b'"chosen":1', b'"chosen":"x"')), "INVALID_RECORD"),
        (lambda rows: rows.append(again(rows, 0)), "INVALID_RECORD"),
        (lambda rows: rows.append(again(rows, 2).replace(b'"d1"', b'""')), "INVALID_ID"),
    ],
)
def test_a_bad_line_of_an_exported_log_is_left_out_by_its_reason(
    every_kind, imported, tmp_path, change, reason
):
    rows = jsonl_lines(every_kind)
    change(rows)
    done, log = imported(b"\n".join(rows), "jsonl")
    assert reason in done.bad
    assert log.head()[0] == done.events > 5
    refused(tmp_path, b"\n".join(rows), r"line \d+: ", "jsonl", StoppedAtBadLine, strict=True)


def test_a_bad_line_of_an_exported_log_is_one_bad_line(every_kind, imported):
    rows = jsonl_lines(every_kind)
    rows[9] = rows[9][:-5]
    done, log = imported(b"\n".join(rows), "jsonl")
    assert (done.bad, done.first) == ({"TRUNCATED_LINE": 1}, {"TRUNCATED_LINE": [10]})
    assert log.head()[0] == done.events == len(rows) - 1


def again(rows, index):
    """A row once more, at the end."""
    row = json.loads(rows[index])
    last = json.loads(rows[-1])
    return json.dumps({**row, "seq": last["seq"] + 1, "at_us": last["at_us"]}, separators=(",", ":")).encode()


def test_bad_lines_are_counted_with_their_numbers_and_the_rest_is_imported(imported, tmp_path):
    lines = [line(EventId="e1"), b"nonsense", line(EventId="e2"), line(p=[0, 1], _label_probability=0), b"{}"]
    done, log = imported(b"\r\n".join([*lines, b"", SOUND[:50]]), "dsjson")
    assert done.bad == {
        "INVALID_JSON": 1,
        "PROPENSITY_OUT_OF_RANGE": 1,
        "NOT_A_DECISION": 1,
        "TRUNCATED_LINE": 1,
    }
    assert done.first["TRUNCATED_LINE"] == [7]
    assert done.lines == 6
    assert done.counts == {"imported": (2, 2)}
    assert log.head()[0] == done.events == 6
    refused(tmp_path, b"\n".join(lines), r"^line 2: is not JSON", error=StoppedAtBadLine, strict=True)


def test_a_decision_that_comes_twice_counts_once(imported, tmp_path):
    lines = [line(EventId=f"e{n % 5}", Timestamp=f"2020-01-31T00:00:{59 - n:02d}Z") for n in range(10)]
    done, _ = imported(b"\n".join(lines), "dsjson")
    assert done.bad == {"DUPLICATE_ID": 5}
    # The later one by time is the duplicate, and the file goes backwards.
    assert sorted(done.first["DUPLICATE_ID"]) == [1, 2, 3, 4, 5]
    assert done.counts == {"imported": (5, 5)}
    refused(tmp_path, b"\n".join(lines), "DUPLICATE_ID", error=StoppedAtBadLine, strict=True)


def test_a_file_packed_by_gzip_with_a_mark_in_front_is_read_too(imported):
    data = b"\xef\xbb\xbf" + line(EventId="e1") + b"\r\n" + line(EventId="e2")
    done, _ = imported(gzip.compress(data), name="log.json.gz")
    assert (done.format, done.counts) == ("dsjson", {"imported": (2, 2)})


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"\n\r\n", "is empty"),
        (b"nonsense", r"INVALID_JSON 1 \(line 1\)"),
        (line(_label_cost=-5), r"REWARD_OUT_OF_RANGE 1 \(line 1\).*--reward-range"),
        (SOUND[:-20], "TRUNCATED_LINE"),
    ],
)
def test_where_nothing_can_be_imported_there_is_no_log(tmp_path, data, match):
    refused(tmp_path, data, match)


def test_an_import_goes_only_into_an_empty_folder(tmp_path):
    path, data_dir = tmp_path / "log", tmp_path / "data"
    path.write_bytes(SOUND)
    data_dir.mkdir()
    (data_dir / "lost+found").mkdir()  # a file system's own
    (data_dir / ".import").mkdir()  # of an import that was killed
    (data_dir / ".import" / "events.db").write_text("half")
    (data_dir / ".import" / "snapshots").mkdir()
    import_log(path, data_dir, "dsjson", Options(), lambda *told: None)
    before = (data_dir / "events.db").read_bytes()
    with pytest.raises(BadImport, match=r"not empty \(events.db\).*new folder"):
        import_log(path, data_dir, "dsjson", Options(), lambda *told: None)
    assert (data_dir / "events.db").read_bytes() == before
    assert sorted(item.name for item in data_dir.iterdir()) == ["events.db", "lost+found"]


def test_two_imports_into_one_folder_do_not_meet(tmp_path):
    path, aside = tmp_path / "log", tmp_path / "data" / ".import"
    path.write_bytes(SOUND)
    aside.mkdir(parents=True)
    (aside / "run-000000").write_text("of the other")
    with (aside / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BadImport, match="Another import"):
            import_log(path, tmp_path / "data", "dsjson", Options(), lambda *told: None)
        assert (aside / "run-000000").exists()


def test_a_log_that_a_server_started_meanwhile_is_never_replaced(tmp_path):
    path, data_dir = tmp_path / "log", tmp_path / "data"
    path.write_bytes(SOUND)

    def serve(what, done, total):
        if what == "write":
            (data_dir / "events.db").write_text("a server's")

    with pytest.raises(BadImport, match=r"got a log while the import was made.*new folder"):
        import_log(path, data_dir, "dsjson", Options(), serve)
    assert [(item.name, item.read_text()) for item in data_dir.iterdir()] == [("events.db", "a server's")]


@pytest.mark.parametrize("when", ["read", "write"])
def test_an_import_that_is_stopped_leaves_nothing(tmp_path, when):
    path, data_dir = tmp_path / "log", tmp_path / "data"
    path.write_bytes(b"\n".join(line(EventId=f"e{n}") for n in range(3000)))

    def stop(what, done, total):
        if what == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_log(path, data_dir, "dsjson", Options(), stop)
    assert not data_dir.exists()
    data_dir.mkdir()
    with pytest.raises(KeyboardInterrupt):
        import_log(path, data_dir, "dsjson", Options(), stop)
    assert list(data_dir.iterdir()) == []


def test_a_given_definition_is_held_to(imported, joined, define, tmp_path):
    experiment = define(
        id="own",
        variants=[{"id": "x"}, {"id": "y"}],
        baseline="x",
        signals={"User.age": {"type": "category"}},
        reward={"metric": "visit", "window": "1h", "range": [0, 5], "default": 0.5, "learn": "on_reward"}
        | {"default": "none"},
    )
    lines = [
        line(EventId="e1", _label_cost=-5),
        line(EventId="e2", c={"User": {"age": 3}, "_multi": [{"id": "x"}, {"id": "y"}]}),
        line(EventId="e3", c={"User": {"size": "L"}, "_multi": [{"id": "x"}, {"id": "y"}]}),
        line(EventId="e4", _label_cost=-6),
        line(EventId="e5", _skipLearn=True, c={"_multi": [{"id": "y"}, {"id": "x", "new": 1}]}),
    ]
    done, log = imported(b"\n".join(lines), "dsjson", definition=experiment)
    assert done.bad == {"WRONG_TYPE": 1, "UNDECLARED_SIGNAL": 1, "REWARD_OUT_OF_RANGE": 1}
    first, last = joined(log, "own")
    assert (first.reward, first.decision.call_variants, first.position.closing_us) == (
        5.0,
        False,
        first.at_us,
    )
    assert (last.reward, last.decision.call_variants) == (None, True)
    assert log.definitions()[0].experiment == experiment
    defaulting = define(id="own", reward={"metric": "visit", "window": "1h", "default": 0.0})
    refused(tmp_path, lines[4], r"UNREWARDED 1 \(line 1\)", definition=defaulting)


def test_events_without_propensities_can_be_imported(imported, joined):
    bare = {key: value for key, value in json.loads(SOUND).items() if key not in ("a", "p")}
    served = json.dumps({**bare, "EventId": "e1"}).encode()
    del bare["_label_probability"]
    _, log = imported(served + b"\n" + json.dumps({**bare, "EventId": "e2"}).encode(), "dsjson")
    found = [str(list(event.decision.distribution)) for event in joined(log, "imported")]
    assert found == ["[nan, 0.8]", "[nan, nan]"]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", b'{"seq":1,"kind":"tick"}', "jsonl"),
        ("a.json", b'{"seq":1,"kind":"tick"}', "jsonl"),
        ("a.jsonl", SOUND, "dsjson"),
        ("a.dsjson", b"nonsense", "dsjson"),
        ("a.dsjson.gz", gzip.compress(b""), "dsjson"),
        ("a.jsonl", b"", "jsonl"),
        ("a.log", b"\n" + SOUND, "dsjson"),
        ("a.parquet", b"PAR1", "parquet"),
        ("folder/", b"", "parquet"),
    ],
)
def test_the_format_is_told_from_the_first_line_or_the_name(tmp_path, name, data, expected):
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_bytes(data)
    assert guess(path) == expected


def test_a_format_that_can_not_be_told_is_asked_for(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hello")
    with pytest.raises(BadImport, match="--format"):
        guess(tmp_path / "a.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="denied"):
        import_log(FIXTURES / "sound.dsjson", tmp_path / "data", "dsjson", Options(), lambda *told: None)


def test_many_events_are_sorted_on_disk(tmp_path, monkeypatch, imported, joined):
    monkeypatch.setattr(files, "RUN_BYTES", 5_000)
    monkeypatch.setattr(joined_rows, "BATCH", 7)
    order = list(range(200))
    random.Random(11).shuffle(order)
    lines = [line(EventId=f"e{n:03d}", Timestamp=f"2020-01-31T00:{n // 60:02d}:{n % 60:02d}Z") for n in order]
    _, log = imported(b"\n".join(lines), "dsjson")
    assert [event.decision.decision_id for event in joined(log, "imported")] == [
        f"e{n:03d}" for n in range(200)
    ]
    shutil.rmtree(tmp_path / "data0")
