"""How experiments stand right now: their counts up to the log's end, without learning anything.

The counts are the learner's own, from the newest sound snapshot on; only what closed since is read again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bandit.core.records import ORIGIN, Position
from bandit.eventlog.joined import read_joined
from bandit.eventlog.log import Definition
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.summary import Summary
from bandit.policies.model import ModelSpec
from bandit.snapshots.manifest import spec_of
from bandit.snapshots.store import SnapshotStore

BATCH_EVENTS: Final = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """An experiment's definition in force, and everything of it that has closed.

    `snapshot_id` is the newest sound snapshot of the policy in force; empty if there is none yet.
    """

    definition: Definition
    summary: Summary
    snapshot_id: str


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
    experiment_id = definition.experiment.id
    snapshot_id, position, summary = _newest(
        log, store, experiment_id, ModelSpec.of(definition.experiment).digest
    )
    _, now_us = log.head()
    while events := read_joined(log, experiment_id, position, now_us, BATCH_EVENTS):
        for event in events:
            summary.take(event)
        position = events[-1].position
        progress(experiment_id, summary.joined, summary.joined)
    return Standing(definition, summary, snapshot_id)


def _newest(
    log: SqliteEventLog, store: SnapshotStore, experiment_id: str, digest: str
) -> tuple[str, Position, Summary]:
    """The id, position and counts of the sound snapshot that has come furthest, or of none: an empty id.

    Discarding the others is the learner's business.
    """
    for name in store.names(experiment_id):
        if spec_of(name) != digest:
            continue
        try:
            _, manifest = store.read(experiment_id, name)
            summary = Summary(manifest.summary)
        except ValueError:  # DamagedSnapshot is one
            continue
        # Only now: the log has gone on since the snapshot was published, never back.
        last_seq, now_us = log.head()
        if manifest.position.seq <= last_seq and manifest.position.closing_us < now_us:
            return name, manifest.position, summary
    return "", ORIGIN, Summary()
