"""Where a LocalBandit's decisions and rewards go: memory, or the event log of a data folder.

Both judge rewards and join decisions by the same functions as the server. The stamp of what is written comes
from the caller, who never gives the same one twice: once a stamp was used, whatever closes up to it can't
change any more.
"""

from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bandit.core.errors import Refused
from bandit.core.experiment import Experiment
from bandit.core.joining import Joiner
from bandit.core.records import ORIGIN, Decision, JoinedEvent, Position, Reward, RewardStatus
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.joined import next_due_us, read_joined
from bandit.eventlog.log import (
    Definition,
    Item,
    NewDecision,
    NewExperiment,
    NewReward,
    Result,
    RewardOutcome,
    StoredDecision,
    Tick,
)
from bandit.eventlog.rewards import RewardedDecision, judge
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.fold import ModelFold
from bandit.policies.model import IncompatibleModel, ModelSpec, vw_version
from bandit.process import FolderLock
from bandit.secret import ensure_key, read_key
from bandit.snapshots.manifest import DamagedSnapshot, spec_of
from bandit.snapshots.store import SnapshotStore

CLOSED_KEPT: Final = 10_000
"""So many closed decisions are remembered in memory, to tell a late or repeated call from an unknown one."""

_BATCH_EVENTS: Final = 500
_CHECKPOINT_EVERY: Final = 256


class Journal(Protocol):
    """One experiment's decisions and rewards."""

    key: bytes
    """Keys pseudonyms and the digests of calls."""

    def head_us(self) -> int:
        """The stamp of what was written last; 0 if nothing was."""
        ...

    def define(self, experiment: Experiment, salt: bytes, stamp_us: int) -> Definition:
        """Brings a definition into force; comes first. A salt that the log has for the experiment stays."""
        ...

    def decision(self, decision: Decision, digest: bytes, stamp_us: int) -> StoredDecision | None:
        """Stores a decision; answers with the one that has its id already, if there is one."""
        ...

    def reward(self, reward: NewReward, stamp_us: int) -> RewardStatus:
        """Judges a reward, and stores it. Raises Refused."""
        ...

    def tick(self, stamp_us: int) -> None:
        """Notes that time has come this far."""
        ...

    def closed(self, after: Position, up_to_us: int) -> list[JoinedEvent]:
        """The next events that close at `up_to_us` or before; empty only if there are no more."""
        ...

    def due_us(self, after: Position) -> int | None:
        """A time before which no open decision's window ends; None if nothing is open."""
        ...

    def resumed(self, spec: ModelSpec) -> ModelFold:
        """The fold to go on from; what closed after its position is still to be taken."""
        ...

    def close(self, fold: ModelFold, stamp_us: int) -> None:
        """Keeps what was folded, if there is a place for it, frees it, and releases everything."""
        ...

    def release(self) -> None:
        """Lets go of files and locks."""
        ...


@dataclass(slots=True)
class _Known:
    stored: StoredDecision
    rewarded: RewardedDecision


class MemoryJournal:
    """Nothing outlives the process. Of closed decisions, the last CLOSED_KEPT are remembered."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._joiner = Joiner()
        self._seq = 0
        self._open: dict[str, _Known] = {}
        self._closed: OrderedDict[str, _Known] = OrderedDict()

    def head_us(self) -> int:
        return 0

    def define(self, experiment: Experiment, salt: bytes, stamp_us: int) -> Definition:
        self._seq += 1
        self._experiment = experiment
        return Definition(experiment, version=1, salt=salt, seq=self._seq)

    def decision(self, decision: Decision, digest: bytes, stamp_us: int) -> StoredDecision | None:
        decision_id = decision.decision_id
        known = self._open.get(decision_id) or self._closed.get(decision_id)
        if known is not None:
            return known.stored
        self._seq += 1
        stored = StoredDecision(decision, digest, self._seq, stamp_us)
        rewarded = RewardedDecision(decision.experiment_id, decision.version, self._seq, stamp_us)
        self._open[decision_id] = _Known(stored, rewarded)
        self._joiner.decision(self._experiment, decision, self._seq, stamp_us)
        return None

    def reward(self, reward: NewReward, stamp_us: int) -> RewardStatus:
        known = self._open.get(reward.decision_id) or self._closed.get(reward.decision_id)
        if known is None:
            return RewardStatus.UNKNOWN_DECISION
        verdict = judge(known.rewarded, self._experiment, reward, stamp_us)
        if isinstance(verdict, Refused):
            raise verdict
        if verdict.status is not RewardStatus.DUPLICATE:
            self._seq += 1
            known.rewarded.stored[verdict.key] = verdict.metric, reward.value
            known.rewarded.closed = known.rewarded.closed or verdict.closes
            self._joiner.reward(reward.decision_id, Reward(self._seq, stamp_us, verdict.metric, reward.value))
        return verdict.status

    def tick(self, stamp_us: int) -> None:
        """Time is the caller's; there is nothing to note."""

    def closed(self, after: Position, up_to_us: int) -> list[JoinedEvent]:
        events = self._joiner.closed(up_to_us + 1)
        for event in events:
            decision_id = event.decision.decision_id
            self._closed[decision_id] = self._open.pop(decision_id)
        while len(self._closed) > CLOSED_KEPT:
            self._closed.popitem(last=False)
        return events

    def due_us(self, after: Position) -> int | None:
        return self._joiner.due_us()

    def resumed(self, spec: ModelSpec) -> ModelFold:
        return ModelFold.start(spec)

    def close(self, fold: ModelFold, stamp_us: int) -> None:
        fold.close()

    def release(self) -> None:
        """There is nothing to let go of."""


