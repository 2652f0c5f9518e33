"""The child of `inprocess`: another library, used as `battery.peers` does, asked by JSON lines.

Runs in the environment of scripts/bench/requirements.lock. The first line brings contexts, variants and a
seed, and is answered when the library is warm; each later one brings the seconds to play, and is answered
with microseconds.
"""

import json
import sys
from typing import Any

from battery import peers
from battery.vectors import Vectors
from battery.world import Round
from timed import timed

from bandit.core.records import Variant


def main() -> None:
    """Answers until its input ends."""
    given = json.loads(sys.stdin.readline())
    variants = tuple(Variant(each["id"], each["features"]) for each in given["variants"])
    rounds = [Round(each, variants, (), (), 0.0, 0.0) for each in given["contexts"]]
    try:
        system = _make(sys.argv[1], Vectors(rounds), given["seed"])
        play = timed(
            lambda context: system.choose(context, variants),
            lambda _, reward: system.learn(reward),
            given["contexts"],
            given["seed"],
        )
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"us": play(json.loads(line)["seconds"])}), flush=True)


def _make(name: str, vectors: Vectors, seed: int) -> Any:
    if name == "gittins":
        return peers.Gittins(seed, vectors=vectors)
    return peers.Mabwiser("LinUCB", 1.0, vectors, seed)


if __name__ == "__main__":
    main()
