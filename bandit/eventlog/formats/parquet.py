"""A Parquet data set: one row a joined event, for pandas, Polars, DuckDB and whatever else reads Parquet.

    FOLDER/experiment_id=spring-email/day=2026-01-31/part-00000.parquet

The folders are hive partitions: `experiment_id` percent-encoded, so that no id can be a path, and `day`, the
UTC day on which the event closed. Files in the order of their names, and rows in theirs, are the joined
order. In DuckDB, `at` is a word of the language: write "at".

    decision_id          string              at, closing_at       timestamp[us, UTC]
    seq                  int64               version              int32
    subject              string, or null     variant_id           string: the served one
    propensity           double: of the served one; NaN if not known
    reward               double: within the declared range, or null if there is none
    outcome              string: REWARDED, DEFAULTED, UNREWARDED
    clamped              bool                arm                  string: CONTROL, TREATMENT
    source               string: LEARNED, UNTRAINED, BASELINE
    stage                string: RAMP, FULL, ...
    treatment_share      double in [0, 1]    pdrop                double in [0, 1)
    snapshot_id          string              chosen               int32: index of the served one
    variant_ids          list<string>: the eligible ones, in catalogue or request order
    distribution         list<double>: parallel to variant_ids; what was drawn from
    policy_distribution  list<double>: likewise, the policy's own
    call_variants        bool: the variants came with the call, not from the catalogue
    context              string: JSON object of the signals; numbers are written with a point
    variants             string: JSON list of {"id": ..., "features": {...}}, parallel to variant_ids
    metrics              string: JSON object of the secondary metrics

Each file's metadata hold `banditd.format`, `banditd.experiment_id` and `banditd.definition`: the experiment's
latest definition as JSON, so that a file stands by itself. Payloads are not kept. Further columns may follow;
they are not read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bandit.core.experiment import Experiment
from bandit.core.records import Features, FeatureValue, JoinedEvent, Variant
from bandit.eventlog.formats.lines import BadLine, OnBad
from bandit.eventlog.formats.parquet_rows import Decoder

FORMAT: Final = b"1"
"""Raised when a column changes its meaning; further columns do not raise it."""

GROUP_ROWS: Final = 10_000
GROUP_BYTES: Final = 16 * 1024 * 1024
"""A row group ends at either, so that big contexts can't fill the memory; bytes of JSON, not compressed."""

READ_ROWS: Final = 1_000

_EXPERIMENT = "experiment_id="
_DAY = "day="
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_TIME = pa.timestamp("us", tz="UTC")

SCHEMA: Final = pa.schema(
    [
        ("decision_id", pa.string()),
        ("at", _TIME),
        ("closing_at", _TIME),
        ("seq", pa.int64()),
        ("version", pa.int32()),
        ("subject", pa.string()),
        ("variant_id", pa.string()),
        ("propensity", pa.float64()),
        ("reward", pa.float64()),
        ("outcome", pa.string()),
        ("clamped", pa.bool_()),
        ("arm", pa.string()),
        ("source", pa.string()),
        ("stage", pa.string()),
        ("treatment_share", pa.float64()),
        ("pdrop", pa.float64()),
        ("snapshot_id", pa.string()),
        ("chosen", pa.int32()),
        ("variant_ids", pa.list_(pa.string())),
        ("distribution", pa.list_(pa.float64())),
        ("policy_distribution", pa.list_(pa.float64())),
        ("call_variants", pa.bool_()),
        ("context", pa.string()),
        ("variants", pa.string()),
        ("metrics", pa.string()),
    ]
)
"""The columns of a file; see the top of this module."""

Rows = Callable[[int], None]
"""Takes how many rows are done."""


class BadDataSet(Exception):
    """What is there is no Parquet data set of banditd's. The message says why and what to do."""


