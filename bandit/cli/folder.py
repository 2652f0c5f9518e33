"""Whether a path can be a data folder, told before an error number is."""

from pathlib import Path


def problem_of(data_dir: Path) -> str:
    """What keeps an existing path from being a data folder, and what to do; empty if nothing does."""
    if data_dir.exists() and not data_dir.is_dir():
        return f"{data_dir} is not a folder; choose another --data-dir"
    snapshots = data_dir / "snapshots"
    if snapshots.exists() and not snapshots.is_dir():
        return f"{snapshots} is not a folder; remove it: snapshots are a cache, and learned again"
    return ""
