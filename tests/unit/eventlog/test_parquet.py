"""The Parquet data set: what comes back, what others read of it, and what is no such thing."""

import json
from datetime import date

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bandit.core.records import Outcome, Position
from bandit.eventlog.formats import parquet
from bandit.eventlog.formats.lines import BadLine, BadLines
from bandit.eventlog.formats.parquet import BadDataSet

ODD = "../odd\u00e9 id/=%"
DAY_US = 86_400_000_000


@pytest.fixture
def written(every_kind, joined, tmp_path):
    """(folder, events by experiment, definitions)"""
    definitions = {found.experiment.id: found.experiment for found in every_kind.definitions()}
    events = {experiment_id: joined(every_kind, experiment_id) for experiment_id in definitions}
    folder = tmp_path / "set"
    parquet.write(events, folder, definitions)
    return folder, events, definitions


def test_what_was_written_comes_back_as_it_was(written, plain):
    folder, events, definitions = written
    assert parquet.definitions(folder) == definitions
    for experiment_id, found in events.items():
        back = list(parquet.read(folder, experiment_id))
        assert [plain(event) for event in back] == [plain(event) for event in found]
        assert [e.decision.call_variants for e in back] == [e.decision.call_variants for e in found]
        assert parquet.count(folder, experiment_id) == len(found)


def test_no_id_is_a_path(written):
    folder, _, _ = written
    assert sorted(path.name for path in folder.iterdir()) == [
        "experiment_id=..%2Fodd%C3%A9%20id%2F%3D%25",
        "experiment_id=front-page",
    ]
    assert sorted(path.name for path in folder.parent.iterdir() if "odd" in path.name) == []


def test_unknown_propensities_stay_unknown(written, tmp_path):
    _, events, definitions = written
    nan = float("nan")
    event = events["front-page"][0]
    decision = event.decision._replace(distribution=[nan, 0.5, nan], policy_distribution=[nan, 0.5, nan])
    parquet.write({"front-page": [event._replace(decision=decision)]}, tmp_path / "other", definitions)
    [back] = parquet.read(tmp_path / "other", "front-page")
    assert str(back.decision.distribution) == "[nan, 0.5, nan]"


def test_each_day_has_its_folder_and_the_order_is_the_joined_one(written, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 7)
    monkeypatch.setattr(parquet, "READ_ROWS", 3)
    _, events, definitions = written
    many = [
        events["front-page"][n % 4]._replace(position=Position(n * DAY_US // 20 + DAY_US, n))
        for n in range(50)
    ]
    told = []
    folder = tmp_path / "many"
    assert parquet.write({"front-page": iter(many)}, folder, definitions, told.append) == 50
    days = sorted(path.name for path in (folder / "experiment_id=front-page").iterdir())
    assert days == ["day=1970-01-02", "day=1970-01-03", "day=1970-01-04"]
    first = folder / "experiment_id=front-page" / days[0] / "part-00000.parquet"
    assert pq.ParquetFile(first).metadata.num_row_groups == 3
    assert [event.position for event in parquet.read(folder, "front-page")] == [e.position for e in many]
    assert told[-1] == 50


def test_events_that_come_back_to_a_day_get_a_further_file(written, tmp_path):
    _, events, definitions = written
    event = events["front-page"][0]
    days = [1, 2, 1]
    some = [event._replace(position=Position(day * DAY_US, n)) for n, day in enumerate(days)]
    parquet.write({"front-page": some}, tmp_path / "back", definitions)
    assert [e.position.seq for e in parquet.read(tmp_path / "back", "front-page")] == [0, 2, 1]


def test_pandas_reads_it(written):
    folder, events, _ = written
    frame = pd.read_parquet(folder)
    assert len(frame) == 6
    assert set(frame["experiment_id"]) == {"front-page", ODD}
    own = frame[frame["experiment_id"] == "front-page"].sort_values(["closing_at", "seq"])
    assert list(own["reward"]) == [e.reward for e in events["front-page"]]
    assert list(own["at"].dt.tz_convert("UTC").astype("int64") // 1000 * 1000 % 10**6) == [0] * 4
    assert json.loads(own["context"].iloc[0]) == {"age": 31.0, "channel": "Web", "l": ["y", "x"], "new": True}
    assert list(own["distribution"].iloc[2]) == [1.0, 0.0, 0.0]


def test_polars_reads_it(written):
    folder, events, _ = written
    frame = pl.scan_parquet(folder, hive_partitioning=True).collect()
    assert set(frame["experiment_id"]) == {"front-page", ODD}
    own = frame.filter(pl.col("experiment_id") == "front-page").sort("closing_at", "seq")
    assert own["propensity"].to_list() == [e.decision.propensity for e in events["front-page"]]
    assert own["day"].to_list() == [date(2023, 11, 14)] * 4
    assert own.schema["at"] == pl.Datetime("us", "UTC")


def test_duckdb_reads_it(written):
    folder, events, definitions = written
    everything = str(folder / "*" / "*" / "*.parquet")
    rows = duckdb.read_parquet(everything, hive_partitioning=True)
    assert len(rows) == 6
    assert set(rows.select("experiment_id").distinct().fetchall()) == {("front-page",), (ODD,)}
    types = dict(zip(rows.columns, map(str, rows.types), strict=True))
    assert (types["at"], types["closing_at"]) == ("TIMESTAMP WITH TIME ZONE",) * 2
    assert (types["day"], types["seq"], types["version"]) == ("DATE", "BIGINT", "INTEGER")
    assert (types["variant_ids"], types["distribution"]) == ("VARCHAR[]", "DOUBLE[]")
    own = rows.filter("experiment_id = 'front-page'").order("closing_at, seq")
    # A time with a zone would come out of DuckDB by way of a further package.
    times = own.select('epoch_us("at"), epoch_us(closing_at), day').fetchall()
    assert times == [(e.at_us, e.position.closing_us, date(2023, 11, 14)) for e in events["front-page"]]
    columns = "decision_id, seq, variant_id, propensity, reward, outcome, chosen, variant_ids, distribution"
    assert own.select(columns).fetchall() == [
        (
            e.decision.decision_id,
            e.position.seq,
            e.decision.variants[e.decision.chosen].id,
            e.decision.propensity,
            e.reward,
            e.outcome.name,
            e.decision.chosen,
            [variant.id for variant in e.decision.variants],
            list(e.decision.distribution),
        )
        for e in events["front-page"]
    ]
    assert float(own.select("context ->> '$.age'").fetchall()[0][0]) == 31.0
    [one, *_] = parquet.files(folder, "front-page")
    kept = dict(duckdb.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(one)]).fetchall())
    assert json.loads(kept[b"banditd.definition"]) == json.loads(definitions["front-page"].canonical_json())


def test_further_columns_are_there_for_who_asks(written):
    folder, events, _ = written
    [path] = parquet.files(folder, "front-page")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.append_column("mine", pa.array([0.1, 0.2, 0.3, None])), path)
    rows = list(parquet.rows(folder, "front-page", ["mine"]))
    assert [tuple(values) for _, values in rows] == [(0.1,), (0.2,), (0.3,), (None,)]
    assert [event.position for event, _ in rows] == [e.position for e in events["front-page"]]
    with pytest.raises(BadDataSet, match="no column 'yours'"):
        list(parquet.rows(folder, "front-page", ["yours"]))


