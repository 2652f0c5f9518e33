"""Snapshots as a release with another model format leaves them, made from this one's."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from bandit.snapshots.manifest import Manifest, snapshot_id
from bandit.snapshots.store import MODEL


def as_format(snapshot: Path, number: int) -> str:
    """Makes a snapshot one of this format, with a name of its own, and answers with that name.

    Format 1 summed its one file in its own way.
    """
    path = snapshot / "manifest.json"
    manifest = Manifest.from_json(path.read_text())
    spec = json.dumps({**json.loads(manifest.spec), "format": number}, sort_keys=True, separators=(",", ":"))
    name = snapshot_id(manifest.position, sha256(spec.encode()).hexdigest()[:8])
    changed = replace(manifest, spec=spec, snapshot_id=name)
    if number == 1:
        for file in snapshot.glob("*.npy"):
            file.unlink()
        changed = replace(changed, model_sha256=sha256((snapshot / MODEL).read_bytes()).hexdigest())
    path.write_text(changed.to_json())
    snapshot.rename(snapshot.with_name(name))
    return name
