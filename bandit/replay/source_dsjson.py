"""A file of decision lines (dsjson) as a source: one joined event a line, in the order of the lines."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bandit.core.experiment import Experiment, RewardRule
from bandit.core.records import JoinedEvent
from bandit.eventlog.formats.lines import BadLine, read
from bandit.replay.errors import BadLog, MissingExtra
from bandit.replay.ordering import put_right
from bandit.replay.sources import Row

EXPERIMENT_ID: Final = "imported"


class DsjsonSource:
    """Lines, read as a stream. A line that can't be read is counted by its reason and left out."""

    kind = "dsjson"

    def __init__(self, path: Path, reward_range: tuple[float, float]) -> None:
        """`reward_range` is the declared range of the rewards, (low, high). Raises MissingExtra."""
        try:
            from bandit.eventlog.formats import dsjson
        except ModuleNotFoundError as error:
            raise MissingExtra from error
        self._dsjson = dsjson
        self._path = path
        self._range = reward_range
        self._trouble: Counter[str] = Counter()
        self._first: dict[str, tuple[int, str]] = {}
        self._read_bytes = 0
        self._total_bytes = 0

    def experiments(self) -> Mapping[str, Experiment]:
        """One definition, made up from what a line tells: every line brings its variants, any signal."""
        rule = RewardRule.model_validate(
            {"metric": "reward", "range": self._range, "window": "1ms", "default": "none"}
        )
        made_up = Experiment(id=EXPERIMENT_ID, owner=EXPERIMENT_ID, variants=(), signals="open", reward=rule)
        return {EXPERIMENT_ID: made_up}

    def events(self, experiment_id: str) -> Iterator[JoinedEvent]:
        """The events of the file. Raises BadLog if it can't be read."""
        for event, _ in self.rows(experiment_id, ()):
            yield event

    def rows(self, experiment_id: str, columns: Sequence[str], *, contexts: bool = True) -> Iterator[Row]:
        """The events, each with the values of some top-level keys of its line. Raises BadLog."""
        self._trouble = Counter()
        self._first = {}
        return put_right(self._lines(experiment_id, columns, contexts), self._trouble)

    def trouble(self) -> Mapping[str, int]:
        """duplicates, out_of_order, naive_times, bad_lines, and bad_line.REASON for each reason."""
        return self._trouble

    def first_trouble(self) -> Mapping[str, tuple[int, str]]:
        """By reason, the number of the first bad line and what is wrong with it."""
        return self._first

    def settled_us(self, experiment_id: str, metric: str = "") -> int | None:
        """None: what was open when it was written is not in it."""
        return None

    def extent(self) -> tuple[int, int]:
        """Bytes read, of the file's."""
        return self._read_bytes, self._total_bytes

    def _lines(self, experiment_id: str, columns: Sequence[str], contexts: bool) -> Iterator[Row]:
        reader = self._dsjson.Reader(experiment_id, self._range, signals=contexts)
        read_event = reader.event
        values: Sequence[object] = ()
        self._read_bytes = 0
        try:
            for number, line in read(self._path, self._note, self._count_bytes):
                try:
                    event = read_event(line, number)
                except BadLine as error:
                    self._note(number, error)
                    continue
                if columns:
                    values = _values(line, columns)
                yield event, values
        except OSError as error:
            raise BadLog(f"{self._path} can't be read: {error}") from error
        finally:
            if reader.naive_times:
                self._trouble["naive_times"] = reader.naive_times

    def _count_bytes(self, done: int, total: int) -> None:
        self._read_bytes, self._total_bytes = done, total

    def _note(self, number: int, error: BadLine) -> None:
        self._trouble["bad_lines"] += 1
        self._trouble[f"bad_line.{error.reason}"] += 1
        self._first.setdefault(error.reason, (number, str(error)))


def _values(line: bytes, columns: Sequence[str]) -> Sequence[object]:
    from orjson import loads

    body = loads(line)
    return [body.get(column) for column in columns]
