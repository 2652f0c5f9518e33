"""Calls whose policy is not in memory wait for it outside the gatherings, so that no other call does.

To load a policy takes the event loop some milliseconds, and it does so in steps, between which others have
their turn. Many at once, as after a start, would add up for every call that comes meanwhile: so they are
loaded one after the other, and the loop is free in between for as long as each held it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from bandit.core.choose import Policy, View
from bandit.learning.steps import Result, Steps


class Held(Protocol):
    """The policies of a process, as `bandit.serving.models.Models` holds them."""

    def has(self, experiment_id: str) -> bool:
        """Whether an experiment's policy is in memory."""
        ...

    def policy(self, view: View) -> Policy:
        """The policy of an experiment that is in memory."""
        ...

    def loading(self, view: View) -> Steps[None]:
        """Loads the policy of an experiment, in steps of a few milliseconds."""
        ...

    def close_unused(self) -> None:
        """Frees what was unloaded."""
        ...


async def in_turn(steps: Steps[Result]) -> Result:
    """The result of all steps; whatever else is ready on the loop has its turn between any two."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        await asyncio.sleep(0)


class NotLoaded(Exception):
    """A policy that is not in memory. Await `loaded`, then ask again."""

    def __init__(self, view: View, load: Callable[[View], Awaitable[None]]) -> None:
        super().__init__(view.experiment.id)
        self._view = view
        self._load = load

    async def loaded(self) -> None:
        """Returns once the policy is in memory. Raises what its loading raised."""
        await self._load(self._view)


class OneByOne:
    """Policies for calls on one event loop; see the module's text."""

    def __init__(self, models: Held) -> None:
        """`models` loads without asking anybody, and keeps what was used last."""
        self._models = models
        self._waiting: OrderedDict[str, tuple[View, asyncio.Future[None]]] = OrderedDict()
        self._loader: asyncio.Task[None] | None = None
        self._held_seconds = 0.0

    def policy(self, view: View) -> Policy:
        """The policy of an experiment. Raises NotLoaded."""
        if self._models.has(view.experiment.id):
            return self._models.policy(view)
        raise NotLoaded(view, self.load)

    async def load(self, view: View) -> None:
        """Has a policy loaded, after those that were asked for before. Raises what its loading raises."""
        if self._models.has(view.experiment.id):
            return
        waiting = self._waiting.get(view.experiment.id)
        if waiting is None:
            waiting = view, asyncio.get_running_loop().create_future()
            self._waiting[view.experiment.id] = waiting
        if self._loader is None:
            self._loader = asyncio.create_task(self._load_all())
        # One caller that gives up must not take it from the others.
        await asyncio.shield(waiting[1])

    async def _load_all(self) -> None:
        while self._waiting:
            _, (view, future) = self._waiting.popitem(last=False)
            self._held_seconds = 0.0
            try:
                await in_turn(self._timed(self._models.loading(view)))
            except Exception as error:
                future.set_exception(error)
                # Whoever waited may have given up.
                future.exception()
            else:
                future.set_result(None)
            await asyncio.sleep(self._held_seconds)
            self._models.close_unused()
        self._loader = None

    def _timed(self, steps: Steps[None]) -> Steps[None]:
        """The same steps, each counted for as long as it held the loop: not what others did in between."""
        while True:
            began = time.perf_counter()
            try:
                next(steps)
            except StopIteration:
                return
            finally:
                self._held_seconds += time.perf_counter() - began
            yield