def write(
    events_by_experiment: Mapping[str, Iterable[JoinedEvent]],
    folder: Path,
    definitions: Mapping[str, Experiment],
    progress: Rows | None = None,
) -> int:
    """Writes the events of each experiment, in joined order, into `folder`, which is empty or not there yet.

    One file and one row group are open at a time, whatever the log's size. Answers with the number of rows.
    Raises OSError; FileExistsError if the folder is not empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; name another folder")
    rows = 0
    for experiment_id, events in events_by_experiment.items():
        room = folder / f"{_EXPERIMENT}{quote(experiment_id, safe='')}"
        writer = _Writer(room, experiment_id, definitions[experiment_id])
        try:
            for event in events:
                writer.add(event)
                rows += 1
                if progress is not None and rows % READ_ROWS == 0:
                    progress(rows)
        finally:
            writer.close()
    if progress is not None:
        progress(rows)
    return rows


class _Writer:
    """The files of one experiment, one at a time."""

    def __init__(self, room: Path, experiment_id: str, definition: Experiment) -> None:
        self._room = room
        self._schema = SCHEMA.with_metadata(
            {
                b"banditd.format": FORMAT,
                b"banditd.experiment_id": experiment_id.encode(),
                b"banditd.definition": definition.canonical_json().encode(),
            }
        )
        self._columns: list[list[Any]] = [[] for _ in SCHEMA]
        self._size = 0
        self._day: int | None = None
        self._parts: dict[int, int] = {}
        self._file: Any = None
        self._variants: Sequence[Variant] | None = None
        self._variants_json = ""

    def add(self, event: JoinedEvent) -> None:
        day = event.position.closing_us // _DAY_US
        if day != self._day:
            self._open(day)
        row = self._row(event)
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        self._size += len(row[-3]) + len(row[-2])
        if len(self._columns[0]) >= GROUP_ROWS or self._size >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Ends the file that is open."""
        file = self._file
        if file is not None:
            self._flush()
            self._file = None
            file.close()

    def _open(self, day: int) -> None:
        self.close()
        # Events that are not in joined order come back to a day.
        part = self._parts[day] = self._parts.get(day, -1) + 1
        date = (_EPOCH + timedelta(days=day)).date()
        path = self._room / f"{_DAY}{date.isoformat()}" / f"part-{part:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._day = day

    def _flush(self) -> None:
        if self._columns[0]:
            arrays = [
                pa.array(column, field.type) for column, field in zip(self._columns, SCHEMA, strict=True)
            ]
            self._file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._columns = [[] for _ in SCHEMA]
            self._size = 0

    def _row(self, event: JoinedEvent) -> tuple[Any, ...]:
        decision = event.decision
        if decision.variants is not self._variants or type(decision.variants) is not tuple:
            self._variants = decision.variants
            self._variants_json = _json(
                [{"id": item.id, "features": _sorted(item.features)} for item in decision.variants]
            )
        return (
            decision.decision_id,
            event.at_us,
            event.position.closing_us,
            event.position.seq,
            decision.version,
            decision.subject or None,
            decision.variant.id,
            decision.propensity,
            event.reward,
            event.outcome.name,
            event.clamped,
            decision.arm.name,
            decision.source.name,
            decision.stage.name,
            decision.treatment_share,
            decision.pdrop,
            decision.snapshot_id,
            decision.chosen,
            [variant.id for variant in decision.variants],
            decision.distribution,
            decision.policy_distribution,
            decision.call_variants,
            _json(_sorted(decision.context)),
            self._variants_json,
            _json(_sorted(event.metrics)),
        )


def definitions(folder: Path) -> Mapping[str, Experiment]:
    """The latest definition of each experiment of a data set, or of one file of it. Raises BadDataSet."""
    found: dict[str, Experiment] = {}
    for path in files(folder):
        metadata = _schema(path).metadata
        try:
            experiment = Experiment.from_json(metadata[b"banditd.definition"].decode())
        except ValueError as error:
            raise BadDataSet(f"{path} holds a definition that can't be read: {error}") from error
        found[metadata[b"banditd.experiment_id"].decode()] = experiment
    return found


