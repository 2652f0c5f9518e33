"""The customers of the Hillstrom e-mail experiment: what was known, what was sent, what it brought."""

import csv
import gzip
import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data" / "hillstrom.csv.gz"
EXPERIMENTS = Path(__file__).parent / "data" / "experiments.yaml"
EXPERIMENT_ID = "spring-email"

VARIANTS: Mapping[str, str] = {
    "No E-Mail": "no_email",
    "Mens E-Mail": "mens_email",
    "Womens E-Mail": "womens_email",
}
"""The data's name of each group to its variant in the experiment, in catalogue order."""

HISTORIES = ("mens", "womens", "both")
"""What a customer bought in the past year. Everyone bought something."""


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer: the signals of the Choose, the variant really sent (drawn uniformly), and its outcome."""

    context: Mapping[str, str | float | bool]
    history: str
    sent: str
    visit: float


def load(path: Path = DATA) -> list[Customer]:
    """All customers in the order of the file. Raises ValueError if the file is not the one that is meant."""
    text = gzip.decompress(path.read_bytes()).decode()
    try:
        return [_customer(row) for row in csv.DictReader(io.StringIO(text))]
    except KeyError as error:
        raise ValueError(f"{path} has no column or value {error}; see PROVENANCE.md beside it") from error


def shuffled(customers: list[Customer], seed: int) -> list[Customer]:
    """The customers in the order that `seed` gives; the same on every machine."""
    order = list(customers)
    random.Random(seed).shuffle(order)
    return order


def _customer(row: Mapping[str, str]) -> Customer:
    mens, womens = row["mens"] == "1", row["womens"] == "1"
    return Customer(
        context={
            "recency": float(row["recency"]),
            "history": float(row["history"]),
            "history_segment": row["history_segment"],
            "zip_code": row["zip_code"],
            "channel": row["channel"],
            "mens": mens,
            "womens": womens,
            "newbie": row["newbie"] == "1",
        },
        history="both" if mens and womens else "mens" if mens else "womens",
        sent=VARIANTS[row["segment"]],
        visit=float(row["visit"]),
    )
