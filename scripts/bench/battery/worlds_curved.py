"""Made-up worlds in which a linear model of the signals as they are is not enough."""

import numpy as np

from bandit.core.records import Variant
from battery.synthetic import Setting, always, clicks, made_up, numbers, sigmoid
from battery.world import CATEGORY, FLAG, NUMBER, Context, Numbers, World, plain_variants

V2, V3, V4, V6 = (plain_variants(count) for count in (2, 3, 4, 6))
NUMBERS = [f"n{index}" for index in range(4)]
SCALES = ["rate", "income", "rare", "constant"]


def _at(index: int, size: int, high: float, low: float) -> Numbers:
    found = np.full(size, low)
    found[index] = high
    return found


def _xor_categories(rng: np.random.Generator) -> Setting:
    table = rng.permutation(4)[(np.arange(4)[:, None] + np.arange(4)) % 4]

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        row, column = int(str(context["city"])[1:]), int(str(context["device"])[1:])
        return _at(int(table[row, column]), 4, 0.7, 0.2)

    return Setting(
        context=lambda t: {"city": f"c{rng.integers(4)}", "device": f"d{rng.integers(4)}"},
        means=means,
        reward=clicks(rng),
        variants=always(V4),
    )


def _xor_signs(rng: np.random.Generator) -> Setting:
    return Setting(
        context=lambda t: numbers(NUMBERS[:3], rng.normal(size=3)),
        means=lambda t, context, eligible: _at(
            int((float(context["n0"]) > 0) == (float(context["n1"]) > 0)), 2, 0.75, 0.25
        ),
        reward=clicks(rng),
        variants=always(V2),
    )


def _bands(rng: np.random.Generator) -> Setting:
    # Six bands of a number, each with its own best of three variants.
    best = rng.permutation(np.array([0, 1, 2, 0, 1, 2]))
    return Setting(
        context=lambda t: {
            "age": float(rng.uniform(18.0, 78.0)),
            **numbers(NUMBERS[:2], rng.normal(size=2)),
        },
        means=lambda t, context, eligible: _at(
            int(best[int((float(context["age"]) - 18.0) // 10.0)]), 3, 0.7, 0.2
        ),
        reward=clicks(rng),
        variants=always(V3),
    )


def _mixed(rng: np.random.Generator) -> Setting:
    city = rng.normal(size=(6, 6)) * 0.6
    pairs = rng.normal(size=(6, 2, 6)) * 0.9
    slopes = rng.normal(size=(2, 6)) * 0.6
    by_member = rng.normal(size=(2, 6)) * 0.6

    def context(t: int) -> Context:
        return {
            "city": f"c{rng.integers(6)}",
            "member": bool(rng.random() < 0.4),
            "app": bool(rng.random() < 0.5),
            "age": float(rng.normal(40.0, 12.0)),
            "spend": float(rng.lognormal(3.0, 0.8)),
        }

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        at, member = int(str(context["city"])[1:]), int(bool(context["member"]))
        age = (float(context["age"]) - 40.0) / 12.0
        spend = (np.log(float(context["spend"])) - 3.0) / 0.8
        score = city[at] + pairs[at, member] + slopes[0] * age + slopes[1] * spend
        return sigmoid(score + by_member[member] * age - 0.7)

    return Setting(context=context, means=means, reward=clicks(rng), variants=always(V6))


def _needle(rng: np.random.Generator) -> Setting:
    # One variant is the worst but for 5 % of contexts, where it is by far the best.
    needle = int(rng.integers(6))
    rest = rng.permutation(np.array([0.30, 0.28, 0.26, 0.25, 0.24, 0.22]))
    away, here = rest.copy(), rest.copy()
    away[needle], here[needle] = 0.05, 0.90
    return Setting(
        context=lambda t: {
            "segment": "rare" if rng.random() < 0.05 else f"s{rng.integers(9)}",
            **numbers(NUMBERS[:2], rng.normal(size=2)),
        },
        means=lambda t, context, eligible: here if context["segment"] == "rare" else away,
        reward=clicks(rng),
        variants=always(V6),
    )


def _many_values(rng: np.random.Generator) -> Setting:
    # 500 values of one category, a few of them frequent, each with its own best variant.
    best = rng.integers(4, size=500)
    shares = 1.0 / np.arange(1, 501)
    shares /= shares.sum()
    return Setting(
        context=lambda t: {"item": f"i{rng.choice(500, p=shares)}", "app": bool(rng.random() < 0.5)},
        means=lambda t, context, eligible: _at(int(best[int(str(context["item"])[1:])]), 4, 0.65, 0.2),
        reward=clicks(rng),
        variants=always(V4),
    )


def _scales(rng: np.random.Generator) -> Setting:
    # A number of 1e-3 beside one of 1e5, one with absurd values, one that never changes.
    weights = rng.normal(size=(4, 3)) * 1.2

    def context(t: int) -> Context:
        return {
            "rate": float(rng.normal(2e-3, 1e-3)),
            "income": float(rng.normal(1e5, 3e4)),
            "rare": float(rng.standard_t(1.5)),
            "constant": 7.0,
        }

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        rate, income = (float(context["rate"]) - 2e-3) / 1e-3, (float(context["income"]) - 1e5) / 3e4
        return sigmoid(weights @ np.array([rate, income, np.tanh(float(context["rare"]))]) - 0.4)

    return Setting(context=context, means=means, reward=clicks(rng), variants=always(V4))


WORLDS: tuple[World, ...] = (
    made_up("xor-categories", "curved", _xor_categories, {"city": CATEGORY, "device": CATEGORY}, V4),
    made_up("xor-signs", "curved", _xor_signs, dict.fromkeys(NUMBERS[:3], NUMBER), V2, held_out=True),
    made_up("bands", "curved", _bands, {"age": NUMBER, **dict.fromkeys(NUMBERS[:2], NUMBER)}, V3),
    made_up(
        "mixed",
        "curved",
        _mixed,
        {"city": CATEGORY, "member": FLAG, "app": FLAG, "age": NUMBER, "spend": NUMBER},
        V6,
    ),
    made_up("needle", "curved", _needle, {"segment": CATEGORY, **dict.fromkeys(NUMBERS[:2], NUMBER)}, V6),
    made_up(
        "many-values",
        "signals",
        _many_values,
        {"item": CATEGORY, "app": FLAG},
        V4,
        rounds=2_000,
        held_out=True,
    ),
    made_up("scales", "signals", _scales, dict.fromkeys(SCALES, NUMBER), V4),
)
