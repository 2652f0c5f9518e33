"""Tails the log, joins, learns and publishes: the learner without its process.

It has no thread and no sleep: `step` does what is due and returns; the caller waits.

An experiment that is far behind, as after a change of its policy, is learned a batch a step, in turn with
others that are, so that those that are up to date stay so; and it publishes rarely. So is one whose fold
finds no room in memory: to swap it for another costs as much as to learn fifty events, and while it waits
more come that are learned in one go.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from bandit.core.records import ORIGIN, Position
from bandit.eventlog.joined import next_due_us, read_joined
from bandit.eventlog.log import Tick
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.backlog import Backlog
from bandit.learning.fold import ModelFold
from bandit.policies.model import IncompatibleModel, ModelSpec, vw_version
from bandit.snapshots.manifest import DamagedSnapshot, Manifest, spec_of
from bandit.snapshots.store import SnapshotStore

PUBLISH_EVERY_US: Final = 300_000
"""Snapshots of one experiment are at least this far apart."""

PUBLISH_APART_US: Final = 50_000
"""Where many experiments learn at once, their snapshots are this far apart on average: one costs the learner
10 ms, and as much each server that takes it.
"""

REST_AFTER_US: Final = 10_000_000
"""Progress without anything learned (unrewarded events) is published this often; recovery stays short."""

FAR_BEHIND_US: Final = 5_000_000
"""An experiment is far behind while log time has passed its oldest due event by more than this."""

PUBLISH_FAR_BEHIND_EVERY_US: Final = 5_000_000
"""What is far behind is published for a crash's sake, not to serve: so much is learned again at most."""

TICK_EVERY_US: Final = 200_000
BATCH_EVENTS: Final = 500
FOLDS_IN_MEMORY: Final = 48
"""A fold takes about 5 MB, more for models of more `bits`."""


class Watch(Protocol):
    """What the trainer tells whoever measures it."""

    def learned(self, experiment_id: str, events: int) -> None:
        """`events` were joined."""

    def lag_us(self, lag_us: int) -> None:
        """The oldest event that is due has waited this long."""

    def behind(self, experiment_id: str, events: int) -> None:
        """So many joined events are due and not yet learned, at least."""

    def published(self, experiment_id: str) -> None:
        """A snapshot was published."""


@dataclass(slots=True)
class _Track:
    """One experiment: what shapes its model, how far its fold has come, the fold while it is loaded."""

    spec: ModelSpec
    position: Position
    due_us: int | None
    backlog: Backlog
    fold: ModelFold | None = None
    published_at_us: int = 0
    published_position: Position = ORIGIN
    used: int = 0
    serving: str = ""
    alarms: int = 0

    def due(self, at_us: int) -> bool:
        """Whether there is something to learn."""
        return self.due_us is not None and self.due_us < at_us

    def far_behind(self, at_us: int) -> bool:
        """Whether that has waited so long that it may as well wait for its turn."""
        return self.due_us is not None and self.due_us < at_us - FAR_BEHIND_US


