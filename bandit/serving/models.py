"""The policies that this process chooses with: loaded when first used, swapped for newer ones.

The least recently used ones are unloaded. What serves is the snapshot that the definition pins, if it can;
else the one that has come furthest, of whichever policy: so a changed one is learned beside the old, which
serves until then.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import structlog

from bandit.core.choose import Policy, View
from bandit.core.records import Position
from bandit.learning.steps import Steps, finished
from bandit.learning.trial import NoModel, Unservable, trying
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.snapshots.manifest import Manifest, spec_of
from bandit.snapshots.store import SnapshotStore

POLICIES_IN_MEMORY: Final = 256

QUICK_POLICIES: Final = 32
"""While more than this are in memory, those that are loaded take little memory rather than the least time."""


@dataclass(slots=True)
class _Loaded:
    policy: Policy
    digest: str
    position: Position | None
    chosen_for: tuple[View, int] | None = None
    """What it was chosen for: a definition, and the state of the store. `digest` is its spec's: a spec is as
    many objects as the rest of a policy together, and a full collection walks them all.
    """


class Models:
    """Experiment id -> the policy in force."""

    def __init__(self, store: SnapshotStore) -> None:
        """Loads nothing."""
        self._store = store
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._generation = store.generation()
        self._refused: set[str] = set()
        self._unused: list[Policy] = []
        self._lately: list[str] = []
        self._unpinned: dict[str, tuple[str, str]] = {}
        self._logger = structlog.get_logger("models")

    def policy(self, view: View) -> Policy:
        """The policy of an experiment, loaded now if it is not in memory."""
        experiment_id = view.experiment.id
        if experiment_id not in self._loaded:
            finished(self.loading(view))
        else:
            self._loaded.move_to_end(experiment_id)
        return self._loaded[experiment_id].policy

    def loading(self, view: View) -> Steps[None]:
        """Loads the policy of an experiment that is not in memory, in steps of a few milliseconds."""
        self.close_unused()
        loaded = yield from self._chosen(view, None)
        self._loaded[view.experiment.id] = loaded
        self._lately.append(view.experiment.id)
        if len(self._loaded) > POLICIES_IN_MEMORY:
            _, unused = self._loaded.popitem(last=False)
            self._unused.append(unused.policy)

    def close_unused(self) -> None:
        """Frees the policies that others took the place of: who waits for a new one need not wait for it."""
        while self._unused:
            _close(self._unused.pop())

    def loaded_lately(self) -> list[str]:
        """The experiments that were loaded since the last time this was asked: what changed while they were,
        they did not see.
        """
        lately, self._lately = self._lately, []
        return lately

    def refreshing(self, view: View) -> Steps[bool]:
        """Takes a changed definition or newer snapshot of a loaded experiment, in steps of a few
        milliseconds. True if the policy changed.
        """
        experiment_id = view.experiment.id
        loaded = self._loaded.get(experiment_id)
        if loaded is None:
            return False
        # A pin that can't serve may be mended where it stands, so it is tried again each time.
        state = (view, self._store.changed_ns(experiment_id))
        if loaded.chosen_for == state and experiment_id not in self._unpinned:
            return False
        fresh = yield from self._chosen(view, loaded)
        if fresh is loaded:
            return False
        if self._loaded.get(experiment_id) is not loaded:
            # It was unloaded meanwhile.
            self._unused.append(fresh.policy)
            return False
        self._loaded[experiment_id] = fresh
        self._unused.append(loaded.policy)
        return True

    def something_published(self) -> bool:
        """Whether any experiment has published since the last time this was asked."""
        generation = self._store.generation()
        changed = generation != self._generation
        self._generation = generation
        return changed

    def has(self, experiment_id: str) -> bool:
        """Whether an experiment's policy is in memory."""
        return experiment_id in self._loaded

    def in_memory(self) -> list[str]:
        """The experiments whose policy is in memory."""
        return list(self._loaded)

    def position(self, experiment_id: str) -> Position | None:
        """How far the snapshot in force has come; None without one."""
        loaded = self._loaded.get(experiment_id)
        return loaded.position if loaded is not None else None

    def _chosen(self, view: View, current: _Loaded | None) -> Steps[_Loaded]:
        # Before the names are read: what comes in between is looked for once more.
        state = (view, self._store.changed_ns(view.experiment.id))
        loaded = yield from self._load(view, current)
        loaded.chosen_for = state
        return loaded

    def _load(self, view: View, current: _Loaded | None) -> Steps[_Loaded]:
        """The best that can be served: the pinned snapshot, else the one that has come furthest, else an
        untrained policy.
        """
        spec = ModelSpec.of(view.experiment)
        digest = spec.digest
        pinned = yield from self._pinned(view, digest, current)
        if pinned is not None:
            return pinned
        if spec.learns:
            for name in self._candidates(view.experiment.id, digest):
                if current is not None and current.policy.snapshot_id == name:
                    return current
                loaded = yield from self._tried(view, digest, name)
                if loaded is not None:
                    return loaded
        # A preset that doesn't learn serves a snapshot only while one is pinned.
        if (
            current is not None
            and current.digest == digest
            and (spec.learns or not current.policy.snapshot_id)
        ):
            return current
        return _Loaded(untrained_policy(spec), digest, None)

    def _pinned(self, view: View, digest: str, current: _Loaded | None) -> Steps[_Loaded | None]:
        """The snapshot that the definition pins; None, and logged once, if it can't serve."""
        experiment_id, name = view.experiment.id, view.experiment.policy.snapshot
        if name is None:
            self._unpinned.pop(experiment_id, None)
            return None
        if current is not None and current.policy.snapshot_id == name:
            return current
        try:
            policy, manifest = yield from self._trying(view, name)
        except Unservable as error:
            # Not refused for good: a pinned snapshot may be put back. It is tried with each publication.
            if self._unpinned.get(experiment_id) != (name, str(error)):
                self._unpinned[experiment_id] = name, str(error)
                self._logger.error(
                    "pinned snapshot can't serve; serving as if none were pinned. Pin one that `banditd "
                    "experiment list` shows, or take policy.snapshot out of the definition",
                    experiment_id=experiment_id,
                    snapshot_id=name,
                    reason=str(error),
                )
            return None
        self._unpinned.pop(experiment_id, None)
        return _Loaded(policy, digest, manifest.position)

    def _candidates(self, experiment_id: str, digest: str) -> list[str]:
        """Furthest first; at the same position the policy in force comes before the one that it replaces."""
        names = [name for name in self._store.names(experiment_id) if name not in self._refused]
        return sorted(
            names, key=lambda name: (name.rpartition("-")[0], spec_of(name) == digest), reverse=True
        )

    def _trying(self, view: View, name: str) -> Steps[tuple[Policy, Manifest]]:
        compact = len(self._loaded) > QUICK_POLICIES
        return trying(self._store, view.experiment.id, name, view.catalogue, compact=compact)

    def _tried(self, view: View, digest: str, name: str) -> Steps[_Loaded | None]:
        """A snapshot once it has predicted soundly on a probe; None, and logged, if it can't."""
        experiment_id = view.experiment.id
        try:
            policy, manifest = yield from self._trying(view, name)
            return _Loaded(policy, digest, manifest.position)
        except NoModel:
            self._refused.add(name)
        except Unservable as error:
            self._refused.add(name)
            self._logger.error(
                "snapshot refused", experiment_id=experiment_id, snapshot_id=name, reason=str(error)
            )
        return None


def _close(policy: Policy) -> None:
    close = getattr(policy, "close", None)
    if close is not None:
        close()
