"""The settings of a server: parsed once at the edge, frozen, never read again from the environment.

Flags and their environment variables (BANDITD_*) are declared in `bandit.cli.serve`.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Transport(StrEnum):
    """What speaks HTTP/2; see `bandit.serving.transport`."""

    GRPCIO = "grpcio"
    NATIVE = "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One server. Addresses are HOST:PORT or unix:/path; a metrics address is HOST:PORT or empty for none."""

    data_dir: Path
    experiments: Path
    listen: str
    transport: Transport
    workers: int
    drain_seconds: float
    metrics_listen: str
    learner: bool
    calls_in_flight_max: int
    snapshots_kept: int
    log_level: str
