"""All worlds by name."""

from functools import cache

from battery import worlds_changing, worlds_curved, worlds_linear, worlds_rewards, worlds_sets
from battery.world import World

_MADE_UP = {
    world.name: world
    for module in (worlds_linear, worlds_curved, worlds_rewards, worlds_changing)
    for world in module.WORLDS
}

NAMES: tuple[str, ...] = (*worlds_sets.MAKERS, *_MADE_UP)
"""In the order of the tables: data first, then what is made up."""

HELD_OUT: frozenset[str] = worlds_sets.HELD_OUT | {name for name, world in _MADE_UP.items() if world.held_out}
"""The worlds that no setting may be chosen by."""


@cache
def world(name: str) -> World:
    """The world of that name. Raises KeyError."""
    return _MADE_UP[name] if name in _MADE_UP else worlds_sets.MAKERS[name]()


def names(given: str, *, chosen: bool, held_out: bool) -> list[str]:
    """The worlds that a command line asks for. Raises ValueError for a name that there is not."""
    wanted = [name for name in given.split(",") if name] if given else list(NAMES)
    for name in wanted:
        if name not in NAMES:
            raise ValueError(f"there is no world {name!r}; there are {', '.join(NAMES)}")
    if chosen != held_out:
        wanted = [name for name in wanted if (name in HELD_OUT) == held_out]
    return wanted
