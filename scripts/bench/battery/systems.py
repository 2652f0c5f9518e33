"""Systems by name, and the version that their results are kept under."""

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from battery import ours, peers
from battery.system import System, Uniform
from battery.vectors import Vectors
from battery.world import Round, World

Make = Callable[[World, Sequence[Round], int], System]

PEERS: dict[str, tuple[str, Make]] = {
    "uniform": ("", lambda world, rounds, seed: Uniform(seed)),
    "mabwiser-linucb": (
        "mabwiser",
        lambda world, rounds, seed: peers.Mabwiser("LinUCB", 1.0, Vectors(rounds), seed),
    ),
    "mabwiser-linucb-.5": (
        "mabwiser",
        lambda world, rounds, seed: peers.Mabwiser("LinUCB", 0.5, Vectors(rounds), seed),
    ),
    "mabwiser-lints": (
        "mabwiser",
        lambda world, rounds, seed: peers.Mabwiser("LinTS", 1.0, Vectors(rounds), seed),
    ),
    "gittins": ("gittins", lambda world, rounds, seed: peers.Gittins(seed)),
    # Its README leaves numbers as they are; what it earns with them standardised is told beside that.
    "gittins-scaled": (
        "gittins",
        lambda world, rounds, seed: peers.Gittins(seed, vectors=Vectors(rounds)),
    ),
    "gittins-8": ("gittins", lambda world, rounds, seed: peers.Gittins(seed, bits=8)),
    "bayesianbandits": (
        "bayesianbandits",
        lambda world, rounds, seed: peers.BayesianBandits(Vectors(rounds), seed),
    ),
    "vw-squarecb": (
        "vowpalwabbit",
        lambda world, rounds, seed: peers.VowpalWabbit("--squarecb", seed),
    ),
    "vw-epsilon": (
        "vowpalwabbit",
        lambda world, rounds, seed: peers.VowpalWabbit("--epsilon 0.05", seed),
    ),
}
"""Name to the package whose version it has, and what makes it."""


def is_ours(name: str) -> bool:
    """Whether it is one of banditd's presets."""
    return name.startswith(ours.PREFIX)


def is_peer(name: str) -> bool:
    """Whether it is another project's: an even draw is nobody's."""
    return not is_ours(name) and name != "uniform"


def check(name: str, world: World) -> None:
    """Raises ValueError for a system that there is not, or whose package this Python has not."""
    if is_ours(name):
        ours.definition(name, world)
    elif name not in PEERS:
        raise ValueError(f"there is no system {name!r}; there are banditd:PRESET, {', '.join(PEERS)}")
    elif package := PEERS[name][0]:
        try:
            version(package)
        except PackageNotFoundError as error:
            raise ValueError(f"{name} needs the package {package}, which this Python has not") from error


def make(name: str, world: World, rounds: Sequence[Round], seed: int) -> System:
    """A system that has learned nothing. Raises ValueError as `check` does, ImportError."""
    if is_ours(name):
        return ours.Banditd(name, world, seed)
    return PEERS[name][1](world, rounds, seed)


def version_of(name: str, label: str) -> str:
    """What a result is kept under besides its names: our code has the label that is given."""
    if is_ours(name):
        return label
    package = PEERS[name][0]
    return version(package) if package else "1"
