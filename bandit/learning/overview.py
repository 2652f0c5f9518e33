"""How experiments stand right now: their counts up to the log's end, without learning anything.

The counts are the learner's own, from the sound snapshot that has come furthest on, of whichever policy: they
are the same for all. Only what closed since is read again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bandit.core.records import ORIGIN
from bandit.eventlog.joined import read_joined
from bandit.eventlog.log import Definition
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.summary import Summary
from bandit.learning.trial import Unservable, tried
from bandit.policies.evidence import OraclesStanding
from bandit.policies.model import ModelSpec, standing_of
from bandit.snapshots.manifest import Manifest, spec_of
from bandit.snapshots.store import SnapshotStore

BATCH_EVENTS: Final = 500


@dataclass(frozen=True, slots=True)
class Retraining:
    """The policy in force has learned `learned` of `of` joined events, and an older policy's model serves."""

    learned: int
    of: int

    @property
    def share(self) -> float:
        """How much of it is done."""
        return self.learned / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Pinned:
    """The snapshot that the definition pins. `problem` is empty if it serves, else says why it can't."""

    snapshot_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Standing:
    """An experiment's definition in force, and everything of it that has closed.

    `snapshot_id` is the newest sound snapshot of the policy in force; empty if there is none yet. `oracles`
    says which of its oracles that snapshot serves; None if it has no model.
    """

    definition: Definition
    summary: Summary
    snapshot_id: str
    oracles: OraclesStanding | None
    retraining: Retraining | None
    pinned: Pinned | None


def overview(
    log: SqliteEventLog, store: SnapshotStore, progress: Callable[[str, int, int], None]
) -> list[Standing]:
    """Every experiment of the log by its latest definition, in order of id.

    `progress` takes (experiment id, events read, events closed at least).
    Raises CorruptRecord, LogUnwritable.
    """
    latest = {definition.experiment.id: definition for definition in log.definitions()}
    return [_standing(log, store, latest[experiment_id], progress) for experiment_id in sorted(latest)]


def _standing(
    log: SqliteEventLog,
    store: SnapshotStore,
    definition: Definition,
    progress: Callable[[str, int, int], None],
) -> Standing:
    experiment = definition.experiment
    spec = ModelSpec.of(experiment)
    furthest = _furthest(log, store, experiment.id, None)
    own = _furthest(log, store, experiment.id, spec.digest)
    summary = Summary() if furthest is None else Summary(furthest.summary)
    position = ORIGIN if furthest is None else furthest.position
    _, now_us = log.head()
    while events := read_joined(log, experiment.id, position, now_us, BATCH_EVENTS):
        for event in events:
            summary.take(event)
        position = events[-1].position
        progress(experiment.id, summary.joined, summary.joined)
    retraining = None
    if spec.learns and furthest is not None and (own is None or own.position < furthest.position):
        retraining = Retraining(0 if own is None else own.joined, summary.joined)
    snapshot_id = "" if own is None else own.snapshot_id
    oracles = standing_of(own.state) if own is not None and own.state else None
    return Standing(definition, summary, snapshot_id, oracles, retraining, _pinned(store, definition))


def _furthest(
    log: SqliteEventLog, store: SnapshotStore, experiment_id: str, digest: str | None
) -> Manifest | None:
    """The sound snapshot that has come furthest, of one spec or of any; discarding the others is the
    learner's business.
    """
    for name in store.names(experiment_id):
        if digest is not None and spec_of(name) != digest:
            continue
        try:
            _, manifest = store.read(experiment_id, name)
            Summary(manifest.summary)
        except ValueError:  # DamagedSnapshot is one
            continue
        # Only now: the log has gone on since the snapshot was published, never back.
        last_seq, now_us = log.head()
        if manifest.position.seq <= last_seq and manifest.position.closing_us < now_us:
            return manifest
    return None


def _pinned(store: SnapshotStore, definition: Definition) -> Pinned | None:
    """The pin in force, tried as the server tries it."""
    name = definition.experiment.policy.snapshot
    if name is None:
        return None
    try:
        policy, _ = tried(store, definition.experiment.id, name, definition.catalogue)
    except Unservable as error:
        return Pinned(name, str(error))
    policy.close()
    return Pinned(name, "")
