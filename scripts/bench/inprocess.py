"""Decisions without a server: LocalBandit in this process, other libraries in a child of their environment.

Each is timed choosing between rewards that it learns from, on the same contexts and variants. What another
library needs made of a context, a vector or scaled numbers, is part of its time, as it is of its user's.
"""

import json
import os
import random
import selectors
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import world
from timed import Play, timed

from bandit import LocalBandit

CONTEXTS = 2_000
REPLY_SECONDS_MAX = 120.0
ROOT = Path(__file__).resolve().parents[2]


class Missing(Exception):
    """An interpreter, or a package in it, that is not there. The message says which."""


def contexts(seed: int) -> list[world.Context]:
    """What all of them decide about."""
    rng = random.Random(seed)
    return [world.context(rng) for _ in range(CONTEXTS)]


@contextmanager
def local(experiments: Path, seed: int) -> Iterator[Play]:
    """LocalBandit in memory, on the experiment that the service has too."""
    with LocalBandit.from_yaml(experiments, world.EXPERIMENT_ID, salt=b"bench") as bandit:
        yield timed(
            bandit.choose,
            lambda choice, reward: bandit.reward(choice.decision_id, reward),
            contexts(seed),
            seed,
        )


@contextmanager
def peer(python: Path, name: str, seed: int) -> Iterator[Play]:
    """Another library, by its name in `inprocess_peers`, in a child of that interpreter. Raises Missing."""
    if not python.is_file():
        raise Missing(f"{name}: there is no interpreter {python}")
    command = [str(python), str(Path(__file__).with_name("inprocess_peers.py")), name]
    # Of this package it needs records alone, which need nothing; the rest is not installed there.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
    )
    try:
        _ask(child, {"contexts": contexts(seed), "variants": world.VARIANTS, "seed": seed}, name)
        yield lambda seconds: float(_ask(child, {"seconds": seconds}, name)["us"])
    finally:
        child.kill()
        child.wait()


def _ask(child: "subprocess.Popen[str]", question: dict[str, Any], name: str) -> dict[str, Any]:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(question) + "\n")
    child.stdin.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        if not selector.select(REPLY_SECONDS_MAX):
            raise RuntimeError(f"{name} did not answer in {REPLY_SECONDS_MAX:g} s")
    answer: dict[str, Any] = json.loads(child.stdout.readline() or '{"missing": "ended"}')
    if "missing" in answer:
        raise Missing(f"{name}: {answer['missing']}")
    return answer
