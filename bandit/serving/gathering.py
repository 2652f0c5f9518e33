"""One answering at a time: what comes while one is under way is answered after it, in one go.

What comes meanwhile waits for the same thing anyway, the log or its sync, and together it costs one
transaction and one sync instead of many. A call that finds nothing under way is answered at once: letting it
wait a few milliseconds for others, however cleverly, brought no more calls a second side by side with this.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

TOGETHER_CALLS_MAX: Final = 64
"""So many are answered at once at most; other calls stand still meanwhile."""

Request = TypeVar("Request")
Reply = TypeVar("Reply")

Deliver = Callable[[Sequence[Reply | Exception]], None]
Answer = Callable[[Sequence[Request], Deliver[Reply]], None]
"""Answers requests: delivers a reply or an exception for each, in order, on the event loop, now or later."""


class Gather(Generic[Request, Reply]):
    """Single calls -> `answer`. Runs on one event loop."""

    def __init__(self, answer: Answer[Request, Reply], loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is under way."""
        self._answer = answer
        self._loop = loop
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self._under_way = False

    async def __call__(self, request: Request) -> Reply:
        """The reply to one request. Raises what was delivered for it."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append((request, future))
        if not self._under_way:
            self._answer_waiting()
        return await future

    def _answer_waiting(self) -> None:
        # Nothing is done for a caller that gave up meanwhile.
        waiting = [(request, future) for request, future in self._waiting if not future.done()]
        self._waiting = waiting[TOGETHER_CALLS_MAX:]
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
        _settle(futures, replies)
        self._under_way = False
        if self._waiting:
            # Not now: the loop has others to serve between two answerings.
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        # A call that came first has taken them along.
        if self._waiting and not self._under_way:
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
