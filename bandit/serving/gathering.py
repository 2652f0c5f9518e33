"""Calls that arrive close together are answered together.

A call that is answered alone finds every cache cold, pays for a transaction of its own and wakes a thread or
two; answered with seven others it costs half as much. So where a loop is busy, calls wait for each other: a
gathering ends as soon as so many have come as lately came together, and where that is one, at once. How many
that is can't be read off the calls in flight, since those not taken yet stand in the transport's queues; it
is learned from each gathering. It ends without them once the loop has had nothing to do: then no more are on
their way. A loop with time to spare answers each call at once.

One gathering is under way at a time: what comes meanwhile waits for the same thing anyway (the log, its
sync), and is better answered in one go afterwards.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

GATHER_SECONDS: Final = 0.012
"""How long a call waits for others at most, while the loop is at work to take them."""

LOOK_SECONDS: Final = 0.001
IDLE_SHARE: Final = 0.2
"""A loop whose thread was at work for less of a look's time than this has no more calls to take."""

AWAITED_CALLS_MAX: Final = 16
"""So many are waited for at most: with more a call costs hardly less, and clients stand still longer."""

TOGETHER_CALLS_MAX: Final = 64
"""So many are answered at once at most; other calls stand still meanwhile."""

BUSY_CALLS: Final = 128
BUSY_SHARE: Final = 0.3
"""If answering 128 calls at once kept the loop's thread at work for more than this share of the time, the
next ones wait for each other. A loop that shares its processor with a quick client is at work for little more
than half of it; and where they come from one client after all, one call in 128 waits for a look's time."""

EARLY_CALLS: Final = 0.25
"""So many more are waited for after a gathering that was complete in half the time."""

Request = TypeVar("Request")
Reply = TypeVar("Reply")

Deliver = Callable[[Sequence[Reply | Exception]], None]
Answer = Callable[[Sequence[Request], Deliver[Reply]], None]
"""Answers requests: delivers a reply or an exception for each, in order, on the event loop, now or later."""


class Gather(Generic[Request, Reply]):
    """Single calls -> `answer`. Runs on one event loop."""

    def __init__(
        self,
        answer: Answer[Request, Reply],
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """Begins with answering each call at once. `clock` and `work_clock` give seconds: those that pass,
        and those that the loop's thread has worked.
        """
        self._answer = answer
        self._loop = loop
        self._clock = clock
        self._work_clock = work_clock
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        # How many come together, as learned; below 2 nobody waits for others.
        self._together = 1.0
        # Of the gathering that is open: when it began, what ends it in time, and how many end it before.
        self._since = 0.0
        self._looked = 0.0, 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._enough = 1
        # It ended and only waits for the one under way.
        self._due = False
        self._under_way = False
        # Whether the last one ended without all that it waited for.
        self._gave_up = False
        self._single_calls = 0
        self._single_since = clock(), work_clock()

    def __call__(self, request: Request) -> "asyncio.Future[Reply]":
        """The reply to one request, or what was delivered for it; whoever cancels it has given up."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append((request, future))
        if self._due:
            pass
        elif self._timer is not None:
            if len(self._waiting) >= self._enough:
                self._complete(self._timer)
        elif self._together >= 2.0 or self._kept_busy():
            self._open(max(2, int(self._together)))
        else:
            self._end()
        return future

    def _kept_busy(self) -> bool:
        """Whether the loop has had no time to spare while calls were answered at once."""
        self._single_calls += 1
        if self._single_calls < BUSY_CALLS:
            return False
        self._single_calls = 0
        (since, worked), self._single_since = self._single_since, (self._clock(), self._work_clock())
        return self._single_since[1] - worked > BUSY_SHARE * (self._single_since[0] - since)

    def _open(self, enough: int) -> None:
        self._since = self._clock()
        self._enough = enough
        self._looked = self._since, self._work_clock()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Waits on while the loop is kept at work."""
        (since, worked), self._looked = self._looked, (self._clock(), self._work_clock())
        now, working = self._looked
        if now - self._since < GATHER_SECONDS and working - worked > IDLE_SHARE * (now - since):
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        else:
            self._give_up()

    def _complete(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._timer = None
        self._gave_up = False
        if self._together < 2.0:
            self._together = 2.0
        elif self._clock() - self._since < GATHER_SECONDS / 2:
            # More might have come in time; but where no more are to come, each try lets all of them wait.
            self._together = min(self._together + EARLY_CALLS, AWAITED_CALLS_MAX)
        self._end()

    def _give_up(self) -> None:
        self._timer = None
        came = len(self._waiting)
        if came == self._enough - 1:
            # One more was too many.
            self._together = float(came)
        elif self._gave_up:
            # Slowly, and not for a single one: in a crowd the numbers vary a lot, and to answer few costs
            # more than to wait.
            self._together += (came - self._together) / 4
        self._gave_up = True
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
            self._together = max(self._together, float(min(len(self._waiting), AWAITED_CALLS_MAX)))
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
