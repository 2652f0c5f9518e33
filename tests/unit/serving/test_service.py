"""Choose and Reward on a log that can't be written, and what is counted of them."""

import asyncio
from pathlib import Path

import pytest

from bandit.core.choose import View
from bandit.core.errors import Reason, Refused
from bandit.core.experiment import Experiment
from bandit.eventlog.log import Definition, LogUnwritable, NewDecision, NewReward
from bandit.serving.metrics import Metrics
from bandit.serving.models import Models
from bandit.serving.service import Service
from bandit.serving.views import Views
from bandit.snapshots.store import SnapshotStore
from bandit.v1 import bandit_pb2 as pb


def service_on(result: object, folder: Path, on_log_failure: str) -> Service:
    """A service whose log answers everything with `result`."""
    experiment = Experiment.model_validate(
        {
            "id": "mail",
            "owner": "growth@shop.example",
            "variants": [{"id": "a"}, {"id": "b", "payload": {"n": 1}}, {"id": "c"}],
            "baseline": "b",
            "reward": {"metric": "visit"},
            "on_log_failure": on_log_failure,
        }
    )
    views = Views()
    views.take([Definition(experiment, 1, b"salt", 1)])

    def append(item: NewDecision | NewReward, durable: bool) -> "asyncio.Future[object]":
        assert durable is isinstance(item, NewReward)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result(result)
        return future

    metrics = Metrics(lambda _: frozenset(variant.id for variant in View.of(experiment, 1, b"").catalogue))
    models = Models(SnapshotStore(folder, keep=1))
    return Service(views=views, models=models, append=append, key=b"key", metrics=metrics)


async def chosen(service: Service) -> pb.ChooseResponse:
    return await service.choose(pb.ChooseRequest(experiment_id="mail"))


def test_without_its_log_a_choice_is_the_baseline_and_says_so(tmp_path: Path) -> None:
    async def call() -> pb.ChooseResponse:
        return await chosen(service_on(LogUnwritable("no space"), tmp_path, "baseline"))

    response = asyncio.run(call())
    assert (response.variant_id, response.propensity, response.payload_json) == ("b", 1, '{"n":1}')
    assert [(e.variant_id, e.probability) for e in response.distribution] == [("a", 0), ("b", 1), ("c", 0)]
    assert (response.source, response.arm) == (pb.DECISION_SOURCE_FALLBACK, pb.ARM_CONTROL)
    assert response.snapshot_id == ""


def test_an_experiment_may_rather_fail_than_go_unlogged(tmp_path: Path) -> None:
    async def call() -> list[pb.ChooseResponse | Refused]:
        service = service_on(LogUnwritable("no space"), tmp_path, "fail")
        with pytest.raises(Refused) as refused:
            await chosen(service)
        assert refused.value.reason is Reason.LOG_UNWRITABLE
        return await service.choose_batch([pb.ChooseRequest(experiment_id=name) for name in ("mail", "no")])

    reasons = [result.reason for result in asyncio.run(call()) if isinstance(result, Refused)]
    assert reasons == [Reason.LOG_UNWRITABLE, Reason.UNKNOWN_EXPERIMENT]


def test_a_reward_that_can_not_be_stored_is_never_acknowledged(tmp_path: Path) -> None:
    async def call() -> None:
        service = service_on(LogUnwritable("no space"), tmp_path, "baseline")
        with pytest.raises(Refused) as refused:
            await service.reward(pb.RewardRequest(decision_id="d", value=1))
        assert refused.value.reason is Reason.LOG_UNWRITABLE

    asyncio.run(call())
