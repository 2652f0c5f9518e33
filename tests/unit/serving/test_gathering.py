"""One answering at a time, on a real loop."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from bandit.serving.gathering import TOGETHER_CALLS_MAX, Deliver, Gather


class Answers:
    """Answers a request with itself, or as `answer` says; keeps which were answered in one go."""

    def __init__(self) -> None:
        self.together: list[list[int]] = []
        self.answer: Callable[[Sequence[int], Deliver[int]], None] = lambda asked, deliver: deliver(asked)

    def __call__(self, requests: Sequence[int], deliver: Deliver[int]) -> None:
        self.together.append(list(requests))
        self.answer(requests, deliver)


class Later(Answers):
    """Delivers what was asked first when `deliver` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[Callable[[], None]] = []
        self.answer = lambda asked, deliver: self.under_way.append(lambda: deliver(asked))

    def deliver(self) -> None:
        (deliver,) = self.under_way
        self.under_way.clear()
        deliver()


def on_loop(answers: Answers, test: Callable[[Gather[int, int]], Coroutine[Any, Any, None]]) -> None:
    """Runs a test on a real loop with a gather of its own."""

    async def run() -> None:
        await test(Gather(answers, asyncio.get_running_loop()))

    asyncio.run(run())


async def begun(gather: Gather[int, int], numbers: Sequence[int]) -> "list[asyncio.Task[int]]":
    """Calls that have come and wait."""
    tasks = [asyncio.ensure_future(gather(number)) for number in numbers]
    await turn()
    return tasks


async def turn() -> None:
    """Lets every task and callback go on up to its next wait."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_a_call_that_finds_nothing_under_way_is_answered_at_once_and_alone() -> None:
    answers = Answers()

    async def test(gather: Gather[int, int]) -> None:
        for number in range(10):
            call = gather(number)
            # At once: the call has not waited for anything.
            with pytest.raises(StopIteration) as done:
                call.send(None)
            assert done.value.value == number
        assert answers.together == [[number] for number in range(10)]

    on_loop(answers, test)


def test_what_comes_while_one_is_under_way_is_answered_after_it_in_one_go_in_order() -> None:
    answers = Later()

    async def test(gather: Gather[int, int]) -> None:
        tasks = await begun(gather, range(6))
        assert answers.together == [[0]]
        answers.deliver()
        await turn()
        assert [task.done() for task in tasks] == [True] + [False] * 5
        assert answers.together == [[0], [1, 2, 3, 4, 5]]
        answers.deliver()
        assert await asyncio.gather(*tasks) == list(range(6))

    on_loop(answers, test)


def test_who_comes_between_two_answerings_is_answered_with_those_who_wait() -> None:
    answers = Later()

    async def test(gather: Gather[int, int]) -> None:
        tasks = await begun(gather, [0, 1])
        answers.deliver()
        # Before the loop has gone on.
        third = gather(2)
        third.send(None)
        assert answers.together == [[0], [1, 2]]
        await turn()
        answers.deliver()
        assert await asyncio.gather(*tasks) == [0, 1]
        assert answers.together == [[0], [1, 2]]
        third.close()

    on_loop(answers, test)


def test_never_more_than_the_most_are_answered_in_one_go_and_the_rest_follow() -> None:
    answers = Later()

    async def test(gather: Gather[int, int]) -> None:
        count = 2 * TOGETHER_CALLS_MAX + 6
        tasks = await begun(gather, range(count))
        while answers.under_way:
            answers.deliver()
            await turn()
        assert await asyncio.gather(*tasks) == list(range(count))
        assert [len(together) for together in answers.together] == [
            1,
            TOGETHER_CALLS_MAX,
            TOGETHER_CALLS_MAX,
            5,
        ]

    on_loop(answers, test)


def test_each_caller_gets_the_exception_that_was_delivered_for_it() -> None:
    answers = Later()

    async def test(gather: Gather[int, int]) -> None:
        tasks = await begun(gather, range(7))
        answers.answer = lambda asked, deliver: deliver([KeyError(n) if n % 2 else n for n in asked])
        answers.deliver()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert [reply if isinstance(reply, int) else (type(reply), reply.args) for reply in replies] == [
            (KeyError, (number,)) if number % 2 else number for number in range(7)
        ]

    on_loop(answers, test)


def test_what_answering_raises_reaches_all_that_were_not_answered_before() -> None:
    answers = Later()

    def fails(asked: Sequence[int], deliver: Deliver[int]) -> None:
        raise RuntimeError("a bug")

    def fails_after(asked: Sequence[int], deliver: Deliver[int]) -> None:
        deliver(asked)
        fails(asked, deliver)

    async def test(gather: Gather[int, int]) -> None:
        tasks = await begun(gather, range(4))
        answers.answer = fails
        answers.deliver()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert replies[0] == 0
        assert [str(reply) for reply in replies[1:]] == ["a bug"] * 3
        answers.answer = fails_after
        assert await asyncio.gather(*[gather(number) for number in range(4)]) == [0, 1, 2, 3]
        answers.answer = lambda asked, deliver: deliver(asked)
        assert await gather(9) == 9

    on_loop(answers, test)


def test_a_caller_that_gave_up_before_is_not_asked_for() -> None:
    answers = Later()

    async def test(gather: Gather[int, int]) -> None:
        tasks = await begun(gather, range(5))
        tasks[2].cancel()
        await turn()
        answers.deliver()
        await turn()
        answers.deliver()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(replies.pop(2), asyncio.CancelledError)
        assert replies == [0, 1, 3, 4]
        assert answers.together == [[0], [1, 3, 4]]

    on_loop(answers, test)


def test_when_every_caller_gave_up_the_next_is_answered_all_the_same() -> None:
    answers = Later()

    async def test(gather: Gather[int, int]) -> None:
        tasks = await begun(gather, range(3))
        for task in tasks:
            task.cancel()
        answers.deliver()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(reply, asyncio.CancelledError) for reply in replies)
        while answers.under_way:
            answers.deliver()
        answers.answer = lambda asked, deliver: deliver(asked)
        assert await asyncio.gather(gather(8), gather(9)) == [8, 9]

    on_loop(answers, test)


def test_a_caller_that_gives_up_while_it_is_answered_does_not_disturb_the_others() -> None:
    answers = Later()

    async def test(gather: Gather[int, int]) -> None:
        first, *tasks = await begun(gather, range(6))
        answers.answer = lambda asked, deliver: answers.under_way.append(
            lambda: deliver([KeyError(n) if n == 3 else n for n in asked])
        )
        answers.deliver()
        await turn()
        assert answers.together == [[0], [1, 2, 3, 4, 5]]
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.wait([tasks[0], tasks[2]])
        answers.deliver()
        replies = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [reply for reply in replies if isinstance(reply, int)] == [0, 2, 4, 5]
        assert [task.cancelled() for task in tasks] == [True, False, True, False, False]

    on_loop(answers, test)
