"""Load on a gRPC server, from processes of their own, and what a round of it gave.

A generator sends bytes made beforehand and parses no reply, so that it takes little of the cores that the
server needs. What is served is judged by the latencies of its calls and by the CPU time of its processes.
"""

import gc
import itertools
import multiprocessing
import select
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

import world
from wire import Connection, message

SERVICE = "bandit.v1.BanditService"
GRACE_SECONDS_MAX = 60.0
"""A round that takes so much longer than it should is given up, and with it everything."""


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

    def __init__(self, pipes: Sequence[Pipe]) -> None:
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


def _received(pipe: Pipe, load: Load) -> Sent:
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
def child(run: Callable[..., None], *arguments: object) -> Iterator[tuple[Pipe, int]]:
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


def _generate(pipe: Pipe) -> None:
    while True:
        load: Load = pipe.recv()
        try:
            pipe.send(tuple(_send(load)))
        except Exception as error:
            pipe.send(f"{load.method}: {error!r}")


def _send(load: Load) -> Sent:
    messages = [message(body) for body in load.bodies]
    left = itertools.cycle(messages) if load.again else iter(messages)
    waited = array("d")
    clock = time.perf_counter
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        connections = [stack.enter_context(closing(each)) for each in _connections(load, poll)]
        by_number = {each.fileno(): each for each in connections}
        gc.collect()
        begun = clock()
        until = begun + load.seconds
        under_way = 0
        for at, body in zip(range(load.in_flight), left, strict=False):
            connections[at % len(connections)].start(body)
            under_way += 1
        for connection in connections:
            connection.flush()
        while under_way:
            for number, _ in poll.poll():
                connection = by_number[number]
                ended = connection.receive()
                waited.extend(ended)
                under_way -= len(ended)
                # Each call is followed by another one on its connection, and all of them go out at once.
                if clock() < until:
                    for body in itertools.islice(left, len(ended)):
                        connection.start(body)
                        under_way += 1
                connection.flush()
        return Sent(waited, clock() - begun)


def _connections(load: Load, poll: select.epoll) -> Iterator[Connection]:
    """So many channels. Each has its share of the calls in flight."""
    calls_max = -(-load.in_flight // load.channels)
    for _ in range(load.channels):
        yield Connection(load.address, f"/{SERVICE}/{load.method}", calls_max, poll)
