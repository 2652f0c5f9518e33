"""A `banditd serve` as benches measure it: with a learned snapshot, its learner running."""

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import world
from load import SERVICE, Target

from bandit.v1 import bandit_pb2 as pb

TRAINED_EVENTS = 5_000
CHOOSE_BODIES = 2_000
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # Else all channels to one address are one connection.
    ("grpc.use_local_subchannel_pool", 1),
)


class Filled(NamedTuple):
    """A data folder that no server has yet, and ids of decisions in it that wait for their first reward."""

    data_dir: Path
    experiments: Path
    decision_ids: list[str]


def choose_bodies(rng: random.Random) -> list[bytes]:
    """Chooses to be sent again and again: each sending is a new decision."""
    return [world.choose_body(rng) for _ in range(CHOOSE_BODIES)]


def fill(folder: Path, rng: random.Random, waiting: int = 0) -> Filled:
    """A new folder with a data folder in it: what a model is learned from, and `waiting` decisions."""
    folder.mkdir()
    experiments = world.write_experiments(folder, "default: 0, learn: at_close")
    data_dir = folder / "data"
    world.progress(f"filling a log with {TRAINED_EVENTS + waiting:,} decisions")
    filler = world.Filler(data_dir, experiments, rng)
    filler.at(7_200)
    filler.decisions(TRAINED_EVENTS, rewarded=0.2)
    filler.at(0)
    decision_ids = filler.decisions(waiting)
    filler.close()
    return Filled(data_dir, experiments, decision_ids)


def copied(filled: Filled, folder: Path) -> Filled:
    """The same in another data folder, since a folder has one server, and a decision one first reward."""
    folder.mkdir()
    data_dir = Path(shutil.copytree(filled.data_dir, folder / "data"))
    return filled._replace(data_dir=data_dir)


@contextmanager
def learned(
    filled: Filled, body: bytes, options: Sequence[str] = (), connections: int = 1
) -> Iterator[world.Server]:
    """A server whose learned snapshot answers `body`, a Choose, on so many new connections in turn."""
    with world.server(filled.data_dir, filled.experiments, *options) as server:
        give_up = time.monotonic() + world.READY_SECONDS_MAX
        in_turn = 0
        while in_turn < connections:
            if time.monotonic() > give_up:
                raise TimeoutError("no snapshot came")
            reply = pb.ChooseResponse.FromString(call(server.address, "Choose", body))
            in_turn = in_turn + 1 if reply.source == pb.DECISION_SOURCE_LEARNED else 0
            if not in_turn:
                time.sleep(0.05)
        yield server


def target(server: world.Server) -> Target:
    """It as a target of load."""
    return Target(server.address, server.pid)


def call(address: str, method: str, body: bytes) -> bytes:
    """One reply, on a connection of its own."""
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        reply: bytes = channel.unary_unary(f"/{SERVICE}/{method}")(body, timeout=10)
    return reply
