"""What `serving` sends: single calls and batches, one list of bodies a rotation."""

import itertools
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ratios
import world
from load import Generators, Target
from ratios import Contender, Rounds
from served import Filled

IN_FLIGHT = (1, 32)
BATCH = 100
REWARDS_PER_SECOND_MAX = {1: 2_000, 32: 5_000}
"""By calls in flight: a round of rewards ends early when so many decisions a second are used up."""

BATCH_REWARDS_PER_SECOND_MAX = 8_000
"""The same, for batches."""


_REWARDS_PER_SECOND_MAX = {
    "reward": sum(REWARDS_PER_SECOND_MAX.values()),
    "batch": BATCH_REWARDS_PER_SECOND_MAX + REWARDS_PER_SECOND_MAX[max(IN_FLIGHT)],
    "native": REWARDS_PER_SECOND_MAX[max(IN_FLIGHT)],
}
"""By group, all of its rewards together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the groups of one run measure with.

    `bodies` are Chooses, each sending a new decision. `filled` has no server; each group copies it.
    """

    folder: Path
    senders: Generators
    rounds: int
    seconds: float
    starts: int
    rng: random.Random
    bodies: Sequence[bytes]
    filled: Filled


def decisions_needed(groups: Collection[str], rounds: int, seconds: float) -> int:
    """How many decisions the rewards of the hungriest group use up at most, in its warm-up too."""
    per_second = max((_REWARDS_PER_SECOND_MAX.get(group, 0) for group in groups), default=0)
    return int(per_second * seconds) * (rounds + 1) + BATCH


def alternate(run: Run, contenders: Sequence[Contender]) -> Rounds:
    """Rotations of them."""
    return ratios.alternate(run.senders, contenders, run.rounds, run.seconds)


def calls(
    run: Run, method: str, in_flight: int, targets: Mapping[str, Target], ids: Iterator[str]
) -> list[Contender]:
    """The same single calls for all of them. Rewards are the first of their decisions, but for the floor."""
    if method == "Choose":
        bodies = [run.bodies] * (run.rounds + 1)
    else:
        bodies = [
            [world.reward_body(*each) for each in rewards]
            for rewards in _rewards(run, ids, REWARDS_PER_SECOND_MAX[in_flight])
        ]
    return [
        Contender(
            name=name,
            target=target,
            method=method,
            bodies=bodies,
            in_flight=in_flight,
            again=method == "Choose" or name == "floor",
        )
        for name, target in targets.items()
    ]


def reward_batches(run: Run, ids: Iterator[str]) -> list[list[bytes]]:
    """The bodies of RewardBatch: the first rewards of their decisions."""
    return [
        [world.reward_batch_body(rewards[at : at + BATCH]) for at in range(0, len(rewards), BATCH)]
        for rewards in _rewards(run, ids, BATCH_REWARDS_PER_SECOND_MAX)
    ]


def _rewards(run: Run, ids: Iterator[str], per_second: int) -> list[list[tuple[str, float]]]:
    """For each rotation, the first rewards of as many decisions as it uses up at most."""
    count = int(per_second * run.seconds)
    return [
        [(each, float(run.rng.random() < 0.1)) for each in itertools.islice(ids, count)]
        for _ in range(run.rounds + 1)
    ]
