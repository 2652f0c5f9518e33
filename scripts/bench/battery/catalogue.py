"""All worlds by name."""

from functools import cache

from battery import (
    worlds_changing,
    worlds_curved,
    worlds_fresh,
    worlds_linear,
    worlds_rewards,
    worlds_sets,
)
from battery.world import World

_MADE_UP = {
    world.name: world
    for module in (worlds_linear, worlds_curved, worlds_rewards, worlds_changing, worlds_fresh)
    for world in module.WORLDS
}

NAMES: tuple[str, ...] = (*worlds_sets.MAKERS, *_MADE_UP)
"""In the order of the tables: data first, then what is made up."""

FRESH: frozenset[str] = worlds_sets.FRESH | {world.name for world in worlds_fresh.WORLDS}
"""Held out, and written blind to the learner after the scores of `HELD_OUT` had been in view."""

HELD_OUT: frozenset[str] = (
    worlds_sets.HELD_OUT | {name for name, world in _MADE_UP.items() if world.held_out}
) - FRESH
"""The first worlds that no setting may be chosen by."""

GROUPS = ("chosen", "held out", "fresh")
"""In the order of the tables. Settings may be chosen by the first group alone."""


@cache
def world(name: str) -> World:
    """The world of that name. Raises KeyError."""
    return _MADE_UP[name] if name in _MADE_UP else worlds_sets.MAKERS[name]()


def group(name: str) -> str:
    """Which of `GROUPS` a world is in."""
    if name in FRESH:
        return "fresh"
    return "held out" if name in HELD_OUT else "chosen"


def names(given: str, *, chosen: bool = False, held_out: bool = False, fresh: bool = False) -> list[str]:
    """The worlds that a command line asks for, of all groups if it names none.

    Raises ValueError for a name that there is not.
    """
    wanted = [name for name in given.split(",") if name] if given else list(NAMES)
    for name in wanted:
        if name not in NAMES:
            raise ValueError(f"there is no world {name!r}; there are {', '.join(NAMES)}")
    asked = {name for name, on in zip(GROUPS, (chosen, held_out, fresh), strict=True) if on}
    return [name for name in wanted if not asked or group(name) in asked]
