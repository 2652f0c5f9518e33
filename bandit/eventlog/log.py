"""What the event log takes and gives: records in, rows and joined material out.

The log is one ordered list of rows that are never changed. `seq` counts them without gaps from 1; `at_us` is
log time, microseconds since the Unix epoch, never decreasing along `seq`. This module has no storage in it:
see `bandit.eventlog.sqlite` for the embedded one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from bandit.core.errors import Refused
from bandit.core.experiment import Experiment
from bandit.core.records import Decision, Position, Reward, RewardStatus, Variant


class LogUnwritable(Exception):
    """The log could not be written, synced or read. The message says why and what to do.

    Whatever was being written may or may not be in the log; it must not be acknowledged.
    """


class LogBusy(Exception):
    """The log can't be written without waiting for another writer. Nothing was written."""


class SchemaTooNew(Exception):
    """The log was written by a newer banditd. Nothing was changed; the message says what to do."""


class CorruptRecord(Exception):
    """A stored row does not hold what was once written. `bandit.eventlog` never writes such rows."""


class NewDecision(NamedTuple):
    """A decision to store. `record` is `codec.encode_decision`'s; `window_us` is its experiment's window."""

    decision: Decision
    record: bytes
    window_us: int


class NewReward(NamedTuple):
    """A finite reward to store. `metric` is empty for the primary one, `reward_id` if the caller has none."""

    decision_id: str
    metric: str
    value: float
    reward_id: str
    observed_at_us: int | None


@dataclass(frozen=True, slots=True)
class NewExperiment:
    """A definition to bring into force. `salt` is used only if the experiment is new to the log."""

    experiment: Experiment
    salt: bytes


@dataclass(frozen=True, slots=True)
class Tick:
    """Says only that log time has come this far, so that what is due can close."""


class StoredDecision(NamedTuple):
    """A decision as the log holds it. `digest` is the keyed digest of the request that made it."""

    decision: Decision
    digest: bytes
    seq: int
    at_us: int


class RewardOutcome(NamedTuple):
    """What became of a reward. For an unknown decision the experiment is empty and the metric as sent."""

    status: RewardStatus
    experiment_id: str
    metric: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A version of an experiment as it came into force.

    `salt` is the same over all versions. `imported_from` says what the log was imported from; empty in one of
    banditd's own. `catalogue` is one object, shared by every decision read back that chose among the whole of
    it.
    """

    experiment: Experiment
    version: int
    salt: bytes
    seq: int
    imported_from: str = ""
    catalogue: tuple[Variant, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "catalogue", self.experiment.catalogue())


@dataclass(frozen=True, slots=True)
class Event:
    """One row. `record` is a protobuf of `bandit.log.v1`, `version` the experiment's, `key` a reward's."""

    seq: int
    kind: str
    experiment_id: str
    decision_id: str
    at_us: int
    record: bytes
    key: str | None
    subject: str | None
    version: int | None


class Closing(NamedTuple):
    """An entry of the joined order: a closing time, and the decision that closes then.

    `record` is None where a reward closed the decision earlier: it has an entry of its own, at that reward's
    time.
    """

    closes_us: int
    seq: int
    decision_id: str
    at_us: int
    subject: str | None
    record: bytes | None


class Count(NamedTuple):
    """How many rows of a kind an experiment has (empty for rows of none), and the times of two of them."""

    kind: str
    experiment_id: str
    rows: int
    first_us: int
    last_us: int


Item = NewDecision | NewReward | NewExperiment | Tick
Result = StoredDecision | RewardOutcome | Refused | Definition | None


class EventLog(Protocol):
    """The log as its readers and its group commit see it.

    Every method raises LogUnwritable once the instance is dead, until `reopen` succeeds.
    """

    def append(self, batch: Sequence[Item], *, wait: bool = True) -> list[Result]:
        """Writes a batch as one transaction; see `bandit.eventlog.sqlite.SqliteEventLog.append`."""
        ...

    def sync(self) -> None:
        """Makes everything that was appended before the call survive a loss of power."""
        ...

    def reopen(self) -> None:
        """Brings a dead instance back to life, or raises LogUnwritable."""
        ...

    def head(self) -> tuple[int, int]:
        """(seq, at_us) of the last row; (0, 0) if there is none."""
        ...

    def definition(self, experiment_id: str, version: int) -> Definition:
        """One version of an experiment. Raises CorruptRecord if the log has none."""
        ...

    def events(
        self, after_seq: int = 0, kinds: Collection[str] | None = None, batch: int = 1000
    ) -> Iterator[Event]:
        """The rows after `after_seq`, up to the last one at the time of the call."""
        ...

    def closings(self, experiment_id: str, after: Position, before_us: int, limit: int) -> list[Closing]:
        """The entries of the joined order after `after` and before `before_us`; empty only at its end."""
        ...

    def rewards_of(self, decision_ids: Sequence[str]) -> Mapping[str, Sequence[Reward]]:
        """The rewards of each decision that has any, in log order, late ones included."""
        ...

    def next_due_us(self, experiment_id: str, after: Position) -> int | None:
        """A time before which no event after `after` closes; None if none ever will."""
        ...


Clock = Callable[[], int]
"""Microseconds since the Unix epoch."""