def files(folder: Path, experiment_id: str | None = None) -> list[Path]:
    """The files of a data set, or of one experiment of it, in joined order. Raises BadDataSet for none."""
    if folder.is_file():
        return [folder]
    rooms = sorted(path for path in folder.glob(f"{_EXPERIMENT}*") if path.is_dir())
    found = [
        path
        for room in rooms
        if experiment_id is None or unquote(room.name.removeprefix(_EXPERIMENT)) == experiment_id
        for path in sorted(room.glob(f"{_DAY}*/*.parquet"))
    ]
    if not found:
        what = "" if experiment_id is None else f" for experiment {experiment_id!r}"
        raise BadDataSet(
            f"There are no files {_EXPERIMENT}.../{_DAY}.../*.parquet in {folder}{what}. Name a folder that "
            "`banditd log export --format parquet` wrote."
        )
    return found


def count(folder: Path, experiment_id: str | None = None) -> int:
    """How many rows there are, by the files' footers. Raises BadDataSet."""
    rows = 0
    for path in files(folder, experiment_id):
        try:
            rows += pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError) as error:
            raise BadDataSet(f"{path} can't be read: {error}") from error
    return rows


def read(
    folder: Path, experiment_id: str, on_bad: OnBad | None = None, progress: Rows | None = None
) -> Iterator[JoinedEvent]:
    """The events of an experiment, in joined order, a few rows at a time.

    A row that can't be one of ours goes to `on_bad` with its number from 1; without it, BadLine is raised.
    Raises BadDataSet.
    """
    for event, _ in rows(folder, experiment_id, (), on_bad, progress):
        yield event


def rows(
    folder: Path,
    experiment_id: str,
    columns: Sequence[str] = (),
    on_bad: OnBad | None = None,
    progress: Rows | None = None,
) -> Iterator[tuple[JoinedEvent, Sequence[object]]]:
    """Like `read`, each event with its row's values of further `columns`. Raises BadDataSet for one that is
    not there.
    """
    number = 0
    decoder = Decoder(experiment_id)
    for path in files(folder, experiment_id):
        have = _schema(path)
        own = have.metadata[b"banditd.experiment_id"].decode()
        if own != experiment_id:
            raise BadDataSet(f"{path} is of experiment {own!r}, not {experiment_id!r}.")
        for name in columns:
            if have.get_field_index(name) < 0:
                raise BadDataSet(f"{path} has no column {name!r}.")
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(READ_ROWS, columns=[*SCHEMA.names, *columns]):
                    further = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
                    for row in _rows(batch):
                        number += 1
                        values: Sequence[object] = next(further) if columns else ()
                        try:
                            event = decoder.event(row)
                        except BadLine as bad:
                            if on_bad is None:
                                raise
                            on_bad(number, bad)
                        else:
                            yield event, values
                    if progress is not None:
                        progress(number)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BadDataSet(f"{path} can't be read: {error}") from error


def _schema(path: Path) -> Any:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise BadDataSet(f"{path} is not a Parquet file: {error}") from error
    metadata = schema.metadata or {}
    if metadata.get(b"banditd.format") != FORMAT or b"banditd.definition" not in metadata:
        raise BadDataSet(
            f"{path} is Parquet, but not of banditd: it has no metadata banditd.format "
            f"{FORMAT.decode()} and banditd.definition."
        )
    for field in SCHEMA:
        index = schema.get_field_index(field.name)
        if index < 0 or not schema.field(index).type.equals(field.type):
            raise BadDataSet(f"{path} has no column {field.name} of type {field.type}.")
    return schema


def _rows(batch: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a batch, in the order of SCHEMA, times as microseconds."""
    return zip(*(_values(batch.column(field.name), field.type) for field in SCHEMA), strict=True)


def _values(column: Any, kind: Any) -> list[Any]:
    if kind == _TIME:
        return list(column.cast(pa.int64()).to_pylist())
    if kind == pa.list_(pa.float64()) and column.null_count == 0:
        # By way of NumPy: a list at a time costs four times as much.
        flat = column.flatten().to_numpy(zero_copy_only=False).tolist()
        lists, start = [], 0
        for length in column.value_lengths().to_pylist():
            lists.append(flat[start : start + length])
            start += length
        return lists
    return list(column.to_pylist())


def _sorted(features: Features) -> dict[str, FeatureValue]:
    return {name: features[name] for name in sorted(features)}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
