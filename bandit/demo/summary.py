"""The figures of a run, from what was played."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bandit.demo import estimates
from bandit.demo.customers import HISTORIES, VARIANTS
from bandit.demo.estimates import Estimate
from bandit.demo.player import Played, Round


@dataclass(frozen=True, slots=True)
class Row:
    """A way to choose: the rounds that tell its mean reward, that mean, and how far it is from uniform."""

    rounds: int
    mean: Estimate | None
    difference_to_uniform: Estimate | None


@dataclass(frozen=True, slots=True)
class Preference:
    """What the service preferred for the recent customers with one purchase history."""

    customers: int
    top: str
    distribution: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a run left what."""

    data_dir: Path
    events: Path
    snapshots: Path
    log: Path

    @classmethod
    def of(cls, data_dir: Path) -> "Paths":
        """The paths in a data folder."""
        return cls(data_dir, data_dir / "events.db", data_dir / "snapshots", data_dir / "server.log")


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a run.

    `uniform` counts every round, since each was really sent by a uniform draw; `fixed` those of its variant;
    `served` and `last_quarter` those in which the choice was what was sent. `preferences` are means of the
    last quarter's distributions. `snapshots` are those seen in replies or found on disk.
    """

    experiment_id: str
    seed: int
    interrupted: bool
    customers: int
    rounds_counted: int
    served: Row
    last_quarter: Row
    uniform: Row
    fixed: Mapping[str, Row]
    preferences: Mapping[str, Preference]
    snapshots: int
    rewards: Mapping[str, int]
    sources: Mapping[str, int]
    seconds: float
    decisions_per_second: float
    paths: Paths

    def as_json(self) -> dict[str, Any]:
        """The figures as JSON values."""
        figures = asdict(self)
        return figures | {"paths": {name: str(path) for name, path in figures["paths"].items()}}


def summarise(experiment_id: str, seed: int, interrupted: bool, played: Played, paths: Paths) -> Summary:
    """The figures of `played`, at least one round or none; `paths.snapshots` is read."""
    rounds = played.rounds
    rewards = [r.customer.visit for r in rounds]
    counted = [r.counts for r in rounds]
    late = len(rounds) * 3 // 4

    def row(which: Sequence[bool]) -> Row:
        return Row(
            sum(which), estimates.mean(rewards, which), estimates.difference_to_uniform(rewards, which)
        )

    return Summary(
        experiment_id=experiment_id,
        seed=seed,
        interrupted=interrupted,
        customers=len(rounds),
        rounds_counted=sum(counted),
        served=row(counted),
        last_quarter=row([counts and index >= late for index, counts in enumerate(counted)]),
        uniform=Row(len(rounds), estimates.mean(rewards, [True] * len(rounds)), None),
        fixed={variant: row([r.customer.sent == variant for r in rounds]) for variant in VARIANTS.values()},
        preferences=_preferences(rounds[late:]),
        snapshots=_snapshots(rounds, paths.snapshots),
        rewards={status.value: count for status, count in played.rewards.items()},
        sources=dict(Counter(str(r.source) for r in rounds)),
        seconds=round(played.seconds, 3),
        decisions_per_second=round(len(rounds) / played.seconds, 1) if played.seconds else 0.0,
        paths=paths,
    )


def _preferences(rounds: Sequence[Round]) -> dict[str, Preference]:
    preferences = {}
    for history in HISTORIES:
        given = [r.distribution for r in rounds if r.customer.history == history]
        if given:
            means = {v: fmean(d.get(v, 0.0) for d in given) for v in VARIANTS.values()}
            preferences[history] = Preference(len(given), max(means, key=means.__getitem__), means)
    return preferences


def _snapshots(rounds: Sequence[Round], folder: Path) -> int:
    seen = {r.snapshot_id for r in rounds if r.snapshot_id}
    # Only the last few stay on disk, and the last of all may have come after the last reply.
    kept = {manifest.parent.name for manifest in folder.glob("*/*/manifest.json")}
    return len(seen | kept)
