"""A data folder as a server leaves it, made in this process under a clock that the test sets."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bandit.core.experiment import Experiment
from bandit.core.records import Arm, Decision, Source, Stage
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.log import Item, NewDecision, NewExperiment, NewReward, Tick
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.trainer import Trainer
from bandit.snapshots.store import SnapshotStore

SECOND_US = 1_000_000


class Silent:
    """A watch that only counts what was published, and notes what is still to be learned."""

    def __init__(self) -> None:
        self.publications = 0
        self.to_learn: dict[str, list[int]] = {}

    def learned(self, experiment_id: str, events: int) -> None: ...

    def lag_us(self, lag_us: int) -> None: ...

    def behind(self, experiment_id: str, events: int) -> None:
        self.to_learn.setdefault(experiment_id, []).append(events)

    def published(self, experiment_id: str) -> None:
        self.publications += 1


class DataFolder:
    """A log and what is learned from it. Decisions and rewards are the same for the same calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_us = 1_700_000_000 * SECOND_US
        self.store = SnapshotStore(path)
        self.watch = Silent()
        self.log = SqliteEventLog(path, clock_us=self.clock)
        self._versions: dict[str, int] = {}
        self._decisions = 0

    def clock(self) -> int:
        return self.now_us

    def pass_seconds(self, seconds: float) -> None:
        """Lets log time go on."""
        self.now_us += int(seconds * SECOND_US)
        self.log.append([Tick()])

    def define(self, experiment: Experiment) -> None:
        """Brings a definition into force."""
        [definition] = self.log.append([NewExperiment(experiment, b"salt")])
        self._versions[experiment.id] = definition.version

    def play(self, experiment: Experiment, decisions: int) -> None:
        """Decisions 10 ms apart; every second one gets a reward a second after the last."""
        rewards: list[Item] = []
        for _ in range(decisions):
            self._decisions += 1
            chance = random.Random(self._decisions)
            variants = experiment.catalogue()
            even = [1 / len(variants)] * len(variants)
            decision = Decision(
                experiment_id=experiment.id,
                version=self._versions[experiment.id],
                decision_id=f"d{self._decisions}",
                subject="",
                context={"age": chance.gauss(40, 12), "channel": chance.choice("xyz")},
                variants=variants,
                call_variants=False,
                distribution=even,
                policy_distribution=even,
                chosen=chance.randrange(len(variants)),
                arm=Arm.TREATMENT if chance.random() < 0.8 else Arm.CONTROL,
                source=Source.UNTRAINED,
                stage=Stage.RAMP,
                treatment_share=0.8,
                snapshot_id="",
            )
            self.now_us += 10_000
            record = encode_decision(decision, b"digest")
            self.log.append([NewDecision(decision, record, experiment.reward.window_us)])
            if self._decisions % 2 == 0:
                value = 1.0 if chance.random() < 0.2 + 0.3 * decision.chosen else 0.0
                rewards.append(NewReward(decision.decision_id, "", value, "", None))
        self.now_us += SECOND_US
        for reward in rewards:
            self.now_us += 1
            self.log.append([reward])

    def trainer(self, keep: int = 5) -> Trainer:
        return Trainer(self.log, SnapshotStore(self.path, keep=keep), clock_us=self.clock, watch=self.watch)

    def learn(self) -> None:
        """Learns all that has closed, and publishes it."""
        trainer = self.trainer()
        while trainer.step(lambda: False):
            pass
        trainer.finish()

    def snapshot(self, experiment_id: str, index: int = 0) -> Path:
        """The folder of a snapshot; the one that has come furthest by default."""
        return self.store.read(experiment_id, self.store.names(experiment_id)[index])[0]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    made = DataFolder(tmp_path / "data")
    yield made
    made.log.close()


@pytest.fixture
def shop(define: Callable[..., Experiment]) -> Callable[..., Experiment]:
    """An experiment that learns; a keyword replaces one key of its definition."""

    def made(**changes: object) -> Experiment:
        definition = {
            "signals": {"age": {"type": "number"}, "channel": {"type": "category"}},
            "reward": {"metric": "visit", "window": "10m", "learn": "on_reward", "default": "none"},
        }
        return define(**{**definition, **changes})

    return made
