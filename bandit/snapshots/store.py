"""Snapshots on disk: DATA_DIR/snapshots/e-EXPERIMENT/SNAPSHOT_ID/{model.vw, …, manifest.json}.

A snapshot is written into a folder aside, synced, and renamed once; readers see all of it or nothing.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from bandit.snapshots.manifest import DamagedSnapshot, Manifest, spec_of

MODEL: Final = "model.vw"
_MANIFEST: Final = "manifest.json"
_ASIDE: Final = ".aside-"
_PUBLISHED: Final = "published"


class SnapshotStore:
    """The snapshots of one data folder. One process publishes; any number read."""

    def __init__(self, data_dir: Path, *, keep: int = 5) -> None:
        """`keep` (at least 1) is how many snapshots an experiment keeps."""
        self._root = data_dir / "snapshots"
        self._keep = keep
        self._pinned: dict[Path, str] = {}

    def pin(self, experiment_id: str, name: str | None) -> None:
        """Names the one snapshot that pruning leaves alone, however old; None if there is none."""
        home = self._home(experiment_id)
        if name is None:
            self._pinned.pop(home, None)
        else:
            self._pinned[home] = name

    def publish(self, manifest: Manifest, write_model: Callable[[Path], None] | None) -> Manifest:
        """Stores a snapshot and prunes old ones. `write_model` writes the model's files into the folder that
        it is given.

        Returns the manifest with the model's sum filled in. Raises OSError.
        """
        home = self._home(manifest.experiment_id)
        home.mkdir(parents=True, exist_ok=True)
        aside, final = home / f"{_ASIDE}{manifest.snapshot_id}", home / manifest.snapshot_id
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        if write_model is not None:
            write_model(aside)
            for file in model_files(aside):
                _sync(file)
            manifest = replace(manifest, model_sha256=_sum(aside))
        (aside / _MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        _sync(aside / _MANIFEST)
        _sync(aside)
        # The same position learned again after a crash has the same name and, by construction, model.
        _remove(final)
        aside.rename(final)
        _sync(home)
        self._prune(home, final.name)
        self._announce(home)
        return manifest

    def names(self, experiment_id: str) -> list[str]:
        """The ids of an experiment's snapshots, furthest first; nothing is opened or checked."""
        names = _folders(self._home(experiment_id))
        return sorted((name for name in names if not name.startswith(_ASIDE)), reverse=True)

    def has(self, experiment_id: str, name: str) -> bool:
        """Whether an experiment has a snapshot of this id; nothing is opened or checked."""
        return not name.startswith(_ASIDE) and (self._home(experiment_id) / name).is_dir()

    def changed_ns(self, experiment_id: str) -> int:
        """A number that changes whenever a snapshot of this experiment comes or goes: a hundred times cheaper
        than its names.
        """
        try:
            # Asked for hundreds of experiments in a row: a Path would cost more than the question.
            return os.stat(self._home_text(experiment_id)).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            return 0

    def read(self, experiment_id: str, name: str) -> tuple[Path, Manifest]:
        """A snapshot's folder and manifest, both checked. Raises DamagedSnapshot."""
        folder = self._home(experiment_id) / name
        manifest = self.manifest(experiment_id, name)
        try:
            if manifest.model_sha256 and _sum(folder) != manifest.model_sha256:
                raise DamagedSnapshot("the sum of the model's files does not match the manifest")
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedSnapshot(f"the snapshot can't be read: {error}") from error
        return folder, manifest

    def manifest(self, experiment_id: str, name: str) -> Manifest:
        """A snapshot's manifest, checked by itself. Raises DamagedSnapshot.

        The model's files are not looked at: another release may have summed them in its own way.
        """
        path = self._home(experiment_id) / name / _MANIFEST
        try:
            manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedSnapshot(f"the snapshot can't be read: {error}") from error
        if manifest.snapshot_id != name or manifest.experiment_id != experiment_id:
            raise DamagedSnapshot("the manifest is another snapshot's")
        return manifest

    def discard(self, experiment_id: str, name: str) -> None:
        """Removes a snapshot."""
        _remove(self._home(experiment_id) / name)

    def experiments(self) -> list[str]:
        """The experiments that have a folder of snapshots."""
        return sorted(unquote(name[2:]) for name in _folders(self._root) if name.startswith("e-"))

    def generation(self) -> int:
        """A number that changes whenever anything is published; cheap enough to ask ten times a second."""
        try:
            return (self._root / _PUBLISHED).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _home(self, experiment_id: str) -> Path:
        return Path(self._home_text(experiment_id))

    def _home_text(self, experiment_id: str) -> str:
        # Quoted, and behind a prefix, so that no id can name a path.
        return f"{self._root}/e-{quote(experiment_id, safe='')}"

    def _prune(self, home: Path, published: str) -> None:
        """Keeps the last snapshots of the spec just published, the last one of each other, and the pin."""
        by_spec: dict[str, list[str]] = {}
        for name in sorted(_folders(home), reverse=True):
            if name.startswith(_ASIDE):
                # Left by a process that was killed.
                shutil.rmtree(home / name, ignore_errors=True)
            else:
                by_spec.setdefault(spec_of(name), []).append(name)
        for spec, names in by_spec.items():
            keep = self._keep if spec == spec_of(published) else 1
            for name in names[keep:]:
                if name != self._pinned.get(home):
                    _remove(home / name)

    def _announce(self, home: Path) -> None:
        mark = self._root / _PUBLISHED
        mark.touch()
        # The kernel's own stamps are coarse (milliseconds), and two changes may be closer than that.
        now_ns = time.time_ns()
        for path in (home, mark):
            os.utime(path, ns=(now_ns, now_ns))


def _folders(path: Path) -> list[str]:
    """The names of the folders in a folder."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []


def _remove(folder: Path) -> None:
    # Renamed first: readers see all of a snapshot or nothing.
    gone = folder.with_name(f"{_ASIDE}gone-{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def model_files(folder: Path) -> list[Path]:
    """The files of a snapshot's model, by name."""
    return sorted(file for file in folder.iterdir() if file.name != _MANIFEST)


def _sum(folder: Path) -> str:
    """Over names and contents of the model's files."""
    whole = sha256()
    for file in model_files(folder):
        content = file.read_bytes()
        whole.update(f"{file.name}:{len(content)}:".encode())
        whole.update(content)
    return whole.hexdigest()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
