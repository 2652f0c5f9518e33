"""How fast decision logs are read, imported and exported: dsjson lines of 10 variants and about 1 kB.

    .venv/bin/python scripts/bench/formats.py [--events 50000]

Prints events/s of the Reader (with variants that repeat, take turns, or never repeat), of `log import`, and
of `log export` to each format, beside a bare JSON parse and Vowpal Wabbit's own driver on the same file.
Memory is the largest resident size of each command.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from bandit.eventlog.formats.dsjson import Reader

VW = (sys.executable, "-m", "vowpalwabbit")
TOPICS = ("sport", "news", "art", "food")


def lines(events: int, lists: int, seed: int = 1) -> list[bytes]:
    """`events` lines whose variants are one of `lists` lists."""
    chance = random.Random(seed)
    multis = [
        [
            {
                "Action": {
                    "id": f"article-{number}-{index}",
                    "topic": chance.choice(TOPICS),
                    "length": chance.randint(1, 900) / 10,
                }
            }
            for index in range(10)
        ]
        for number in range(lists)
    ]
    made = []
    for number in range(events):
        actions = list(range(1, 11))
        chance.shuffle(actions)
        probabilities = [0.82, *[0.02] * 9]
        cost = -float(chance.random() < 0.2)
        event_id = f"{number:08x}-{chance.getrandbits(32):08x}"
        document = {
            "_label_cost": cost,
            "_label_probability": probabilities[0],
            "_label_Action": actions[0],
            "_labelIndex": actions[0] - 1,
            "o": [{"v": -cost, "EventId": event_id, "ActionTaken": False}],
            "Timestamp": f"2020-01-{number // 86400 % 28 + 1:02d}T{number // 3600 % 24:02d}:"
            f"{number // 60 % 60:02d}:{number % 60:02d}.1234567Z",
            "Version": "1",
            "EventId": event_id,
            "a": actions,
            "c": {
                "User": {
                    "age": chance.randint(18, 80),
                    "city": chance.choice(("Oslo", "Rome")),
                    "new": chance.random() < 0.5,
                    "recency": chance.random(),
                },
                "_multi": multis[chance.randrange(lists)],
            },
            "p": probabilities,
            "VWState": {"m": "abc/def"},
            "_original_label_cost": cost,
        }
        made.append(json.dumps(document, separators=(",", ":")).encode())
    return made


def seconds(work) -> float:
    """The best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def command(*arguments: object) -> tuple[float, int]:
    """(seconds, largest resident KiB) of a command of ours."""
    start = time.perf_counter()
    code = (
        "import resource, subprocess, sys; quiet = subprocess.DEVNULL; "
        "subprocess.run(sys.argv[1:], check=True, stdout=quiet, stderr=quiet); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - start, int(ran.stdout)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    events = parser.parse_args().events
    for name, lists in (("one list of variants", 1), ("50 lists in turn", 50), ("a new list a line", events)):
        made = lines(events, lists)

        def read(made: list[bytes] = made) -> None:
            reader = Reader()
            for number, line in enumerate(made, start=1):
                reader.event(line, number)

        took = seconds(read)

        def parse(made: list[bytes] = made) -> None:
            for line in made:
                orjson.loads(line)

        bare = seconds(parse)
        print(
            f"Reader, {name:22s} {events / took:9,.0f} events/s, {took / events * 1e6:5.1f} us an event "
            f"(JSON alone {bare / events * 1e6:.1f} us), {len(made[0]):,} bytes a line"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "log.dsjson"
        path.write_bytes(b"\n".join(lines(events, 50)) + b"\n")
        log = (sys.executable, "-m", "bandit", "log")
        data = folder / "data"
        export = (*log, "export", "--data-dir", data, "--format")
        steps = {
            "import dsjson": (*log, "import", path, "--data-dir", data),
            "export dsjson": (*export, "dsjson", "--output", folder / "out.dsjson"),
            "export vw": (*export, "vw", "--output", folder / "out.vw"),
            "export parquet": (*export, "parquet", "--output", folder / "set"),
            "import parquet": (*log, "import", folder / "set", "--data-dir", folder / "data2"),
            "vw driver": (*VW, "-d", path, "--dsjson", "--chain_hash", "--cb_explore_adf", "--quiet"),
        }
        for what, arguments in steps.items():
            took, resident = command(*arguments)
            print(f"{what:15s} {events / took:9,.0f} events/s, {resident / 1024:6.0f} MiB")


if __name__ == "__main__":
    main()
