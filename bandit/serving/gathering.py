"""Calls that arrive close together are answered together.

A call that is answered alone finds every cache cold, pays for a transaction of its own and wakes a thread or
two; answered with ten others it costs half as much. So calls wait for each other, as long as it pays: a
gathering ends as soon as so many have come as lately came together, and where that is one, at once. How many
that is can't be read off the calls in flight, since those not taken yet stand in the transport's queues; it
is learned from each gathering, and while calls are answered at once, now and then one looks for others.

One gathering is under way at a time: what comes meanwhile waits for the same thing anyway (the log, its
sync), and is better answered in one go afterwards.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

GATHER_SECONDS: Final = 0.003
"""How long a call waits for others at most."""

TOGETHER_CALLS_MAX: Final = 64
"""So many are answered at once at most; other calls stand still meanwhile."""

LOOK_CALLS: Final = 256
LOOK_SECONDS: Final = 0.3
"""While calls are answered at once, every 256th looks for others, if the last 256 came within this time."""

EARLY_CALLS: Final = 0.25
"""So many more are waited for after a gathering that was complete in half the time."""

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
        # How many come together, as learned; below 2 nobody waits for others.
        self._together = 1.0
        # Of the gathering that is open: when it began, what ends it in time, and how many end it before.
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._enough = TOGETHER_CALLS_MAX
        # It ended and only waits for the one under way.
        self._due = False
        self._under_way = False
        self._single_calls = 0
        self._single_since = 0.0

    async def __call__(self, request: Request) -> Reply:
        """The reply to one request. Raises what was delivered for it."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append((request, future))
        if self._due:
            pass
        elif self._timer is not None:
            if len(self._waiting) >= self._enough:
                self._complete(self._timer)
        elif self._together >= 2.0:
            self._open(int(self._together))
        elif self._worth_a_look():
            self._open(TOGETHER_CALLS_MAX)
        else:
            self._end()
        return await future

    def _worth_a_look(self) -> bool:
        """Whether calls that are answered at once come so fast that some might come together."""
        self._single_calls += 1
        if self._single_calls < LOOK_CALLS:
            return False
        self._single_calls = 0
        since, self._single_since = self._single_since, self._loop.time()
        return self._single_since - since <= LOOK_SECONDS

    def _open(self, enough: int) -> None:
        self._since = self._loop.time()
        self._enough = enough
        self._timer = self._loop.call_later(GATHER_SECONDS, self._time_out)

    def _complete(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._timer = None
        if self._loop.time() - self._since < GATHER_SECONDS / 2:
            # More might have come in time; but where no more are to come, each try lets all of them wait.
            self._together = min(self._together + EARLY_CALLS, TOGETHER_CALLS_MAX)
        self._end()

    def _time_out(self) -> None:
        self._timer = None
        came = len(self._waiting)
        if self._together < 2.0 or came == self._enough - 1:
            # What a look saw, or that one more was too many.
            self._together = float(came)
        else:
            # Slowly: in a crowd the numbers vary a lot, and to answer few costs more than to wait.
            self._together += (came - self._together) / 4
        self._end()

    def _end(self) -> None:
        if self._under_way:
            self._due = True
        else:
            self._answer_waiting()

    def _answer_waiting(self) -> None:
        # Nothing is done for a caller that gave up meanwhile.
        waiting = [(request, future) for request, future in self._waiting if not future.done()]
        self._waiting = waiting[TOGETHER_CALLS_MAX:]
        self._due = bool(self._waiting)
        del waiting[TOGETHER_CALLS_MAX:]
        futures = [future for _, future in waiting]
        self._under_way = True
        try:
            self._answer([request for request, _ in waiting], partial(self._delivered, futures))
        except Exception as error:
            self._delivered(futures, [error] * len(futures))

    def _delivered(
        self, futures: Sequence["asyncio.Future[Reply]"], replies: Sequence[Reply | Exception]
    ) -> None:
        self._under_way = False
        _settle(futures, replies)
        if self._due:
            # They came while one was under way, so they do come together.
            self._together = max(self._together, float(min(len(self._waiting), TOGETHER_CALLS_MAX)))
            self._loop.call_soon(self._answer_due)

    def _answer_due(self) -> None:
        if self._due and not self._under_way:
            self._answer_waiting()


def _settle(futures: Sequence[asyncio.Future[Reply]], replies: Sequence[Reply | Exception]) -> None:
    for future, reply in zip(futures, replies, strict=True):
        # A caller that gave up has cancelled its future; its event is in the log all the same.
        if future.done():
            continue
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
