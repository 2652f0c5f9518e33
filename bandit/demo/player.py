"""Plays customers through a server: a Choose each, and a Reward where the choice is what was really sent."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bandit.client import RewardStatus
from bandit.client.aio import BanditClient
from bandit.demo.customers import EXPERIMENT_ID, Customer

IN_FLIGHT: Final = 32
"""Calls at once: enough to keep the server busy, few enough that learning keeps up with what is asked."""

TIMEOUT_SECONDS: Final = 10.0
"""Far above any reply of a healthy server: a busy machine must not end a demo."""


@dataclass(frozen=True, slots=True)
class Round:
    """One customer with what the service chose."""

    customer: Customer
    variant_id: str
    distribution: Mapping[str, float]
    source: str
    snapshot_id: str

    @property
    def counts(self) -> bool:
        """Whether the choice is what the customer was really sent, so that the outcome is known."""
        return self.variant_id == self.customer.sent


@dataclass(slots=True)
class Played:
    """What was played, in the order in which the rounds ended."""

    rounds: list[Round] = field(default_factory=list)
    rewards: Counter[RewardStatus] = field(default_factory=Counter)
    seconds: float = 0.0


async def play(
    target: str,
    customers: Sequence[Customer],
    *,
    stopping: Callable[[], bool],
    on_round: Callable[[Round], None],
) -> Played:
    """Plays `customers` in order until all are done or `stopping` says so; calls in flight are awaited.

    Raises BanditError if the server refuses a call or can't be reached.
    """
    played = Played()
    waiting = iter(customers)

    async def player(client: BanditClient) -> None:
        for customer in waiting:
            if stopping():
                return
            # The client makes the decision ids: no two runs share a draw, whatever their seed.
            choice = await client.choose(EXPERIMENT_ID, customer.context)
            finished = Round(
                customer, choice.variant_id, choice.distribution, choice.source, choice.snapshot_id
            )
            if finished.counts:
                played.rewards[await client.reward(choice.decision_id, customer.visit)] += 1
            played.rounds.append(finished)
            on_round(finished)

    started = time.perf_counter()
    async with BanditClient(target, timeout_s=TIMEOUT_SECONDS) as client:
        try:
            async with asyncio.TaskGroup() as players:
                for _ in range(IN_FLIGHT):
                    players.create_task(player(client))
        except* Exception as failures:
            # One cause fails many calls at once; the first says as much as all of them.
            raise failures.exceptions[0] from None
    played.seconds = time.perf_counter() - started
    return played
