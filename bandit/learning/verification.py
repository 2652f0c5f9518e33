"""Whether the published models are those that the log gives: every snapshot beside a replay of its events.

The replay is the learner's own code from the log's origin, so equal means equal weights, state, counts and
predictions at the very same position. It changes nothing, prints nothing, and works beside a running server.
"""

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bandit.core.distribution import BrokenDistribution
from bandit.core.records import JoinedEvent, Position
from bandit.eventlog.joined import read_joined
from bandit.eventlog.log import CorruptRecord, LogUnwritable
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.fold import ModelFold
from bandit.policies.model import Learner, ModelSpec
from bandit.snapshots.manifest import DamagedSnapshot, Manifest, spec_of
from bandit.snapshots.store import SnapshotStore, model_files

PROBES: Final = 20
"""Predictions are compared on this many of the last joined contexts before a snapshot's position."""

BATCH_EVENTS: Final = 500

Progress = Callable[[str, int, int], None]
"""Takes what is being read, how much of it is done, and how much it is in all."""


@dataclass(frozen=True, slots=True)
class LogVerdict:
    """Whether the log is as it was written; `events` is its last seq, `reason` is empty if `ok`."""

    ok: bool
    events: int
    reason: str


@dataclass(frozen=True, slots=True)
class ExperimentVerdict:
    """Whether all of an experiment's snapshots are what the log gives.

    `position`, `joined` and `snapshot_id` are those of the snapshot that has come furthest: None, 0 and empty
    if there is none that can be read. `reason` is empty if `equal`.
    """

    experiment_id: str
    position: Position | None
    joined: int
    snapshot_id: str
    equal: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found."""

    log: LogVerdict
    experiments: tuple[ExperimentVerdict, ...]

    @property
    def ok(self) -> bool:
        """Whether the log is sound and every snapshot equals its replay."""
        return self.log.ok and all(experiment.equal for experiment in self.experiments)


@dataclass(frozen=True, slots=True)
class _Held:
    """The snapshots of one experiment, copied: a running learner may prune its own meanwhile."""

    folder: Path
    manifests: tuple[Manifest, ...]
    damage: tuple[str, ...]


class _Specs:
    """The digests of the policies that were ever in force, by experiment."""

    def __init__(self, log: SqliteEventLog) -> None:
        self._log = log
        self._seq = 0
        self._digests: dict[str, set[str]] = {}

    def now(self) -> dict[str, set[str]]:
        """Those up to the log's end now. Raises CorruptRecord, LogUnwritable."""
        for definition in self._log.definitions(self._seq):
            digests = self._digests.setdefault(definition.experiment.id, set())
            digests.add(ModelSpec.of(definition.experiment).digest)
            self._seq = definition.seq
        return self._digests


def verify(log: SqliteEventLog, store: SnapshotStore, progress: Progress) -> Verdict:
    """Judges the log and every snapshot. A log that can't be read is a verdict, not an exception."""
    judged = _judge_log(log, progress)
    specs = _Specs(log)
    experiment_ids = set(store.experiments())
    try:
        experiment_ids |= specs.now().keys()
    except (CorruptRecord, LogUnwritable) as error:
        judged = judged if not judged.ok else LogVerdict(False, judged.events, str(error))
    verdicts = []
    for experiment_id in sorted(experiment_ids):
        with TemporaryDirectory(prefix="banditd-verify-") as folder:
            held = _hold(store, experiment_id, Path(folder))
            try:
                problems = (
                    _judge(log, experiment_id, held, specs.now().get(experiment_id, set()), progress)
                    if judged.ok
                    else [judged.reason]
                )
            except (CorruptRecord, LogUnwritable) as error:
                judged = LogVerdict(False, judged.events, str(error))
                problems = [judged.reason]
            verdicts.append(_verdict(experiment_id, held, problems))
    return Verdict(judged, tuple(verdicts))


def _judge_log(log: SqliteEventLog, progress: Progress) -> LogVerdict:
    events = 0
    try:
        events, _ = log.head()
        bad_seq = log.check_chain(lambda seq: progress("log", seq, max(seq, events)))
    except LogUnwritable as error:
        return LogVerdict(False, events, str(error))
    if bad_seq is not None:
        return LogVerdict(
            False, events, f"the log was altered: row {bad_seq} is not the one that was written"
        )
    return LogVerdict(True, events, "")


def _hold(store: SnapshotStore, experiment_id: str, folder: Path) -> _Held:
    """Copies what can be read. The newest first: the oldest are the ones that are pruned."""
    manifests: list[Manifest] = []
    damage: list[str] = []
    # All that were listed may have been replaced by newer ones meanwhile.
    while not manifests and not damage and (names := store.names(experiment_id)):
        for name in names:
            try:
                manifests.append(_copy(store, experiment_id, name, folder / name))
            # Whatever an altered file makes reading it raise, it is not a snapshot that was published.
            except Exception as error:
                if name in store.names(experiment_id):
                    damage.append(f"snapshot {name}: {error}")
    return _Held(folder, tuple(manifests), tuple(damage))


