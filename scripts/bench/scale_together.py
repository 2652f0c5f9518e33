"""How far a trainer stays behind while the rewards of many experiments come interleaved.

The log is filled beforehand; the trainer sees it as of a moment that moves on with the clock.
"""

import random
import time
from pathlib import Path
from typing import Any

import scale_world
import world

from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.trainer import Trainer
from bandit.serving.learner import IDLE_SECONDS, wall_clock_us
from bandit.snapshots.store import SnapshotStore

EXPERIMENTS = (40, 100, 300)
EVENTS_A_SECOND = 300
KNOWN_EVENTS = 10
"""So many of each experiment were learned before, so that each has a snapshot."""


class _AsOf(SqliteEventLog):
    """A log as it was when it had so many `rewards`."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, create=False)
        self._came: list[tuple[int, int]] = []
        self._came = [(event.seq, event.at_us + 1) for event in self.events(0) if event.kind == "reward"]
        self._ids = {definition.experiment.id for definition in self.definitions()}
        self.rewards = 1

    def head(self) -> tuple[int, int]:
        """The last seq, and a moment after it."""
        return self._came[self.rewards - 1] if self._came else super().head()

    def experiments_touched(self, after_seq: int) -> set[str]:
        """All of them, if anything came: each gets its event in turn."""
        return self._ids if self.head()[0] > after_seq else set()


def measure(folder: Path, count: int, seconds: float, rng: random.Random) -> dict[str, float]:
    """A trainer of `count` experiments that get EVENTS_A_SECOND rewards together: how much of what came it
    learned, with how many snapshots and what share of a CPU, and how far it was behind meanwhile.
    """
    data_dir = folder / "data"
    events = KNOWN_EVENTS + int(EVENTS_A_SECOND * seconds) // count + 2
    scale_world.fill(data_dir, scale_world.write_many(folder, count), events, rng)
    log, counts = _AsOf(data_dir), world.Counts()
    trainer = Trainer(log, SnapshotStore(data_dir), clock_us=wall_clock_us, watch=counts)
    known = log.rewards = KNOWN_EVENTS * count
    for _ in scale_world.steps(trainer, counts):
        continue
    trainer.finish()
    learned_before, counts.snapshots = counts.events, 0
    behind_s: list[float] = []
    began, used = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - began) < seconds:
        log.rewards = known + int(EVENTS_A_SECOND * passed)
        more = trainer.step(lambda: False)
        behind_s.append((log.rewards - known - counts.events + learned_before) / EVENTS_A_SECOND)
        if not more:
            time.sleep(IDLE_SECONDS)
    found: dict[str, Any] = {
        "experiments": count,
        "came": log.rewards - known,
        "learned": counts.events - learned_before,
        "snapshots": counts.snapshots,
        "cpu": (time.process_time() - used) / passed,
        "behind_p50_s": scale_world.percentile(behind_s, 0.5),
        "behind_max_s": max(behind_s),
    }
    trainer.finish()
    log.close()
    world.progress(f"together: {found}")
    return found
