"""An experiment's snapshots as `verify` takes them up: copied, and told apart by what can be said about them.

A model of another format is recognised by its manifest alone, before its files are judged: each release so
far writes the same manifest, with a checksum over itself and the format within the spec, and names the
snapshot by the spec's digest. What the files are, and how they are summed, is the other release's own.
"""

import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bandit.policies.model_spec import FORMAT, ModelSpec
from bandit.snapshots.manifest import DamagedSnapshot, Manifest, position_of, spec_of
from bandit.snapshots.store import SnapshotStore, model_files


@dataclass(frozen=True, slots=True)
class Held:
    """The snapshots of one experiment, copied into `folder`: a running learner may prune its own meanwhile.

    `foreign` are those of other releases, with what made them; `damage` says by id what can't be read;
    `strays` are folders that are no snapshots by their names.
    """

    folder: Path
    manifests: tuple[Manifest, ...]
    foreign: tuple[tuple[Manifest, str], ...]
    damage: tuple[tuple[str, str], ...]
    strays: tuple[str, ...]


def hold(store: SnapshotStore, experiment_id: str, folder: Path) -> Held:
    """Copies what can be read. The newest first: the oldest are the ones that are pruned."""
    manifests: list[Manifest] = []
    foreign: list[tuple[Manifest, str]] = []
    damage: list[tuple[str, str]] = []
    # All that were listed may have been replaced by newer ones meanwhile.
    while not (manifests or foreign or damage) and (names := _snapshots(store, experiment_id)):
        for name in names:
            try:
                manifest = store.manifest(experiment_id, name)
                if made_by := other_release(manifest):
                    foreign.append((manifest, made_by))
                else:
                    manifests.append(_copy(store, experiment_id, name, folder / name))
            # Whatever an altered file makes reading it raise, it is not a snapshot that was published.
            except Exception as error:
                if store.has(experiment_id, name):
                    damage.append((name, str(error)))
    strays = tuple(name for name in store.names(experiment_id) if position_of(name) is None)
    return Held(folder, tuple(manifests), tuple(foreign), tuple(damage), strays)


def other_release(manifest: Manifest) -> str:
    """What made a snapshot with a model of another format, in words; empty for a model of this release's.

    It does not look at the model. Raises DamagedSnapshot if the spec is not the one in the snapshot's name.
    """
    if spec_of(manifest.snapshot_id) != sha256(manifest.spec.encode()).hexdigest()[:8]:
        raise DamagedSnapshot("the manifest's spec is not the one in its name")
    try:
        made_with = json.loads(manifest.spec)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSnapshot(f"the manifest's spec can't be read: {error!r}") from error
    # A bool is an int in Python, and no format.
    if type(made_with) is not int or made_with < 1:
        raise DamagedSnapshot(f"the manifest's spec is of format {made_with!r}, which no release has")
    if made_with == FORMAT:
        return ""
    release = "an earlier release" if made_with < FORMAT else "a later release"
    return f"{release} (model format {made_with}, not {FORMAT})"


def _snapshots(store: SnapshotStore, experiment_id: str) -> list[str]:
    return [name for name in store.names(experiment_id) if position_of(name) is not None]


def _copy(store: SnapshotStore, experiment_id: str, name: str, folder: Path) -> Manifest:
    source, manifest = store.read(experiment_id, name)
    if spec_of(name) != ModelSpec.from_json(manifest.spec).digest:
        raise DamagedSnapshot("the manifest's spec is not the one in its name")
    folder.mkdir(exist_ok=True)
    if manifest.model_sha256:
        for file in model_files(source):
            shutil.copyfile(file, folder / file.name)
    return manifest
