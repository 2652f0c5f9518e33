"""Whether the replayed log gives what its live run did: every decision, and the last snapshot's weights.

Each decision names the snapshot that it was made with, and a snapshot's id the position of its fold. So the
decisions are taken in the order of their snapshots; the fold is brought to each one's position; and the
decision is made again by the function that made it, `bandit.core.choose.choose`, with the definition, salt
and ids that the log holds. Equal means the same floats. Decisions of an imported version were made elsewhere,
so they are learned from but not made again, where the log went on with a version of its own. So it is with
those of another release, whose models can't be learned here; a stored snapshot of its has to show that it
was one, as any altered row would name a model that the log does not give.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bandit.core.choose import Policy, View, choose
from bandit.core.records import ORIGIN, Decision, JoinedEvent, Position
from bandit.eventlog.codec import decode_decision
from bandit.eventlog.joined import read_joined
from bandit.eventlog.log import CorruptRecord, Definition, LogUnwritable
from bandit.learning.fold import ModelFold
from bandit.learning.held import other_release
from bandit.learning.verification import Progress, difference
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.replay.errors import BadLog
from bandit.replay.source_folder import BATCH_EVENTS, FolderSource
from bandit.snapshots.manifest import DamagedSnapshot, Manifest, position_of, spec_of


@dataclass(frozen=True, slots=True)
class LiveRun:
    """`reproduced` of `of` decisions came out as logged, to the last bit; and so did the last snapshot.

    `other_release` decisions, not among them, were made with models of another release's format.
    `final_snapshot_equal` is None if there is no snapshot of this one's. `differs` says what differed
    first, or is empty.
    """

    reproduced: int
    of: int
    final_snapshot_equal: bool | None
    differs: str
    other_release: int = 0

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.reproduced == self.of and self.final_snapshot_equal is not False


@dataclass(frozen=True, slots=True)
class _Asked:
    """A decision of the log, by the snapshot that it was made with.

    `spec` is the digest of the model's spec, or empty before the first snapshot; `joined` is the number of
    joined events that the fold has taken, where the snapshot's id gives it instead of a position.
    """

    spec: str
    position: Position
    joined: int
    seq: int


def reproduce(source: FolderSource, experiment_id: str, progress: Progress) -> LiveRun:
    """Makes every decision of a live run again. Raises BadLog."""
    try:
        return _Replay(source, experiment_id, progress).run()
    except (CorruptRecord, LogUnwritable, DamagedSnapshot) as error:
        raise BadLog(str(error)) from error


class _Replay:
    def __init__(self, source: FolderSource, experiment_id: str, progress: Progress) -> None:
        self._source = source
        self._log = source.log
        self._experiment_id = experiment_id
        self._progress = progress
        self._definitions = {
            one.version: one for one in self._log.definitions() if one.experiment.id == experiment_id
        }
        self._views = {version: _view(one) for version, one in self._definitions.items()}
        self._specs = {
            spec.digest: spec for spec in (ModelSpec.of(one.experiment) for one in self._definitions.values())
        }
        self._differs = ""

    def run(self) -> LiveRun:
        asked, other_release = self._answerable()
        asked.sort(key=lambda one: (one.spec, one.position, one.joined, one.seq))
        final = self._final()
        reproduced = 0
        by_spec: dict[str, list[_Asked]] = {digest: [] for digest in ("", *self._specs)}
        for one in asked:
            by_spec[one.spec].append(one)
        done = 0
        equal: bool | None = None
        for digest, decisions in by_spec.items():
            walk = _Walk(self._source, self._experiment_id, self._specs[digest]) if digest else None
            try:
                for one in decisions:
                    reproduced += self._same(one, walk)
                    done += 1
                    if done % 500 == 0 or done == len(asked):
                        self._progress("logged", done, len(asked))
                if walk is not None and final is not None and spec_of(final[1].snapshot_id) == digest:
                    equal = self._final_equal(final, walk)
            finally:
                if walk is not None:
                    walk.close()
        return LiveRun(reproduced, len(asked), equal, self._differs, other_release)

    def _answerable(self) -> tuple[list[_Asked], int]:
        """The decisions that can be made again, and how many another release made. Raises BadLog."""
        asked, others = [], 0
        foreign = self._foreign()
        for one in self._asked():
            if not one.spec or one.spec in self._specs:
                asked.append(one)
            elif one.spec not in foreign:
                raise BadLog(
                    f"Row {one.seq} was decided with snapshot {self._snapshot_of(one)}, whose model none of "
                    "this log's definitions gives, and no stored snapshot shows that another release made "
                    "it. If one did, put its snapshots back or replay with that release. If not, the row is "
                    "not what was written: `banditd verify` says more."
                )
            elif one.position.seq >= one.seq:
                # All that can be checked of it: a model knows only what was logged before it chose.
                raise BadLog(
                    f"Row {one.seq} was decided with snapshot {self._snapshot_of(one)}, which comes after "
                    "it: the row is not what was written. `banditd verify` says more."
                )
            else:
                others += 1
        return asked, others

    def _foreign(self) -> set[str]:
        """The digests of models of other releases, by the snapshots that are left of them: one of each is."""
        found = set()
        for name in self._source.store.names(self._experiment_id):
            if position_of(name) is not None and spec_of(name) not in self._specs:
                with suppress(DamagedSnapshot):
                    if other_release(self._source.store.manifest(self._experiment_id, name)):
                        found.add(spec_of(name))
        return found

    def _snapshot_of(self, one: _Asked) -> str:
        _, decision = next(self._decisions(one.seq - 1, batch=1))
        return decision.snapshot_id

    def _asked(self) -> Iterator[_Asked]:
        newest = max(self._definitions, default=0)
        digest_of = {
            version: ModelSpec.of(one.experiment).digest for version, one in self._definitions.items()
        }
        imported = {version for version, one in self._definitions.items() if one.imported_from}
        if len(imported) == len(self._definitions):
            # Imported and nothing else: there is no live run unless the ids say that it was one of ours.
            imported.clear()
        for seq, decision in self._decisions(0):
            if decision.version in imported:
                continue
            name = decision.snapshot_id
            local = name.removeprefix("local-")
            if not name:
                yield _Asked("", ORIGIN, 0, seq)
            elif local != name and local.isdigit():
                digest = digest_of.get(decision.version, digest_of[newest])
                yield _Asked(digest, ORIGIN, int(local), seq)
            else:
                yield _Asked(spec_of(name), _position(name, seq), 0, seq)

    def _decisions(self, after_seq: int, batch: int = 1000) -> Iterator[tuple[int, Decision]]:
        for event in self._log.events(after_seq, ("decision",), batch):
            if event.experiment_id == self._experiment_id:
                yield event.seq, self._decoded(event.decision_id, event.subject, event.record)

    def _decoded(self, decision_id: str, subject: str | None, record: bytes) -> Decision:
        return decode_decision(
            self._experiment_id,
            decision_id,
            subject,
            record,
            lambda version: self._definitions[version].catalogue,
        )

    def _same(self, one: _Asked, walk: "_Walk | None") -> bool:
        _, logged = next(self._decisions(one.seq - 1, batch=1))
        view = self._views[logged.version]
        policy: Policy
        if walk is None:
            policy = untrained_policy(ModelSpec.of(view.experiment))
        else:
            policy = walk.policy_at(one, logged.snapshot_id)
        made = choose(
            view,
            policy,
            decision_id=logged.decision_id,
            subject=logged.subject,
            context=logged.context,
            variants=logged.variants,
            call_variants=logged.call_variants,
        )
        names = ("distribution", "policy_distribution", "chosen", "arm", "source", "treatment_share")
        differing = [name for name in names if getattr(made, name) != getattr(logged, name)]
        if differing and not self._differs:
            self._differs = f"decision {logged.decision_id!r} (row {one.seq}): its {', '.join(differing)}"
        return not differing

    def _final(self) -> tuple[Path, Manifest] | None:
        # Another release's, or a folder that is no snapshot, may have come further.
        names = [
            name
            for name in self._source.store.names(self._experiment_id)
            if position_of(name) is not None and spec_of(name) in self._specs
        ]
        return self._source.store.read(self._experiment_id, names[0]) if names else None

    def _final_equal(self, final: tuple[Path, Manifest], walk: "_Walk") -> bool:
        path, manifest = final
        walk.to_position(manifest.position)
        found = difference(walk.fold, manifest, path, walk.probes)
        if found and not self._differs:
            self._differs = f"snapshot {manifest.snapshot_id}: {found}"
        return not found


class _Walk:
    """One spec's fold on its way through the joined order."""

    def __init__(self, source: FolderSource, experiment_id: str, spec: ModelSpec) -> None:
        self._log = source.log
        self._experiment_id = experiment_id
        _, self._now_us = source.log.head()
        self._untrained = untrained_policy(spec)
        self._ahead: deque[JoinedEvent] = deque()
        self.fold = ModelFold.start(spec)
        self.probes: deque[JoinedEvent] = deque(maxlen=20)

    def policy_at(self, one: _Asked, snapshot_id: str) -> Policy:
        """The policy on the fold at a decision's snapshot. Raises BadLog if the log has no such position."""
        if one.joined:
            while self.fold.summary.joined < one.joined and self._next() is not None:
                self._take()
            reached = self.fold.summary.joined == one.joined
        else:
            self.to_position(one.position)
            reached = self.fold.position == one.position
        if not reached:
            raise BadLog(
                f"Row {one.seq} was decided with snapshot {snapshot_id}, which the log does not give."
            )
        learner = self.fold.learner
        return learner.policy(snapshot_id) if learner is not None else self._untrained

    def to_position(self, position: Position) -> None:
        """Takes events up to a position."""
        while (event := self._next()) is not None and event.position <= position:
            self._take()

    def close(self) -> None:
        self.fold.close()

    def _next(self) -> JoinedEvent | None:
        if not self._ahead:
            after = self.fold.position
            self._ahead.extend(read_joined(self._log, self._experiment_id, after, self._now_us, BATCH_EVENTS))
        return self._ahead[0] if self._ahead else None

    def _take(self) -> None:
        event = self._ahead.popleft()
        self.probes.append(event)
        self.fold.take((event,))


def _view(definition: Definition) -> View:
    return View.of(definition.experiment, definition.version, definition.salt)


def _position(name: str, seq: int) -> Position:
    position = position_of(name)
    if position is None:
        raise BadLog(
            f"Row {seq} was decided with {name!r}, which is no snapshot of banditd: an imported log can be "
            "judged, but not made again."
        )
    return position
