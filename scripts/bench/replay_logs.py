"""The logs that scripts/bench/replay.py judges: made from a seed, or from real data."""

import csv
import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bandit.demo.customers import EXPERIMENTS, VARIANTS, Customer

DATA = Path(__file__).parent / "data"
START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = 80
_OFFERS = 10
_BEST = 0.64
_OTHER = 0.04


def write_lines(path: Path, count: int, seed: int) -> None:
    """`count` decision lines of about 1.2 kB with 10 variants, as an epsilon-greedy service leaves them."""
    rng = random.Random(seed)
    offers = [
        {
            "id": f"offer-{index}",
            "item": {
                "category": rng.choice(("sport", "books", "music", "garden")),
                "price": rng.choice(("low", "mid", "high")),
                "brand": f"brand-{index % 4}",
            },
        }
        for index in range(_OFFERS)
    ]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            hour = rng.choice(("morning", "noon", "evening", "night"))
            device = rng.choice(("phone", "desktop", "tablet"))
            best = (len(hour) * len(device)) % _OFFERS
            probabilities = [_OTHER] * _OFFERS
            probabilities[best] = _BEST
            served = rng.choices(range(_OFFERS), probabilities)[0]
            click = float(rng.random() < (0.12 if served == best else 0.06))
            context = {
                "User": {
                    "hour": hour,
                    "device": device,
                    "country": rng.choice(("de", "fr", "it", "es", "pl")),
                    "age": rng.choice((25, 35, 45, 55)),
                    "returning": rng.random() < 0.5,
                },
                "_multi": offers,
            }
            at = START + timedelta(milliseconds=37 * number)
            file.write(_line(f"{number:032x}", at, served, probabilities, click, context))
            file.write("\n")


def write_obd(path: Path, rounds: int) -> tuple[list[float], int]:
    """The random log of the Open Bandit Dataset as decision lines, `bts` beside each: what Bernoulli Thompson
    sampling shows at that position. Answers with the clicks of its own log, the truth, and how many rows
    were written.
    """
    own = _obd("obd_bts.csv.gz")
    shown: dict[str, Counter[int]] = {}
    for row in own:
        shown.setdefault(row["position"], Counter())[int(row["item_id"])] += 1
    shares = {
        position: [items[item] / items.total() for item in range(ITEMS)] for position, items in shown.items()
    }
    variants = [{"id": f"item-{item}"} for item in range(ITEMS)]
    even = [1.0 / ITEMS] * ITEMS
    log = _obd("obd_random.csv.gz")[:rounds]
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(log):
            context = {
                "U": {
                    "position": row["position"],
                    **{f"user_{index}": row[f"user_feature_{index}"] for index in range(4)},
                },
                "_multi": variants,
            }
            at = START + timedelta(seconds=number)
            line = _line(
                f"r{number}",
                at,
                int(row["item_id"]),
                even,
                float(row["click"]),
                context,
                bts=shares[row["position"]],
            )
            file.write(f"{line}\n")
    return [float(row["click"]) for row in own], len(log)


def write_hillstrom(path: Path, customers: Sequence[Customer]) -> None:
    """The Hillstrom experiment as the decision lines of a service that chose uniformly."""
    from bandit import experiment_file

    catalogue = experiment_file.load(EXPERIMENTS).experiments[0].catalogue()
    variants = [{"id": variant.id, **variant.features} for variant in catalogue]
    names = list(VARIANTS.values())
    third = [1.0 / 3.0] * 3
    with path.open("w", encoding="utf-8") as file:
        for number, customer in enumerate(customers):
            context = {"U": dict(customer.context), "_multi": variants}
            at = START + timedelta(seconds=number)
            served = names.index(customer.sent)
            file.write(_line(f"c{number}", at, served, third, customer.visit, context) + "\n")


def _obd(name: str) -> list[Mapping[str, str]]:
    text = gzip.decompress((DATA / name).read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text)))


def _line(
    event_id: str,
    at: datetime,
    served: int,
    probabilities: Sequence[float],
    reward: float,
    context: Mapping[str, Any],
    **beside: Any,
) -> str:
    ranked = [served, *(index for index in range(len(probabilities)) if index != served)]
    body = {
        "_label_cost": -reward,
        "_label_probability": probabilities[served],
        "_label_Action": served + 1,
        "_labelIndex": served,
        "o": [{"v": reward, "EventId": event_id, "ActionTaken": False}],
        "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
        "Version": "1",
        "EventId": event_id,
        "a": [index + 1 for index in ranked],
        "c": context,
        "p": [probabilities[index] for index in ranked],
        "VWState": {"m": "made/up"},
        "_original_label_cost": -reward,
        **beside,
    }
    return json.dumps(body, separators=(",", ":"))