def altered(written, column, values):
    folder, _, _ = written
    [path] = parquet.files(folder, "front-page")
    table = pq.read_table(path, partitioning=None)
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    pq.write_table(table.set_column(index, field, pa.array(values, field.type)), path)
    return folder


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("distribution", [0.5, 0.5], "INVALID_ROW"),
        ("distribution", [0.5, 0.0, 0.5], "PROPENSITY_OUT_OF_RANGE"),
        ("distribution", [0.5, 1.5, 0.5], "PROPENSITY_OUT_OF_RANGE"),
        ("propensity", 0.9, "PROPENSITY_MISMATCH"),
        ("pdrop", 1.0, "INVALID_PDROP"),
        ("reward", None, "INVALID_REWARD"),
        ("outcome", "WON", "INVALID_ROW"),
        ("source", "FALLBACK", "INVALID_ROW"),
        ("chosen", 3, "INVALID_ROW"),
        ("chosen", -2, "INVALID_ROW"),
        ("context", "{", "INVALID_ROW"),
        ("context", '{"a":{"b":1}}', "INVALID_ROW"),
        ("context", '{"a\\nb":1}', "INVALID_FEATURE"),
        ("variants", "[]", "INVALID_ROW"),
        ("metrics", "[1]", "INVALID_ROW"),
        ("decision_id", None, "INVALID_ID"),
        ("decision_id", "x" * 65, "INVALID_ID"),
    ],
)
def test_a_row_that_was_altered_is_left_out_and_counted(written, column, value, reason):
    folder, _, _ = written
    [path] = parquet.files(folder, "front-page")
    values = pq.read_table(path, partitioning=None)[column].to_pylist()
    altered(written, column, [values[0], value, *values[2:]])
    bad = BadLines()
    list(parquet.read(folder, "front-page", bad))
    assert (bad.counts, bad.first) == ({reason: 1}, {reason: [2]})
    with pytest.raises(BadLine):
        list(parquet.read(folder, "front-page"))


def test_what_is_no_data_set_is_refused_with_what_to_do(written, tmp_path):
    folder, _, definitions = written
    with pytest.raises(BadDataSet, match="log export --format parquet"):
        parquet.definitions(tmp_path / "nothing")
    with pytest.raises(BadDataSet, match="for experiment 'other'"):
        list(parquet.read(folder, "other"))
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(BadDataSet, match="not of banditd"):
        parquet.definitions(foreign)
    [path] = parquet.files(folder, "front-page")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadDataSet, match="not a Parquet file"):
        list(parquet.read(folder, "front-page"))
    with pytest.raises(FileExistsError, match="not empty"):
        parquet.write({}, folder, definitions)


def test_a_file_stands_by_itself(written):
    folder, events, definitions = written
    [path] = parquet.files(folder, "front-page")
    assert parquet.definitions(path) == {"front-page": definitions["front-page"]}
    back = list(parquet.read(path, "front-page"))
    assert [event.outcome for event in back] == [event.outcome for event in events["front-page"]]
    assert {event.outcome for event in back} >= {Outcome.REWARDED, Outcome.DEFAULTED}
    with pytest.raises(BadDataSet, match="of experiment 'front-page', not 'other'"):
        list(parquet.read(path, "other"))
