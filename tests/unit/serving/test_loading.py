"""Policies that are not in memory are loaded one after the other, with the event loop free in between."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import pytest

from bandit.core.choose import View
from bandit.learning.steps import finished
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.serving import loading
from bandit.serving.loading import NotLoaded, OneByOne


class Held:
    """Notes what is loaded, and how often something else had its turn before."""

    def __init__(self):
        self.loads = []
        self.failing = set()
        self.turns = 0
        self.steps = []

    def has(self, experiment_id):
        return experiment_id in [loaded for loaded, _ in self.loads]

    def loading(self, view):
        for _ in range(3):
            self.steps.append(self.turns)
            yield
        if view.experiment.id in self.failing:
            raise RuntimeError("no such luck")
        self.loads.append((view.experiment.id, self.turns))

    def policy(self, view):
        assert self.has(view.experiment.id)
        return untrained_policy(ModelSpec.of(view.experiment))

    def close_unused(self): ...

    async def count_turns(self):
        """Counts how often another call of the loop has its turn."""
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def views(shop):
    return [View.of(shop(id=f"shop-{index}"), 1, b"salt") for index in range(20)]


async def asked(policies, view):
    """What a call does: asks again once the policy is loaded."""
    try:
        return policies.policy(view)
    except NotLoaded as missing:
        await missing.loaded()
        return policies.policy(view)


def test_what_is_in_memory_is_answered_at_once(held, views):
    finished(held.loading(views[0]))
    assert OneByOne(held).policy(views[0]) is not None


def test_what_is_not_in_memory_is_not_loaded_in_the_call(held, views):
    with pytest.raises(NotLoaded):
        OneByOne(held).policy(views[0])
    assert held.loads == []


def test_other_calls_have_their_turn_between_any_two_loads_and_their_steps(held, views):
    async def play():
        policies = OneByOne(held)
        counting = asyncio.create_task(held.count_turns())
        await asyncio.gather(*(asked(policies, view) for view in views))
        counting.cancel()

    asyncio.run(play())
    assert [loaded for loaded, _ in held.loads] == [view.experiment.id for view in views]
    turns = [turn for _, turn in held.loads]
    assert all(later > earlier for earlier, later in pairwise(turns))
    assert all(later > earlier for earlier, later in pairwise(held.steps))


def test_after_a_load_the_loop_is_free_for_as_long_as_its_steps_held_it(held, views, monkeypatch):
    now, paused, sleep = [0.0], [], asyncio.sleep
    loading_steps = held.loading

    def slow(view):
        for _ in loading_steps(view):
            now[0] += 2.0
            yield
        now[0] += 1.0

    def others_had_their_turn(seconds):
        now[0] += 100.0
        paused.append(seconds)
        return sleep(0)

    held.loading = slow
    monkeypatch.setattr(loading, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(
        loading, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": others_had_their_turn})
    )
    held.failing = {views[1].experiment.id}

    async def play():
        policies = OneByOne(held)
        await asyncio.gather(*(asked(policies, view) for view in views[:3]), return_exceptions=True)

    asyncio.run(play())
    # Three steps of 2 s and an end of 1 s each; one of the loads fails before its end.
    assert [seconds for seconds in paused if seconds] == [7.0, 6.0, 7.0]


def test_calls_for_the_same_policy_share_one_load(held, views):
    async def play():
        policies = OneByOne(held)
        return await asyncio.gather(*(asked(policies, views[0]) for _ in range(10)))

    assert len(asyncio.run(play())) == 10
    assert len(held.loads) == 1


def test_a_load_that_fails_is_told_to_its_callers_alone(held, views):
    held.failing = {views[0].experiment.id}

    async def play():
        policies = OneByOne(held)
        return await asyncio.gather(*(asked(policies, view) for view in views[:2]), return_exceptions=True)

    failure, policy = asyncio.run(play())
    assert isinstance(failure, RuntimeError)
    assert sum(policy.distributions([{}], views[1].catalogue)[0]) == pytest.approx(1)


def test_a_caller_that_gives_up_takes_nothing_from_the_others(held, views):
    async def play():
        policies = OneByOne(held)
        calls = [asyncio.create_task(asked(policies, views[0])) for _ in range(3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        return await asyncio.gather(*calls, return_exceptions=True)

    cancelled, *others = asyncio.run(play())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert not any(isinstance(one, BaseException) for one in others)
