"""Single calls gathered: on a real loop where only results matter, on a made one where its clock does."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from bandit.serving.gathering import (
    AWAITED_CALLS_MAX,
    BUSY_CALLS,
    GATHER_SECONDS,
    IDLE_SHARE,
    LOOK_SECONDS,
    TOGETHER_CALLS_MAX,
    Deliver,
    Gather,
)


class Answers:
    """Answers a request with itself, or as `answer` says; keeps which were answered in one go."""

    def __init__(self) -> None:
        self.together: list[list[int]] = []
        self.answer: Callable[[Sequence[int], Deliver[int]], None] = lambda asked, deliver: deliver(asked)

    def __call__(self, requests: Sequence[int], deliver: Deliver[int]) -> None:
        self.together.append(list(requests))
        self.answer(requests, deliver)


class Timer:
    """A call that the made loop is to make at a time."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class MadeLoop:
    """A loop whose clock goes on when the test says so. Calls begin at once and end when it is asked."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.worked = 10.0
        self.timers: list[Timer] = []
        self.soon: list[Callable[[], None]] = []
        # Runs callbacks of futures; nothing waits on it.
        self._real = asyncio.new_event_loop()

    def create_future(self) -> "asyncio.Future[Any]":
        return self._real.create_future()

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> Timer:
        timer = Timer(self.now + delay, lambda: call(*args))
        self.timers.append(timer)
        return timer

    def call_soon(self, call: Callable[..., None], *args: Any) -> None:
        self.soon.append(lambda: call(*args))

    def turn(self) -> None:
        """What was to be called soon is called."""
        soon, self.soon = self.soon, []
        for call in soon:
            call()

    def pass_seconds(self, seconds: float, *, busy: float = 0.0) -> None:
        """Time passes, for so much of which the loop is at work."""
        end = self.now + seconds
        while self.now < end:
            step = min(LOOK_SECONDS / 10, end - self.now)
            self.now += step
            self.worked += step * busy
            due = [timer for timer in self.timers if timer.when <= self.now]
            self.timers = [timer for timer in self.timers if timer.when > self.now]
            for timer in due:
                if not timer.cancelled:
                    timer.call()

    def close(self) -> None:
        self._real.close()


class Crowd:
    """A gather on a made loop, and its calls: what `call` gives is asked for the result later."""

    def __init__(self, loop: MadeLoop) -> None:
        self.loop = loop
        self.answers = Answers()
        made: Any = loop
        self.gather: Gather[int, int] = Gather(
            self.answers, made, clock=lambda: loop.now, work_clock=lambda: loop.worked
        )

    def call(self, request: int) -> "asyncio.Future[int] | None":
        """Begins a call: what it waits for, or None if it was answered at once."""
        reply = self.gather(request)
        if not reply.done():
            return reply
        assert reply.result() == request
        return None

    def come(self, count: int, start: int = 0) -> "list[asyncio.Future[int] | None]":
        return [self.call(start + number) for number in range(count)]

    def keep_busy(self, share: float) -> None:
        """Calls that are answered at once and, as many as are looked at, keep the loop at work."""
        for number in range(BUSY_CALLS - 1):
            self.loop.now += 0.001
            self.loop.worked += 0.001 * share
            assert self.call(number) is None

    def gathered(self, count: int) -> None:
        """A busy loop on which so many have come together, as it has learned."""
        self.keep_busy(1.0)
        size = 0
        while size < min(count, AWAITED_CALLS_MAX):
            size = 0
            while not size or self.waiting():
                self.call(size)
                size += 1
        # What is left of the growth to the next one is undone.
        self.gather._together = float(count)

    def waiting(self) -> bool:
        return any(not timer.cancelled for timer in self.loop.timers)

    def last(self) -> list[int]:
        """The requests that were answered together last."""
        return self.answers.together[-1]


@pytest.fixture
def crowd() -> Any:
    loop = MadeLoop()
    made = Crowd(loop)
    yield made
    loop.close()


def on_loop(test: Callable[[Gather[int, int], Answers], Coroutine[Any, Any, None]]) -> None:
    """Runs a test on a real loop with a gather of its own."""

    async def run() -> None:
        answers = Answers()
        await test(Gather(answers, asyncio.get_running_loop()), answers)

    asyncio.run(run())


def gathered(gather: Gather[int, int], calls: int) -> "list[asyncio.Future[int]]":
    """Calls that came together into one gathering."""
    return [gather(number) for number in range(calls)]


def waits_for_others(gather: Gather[int, int], calls: int) -> None:
    """From now on so many calls are enough."""
    gather._together = float(calls)


def test_a_loop_with_time_to_spare_answers_each_call_at_once(crowd: Crowd) -> None:
    for _ in range(5):
        crowd.keep_busy(0.25)
        assert crowd.call(0) is None
    assert not crowd.waiting()
    assert all(len(together) == 1 for together in crowd.answers.together)


def test_calls_wait_for_each_other_once_the_loop_has_been_busy(crowd: Crowd) -> None:
    # A loop that shares its processor with a quick client is at work for little more than half of it.
    crowd.keep_busy(0.5)
    wait = crowd.call(1)
    assert wait is not None
    assert not wait.done()
    crowd.call(2)
    assert wait.result() == 1
    assert crowd.last() == [1, 2]


def test_a_call_that_waited_in_vain_lets_the_next_ones_be_answered_at_once(crowd: Crowd) -> None:
    crowd.keep_busy(1.0)
    wait = crowd.call(1)
    crowd.loop.pass_seconds(GATHER_SECONDS)
    assert wait is not None
    assert wait.result() == 1
    crowd.loop.now += 1.0
    assert crowd.come(BUSY_CALLS - 1) == [None] * (BUSY_CALLS - 1)


def test_calls_that_come_together_are_answered_in_one_go_in_order(crowd: Crowd) -> None:
    crowd.gathered(5)
    for round_number in range(4):
        before = len(crowd.answers.together)
        waits = crowd.come(4, start=10 * round_number)
        assert all(wait is not None and not wait.done() for wait in waits)
        assert len(crowd.answers.together) == before
        # The fifth completes them, whatever the clock says.
        assert crowd.call(10 * round_number + 4) is None
        assert crowd.last() == [10 * round_number + number for number in range(5)]
        results = [wait.result() for wait in waits if wait is not None]
        assert results == [10 * round_number + number for number in range(4)]
        assert not crowd.waiting()


def test_on_a_real_loop_those_that_came_together_are_answered_together() -> None:
    async def test(gather: Gather[int, int], answers: Answers) -> None:
        waits_for_others(gather, 7)
        assert await asyncio.gather(*[gather(number) for number in range(7)]) == list(range(7))
        assert await asyncio.gather(*[gather(number) for number in range(7)]) == list(range(7))
        assert answers.together == [list(range(7))] * 2

    on_loop(test)


def test_while_the_loop_is_at_work_a_call_waits_as_long_as_is_given_and_no_longer(crowd: Crowd) -> None:
    crowd.gathered(5)
    wait = crowd.call(7)
    assert wait is not None
    crowd.loop.pass_seconds(GATHER_SECONDS * 0.9, busy=2 * IDLE_SHARE)
    assert not wait.done()
    # A little more than the rest, because sums of seconds round.
    crowd.loop.pass_seconds(GATHER_SECONDS * 0.2, busy=2 * IDLE_SHARE)
    assert wait.result() == 7


def test_once_the_loop_has_had_nothing_to_do_a_call_waits_no_longer(crowd: Crowd) -> None:
    crowd.gathered(5)
    wait = crowd.call(7)
    assert wait is not None
    crowd.loop.pass_seconds(3.5 * LOOK_SECONDS, busy=1.0)
    assert not wait.done()
    # At most two looks: the first one may still see a little of the work.
    crowd.loop.pass_seconds(2.6 * LOOK_SECONDS, busy=IDLE_SHARE / 2)
    assert wait.result() == 7
    assert not crowd.waiting()


def test_fewer_are_enough_when_fewer_come_until_single_calls_are_answered_at_once(crowd: Crowd) -> None:
    crowd.gathered(8)
    gatherings = 0
    while (wait := crowd.call(3)) is not None:
        gatherings += 1
        assert gatherings < 20
        crowd.loop.pass_seconds(GATHER_SECONDS)
        assert wait.result() == 3
        assert crowd.last() == [3]
    assert gatherings > 1
    assert not crowd.waiting()


def test_what_is_enough_follows_those_who_came_slowly(crowd: Crowd) -> None:
    crowd.gathered(6)
    for _ in range(2):
        crowd.come(2)
        crowd.loop.pass_seconds(GATHER_SECONDS)
    # From six a quarter of the way to two.
    crowd.come(4)
    assert crowd.waiting()
    crowd.call(4)
    assert not crowd.waiting()
    assert crowd.last() == list(range(5))


def test_a_single_gathering_that_few_came_to_changes_nothing(crowd: Crowd) -> None:
    crowd.gathered(6)
    for few in (2, 3):
        crowd.come(few)
        crowd.loop.pass_seconds(GATHER_SECONDS)
        crowd.come(5)
        assert crowd.waiting()
        crowd.call(5)
        assert crowd.last() == list(range(6))


def test_a_crowd_that_is_there_early_is_waited_for_to_grow(crowd: Crowd) -> None:
    crowd.gathered(3)
    sizes = []
    for _ in range(5 * AWAITED_CALLS_MAX):
        size = 0
        while not size or crowd.waiting():
            crowd.call(size)
            size += 1
        sizes.append(size)
    # One more after every fourth gathering, up to the most.
    assert sizes[:12] == [3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5]
    assert sizes[-1] == AWAITED_CALLS_MAX


def test_a_crowd_that_does_not_grow_waits_for_one_more_in_vain_once_in_five(crowd: Crowd) -> None:
    crowd.gathered(5)
    in_vain = 0
    for _ in range(100):
        crowd.come(5)
        if crowd.waiting():
            in_vain += 1
            crowd.loop.pass_seconds(GATHER_SECONDS)
        assert crowd.last() == [0, 1, 2, 3, 4]
    assert in_vain == 20


def test_a_crowd_that_was_there_only_just_in_time_does_not(crowd: Crowd) -> None:
    crowd.gathered(3)
    for _ in range(5):
        crowd.come(2)
        crowd.loop.pass_seconds(GATHER_SECONDS * 0.6, busy=1.0)
        crowd.call(2)
        assert not crowd.waiting()
        assert crowd.last() == [0, 1, 2]


def test_what_comes_while_one_is_under_way_is_answered_after_it_in_one_go(crowd: Crowd) -> None:
    later: list[Callable[[], None]] = []
    crowd.answers.answer = lambda asked, deliver: later.append(lambda: deliver(asked))
    first = crowd.call(0)
    others = crowd.come(5, 1)
    assert crowd.answers.together == [[0]]
    later.pop()()
    assert first is not None
    assert first.result() == 0
    crowd.loop.turn()
    assert crowd.answers.together == [[0], [1, 2, 3, 4, 5]]
    later.pop()()
    assert [wait.result() for wait in others if wait is not None] == [1, 2, 3, 4, 5]
    # They came together, so the next ones wait for each other.
    crowd.come(2)
    assert len(crowd.answers.together) == 2
    assert crowd.waiting()


def test_a_gathering_that_is_complete_waits_for_the_one_under_way(crowd: Crowd) -> None:
    crowd.gathered(3)
    later: list[Callable[[], None]] = []
    crowd.answers.answer = lambda asked, deliver: later.append(lambda: deliver(asked))
    crowd.come(3)
    crowd.come(TOGETHER_CALLS_MAX + 5, 10)
    crowd.loop.pass_seconds(GATHER_SECONDS)
    assert crowd.last() == [0, 1, 2]
    later.pop()()
    crowd.loop.turn()
    assert crowd.last() == list(range(10, 10 + TOGETHER_CALLS_MAX))
    later.pop()()
    crowd.loop.turn()
    assert crowd.last() == list(range(10 + TOGETHER_CALLS_MAX, 15 + TOGETHER_CALLS_MAX))


def test_never_more_than_the_most_are_answered_together_and_those_at_once(crowd: Crowd) -> None:
    crowd.gathered(40)
    crowd.answers.together.clear()
    for _ in range(128):
        crowd.come(TOGETHER_CALLS_MAX + 10)
    crowd.loop.pass_seconds(GATHER_SECONDS)
    sizes = [len(together) for together in crowd.answers.together]
    assert max(sizes) <= TOGETHER_CALLS_MAX
    # From the second on, as many as are waited for at most.
    assert set(sizes[1:-1]) == {AWAITED_CALLS_MAX}
    assert sum(sizes) == 128 * (TOGETHER_CALLS_MAX + 10)
    assert not crowd.waiting()


def test_each_caller_gets_the_exception_that_was_delivered_for_it() -> None:
    async def test(gather: Gather[int, int], answers: Answers) -> None:
        waits_for_others(gather, 6)
        answers.answer = lambda asked, deliver: deliver(
            [KeyError(number) if number % 2 else number for number in asked]
        )
        replies = await asyncio.gather(*[gather(number) for number in range(6)], return_exceptions=True)
        assert len(answers.together) == 1
        assert [reply if isinstance(reply, int) else (type(reply), reply.args) for reply in replies] == [
            (KeyError, (number,)) if number % 2 else number for number in range(6)
        ]

    on_loop(test)


def test_what_answering_raises_reaches_all_that_were_not_answered_before() -> None:
    async def test(gather: Gather[int, int], answers: Answers) -> None:
        def fails(asked: Sequence[int], deliver: Deliver[int]) -> None:
            raise RuntimeError("a bug")

        def fails_after(asked: Sequence[int], deliver: Deliver[int]) -> None:
            deliver(asked)
            fails(asked, deliver)

        waits_for_others(gather, 4)
        answers.answer = fails
        replies = await asyncio.gather(*[gather(number) for number in range(4)], return_exceptions=True)
        assert [str(reply) for reply in replies] == ["a bug"] * 4
        answers.answer = fails_after
        assert await asyncio.gather(*[gather(number) for number in range(4)]) == [0, 1, 2, 3]
        answers.answer = lambda asked, deliver: deliver(asked)
        assert await gather(9) == 9

    on_loop(test)


def test_what_is_delivered_later_reaches_its_own_callers() -> None:
    async def test(gather: Gather[int, int], answers: Answers) -> None:
        later: list[Callable[[], None]] = []
        answers.answer = lambda asked, deliver: later.append(lambda: deliver(asked))
        tasks = gathered(gather, 3)
        later.pop()()
        assert await tasks[0] == 0
        assert not tasks[1].done()
        # Those that came meanwhile have their turn.
        await asyncio.sleep(0)
        later.pop()()
        assert await asyncio.gather(*tasks) == [0, 1, 2]
        assert answers.together == [[0], [1, 2]]

    on_loop(test)


def test_a_caller_that_gave_up_before_is_not_asked_for() -> None:
    async def test(gather: Gather[int, int], answers: Answers) -> None:
        waits_for_others(gather, 5)
        tasks = gathered(gather, 4)
        tasks[1].cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(replies.pop(1), asyncio.CancelledError)
        assert replies == [0, 2, 3]
        assert answers.together == [[0, 2, 3]]

    on_loop(test)


def test_when_every_caller_gave_up_the_next_is_answered_all_the_same() -> None:
    async def test(gather: Gather[int, int], answers: Answers) -> None:
        waits_for_others(gather, 4)
        tasks = gathered(gather, 3)
        for task in tasks:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(reply, asyncio.CancelledError) for reply in replies)
        assert await asyncio.gather(gather(8), gather(9)) == [8, 9]
        assert [number for together in answers.together for number in together] == [8, 9]

    on_loop(test)


def test_a_caller_that_gives_up_while_it_is_answered_does_not_disturb_the_others() -> None:
    async def test(gather: Gather[int, int], answers: Answers) -> None:
        waits_for_others(gather, 5)
        later: list[Callable[[], None]] = []
        asked_for = asyncio.Event()

        def answer(asked: Sequence[int], deliver: Deliver[int]) -> None:
            later.append(lambda: deliver([KeyError(n) if n == 3 else n for n in asked]))
            asked_for.set()

        answers.answer = answer
        tasks = gathered(gather, 5)
        await asked_for.wait()
        tasks[0].cancel()
        tasks[3].cancel()
        await asyncio.wait([tasks[0], tasks[3]])
        (deliver,) = later
        deliver()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert [reply for reply in replies if isinstance(reply, int)] == [1, 2, 4]
        assert [tasks[0].cancelled(), tasks[3].cancelled()] == [True, True]
        assert answers.together == [[0, 1, 2, 3, 4]]

    on_loop(test)
