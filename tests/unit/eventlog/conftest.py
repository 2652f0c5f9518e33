"""Logs under a clock that the test sets, and decisions to put into them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bandit.core.experiment import Experiment
from bandit.core.records import Arm, Decision, Source, Stage
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.log import NewDecision, NewReward
from bandit.eventlog.sqlite import SqliteEventLog


class Clock:
    """A wall clock that goes only where the test sets it, backwards too."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_log(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., SqliteEventLog]]:
    """Opens the test's log once more; keywords go to SqliteEventLog."""
    opened: list[SqliteEventLog] = []

    def open_one(**options: Any) -> SqliteEventLog:
        opened.append(SqliteEventLog(tmp_path, **{"clock_us": clock, **options}))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def log(open_log: Callable[..., SqliteEventLog]) -> SqliteEventLog:
    return open_log()


@pytest.fixture(scope="session")
def decide() -> Callable[..., NewDecision]:
    """A decision of an experiment's version 1 that serves its second variant."""

    def decided(experiment: Experiment, decision_id: str, **changes: Any) -> NewDecision:
        variants = changes.pop("variants", experiment.catalogue())
        digest = changes.pop("digest", b"digest")
        fields: dict[str, Any] = {
            "experiment_id": experiment.id,
            "version": 1,
            "decision_id": decision_id,
            "subject": "",
            "context": {},
            "variants": variants,
            "call_variants": False,
            "distribution": [1.0 / len(variants)] * len(variants),
            "policy_distribution": [1.0 / len(variants)] * len(variants),
            "chosen": min(1, len(variants) - 1),
            "arm": Arm.TREATMENT,
            "source": Source.UNTRAINED,
            "stage": Stage.FULL,
            "treatment_share": 1.0,
            "snapshot_id": "",
        }
        decision = Decision(**{**fields, **changes})
        return NewDecision(decision, encode_decision(decision, digest), experiment.reward.window_us)

    return decided


@pytest.fixture(scope="session")
def reward() -> Callable[..., NewReward]:
    """A reward of 1 for the primary metric, without an id."""

    def rewarded(decision_id: str, value: float = 1.0, metric: str = "", reward_id: str = "") -> NewReward:
        return NewReward(decision_id, metric, value, reward_id, None)

    return rewarded
