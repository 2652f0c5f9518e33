"""What `serving` measures, by group. Each has servers and a floor of its own, on copies of one log."""

import importlib.util
import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import inprocess
import served
import world
from floor import process, run_floor
from load import Target
from ratios import P50, P50_MORE, P99, Contender, Rounds, alone, compared, cpu, rate
from serving_calls import (
    BATCH,
    IN_FLIGHT,
    Run,
    alternate,
    calls,
    reward_batches,
)

from bandit.v1 import bandit_pb2 as pb

BATCH_BODIES = 50
BATCHES_IN_FLIGHT = 4
CHANNELS = 8
"""The kernel gives each connection to a worker by its hash: several, so that both workers get some."""

GENERATORS = 2
"""For two workers: more than one, so that they are limited by no single sender."""

REWARD_REPLY = pb.RewardResponse(status=pb.REWARD_STATUS_RECORDED)
NATIVE_PACKAGE = "pygrpc_native"


@dataclass(slots=True)
class Found:
    """What a group found: comparisons for the table, notes under it, and what is known of processes."""

    comparisons: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    processes: dict[str, Any] = field(default_factory=dict)


def singles(run: Run, methods: Sequence[str]) -> Found:
    """Choose and Reward, each call on its own, against the floor; cold start and memory beside them."""
    filled = served.copied(run.filled, run.folder / "singles")
    ids = iter(filled.decision_ids)
    found = Found()
    ready = []
    for _ in range(run.starts):
        with world.server(filled.data_dir, filled.experiments) as server:
            ready.append(server.ready_s)
    with served.learned(filled, run.bodies[0]) as server, _floor(run, server) as floor:
        targets = {"floor": floor, "service": served.target(server)}
        for method, in_flight in itertools.product(methods, IN_FLIGHT):
            rounds = alternate(run, calls(run, method, in_flight, targets, ids))
            found.comparisons.append(_beside(method, in_flight, rounds, "service", "floor"))
        memory = list(server.pss_mib().values())
    found.processes = {"cold_start_s": ready, "pss_mib": sum(memory), "pss_mib_by_process": memory}
    return found


def batches(run: Run) -> Found:
    """ChooseBatch and RewardBatch against the floor, and against single calls of the same service."""
    filled = served.copied(run.filled, run.folder / "batches")
    ids = iter(filled.decision_ids)
    found = Found()
    chooses = [world.choose_batch_body(run.rng, BATCH) for _ in range(BATCH_BODIES)]
    rewards = world.reward_batch_body((each, 1.0) for each in itertools.islice(ids, BATCH))
    with (
        served.learned(filled, run.bodies[0]) as server,
        process(run_floor, _batch_sizes(server, chooses[0], rewards)) as floor,
    ):
        service = served.target(server)
        for method, items, bodies in (
            ("Choose", "decisions", [chooses] * (run.rounds + 1)),
            ("Reward", "rewards", reward_batches(run, ids)),
        ):
            batch = Contender(
                name="service",
                target=service,
                method=f"{method}Batch",
                bodies=bodies,
                in_flight=BATCHES_IN_FLIGHT,
                items=BATCH,
                again=method == "Choose",
            )
            (single,) = calls(run, method, max(IN_FLIGHT), {f"single {method}s": service}, ids)
            rounds = alternate(run, [replace(batch, name="floor", target=floor, again=True), batch, single])
            title = f"{batch.method} of {BATCH}, {BATCHES_IN_FLIGHT} in flight"
            per_second, cost = rate(items), cpu(items.removesuffix("s"))
            measures = (per_second, P50, P99, cost)
            found.comparisons.append(compared(title, rounds, "service", "floor", measures))
            found.comparisons.append(compared(title, rounds, "service", single.name, (per_second, cost)))
    return found


def native(run: Run) -> Found:
    """The native transport against grpcio's floor, and against the service on grpcio."""
    if importlib.util.find_spec(NATIVE_PACKAGE) is None:
        return Found(notes=[f"native transport: left out, {NATIVE_PACKAGE} is not installed"])
    filled = served.copied(run.filled, run.folder / "grpcio")
    same = served.copied(run.filled, run.folder / "native")
    ids = iter(filled.decision_ids)
    found = Found()
    with (
        served.learned(filled, run.bodies[0]) as server,
        served.learned(same, run.bodies[0], ("--transport", "native")) as other,
        _floor(run, server) as floor,
    ):
        targets = {"floor": floor, "native": served.target(other), "service": served.target(server)}
        for method, in_flight in (*(("Choose", each) for each in IN_FLIGHT), ("Reward", max(IN_FLIGHT))):
            rounds = alternate(run, calls(run, method, in_flight, targets, ids))
            for name in ("floor", "service"):
                found.comparisons.append(_beside(method, in_flight, rounds, "native", name))
    return found


def workers(run: Run) -> Found:
    """Two workers over one, both called on several connections by more than one generator."""
    filled = served.copied(run.filled, run.folder / "one")
    same = served.copied(run.filled, run.folder / "two")
    found = Found()
    with (
        served.learned(filled, run.bodies[0]) as server,
        served.learned(same, run.bodies[0], ("--workers", "2"), CHANNELS) as other,
    ):
        targets = {"one worker": served.target(server), "two workers": served.target(other)}
        contenders = [
            replace(each, channels=CHANNELS, generators=GENERATORS)
            for each in calls(run, "Choose", max(IN_FLIGHT), targets, iter(()))
        ]
        rounds = alternate(run, contenders)
        title = f"Choose, {max(IN_FLIGHT)} on {CHANNELS} channels"
        measures = (rate("requests"), P50, P99, cpu("request"))
        found.comparisons.append(compared(title, rounds, "two workers", "one worker", measures))
    return found


def local(run: Run) -> Found:
    """LocalBandit.choose in this process."""
    with inprocess.local(run.filled.experiments, run.rng.randrange(1 << 30)) as play:
        times = [play(run.seconds) for _ in range(run.rounds)]
    return Found([alone("LocalBandit.choose", "in process", "median us", times)])


def _beside(method: str, in_flight: int, rounds: Rounds, name: str, beside: str) -> dict[str, Any]:
    measures = (rate("requests"), P50, *([P50_MORE] if in_flight == 1 else []), P99, cpu("request"))
    return compared(f"{method}, {in_flight} in flight", rounds, name, beside, measures)


def _floor(run: Run, server: world.Server) -> AbstractContextManager[Target]:
    """The floor of single calls, with replies as large as the service's."""
    reply = served.call(server.address, "Choose", run.bodies[0])
    return process(run_floor, {"Choose": len(reply), "Reward": REWARD_REPLY.ByteSize()})


def _batch_sizes(server: world.Server, chooses: bytes, rewards: bytes) -> dict[str, int]:
    """The sizes of the replies to batches. Fails if anything in them was refused."""
    chosen = served.call(server.address, "ChooseBatch", chooses)
    results = pb.ChooseBatchResponse.FromString(chosen).results
    assert len(results) == BATCH, len(results)
    assert all(each.HasField("response") for each in results), "a Choose of a batch was refused"
    recorded = served.call(server.address, "RewardBatch", rewards)
    expected = pb.RewardBatchResponse(results=[pb.RewardResult(response=REWARD_REPLY)] * BATCH)
    assert pb.RewardBatchResponse.FromString(recorded) == expected, "a Reward of a batch was not recorded"
    return {"ChooseBatch": len(chosen), "RewardBatch": len(recorded)}
