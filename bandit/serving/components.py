"""The health of each named component, in DATA_DIR/status.json: the supervisor writes it, everyone reads it.

Health is every component being healthy. `serve` answers gRPC health for each by name; /health and
`banditd experiment list` show the details.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

EXPERIMENTS: Final = "experiments"
LEARNER: Final = "learner"
LOG: Final = "log"

Report = Callable[[str, bool, str], None]
"""Tells the supervisor a component's state: its name, whether it is well, details."""

_FILE: Final = "status.json"

BLOCK_BYTES: Final = 4096
SPARE_BYTES: Final = 2048
"""The file is filled up to whole blocks, with at least so many spaces: room to tell of a full disk."""

DETAIL_CHARACTERS_SHORT: Final = 200
READS_MAX: Final = 5
READ_AGAIN_SECONDS: Final = 0.005


def write_components(data_dir: Path, components: Mapping[str, Mapping[str, Any]]) -> None:
    """Replaces the file at once. Each component is {"ok": bool, "detail": text, …}. Raises OSError.

    Where no other file can be made, as on a full disk, it is overwritten in place, which takes no space.
    """
    path, aside = data_dir / _FILE, data_dir / f".{_FILE}"
    text = _encoded(components)
    try:
        try:
            aside.write_bytes(text.ljust(-(-(len(text) + SPARE_BYTES) // BLOCK_BYTES) * BLOCK_BYTES))
            aside.replace(path)
        except OSError:
            _remove(aside)
            raise
    except OSError as error:
        if not _overwritten(path, components):
            raise error from None


def _overwritten(path: Path, components: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the components fit into the file as it is, and were written there."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        size = os.fstat(fd).st_size
        text = _encoded(components)
        if len(text) > size:
            text = _encoded({name: _shortened(component) for name, component in components.items()})
        if len(text) > size or os.pwrite(fd, text.ljust(size), 0) != size:
            return False
        # Afterwards, and finer than the kernel's own stamps: who saw the file change reads all of the change.
        os.utime(fd, ns=(now_ns := time.time_ns(), now_ns))
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _shortened(component: Mapping[str, Any]) -> dict[str, Any]:
    return {**component, "detail": str(component.get("detail", ""))[:DETAIL_CHARACTERS_SHORT]}


def _encoded(components: Mapping[str, Mapping[str, Any]]) -> bytes:
    return json.dumps(components, indent=1).encode()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def read_components(data_dir: Path) -> dict[str, dict[str, Any]]:
    """What was written last; a single failing component if nothing was."""
    for attempt in range(READS_MAX):
        try:
            read: dict[str, dict[str, Any]] = json.loads((data_dir / _FILE).read_bytes())
            return read
        except OSError:
            break
        except ValueError:
            # It may be half overwritten just now.
            if attempt + 1 < READS_MAX:
                time.sleep(READ_AGAIN_SECONDS)
    return {"server": {"ok": False, "detail": "no server has reported from this data folder"}}


def changed_ns(data_dir: Path) -> int:
    """A number that changes with the file."""
    try:
        return (data_dir / _FILE).stat().st_mtime_ns
    except OSError:
        return 0
