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
from bandit.learning.trial import NoModel, Unservable, tried
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.snapshots.manifest import Manifest, spec_of
from bandit.snapshots.store import SnapshotStore

POLICIES_IN_MEMORY: Final = 256

QUICK_POLICIES: Final = 32
"""While more than this are in memory, those that are loaded take little memory rather than the least time."""


@dataclass(slots=True)
class _Loaded:
    policy: Policy
    spec: ModelSpec
    position: Position | None
    chosen_for: tuple[View, int] | None = None
    """What it was chosen for: a definition, and the state of the store."""


class Models:
    """Experiment id -> the policy in force."""

    def __init__(self, store: SnapshotStore) -> None:
        """Loads nothing."""
        self._store = store
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._generation = store.generation()
        self._refused: set[str] = set()
        self._unpinned: dict[str, tuple[str, str]] = {}
        self._logger = structlog.get_logger("models")

    def policy(self, view: View) -> Policy:
        """The policy of an experiment, loaded now if it is not in memory."""
        experiment_id = view.experiment.id
        loaded = self._loaded.get(experiment_id)
        if loaded is None:
            loaded = self._chosen(view, None)
            self._loaded[experiment_id] = loaded
            if len(self._loaded) > POLICIES_IN_MEMORY:
                _, unused = self._loaded.popitem(last=False)
                _close(unused.policy)
        else:
            self._loaded.move_to_end(experiment_id)
        return loaded.policy

    def refresh(self, view: View) -> bool:
        """Takes a changed definition or newer snapshot of a loaded experiment. True if the policy changed."""
        experiment_id = view.experiment.id
        loaded = self._loaded.get(experiment_id)
        if loaded is None:
            return False
        # A pin that can't serve may be mended where it stands, so it is tried again each time.
        state = (view, self._store.changed_ns(experiment_id))
        if loaded.chosen_for == state and experiment_id not in self._unpinned:
            return False
        fresh = self._chosen(view, loaded)
        if fresh is loaded:
            return False
        self._loaded[experiment_id] = fresh
        _close(loaded.policy)
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

    def _chosen(self, view: View, current: _Loaded | None) -> _Loaded:
        # Before the names are read: what comes in between is looked for once more.
        state = (view, self._store.changed_ns(view.experiment.id))
        loaded = self._load(view, current)
        loaded.chosen_for = state
        return loaded

    def _load(self, view: View, current: _Loaded | None) -> _Loaded:
        """The best that can be served: the pinned snapshot, else the one that has come furthest, else an
        untrained policy.
        """
        spec = ModelSpec.of(view.experiment)
        pinned = self._pinned(view, spec, current)
        if pinned is not None:
            return pinned
        if spec.learns:
            for name in self._candidates(view.experiment.id, spec):
                if current is not None and current.policy.snapshot_id == name:
                    return current
                loaded = self._tried(view, spec, name)
                if loaded is not None:
                    return loaded
        # A preset that doesn't learn serves a snapshot only while one is pinned.
        if current is not None and current.spec == spec and (spec.learns or not current.policy.snapshot_id):
            return current
        return _Loaded(untrained_policy(spec), spec, None)

    def _pinned(self, view: View, spec: ModelSpec, current: _Loaded | None) -> _Loaded | None:
        """The snapshot that the definition pins; None, and logged once, if it can't serve."""
        experiment_id, name = view.experiment.id, view.experiment.policy.snapshot
        if name is None:
            self._unpinned.pop(experiment_id, None)
            return None
        if current is not None and current.policy.snapshot_id == name:
            return current
        try:
            policy, manifest = self._try(view, name)
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
        return _Loaded(policy, spec, manifest.position)

    def _candidates(self, experiment_id: str, spec: ModelSpec) -> list[str]:
        """Furthest first; at the same position the policy in force comes before the one that it replaces."""
        names = [name for name in self._store.names(experiment_id) if name not in self._refused]
        return sorted(
            names, key=lambda name: (name.rpartition("-")[0], spec_of(name) == spec.digest), reverse=True
        )

    def _try(self, view: View, name: str) -> tuple[Policy, Manifest]:
        compact = len(self._loaded) > QUICK_POLICIES
        return tried(self._store, view.experiment.id, name, view.catalogue, compact=compact)

    def _tried(self, view: View, spec: ModelSpec, name: str) -> _Loaded | None:
        """A snapshot once it has predicted soundly on a probe; None, and logged, if it can't."""
        experiment_id = view.experiment.id
        try:
            policy, manifest = self._try(view, name)
            return _Loaded(policy, spec, manifest.position)
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
