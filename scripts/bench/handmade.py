"""The server that one would write by hand: Vowpal Wabbit behind grpc.aio, a line of JSON a decision.

It has what `bandit.v1` asks of a Choose, and nothing beyond: no checks, no ids of the caller's, no arms, no
rewards, no models that change, and a log that nobody synced.
"""

import json
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import vowpalwabbit
import world
from floor import serve

from bandit.v1 import bandit_pb2 as pb

ARGUMENTS = "--cb_explore_adf --squarecb -q UA --quiet"
TRAINED_EVENTS = 2_000
_PLAIN = str.maketrans({" ": "_", ":": "_", "|": "_", "\n": "_"})
"""What VW's text format has a meaning for."""


def run(pipe: Connection, log: Path, seed: int) -> None:
    """Learns something, then serves until the process is ended. For `floor.process`."""
    rng = random.Random(seed)
    workspace = vowpalwabbit.Workspace(f"{ARGUMENTS} --random_seed {seed}")
    actions = [f"|Action id={each['id']} {_features(each['features'])}" for each in world.VARIANTS]
    _train(workspace, actions, rng)
    ids = [str(each["id"]) for each in world.VARIANTS]
    # A line reaches the kernel before its reply is sent, so that it survives the end of the process.
    with log.open("w", buffering=1) as lines:

        async def choose(body: bytes, rpc: object) -> bytes:
            request = pb.ChooseRequest.FromString(body)
            context = {name: _value(value) for name, value in request.context.items()}
            distribution = workspace.predict([f"shared |User {_features(context)}", *actions])
            (chosen,) = rng.choices(range(len(ids)), distribution)
            decision_id = str(uuid.uuid4())
            record = {
                "decision_id": decision_id,
                "at": time.time(),
                "subject_id": request.subject_id,
                "context": context,
                "chosen": ids[chosen],
                "distribution": distribution,
            }
            lines.write(json.dumps(record) + "\n")
            response = pb.ChooseResponse(
                decision_id=decision_id, variant_id=ids[chosen], propensity=distribution[chosen]
            )
            for variant_id, probability in zip(ids, distribution, strict=True):
                response.distribution.add(variant_id=variant_id, probability=probability)
            return response.SerializeToString()

        serve(pipe, {"Choose": choose})


def _train(workspace: Any, actions: Sequence[str], rng: random.Random) -> None:
    for _ in range(TRAINED_EVENTS):
        shared = f"shared |User {_features(world.context(rng))}"
        distribution = workspace.predict([shared, *actions])
        (chosen,) = rng.choices(range(len(actions)), distribution)
        lines = list(actions)
        lines[chosen] = f"0:{-float(rng.random() < 0.2)}:{distribution[chosen]} {lines[chosen]}"
        workspace.learn([shared, *lines])


def _value(value: pb.FeatureValue) -> str | float | bool:
    kind = value.WhichOneof("value")
    assert kind is not None
    found: str | float | bool = getattr(value, kind)
    return found


def _features(features: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={value.translate(_PLAIN)}" if isinstance(value, str) else f"{name}:{float(value)}"
        for name, value in features.items()
    )
