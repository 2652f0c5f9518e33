"""Load on a gRPC server, from processes of their own, and what a round of it gave.

A generator sends bytes made beforehand and parses no reply. What is served is judged by the latencies of its
calls and by the CPU time of its processes.
"""

import asyncio
import gc
import itertools
import multiprocessing
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import grpc
import uvloop
import world

SERVICE = "bandit.v1.BanditService"
GRACE_SECONDS_MAX = 60.0
"""A round that takes so much longer than it should is given up, and with it everything."""

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # Else all channels to one address are one connection.
    ("grpc.use_local_subchannel_pool", 1),
)


class Target(NamedTuple):
    """Where something is served, and the process whose tree serves it."""

    address: str
    pid: int


@dataclass(frozen=True, slots=True)
class Load:
    """What one generator sends in one round: to where, how many at once, and for how long at most.

    The round ends early when `bodies` are used up, unless they may be sent `again`.
    """

    address: str
    method: str
    bodies: Sequence[bytes]
    in_flight: int
    seconds: float
    again: bool
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Round:
    """What one round gave. Latencies are a call's; the rate and the CPU time count items, a batch's each."""

    calls: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float = 0.0
    """CPU time an item of the processes that were called, all together."""


class Sent(NamedTuple):
    """What one generator saw: the seconds that each call waited, and how long all of it took."""

    waited: "array[float]"
    seconds: float


class Generators:
    """Processes that send. Made by `generators`."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        """One pipe to each."""
        self._pipes = pipes

    def play(self, load: Load, pid: int, *, items: int = 1, count: int = 1) -> Round:
        """One round of `count` generators, which share the bodies, channels and calls in flight.

        `items` are in each body. Raises RuntimeError if a call fails, or nothing comes to an end.
        """
        pipes = self._pipes[:count]
        before = world.cpu_seconds(pid)
        for index, pipe in enumerate(pipes):
            pipe.send(_share(load, index, len(pipes)))
        sent = [_received(pipe, load) for pipe in pipes]
        used = world.cpu_seconds(pid) - before
        measured = _round(sent, items)
        return replace(measured, cpu_us=used / (measured.calls * items) * 1e6)


def _share(load: Load, index: int, count: int) -> Load:
    return replace(
        load,
        bodies=load.bodies[index::count],
        in_flight=max(1, load.in_flight // count),
        channels=max(1, load.channels // count),
    )


def _received(pipe: Connection, load: Load) -> Sent:
    if not pipe.poll(load.seconds + GRACE_SECONDS_MAX):
        raise RuntimeError(f"{load.method}: a round of {load.seconds:g} s did not end")
    received = pipe.recv()
    if isinstance(received, str):
        raise RuntimeError(received)
    return Sent(*received)


def _round(sent: Sequence[Sent], items: int) -> Round:
    waited = sorted(itertools.chain.from_iterable(one.waited for one in sent))
    size = len(waited)
    if not size:
        raise RuntimeError("a round had nothing to send")
    rate = size * items / max(one.seconds for one in sent)
    return Round(size, rate, waited[size // 2] * 1e3, waited[size * 99 // 100] * 1e3)


@contextmanager
def child(run: Callable[..., None], *arguments: object) -> Iterator[tuple[Connection, int]]:
    """A process that calls `run` with its end of a pipe, and is ended with the block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=run, args=(there, *arguments))
    process.start()
    there.close()
    try:
        assert process.pid is not None
        yield here, process.pid
    finally:
        process.terminate()
        process.join()


@contextmanager
def generators(count: int = 1) -> Iterator[Generators]:
    """So many generators, ended with the block."""
    with ExitStack() as stack:
        yield Generators([stack.enter_context(child(_generate))[0] for _ in range(count)])


def _generate(pipe: Connection) -> None:
    while True:
        load: Load = pipe.recv()
        try:
            pipe.send(tuple(uvloop.run(_send(load))))
        except Exception as error:
            pipe.send(f"{load.method}: {error!r}")


async def _send(load: Load) -> Sent:
    waited = array("d")
    bodies = itertools.cycle(load.bodies) if load.again else iter(load.bodies)
    clock = time.perf_counter
    async with _channels(load) as calls:
        gc.collect()
        begun = clock()
        until = begun + load.seconds

        async def one_after_another(call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]") -> None:
            for body in bodies:
                sent = clock()
                if sent >= until:
                    return
                await call(body)
                waited.append(clock() - sent)

        await asyncio.gather(*(one_after_another(calls[at % len(calls)]) for at in range(load.in_flight)))
        return Sent(waited, clock() - begun)


@asynccontextmanager
async def _channels(load: Load) -> AsyncIterator[list[Any]]:
    """The method's call on each of so many channels, which are ready, and closed with the block."""
    async with AsyncExitStack() as stack:
        calls = []
        for _ in range(load.channels):
            channel = grpc.aio.insecure_channel(load.address, options=CHANNEL_OPTIONS)
            await stack.enter_async_context(channel)
            await channel.channel_ready()
            calls.append(channel.unary_unary(f"/{SERVICE}/{load.method}"))
        yield calls