def _copy(store: SnapshotStore, experiment_id: str, name: str, folder: Path) -> Manifest:
    source, manifest = store.read(experiment_id, name)
    if spec_of(name) != ModelSpec.from_json(manifest.spec).digest:
        raise DamagedSnapshot("the manifest's spec is not the one in its name")
    folder.mkdir(exist_ok=True)
    if manifest.model_sha256:
        for file in model_files(source):
            shutil.copyfile(file, folder / file.name)
    return manifest


def _judge(
    log: SqliteEventLog, experiment_id: str, held: _Held, known_specs: set[str], progress: Progress
) -> list[str]:
    """What is wrong with an experiment's snapshots; empty if they equal their replays.

    Raises CorruptRecord, LogUnwritable.
    """
    problems = list(held.damage)
    by_spec: dict[str, list[Manifest]] = {}
    for manifest in sorted(held.manifests, key=lambda manifest: manifest.position):
        by_spec.setdefault(spec_of(manifest.snapshot_id), []).append(manifest)
    for digest, manifests in by_spec.items():
        if digest not in known_specs:
            problems += [f"snapshot {m.snapshot_id}: its policy was never in force" for m in manifests]
            continue
        problems += _replay(log, experiment_id, held.folder, manifests, progress)
    return problems


def _replay(
    log: SqliteEventLog, experiment_id: str, folder: Path, manifests: list[Manifest], progress: Progress
) -> Iterator[str]:
    """Replays one spec once, and yields what differs at each of its snapshots, in their order."""
    last_seq, now_us = log.head()
    total = manifests[-1].joined
    fold = ModelFold.start(ModelSpec.from_json(manifests[0].spec))
    probes: deque[JoinedEvent] = deque(maxlen=PROBES)
    events: deque[JoinedEvent] = deque()
    try:
        for manifest in manifests:
            if manifest.position.seq > last_seq or manifest.position.closing_us >= now_us:
                yield f"snapshot {manifest.snapshot_id}: it is ahead of the log"
                continue
            while fold.position < manifest.position:
                if not events:
                    events.extend(read_joined(log, experiment_id, fold.position, now_us, BATCH_EVENTS))
                    progress(experiment_id, fold.summary.joined, total)
                if not events or events[0].position > manifest.position:
                    break
                probes.append(events[0])
                fold.take([events.popleft()])
            found = difference(fold, manifest, folder / manifest.snapshot_id, probes)
            if found:
                yield f"snapshot {manifest.snapshot_id}: {found}"
        progress(experiment_id, total, total)
    finally:
        fold.close()


def difference(replayed: ModelFold, manifest: Manifest, folder: Path, probes: deque[JoinedEvent]) -> str:
    """How a snapshot differs from the fold that was replayed to its position; empty if it does not."""
    if replayed.position != manifest.position:
        return "the log has no event at its position"
    # A snapshot's parent is the one before it that its learner knew: a matter of when, not of what.
    expected = replayed.manifest(manifest.experiment_id, manifest.vw_version)
    for name in ("snapshot_id", "joined", "spec", "state", "summary"):
        if _canonical(getattr(manifest, name)) != _canonical(getattr(expected, name)):
            return f"its {name} is not what the log gives"
    if replayed.learns != bool(manifest.model_sha256):
        return "it has no model" if replayed.learns else "it has a model, and its policy has none"
    try:
        stored = ModelFold.resume(manifest, folder)
    except Exception as error:
        return f"its model can't be loaded: {error}"
    try:
        if replayed.learner is None or stored.learner is None:
            return ""
        if stored.learner.fingerprint() != replayed.learner.fingerprint():
            return "its weights are not what the log gives"
        for event in probes:
            if _predicted(stored.learner, event) != _predicted(replayed.learner, event):
                return "its predictions are not those of the model that the log gives"
        return ""
    finally:
        stored.close()


def _predicted(learner: Learner, event: JoinedEvent) -> list[float] | str:
    try:
        return learner.predict(event.decision.context, event.decision.variants)
    except BrokenDistribution as error:
        return str(error)


def _verdict(experiment_id: str, held: _Held, problems: list[str]) -> ExperimentVerdict:
    newest = max(held.manifests, key=lambda manifest: manifest.position, default=None)
    return ExperimentVerdict(
        experiment_id=experiment_id,
        position=newest.position if newest is not None else None,
        joined=newest.joined if newest is not None else 0,
        snapshot_id=newest.snapshot_id if newest is not None else "",
        equal=not problems,
        reason="; ".join(problems),
    )


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)
