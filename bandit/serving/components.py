"""The health of each named component, in DATA_DIR/status.json: the supervisor writes it, everyone reads it.

Health is every component being healthy. `serve` answers gRPC health for each by name; /health and
`banditd experiment list` show the details.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

EXPERIMENTS: Final = "experiments"
LEARNER: Final = "learner"
LOG: Final = "log"

Report = Callable[[str, bool, str], None]
"""Tells the supervisor a component's state: its name, whether it is well, details."""

_FILE: Final = "status.json"


def write_components(data_dir: Path, components: Mapping[str, Mapping[str, Any]]) -> None:
    """Replaces the file at once. Each component is {"ok": bool, "detail": text, …}. Raises OSError."""
    aside = data_dir / f".{_FILE}"
    aside.write_text(json.dumps(components, indent=1), encoding="utf-8")
    aside.replace(data_dir / _FILE)


def read_components(data_dir: Path) -> dict[str, dict[str, Any]]:
    """What was written last; a single failing component if nothing was."""
    try:
        read: dict[str, dict[str, Any]] = json.loads((data_dir / _FILE).read_text(encoding="utf-8"))
        return read
    except (OSError, ValueError):
        return {"server": {"ok": False, "detail": "no server has reported from this data folder"}}


def changed_ns(data_dir: Path) -> int:
    """A number that changes with the file."""
    try:
        return (data_dir / _FILE).stat().st_mtime_ns
    except OSError:
        return 0
