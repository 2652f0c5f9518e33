"""Tries a stored snapshot before it serves: it must load, and predict soundly on a probe."""

from collections.abc import Sequence

from bandit.core.distribution import BrokenDistribution, normalised
from bandit.core.records import Variant
from bandit.learning.steps import Steps, finished
from bandit.policies.model import ClosablePolicy, IncompatibleModel, ModelSpec, load_policy
from bandit.snapshots.manifest import DamagedSnapshot, Manifest
from bandit.snapshots.store import SnapshotStore


class Unservable(ValueError):
    """A snapshot that can't serve; the message says why."""


class NoModel(Unservable):
    """The snapshot of a preset that doesn't learn: it holds counts alone, and nothing is wrong with it."""


def tried(
    store: SnapshotStore,
    experiment_id: str,
    name: str,
    catalogue: Sequence[Variant],
    *,
    compact: bool = False,
) -> tuple[ClosablePolicy, Manifest]:
    """The policy of a snapshot, which the caller closes. `catalogue` may be empty; for `compact` see
    `load_policy`. Raises Unservable.
    """
    return finished(trying(store, experiment_id, name, catalogue, compact=compact))


def trying(
    store: SnapshotStore, experiment_id: str, name: str, catalogue: Sequence[Variant], *, compact: bool
) -> Steps[tuple[ClosablePolicy, Manifest]]:
    """What `tried` does, in steps of a few milliseconds at most."""
    if not store.has(experiment_id, name):
        raise Unservable("it is not stored: it was pruned, or never was there")
    try:
        folder, manifest = store.read(experiment_id, name)
        yield
        trained = ModelSpec.from_json(manifest.spec)
        if not trained.learns:
            raise NoModel(f"it holds no model, since {trained.preset} learns none; name the preset instead")
        policy = load_policy(trained, folder, dict(manifest.state), name, compact=compact)
    except (DamagedSnapshot, IncompatibleModel, OSError) as error:
        raise Unservable(str(error)) from error
    yield
    probe = catalogue or (Variant("probe"),)
    try:
        [found] = policy.distributions([{}], probe)
        if found is None:
            raise BrokenDistribution("the model predicts nothing sound")
        normalised(found, len(probe))
    except Exception as error:  # whatever it is: what fails on the probe would fail every call
        policy.close()
        known = isinstance(error, BrokenDistribution)
        raise Unservable(str(error) if known else f"it fails on a probe: {error!r}") from error
    return policy, manifest
