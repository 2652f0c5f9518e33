"""A stored model that is kept as its file's bytes until it is asked: most policies never ask theirs.

What serves needs Vowpal Wabbit only where variants share features, or where its oracle is the served one. To
set up a workspace is most of what loading a policy costs, in time and in memory.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bandit.policies.vw.workspace import Workspace

COMPACT_BYTES_MAX: Final = 256 * 1024
"""Of larger models most pages of the weights are in use: a table of those that were learned saves nothing."""


class Stored:
    """The bytes of a model file. It may be gone from the disk, or be altered, before they are needed."""

    def __init__(self, content: bytes, *, compact: bool) -> None:
        """`compact`: the weights that were learned in a table, instead of room for all; that takes 0.1 MB
        instead of 3, and a third longer to predict the same.
        """
        self._content = content
        self._compact = compact and len(content) <= COMPACT_BYTES_MAX

    def opened(self, arguments: Sequence[str]) -> Workspace:
        """The model in memory. Raises IncompatibleModel, OSError."""
        sparse = ["--sparse_weights"] if self._compact else []
        with _as_file(self._content) as path:
            return Workspace([*arguments, *sparse], path)


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """Vowpal Wabbit reads files alone. This one is in memory where that can be: a full disk stops nobody."""
    if sys.platform == "linux":
        fd = os.memfd_create("model.vw")
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            yield Path(f"/proc/self/fd/{fd}")
    else:
        with TemporaryDirectory(prefix="banditd-") as folder:
            path = Path(folder) / "model.vw"
            path.write_bytes(content)
            yield path