class FolderJournal:
    """The event log of a data folder, held by this process alone as by a server and a learner."""

    def __init__(self, data_dir: Path) -> None:
        """Raises process.FolderBusy, SchemaTooNew, LogUnwritable, secret.BadKey, OSError."""
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._stamp_us = 0
        self._writes = 0
        self._published = ORIGIN
        with ExitStack() as opened:
            opened.enter_context(FolderLock(data_dir / "server.lock", "A server"))
            opened.enter_context(FolderLock(data_dir / "learner.lock", "A learner"))
            ensure_key(data_dir)
            self.key = read_key(data_dir)
            self._log = SqliteEventLog(data_dir, clock_us=lambda: self._stamp_us)
            opened.callback(self._log.close)
            self._store = SnapshotStore(data_dir)
            self._opened = opened.pop_all()

    def head_us(self) -> int:
        return self._log.head()[1]

    def define(self, experiment: Experiment, salt: bytes, stamp_us: int) -> Definition:
        result = self._append(NewExperiment(experiment, salt), stamp_us)
        if not isinstance(result, Definition):
            raise TypeError(f"the log answered a definition with {type(result).__name__}")
        self._experiment = experiment
        self._store.pin(experiment.id, experiment.policy.snapshot)
        return self._log.definition(experiment.id, result.version)

    def decision(self, decision: Decision, digest: bytes, stamp_us: int) -> StoredDecision | None:
        window_us = self._experiment.reward.window_us
        result = self._append(NewDecision(decision, encode_decision(decision, digest), window_us), stamp_us)
        if result is not None and not isinstance(result, StoredDecision):
            raise TypeError(f"the log answered a decision with {type(result).__name__}")
        return result

    def reward(self, reward: NewReward, stamp_us: int) -> RewardStatus:
        result = self._append(reward, stamp_us)
        if isinstance(result, Refused):
            raise result
        if not isinstance(result, RewardOutcome):
            raise TypeError(f"the log answered a reward with {type(result).__name__}")
        return result.status

    def tick(self, stamp_us: int) -> None:
        self._append(Tick(), stamp_us)

    def closed(self, after: Position, up_to_us: int) -> list[JoinedEvent]:
        return read_joined(self._log, self._experiment.id, after, up_to_us + 1, _BATCH_EVENTS)

    def due_us(self, after: Position) -> int | None:
        return next_due_us(self._log, self._experiment.id, after)

    def resumed(self, spec: ModelSpec) -> ModelFold:
        experiment_id = self._experiment.id
        head_seq, head_us = self._log.head()
        for name in self._store.names(experiment_id):
            if spec_of(name) != spec.digest:
                continue
            try:
                folder, manifest = self._store.read(experiment_id, name)
                if manifest.position.seq <= head_seq and manifest.position.closing_us < head_us:
                    fold = ModelFold.resume(manifest, folder)
                    self._published = fold.position
                    return fold
            except (DamagedSnapshot, IncompatibleModel, OSError):
                pass
            # A snapshot is a cache: one that can't be trusted is made again from the log.
            self._store.discard(experiment_id, name)
        return ModelFold.start(spec)

    def close(self, fold: ModelFold, stamp_us: int) -> None:
        """Publishes a snapshot first. Raises LogUnwritable, OSError."""
        with self._opened:
            try:
                # A snapshot never outruns the log: something later than all that it holds stands there.
                self.tick(stamp_us)
                self._log.sync()
                if fold.position != self._published:
                    manifest = fold.manifest(self._experiment.id, vw_version())
                    self._store.publish(manifest, fold.save if fold.learns else None)
            finally:
                fold.close()

    def release(self) -> None:
        self._opened.close()

    def _append(self, item: Item, stamp_us: int) -> Result:
        self._stamp_us = stamp_us
        (result,) = self._log.append([item])
        self._writes += 1
        if self._writes % _CHECKPOINT_EVERY == 0:
            self._log.checkpoint_if_large()
        return result
