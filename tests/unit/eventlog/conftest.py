"""Logs under a clock that the test sets, and decisions to put into them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bandit.core.experiment import Experiment
from bandit.core.records import ORIGIN, Arm, Decision, JoinedEvent, Source, Stage, Variant
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.joined import read_joined
from bandit.eventlog.log import NewDecision, NewExperiment, NewReward, Tick
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
        opened.append(SqliteEventLog(**{"data_dir": tmp_path, "clock_us": clock, **options}))
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


@pytest.fixture
def every_kind(
    log: SqliteEventLog, clock: Clock, define: Callable[..., Experiment], decide: Callable[..., NewDecision]
) -> SqliteEventLog:
    """A log whose joined events differ in all that an event can differ in."""
    experiment = define(
        variants=[
            {"id": "a", "features": {"price": 1.5}},
            {"id": "b", "features": {"price": 0.0, "sale": True}},
            {"id": "c |x:1", "features": {"tags": ["new", "sale"], "kind": "a=b\nc"}},
        ],
        signals="open",
        reward={"metric": "visit", "window": "1s", "range": [0, 2], "aggregate": "sum", "default": 0.25},
        metrics={"spend": {"range": [0, 1000]}},
    )
    none = define(
        id="../odd\u00e9 id/=%", signals="open", reward={"metric": "visit", "window": "1s", "default": "none"}
    )
    odd_names = {"_multi": "x", "%y": 1e-9, "_label": -3.0, "tags": (), "tags+a": True, "|": "a:1 |b"}
    own = [
        Variant("v1", {"_tag": "q", "texts": ("b", "a", "b")}),
        Variant("v2", {"n": 1e300, "flag": False}),
    ]
    log.append(
        [
            NewExperiment(experiment, b"salt"),
            NewExperiment(none, b"pepper"),
            decide(experiment, "d1", context={"age": 31.0, "channel": "Web", "new": True, "l": ("y", "x")}),
            decide(experiment, "d2", context=odd_names, subject="s1", snapshot_id="snap"),
            decide(
                experiment,
                "d3",
                arm=Arm.CONTROL,
                source=Source.BASELINE,
                stage=Stage.RAMP,
                treatment_share=0.25,
                chosen=0,
                distribution=[1.0, 0.0, 0.0],
                policy_distribution=[0.1, 0.2, 0.7],
            ),
            decide(experiment, "d4", variants=own, call_variants=True, pdrop=0.5, chosen=0),
            decide(none, "n1", distribution=[0.1, 0.7, 0.2], subject="s2"),
            decide(none, "n2"),
        ]
    )
    clock.now_us += 1
    log.append(
        [
            NewReward("d1", "", 1.0, "", None),
            NewReward("d1", "spend", 12.5, "", None),
            NewReward("d2", "", 2.0, "r1", None),
            NewReward("d2", "", 1.0, "r2", None),
            NewReward("n1", "", 1.0, "", 5),
            NewReward("nobody", "", 1.0, "", None),
        ]
    )
    clock.now_us += 2_000_000
    log.append([NewReward("d3", "", 1.0, "", None), Tick()])
    return log


@pytest.fixture
def joined() -> Callable[[SqliteEventLog, str], list[JoinedEvent]]:
    """All joined events of an experiment, read a few at a time."""

    def read_all(log: SqliteEventLog, experiment_id: str) -> list[JoinedEvent]:
        found: list[JoinedEvent] = []
        _, before_us = log.head()
        while events := read_joined(
            log, experiment_id, found[-1].position if found else ORIGIN, before_us, 2
        ):
            found += events
        return found

    return read_all


@pytest.fixture(scope="session")
def plain() -> Callable[..., JoinedEvent]:
    """An event without what no other format keeps: payloads, versions, the catalogue, lists for tuples."""

    def without(event: JoinedEvent, **changes: Any) -> JoinedEvent:
        decision = event.decision
        variants = tuple(Variant(variant.id, dict(variant.features)) for variant in decision.variants)
        return event._replace(
            decision=decision._replace(
                **{
                    "variants": variants,
                    "version": 1,
                    "call_variants": True,
                    "distribution": list(decision.distribution),
                    "policy_distribution": list(decision.policy_distribution),
                    **changes,
                }
            ),
        )

    return without
