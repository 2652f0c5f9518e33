"""What callers see of a server with many experiments: phases of calls, beside those of another experiment."""

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import scale_world
import world

from bandit.v1 import bandit_pb2 as pb

SERVICE = "bandit.v1.BanditService"
OTHER_EVERY_SECONDS = 0.005
BURST = 64
PUBLISHED = 200
RETURNING = 300
LARGE_CALLS = 40
SETTLED_SECONDS_MAX = 60


@dataclass(slots=True)
class Phase:
    """What was waited for in a phase: `own` its own calls, `other` those of the other experiment."""

    own: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Counts and milliseconds."""
        return {"own": latencies(self.own), "other": latencies(self.other)}


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Count, and milliseconds."""
    if not seconds:
        return {"calls": 0}
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    found = {key: scale_world.percentile(seconds, share) * 1e3 for key, share in shares.items()}
    return {"calls": len(seconds), **found}


class Client:
    """Sends calls on one channel and times them."""

    def __init__(self, channel: "grpc.aio.Channel", rng: random.Random) -> None:
        self._choose: Any = channel.unary_unary(f"/{SERVICE}/Choose")  # type: ignore[call-arg]
        self._reward: Any = channel.unary_unary(f"/{SERVICE}/Reward")  # type: ignore[call-arg]
        self._other = scale_world.choose_bodies(scale_world.name(0), 200, rng)

    async def choose(self, body: bytes) -> tuple[float, pb.ChooseResponse]:
        """The seconds that a call took, and its reply."""
        sent = time.perf_counter()
        reply = await self._choose(body)
        return time.perf_counter() - sent, pb.ChooseResponse.FromString(reply)

    async def reward(self, decision_id: str, value: float) -> float:
        """The seconds that a call took."""
        sent = time.perf_counter()
        await self._reward(world.reward_body(decision_id, value))
        return time.perf_counter() - sent

    async def during(self, work: Callable[[Phase], Awaitable[None]]) -> dict[str, Any]:
        """What `work` puts into a phase, and what the other experiment's calls took meanwhile."""
        phase = Phase()
        working = asyncio.ensure_future(work(phase))
        pending: set[asyncio.Task[None]] = set()

        async def one(body: bytes) -> None:
            took, _ = await self.choose(body)
            phase.other.append(took)

        # On time whatever becomes of the calls before: who only sends after a reply never sees a stall twice.
        for body in itertools.cycle(self._other):
            if working.done():
                break
            task = asyncio.ensure_future(one(body))
            pending.add(task)
            task.add_done_callback(pending.discard)
            await asyncio.sleep(OTHER_EVERY_SECONDS)
        await working
        await asyncio.gather(*pending)
        return phase.summary()


async def play(
    server: world.Server, given: argparse.Namespace, parts: set[str], rng: random.Random
) -> dict[str, Any]:
    """Plays the `parts`: what each phase's calls took, and those of another experiment meanwhile."""
    found: dict[str, Any] = {}
    async with grpc.aio.insecure_channel(server.address) as channel:
        await channel.channel_ready()
        client = Client(channel, rng)

        async def phase(name: str, work: Callable[[Phase], Awaitable[None]]) -> None:
            used = world.cpu_seconds(server.pid)
            found[name] = await client.during(work)
            found[name]["cpu_s"] = world.cpu_seconds(server.pid) - used
            found[name]["pss_mib"] = sum(server.pss_mib().values())
            world.progress(f"{name}: {found[name]}")

        async def wait(phase: Phase) -> None:
            await asyncio.sleep(given.seconds)

        await _settled(server)
        # The first call of all loads what no later one must.
        await phase("warm-up", wait)
        await phase("quiet", wait)
        if "many" in parts:
            await _play_many(client, phase, given.experiments, rng)
        if "large" in parts:
            await _play_large(client, phase, rng)
    return {"phases": found}


async def _settled(server: world.Server) -> None:
    """Returns when the learner has looked at every experiment and the processes are idle."""
    for _ in range(SETTLED_SECONDS_MAX):
        used = world.cpu_seconds(server.pid)
        await asyncio.sleep(1.0)
        if world.cpu_seconds(server.pid) - used < 0.2:
            return
    world.progress("the server is still busy")


async def _play_many(client: Client, phase: Any, count: int, rng: random.Random) -> None:
    bodies = {
        index: scale_world.choose_bodies(scale_world.name(index), 1, rng)[0] for index in range(count - 1)
    }
    others = list(bodies)[1:]

    def each(indices: Iterable[int]) -> Callable[[Phase], Awaitable[None]]:
        async def work(phase: Phase) -> None:
            for index in indices:
                took, reply = await client.choose(bodies[index])
                phase.own.append(took)
                assert reply.snapshot_id, reply
                await asyncio.sleep(0.004)

        return work

    await phase("first use", each(others))
    await phase("returning use", each(others[:RETURNING]))
    await phase("in memory", each(others[:RETURNING][-PUBLISHED:]))

    async def burst(phase: Phase) -> None:
        for start in range(RETURNING, min(len(others), RETURNING + 5 * BURST) - BURST + 1, BURST):
            replies = await asyncio.gather(*(client.choose(bodies[i]) for i in others[start : start + BURST]))
            phase.own += [took for took, _ in replies]
            await asyncio.sleep(0.5)

    async def warm_burst(phase: Phase) -> None:
        for _ in range(5):
            replies = await asyncio.gather(*(client.choose(bodies[i]) for i in others[:BURST]))
            phase.own += [took for took, _ in replies]
            await asyncio.sleep(0.5)

    await phase("burst", burst)
    await phase("again", each(others[:PUBLISHED]))
    await phase("burst, in memory", warm_burst)

    async def publish(phase: Phase) -> None:
        for index in others[:PUBLISHED]:
            _, reply = await client.choose(bodies[index])
            phase.own.append(await client.reward(reply.decision_id, 1.0))
        # The learner loads, learns and publishes each of them, and the server takes them.
        await asyncio.sleep(10)

    await phase("published", publish)


async def _play_large(client: Client, phase: Any, rng: random.Random) -> None:
    variants, features = scale_world.LARGE_VARIANTS, scale_world.LARGE_FEATURES
    shapes = {
        f"{variants} variants": {"variants": variants, "features": features, "context": 10},
        f"{scale_world.LARGE_CONTEXT} entries": {
            "variants": 10,
            "features": 2,
            "context": scale_world.LARGE_CONTEXT,
        },
        "both": {"variants": variants, "features": features, "context": scale_world.LARGE_CONTEXT},
    }
    for name, shape in shapes.items():
        bodies = scale_world.large_bodies(20, rng, **shape)

        async def work(phase: Phase, bodies: Sequence[bytes] = bodies) -> None:
            await client.choose(bodies[0])
            for body in itertools.islice(itertools.cycle(bodies), LARGE_CALLS):
                took, reply = await client.choose(body)
                phase.own.append(took)
                assert reply.snapshot_id, reply
                # The others have caught up before the next one comes.
                await asyncio.sleep(max(0.05, 2.0 * took))

        await phase(name, work)
