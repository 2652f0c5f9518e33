"""Calls that arrive close together are answered together.

A call that is answered alone finds every cache cold, pays for a transaction of its own and wakes a thread or
two; answered with ten others it costs half as much. So calls wait for each other, as long as it pays: a
gathering is answered as soon as so many have come as lately came together, and where that is one, at once.
How many that is can't be read off the calls in flight, since those not taken yet stand in the transport's
queues; so some gatherings wait longer, to see how many come.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

GATHER_SECONDS: Final = 0.003
"""How long a call waits for others at most."""

TOGETHER_CALLS_MAX: Final = 64
"""So many are answered at once at most; other calls stand still meanwhile."""

LOOK_GATHERINGS: Final = 64
"""Every 64th gathering waits its time out, to see how many come."""

LOOK_CALLS: Final = 256
LOOK_SECONDS: Final = 0.3
"""While calls are answered at once, every 256th looks for others, if the last 256 came within this time."""

Request = TypeVar("Request")
Reply = TypeVar("Reply")

Deliver = Callable[[Sequence[Reply | Exception]], None]
Answer = Callable[[Sequence[Request], Deliver[Reply]], None]
"""Answers requests: delivers a reply or an exception for each, in order, on the event loop, now or later."""


class Gather(Generic[Request, Reply]):
    """Single calls -> `answer`. Runs on one event loop."""

    def __init__(self, answer: Answer[Request, Reply], loop: asyncio.AbstractEventLoop) -> None:
        """Begins with answering each call at once."""
        self._answer = answer
        self._loop = loop
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 1
        # Of the gathering under way: whether it is to see how many come, and how many end it before its time.
        self._looks = False
        self._enough = TOGETHER_CALLS_MAX
        self._gatherings = 0
        self._single_calls = 0
        self._single_since = 0.0

    async def __call__(self, request: Request) -> Reply:
        """The reply to one request. Raises what was delivered for it."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append((request, future))
        if self._timer is not None:
            if len(self._waiting) >= self._enough:
                self._timer.cancel()
                self._end()
        elif self._expected > 1 or self._worth_a_look():
            self._begin()
        else:
            self._answer_waiting()
        return await future

    def _worth_a_look(self) -> bool:
        """Whether calls that are answered at once come so fast that some might come together."""
        self._single_calls += 1
        if self._single_calls < LOOK_CALLS:
            return False
        self._single_calls = 0
        since, self._single_since = self._single_since, self._loop.time()
        return self._single_since - since <= LOOK_SECONDS

    def _begin(self) -> None:
        self._gatherings += 1
        self._looks = self._expected == 1 or self._gatherings % LOOK_GATHERINGS == 0
        self._enough = TOGETHER_CALLS_MAX if self._looks else self._expected
        self._timer = self._loop.call_later(GATHER_SECONDS, self._end)

    def _end(self) -> None:
        self._timer = None
        came = len(self._waiting)
        if self._looks:
            self._expected = came
        elif came < self._expected:
            # Slowly: in a crowd the numbers vary a lot, and to answer few costs more than to wait.
            self._expected -= max(1, (self._expected - came) // 4)
        self._answer_waiting()

    def _answer_waiting(self) -> None:
        # Nothing is done for a caller that gave up meanwhile.
        waiting = [(request, future) for request, future in self._waiting if not future.done()]
        self._waiting = []
        futures = [future for _, future in waiting]
        try:
            self._answer([request for request, _ in waiting], partial(_settle, futures))
        except Exception as error:
            _settle(futures, [error] * len(futures))


def _settle(futures: Sequence[asyncio.Future[Reply]], replies: Sequence[Reply | Exception]) -> None:
    for future, reply in zip(futures, replies, strict=True):
        # A caller that gave up has cancelled its future; its event is in the log all the same.
        if future.done():
            continue
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
