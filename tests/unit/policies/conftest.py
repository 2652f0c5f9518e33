"""Events to learn from, made from a seed."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from bandit.core.records import (
    Arm,
    Decision,
    Features,
    JoinedEvent,
    Outcome,
    Position,
    Source,
    Stage,
    Variant,
)
from bandit.policies.model import ModelSpec

Happened = Callable[..., JoinedEvent]
Numbers = np.ndarray

ORACLES = ("auto", "vw")

SIGNALS = {
    "recency": {"type": "number", "range": [0, 12]},
    "channel": {"type": "category", "values": ["Web", "Phone"]},
    "newbie": {"type": "flag"},
    "tags": {"type": "categories"},
}


@pytest.fixture(scope="session")
def happened() -> Happened:
    """Makes the joined event of one decision."""

    def event(
        context: Features,
        variants: Sequence[Variant],
        chosen: int,
        reward: float | None,
        *,
        arm: Arm = Arm.TREATMENT,
        seq: int = 1,
    ) -> JoinedEvent:
        even = [1.0 / len(variants)] * len(variants)
        decision = Decision(
            experiment_id="front-page",
            version=1,
            decision_id=f"d{seq}",
            subject="",
            context=context,
            variants=variants,
            call_variants=False,
            distribution=even,
            policy_distribution=even,
            chosen=chosen,
            arm=arm,
            source=Source.LEARNED,
            stage=Stage.FULL,
            treatment_share=1.0,
            snapshot_id="s1",
        )
        outcome = Outcome.UNREWARDED if reward is None else Outcome.REWARDED
        return JoinedEvent(Position(seq, seq), seq, decision, outcome, reward, False, {})

    return event


@pytest.fixture
def rng() -> random.Random:
    """Chance with a seed that stands in the output of a failing test."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture(scope="session")
def first_written() -> Callable[[Numbers], Numbers]:
    """Regressions' array as the first files held it: all in double precision, all weights before all
    covariances.
    """

    def doubles(array: Numbers) -> Numbers:
        head = array[:48].view(np.float64)
        rows, size = int(head[0]), int(head[1])
        at, learned = np.split(array[48:], [8 * rows])
        each = learned.view(np.float32).reshape(2, rows, -1)
        half = size * (size + 1) // 2
        weights, covariances = each[:, :, half:].reshape(-1), each[:, :, :half].reshape(-1)
        return np.concatenate([head, at.view(np.float64), weights, covariances])

    return doubles


@pytest.fixture(params=ORACLES)
def spec(define, request) -> ModelSpec:
    """The spec of a small experiment with one signal of each type, by oracle."""
    return ModelSpec.of(define(signals=SIGNALS, policy={"oracle": request.param}))


@pytest.fixture
def auto(define) -> ModelSpec:
    """That of the default: several oracles side by side."""
    return ModelSpec.of(define(signals=SIGNALS))


@pytest.fixture
def plain(define) -> ModelSpec:
    """That of one Vowpal Wabbit regression alone."""
    return ModelSpec.of(define(signals=SIGNALS, policy={"oracle": "vw"}))
