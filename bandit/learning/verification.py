"""Whether the published models are those that the log gives: every snapshot beside a replay of its events.

The replay is the learner's own code from the log's origin, so equal means equal weights, state, counts and
predictions at the very same position. It changes nothing, prints nothing, and works beside a running server.
A model of another release's format can't be compared: that is a warning, and no model of that kind is served.
"""

import json
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
from bandit.learning.held import Held, hold
from bandit.policies.model import Learner, ModelSpec
from bandit.snapshots.manifest import Manifest, spec_of
from bandit.snapshots.store import SnapshotStore

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
    """Whether all of an experiment's snapshots that can be compared are what the log gives.

    `snapshot_id` is that of the snapshot that has come furthest: of those that are not equal if there are
    any, else of those compared; empty if there is none. `position` and `joined` are its own: None and 0 if it
    can't be read. `reason` is empty if `equal`. `not_compared` are the ids of other releases' snapshots;
    `warnings` says of them, and of what else was left out, why.
    """

    experiment_id: str
    position: Position | None
    joined: int
    snapshot_id: str
    equal: bool
    reason: str
    not_compared: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found."""

    log: LogVerdict
    experiments: tuple[ExperimentVerdict, ...]

    @property
    def ok(self) -> bool:
        """Whether the log is sound and every snapshot that can be compared equals its replay."""
        return self.log.ok and all(experiment.equal for experiment in self.experiments)


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong with a snapshot; `snapshot_id` is empty where it is the log."""

    snapshot_id: str
    reason: str

    @property
    def text(self) -> str:
        return f"snapshot {self.snapshot_id}: {self.reason}" if self.snapshot_id else self.reason


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
            held = hold(store, experiment_id, Path(folder))
            try:
                problems = (
                    _judge(log, experiment_id, held, specs.now().get(experiment_id, set()), progress)
                    if judged.ok
                    else [_Problem("", judged.reason)]
                )
            except (CorruptRecord, LogUnwritable) as error:
                judged = LogVerdict(False, judged.events, str(error))
                problems = [_Problem("", judged.reason)]
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


def _judge(
    log: SqliteEventLog, experiment_id: str, held: Held, known_specs: set[str], progress: Progress
) -> list[_Problem]:
    """What is wrong with an experiment's snapshots; empty if they equal their replays.

    Raises CorruptRecord, LogUnwritable.
    """
    problems = [_Problem(name, reason) for name, reason in held.damage]
    for other, _ in held.foreign:
        # A position means the same in each release, and no log means that there never was a policy.
        if not known_specs:
            problems.append(_Problem(other.snapshot_id, "its policy was never in force"))
        elif _ahead(other, log.head()):
            problems.append(_Problem(other.snapshot_id, "it is ahead of the log"))
    by_spec: dict[str, list[Manifest]] = {}
    for manifest in sorted(held.manifests, key=lambda manifest: manifest.position):
        by_spec.setdefault(spec_of(manifest.snapshot_id), []).append(manifest)
    for digest, manifests in by_spec.items():
        if digest not in known_specs:
            problems += [_Problem(m.snapshot_id, "its policy was never in force") for m in manifests]
            continue
        problems += _replay(log, experiment_id, held.folder, manifests, progress)
    return problems


def _replay(
    log: SqliteEventLog, experiment_id: str, folder: Path, manifests: list[Manifest], progress: Progress
) -> Iterator[_Problem]:
    """Replays one spec once, and yields what differs at each of its snapshots, in their order."""
    head = log.head()
    _, now_us = head
    total = manifests[-1].joined
    fold = ModelFold.start(ModelSpec.from_json(manifests[0].spec))
    probes: deque[JoinedEvent] = deque(maxlen=PROBES)
    events: deque[JoinedEvent] = deque()
    try:
        for manifest in manifests:
            if _ahead(manifest, head):
                yield _Problem(manifest.snapshot_id, "it is ahead of the log")
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
                yield _Problem(manifest.snapshot_id, found)
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


def _verdict(experiment_id: str, held: Held, problems: list[_Problem]) -> ExperimentVerdict:
    read = {manifest.snapshot_id: manifest for manifest in held.manifests}
    # Ids sort by position. The snapshot that is shown as not equal has to be one that is not.
    shown = max((one.snapshot_id for one in problems), default="") or max(read, default="")
    manifest = read.get(shown)
    warnings = [
        f"snapshot {other.snapshot_id}: made by {made_by}: not compared" for other, made_by in held.foreign
    ]
    warnings += [
        f"the folder {name!r} beside the snapshots is none by its name: left out. Move it away"
        for name in held.strays
    ]
    return ExperimentVerdict(
        experiment_id=experiment_id,
        position=manifest.position if manifest is not None else None,
        joined=manifest.joined if manifest is not None else 0,
        snapshot_id=shown,
        equal=not problems,
        reason="; ".join(one.text for one in problems),
        not_compared=tuple(other.snapshot_id for other, _ in held.foreign),
        warnings=tuple(warnings),
    )


def _ahead(manifest: Manifest, head: tuple[int, int]) -> bool:
    """Whether a snapshot has what the log, of this last seq and time, has not."""
    last_seq, now_us = head
    return manifest.position.seq > last_seq or manifest.position.closing_us >= now_us


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)
