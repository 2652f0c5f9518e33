"""Made-up worlds that change: what is good shifts or drifts, variants come and go, calls bring their own."""

import math

import numpy as np

from bandit.core.records import Variant
from battery.synthetic import Make, Setting, always, clicks, made_up, numbers, sigmoid
from battery.world import CATEGORY, NUMBER, Context, Numbers, World, plain_variants

V5, V6 = plain_variants(5), plain_variants(6)
TWO, FOUR = ["n0", "n1"], [f"n{index}" for index in range(4)]
TOPICS = 10
REPLACED_EVERY = 500


def _shifting(*shifts: int) -> Make:
    """At each of `shifts` another permutation says which variant is good for whom."""

    def make(rng: np.random.Generator) -> Setting:
        table = rng.uniform(0.1, 0.6, size=(4, 6))
        table[np.arange(4), rng.permutation(6)[:4]] = 0.75
        order = [np.arange(6)]
        for _ in shifts:
            # No variant stays where it was, so that what was learned misleads everywhere.
            turn = int(rng.integers(1, 6))
            order.append(np.roll(order[-1], turn))

        def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
            now = sum(t >= shift for shift in shifts)
            found: Numbers = table[int(str(context["segment"])[1:])][order[now]]
            return found

        return Setting(
            context=lambda t: {"segment": f"s{rng.integers(4)}", **numbers(TWO, rng.normal(size=2))},
            means=means,
            reward=clicks(rng),
            variants=always(V6),
        )

    return make


def _drift(rng: np.random.Generator) -> Setting:
    # Each variant's weights turn by half a circle over the run.
    angles = rng.uniform(0.0, 2.0 * math.pi, size=5)

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        turned = angles + math.pi * t / 4_000
        return sigmoid(
            2.0 * (np.cos(turned) * float(context["n0"]) + np.sin(turned) * float(context["n1"])) - 0.5
        )

    return Setting(
        context=lambda t: numbers(TWO, rng.normal(size=2)),
        means=means,
        reward=clicks(rng),
        variants=always(V5),
    )


def _item(rng: np.random.Generator, index: int) -> Variant:
    return Variant(
        f"item{index}", {"topic": f"t{rng.integers(TOPICS)}", "price": float(rng.uniform(0.0, 1.0))}
    )


def _matched(context: Context, eligible: tuple[Variant, ...]) -> Numbers:
    """What matters is whether the topic is the reader's, and a low price."""
    match = np.array([variant.features["topic"] == context["interest"] for variant in eligible])
    price = np.array([float(variant.features["price"]) for variant in eligible])  # type: ignore[arg-type]
    found: Numbers = np.where(match, 0.75, 0.2) - 0.15 * price
    return found


def _reader(rng: np.random.Generator) -> Context:
    return {"interest": f"t{rng.integers(TOPICS)}", "hour": float(rng.integers(24))}


def _catalogue_200(rng: np.random.Generator) -> Setting:
    items = tuple(_item(rng, index) for index in range(200))
    return Setting(
        context=lambda t: _reader(rng),
        means=lambda t, context, eligible: _matched(context, eligible),
        reward=clicks(rng),
        variants=always(items),
    )


def _churn(rng: np.random.Generator) -> Setting:
    # 15 variants; every 500 rounds the three oldest leave and three new ones come.
    items = tuple(_item(rng, index) for index in range(15))
    sets = [items]
    for index in range(15, 15 + 3 * 8, 3):
        items = items[3:] + tuple(_item(rng, index + each) for each in range(3))
        sets.append(items)
    return Setting(
        context=lambda t: _reader(rng),
        means=lambda t, context, eligible: _matched(context, eligible),
        reward=clicks(rng),
        variants=lambda t: sets[t // REPLACED_EVERY],
    )


def _newcomers(rng: np.random.Generator) -> Setting:
    # As churn, but nothing is known of a variant but its id: each newcomer must be tried.
    weights = rng.normal(size=(40, 4)) * 0.8
    bias = rng.normal(-0.6, 0.6, size=40)
    variants = plain_variants(40)
    sets = [variants[3 * index : 3 * index + 10] for index in range(9)]

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        first = 3 * (t // REPLACED_EVERY)
        known = np.array([float(context[name]) for name in FOUR])
        return sigmoid(weights[first : first + 10] @ known + bias[first : first + 10])

    return Setting(
        context=lambda t: numbers(FOUR, rng.normal(size=4)),
        means=means,
        reward=clicks(rng),
        variants=lambda t: sets[t // REPLACED_EVERY],
    )


def _few_of_50(rng: np.random.Generator) -> Setting:
    # Every call brings five of fifty: five of a shelf of ready sets, so that a set is the same tuple again.
    items = tuple(_item(rng, index) for index in range(50))
    sets = [tuple(items[i] for i in rng.permutation(50)[:5]) for _ in range(400)]
    return Setting(
        context=lambda t: _reader(rng),
        means=lambda t, context, eligible: _matched(context, eligible),
        reward=clicks(rng),
        variants=lambda t: sets[(t * 7) % 400],
    )


_SEGMENTS = {"segment": CATEGORY, **dict.fromkeys(TWO, NUMBER)}
_READER = {"interest": CATEGORY, "hour": NUMBER}

WORLDS: tuple[World, ...] = (
    made_up("shift", "changing", _shifting(2_000), _SEGMENTS, V6, shifts=(2_000,)),
    made_up(
        "shifts",
        "changing",
        _shifting(1_000, 2_000, 3_000),
        _SEGMENTS,
        V6,
        shifts=(1_000, 2_000, 3_000),
        held_out=True,
    ),
    made_up("drift", "changing", _drift, dict.fromkeys(TWO, NUMBER), V5),
    # Peers with a model a variant need up to 0.3 s a round here.
    made_up("catalogue-200", "variants", _catalogue_200, _READER, rounds=1_500),
    made_up("churn", "variants", _churn, _READER),
    made_up("newcomers", "variants", _newcomers, dict.fromkeys(FOUR, NUMBER), held_out=True),
    made_up("few-of-50", "variants", _few_of_50, _READER, held_out=True),
)