class Trainer:
    """All experiments of one data folder. One process, one thread."""

    def __init__(
        self, log: SqliteEventLog, store: SnapshotStore, *, clock_us: Callable[[], int], watch: Watch
    ) -> None:
        """No model is loaded before its experiment has something to learn."""
        self._log = log
        self._store = store
        self._clock_us = clock_us
        self._watch = watch
        self._logger = structlog.get_logger("learner")
        self._tracks: dict[str, _Track] = {}
        self._definitions_seq = 0
        self._tail_seq, _ = log.head()
        self._ticked_us = 0
        self._use = 0
        self._paced_us = 0
        # Of those tracks whose fold is in memory, the one that was used longest ago first.
        self._loaded: OrderedDict[str, _Track] = OrderedDict()

    def step(self, stopping: Callable[[], bool]) -> bool:
        """Does what is due: new definitions, joined events, snapshots, a tick. True if more is due at once.

        `stopping` is asked between experiments, so that a stop need not wait for all of them.
        """
        seq, at_us = self._log.head()
        self._take_definitions()
        touched = self._log.experiments_touched(self._tail_seq)
        self._tail_seq = seq
        for experiment_id in touched & self._tracks.keys():
            track = self._tracks[experiment_id]
            track.due_us = next_due_us(self._log, experiment_id, track.position)
        due = [item for item in self._tracks.items() if item[1].due(at_us)]
        waiting = [item for item in due if self._waits(item[1], at_us)]
        at_once = [item for item in due if not self._waits(item[1], at_us)]
        # The one that was learned longest ago; of several that never were, the first. It comes last, or the
        # fold that makes room for it might be one that is needed in this very step.
        turn = sorted(waiting, key=lambda item: item[1].used)[:1]
        more = len(waiting) > 1
        for experiment_id, track in at_once + turn:
            if stopping():
                return False
            more = self._learn(experiment_id, track, at_us) or more
        # The one that was published longest ago first: not all may have their turn.
        for experiment_id, track in sorted(self._loaded.items(), key=lambda item: item[1].published_at_us):
            if stopping():
                return False
            self._publish_if_due(experiment_id, track, at_us)
        self._report_lag()
        self._tick_if_due(at_us)
        return more

    def finish(self) -> None:
        """Publishes what is learned but not yet published, and frees all models."""
        for experiment_id, track in self._tracks.items():
            self._put_away(experiment_id, track)

    def _take_definitions(self) -> None:
        for definition in self._log.definitions(self._definitions_seq):
            experiment_id = definition.experiment.id
            self._store.pin(experiment_id, definition.experiment.policy.snapshot)
            spec = ModelSpec.of(definition.experiment)
            track = self._tracks.get(experiment_id)
            if track is None or track.spec != spec:
                if track is not None:
                    # The old policy serves until the new one has caught up: with all that it has learned.
                    self._put_away(experiment_id, track)
                self._tracks[experiment_id] = self._track(experiment_id, spec)
            # Only now, so that a definition that the disk came in the way of is taken again.
            self._definitions_seq = definition.seq

    def _track(self, experiment_id: str, spec: ModelSpec) -> _Track:
        """A changed policy goes on from its own snapshot if it has one, else from the log's beginning.

        Its snapshots stand behind the old policy's until it has caught up, and the server takes the one that
        has come furthest.
        """
        newest = next(self._usable(experiment_id, spec), None)
        position = newest[1].position if newest is not None else ORIGIN
        due_us = next_due_us(self._log, experiment_id, position)
        return _Track(spec, position, due_us, Backlog(position), published_position=position)

    def _usable(self, experiment_id: str, spec: ModelSpec) -> Iterator[tuple[Path, Manifest]]:
        """The snapshots of this spec that can be resumed from, newest first; damaged ones are discarded."""
        head_seq, head_us = self._log.head()
        for name in self._store.names(experiment_id):
            if spec_of(name) != spec.digest:
                continue
            try:
                folder, manifest = self._store.read(experiment_id, name)
            except DamagedSnapshot as damage:
                self._discard(experiment_id, name, damage)
                continue
            if manifest.position.seq > head_seq or manifest.position.closing_us >= head_us:
                self._discard(experiment_id, name, "it is ahead of the log")
            else:
                yield folder, manifest

    def _discard(self, experiment_id: str, name: str, why: object) -> None:
        self._logger.warning(
            "snapshot discarded", experiment_id=experiment_id, snapshot_id=name, why=str(why)
        )
        self._store.discard(experiment_id, name)

    def _fold(self, experiment_id: str, track: _Track) -> ModelFold:
        """The fold in memory: loaded from the snapshot that `position` came from, or started anew."""
        self._use += 1
        track.used = self._use
        if track.fold is None:
            self._make_room()
            for folder, manifest in self._usable(experiment_id, track.spec):
                try:
                    track.fold = ModelFold.resume(manifest, folder)
                    break
                except (IncompatibleModel, OSError) as error:
                    self._discard(experiment_id, folder.name, error)
            else:
                track.fold = ModelFold.start(track.spec)
            if track.position != track.fold.position:
                track.position = track.fold.position
                track.backlog = Backlog(track.position)
            self._loaded[experiment_id] = track
        self._loaded.move_to_end(experiment_id)
        return track.fold

    def _waits(self, track: _Track, at_us: int) -> bool:
        """Whether what is due is learned in turn with others that wait, and not in each step."""
        no_room = track.fold is None and len(self._loaded) >= FOLDS_IN_MEMORY
        return no_room or track.far_behind(at_us)

    def _learn(self, experiment_id: str, track: _Track, at_us: int) -> bool:
        """Takes one batch of what closed before `at_us`; True if there is more."""
        fold = self._fold(experiment_id, track)
        events = read_joined(self._log, experiment_id, track.position, at_us, BATCH_EVENTS)
        fold.take(events)
        track.position = fold.position
        track.due_us = next_due_us(self._log, experiment_id, track.position)
        track.backlog.learned(len(events), track.position)
        more = track.due(at_us)
        if more:
            track.backlog.count(self._log, experiment_id, at_us)
        self._watch.learned(experiment_id, len(events))
        self._watch.behind(experiment_id, track.backlog.events)
        return more

    def _publish_if_due(self, experiment_id: str, track: _Track, at_us: int) -> None:
        fold = track.fold
        if fold is None or track.position == track.published_position:
            return
        every_us = PUBLISH_EVERY_US if fold.learned or not fold.learns else REST_AFTER_US
        if track.far_behind(at_us):
            every_us = max(every_us, PUBLISH_FAR_BEHIND_EVERY_US)
        # A clock that was set back must not stop publishing.
        now = self._clock_us()
        if not 0 <= now - track.published_at_us < every_us and self._paced(now):
            self._publish(experiment_id, track, fold)

    def _paced(self, now_us: int) -> bool:
        """Whether one more snapshot may be published; a few at once may, if there was none for a while."""
        ahead_us = self._paced_us - now_us
        if PUBLISH_EVERY_US <= ahead_us < PUBLISH_EVERY_US + PUBLISH_APART_US:
            return False
        ahead_us = ahead_us if 0 <= ahead_us < PUBLISH_EVERY_US else 0
        self._paced_us = now_us + ahead_us + PUBLISH_APART_US
        return True

    def _publish(self, experiment_id: str, track: _Track, fold: ModelFold) -> None:
        # A snapshot must never outrun the durable log.
        self._log.sync()
        # It may be this publication that prunes what was pinned a moment ago.
        for definition in self._log.definitions(self._definitions_seq):
            self._store.pin(definition.experiment.id, definition.experiment.policy.snapshot)
        manifest = fold.manifest(experiment_id, vw_version())
        self._store.publish(manifest, fold.save if fold.learns else None)
        fold.published(manifest.snapshot_id)
        self._tell_oracle(experiment_id, track, fold)
        track.published_at_us = self._clock_us()
        track.published_position = track.position
        self._watch.published(experiment_id)
        self._logger.debug(
            "snapshot published",
            experiment_id=experiment_id,
            snapshot_id=manifest.snapshot_id,
            joined=manifest.joined,
        )

    def _tell_oracle(self, experiment_id: str, track: _Track, fold: ModelFold) -> None:
        """Logs which oracle serves, where that changed, and that what it expected stopped holding."""
        if fold.learner is None:
            return
        serving, _, alarms, _ = fold.learner.standing
        # The first publication only says where things stood.
        if track.serving:
            if alarms > track.alarms:
                self._logger.warning("rewards fell; tracking learns anew", experiment_id=experiment_id)
            if serving != track.serving:
                self._logger.info(
                    "another oracle serves", experiment_id=experiment_id, oracle=serving, before=track.serving
                )
        track.serving, track.alarms = serving, alarms

    def _report_lag(self) -> None:
        now = self._clock_us()
        due = min((t.due_us for t in self._tracks.values() if t.due_us is not None), default=now)
        self._watch.lag_us(max(0, now - due))

    def _tick_if_due(self, at_us: int) -> None:
        """When something is due and nothing newer was written, log time must be moved on to let it close."""
        now = self._clock_us()
        waits = any(t.due_us is not None and at_us <= t.due_us < now for t in self._tracks.values())
        if waits and not 0 <= now - self._ticked_us < TICK_EVERY_US:
            self._log.append([Tick()])
            self._ticked_us = now

    def _make_room(self) -> None:
        """For one fold more. Before it is loaded, since in one step every experiment may have its turn."""
        while len(self._loaded) >= FOLDS_IN_MEMORY:
            experiment_id, track = next(iter(self._loaded.items()))
            self._put_away(experiment_id, track)

    def _put_away(self, experiment_id: str, track: _Track) -> None:
        """Frees a fold; what it learned stays in a snapshot."""
        if track.fold is not None:
            if track.position != track.published_position:
                self._publish(experiment_id, track, track.fold)
            track.fold.close()
            track.fold = None
            del self._loaded[experiment_id]
