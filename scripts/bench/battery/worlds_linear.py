"""Made-up worlds that a linear model of one-hot categories and numbers fits, or nearly."""

import numpy as np

from bandit.core.records import Variant
from battery.synthetic import Setting, always, clicks, made_up, numbers, sigmoid
from battery.world import CATEGORY, FLAG, NUMBER, Context, Numbers, World, plain_variants

FIVE = [f"n{index}" for index in range(5)]
FIFTY = [f"n{index}" for index in range(50)]
TWENTY = [f"n{index}" for index in range(20)]
THREE = ["city", "device", "source"]
VALUES = 8

V2, V5, V6, V10, V26 = (plain_variants(count) for count in (2, 5, 6, 10, 26))


def _weighted(
    rng: np.random.Generator,
    names: list[str],
    variants: tuple[Variant, ...],
    used: int,
    scale: float,
) -> Setting:
    """Clicks by a logistic model in the first `used` numbers."""
    weights = rng.normal(size=(len(variants), used)) * scale / np.sqrt(used)
    bias = rng.normal(size=len(variants)) * 0.3 - 0.5

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        known = np.array([float(context[name]) for name in names[:used]])
        return sigmoid(weights @ known + bias)

    return Setting(
        context=lambda t: numbers(names, rng.normal(size=len(names))),
        means=means,
        reward=clicks(rng),
        variants=always(variants),
    )


def _linear(rng: np.random.Generator) -> Setting:
    return _weighted(rng, FIVE, V5, 5, 1.5)


def _wide(rng: np.random.Generator) -> Setting:
    return _weighted(rng, FIFTY, V10, 5, 2.5)


def _noisy(rng: np.random.Generator) -> Setting:
    # The part of a reward that a context explains has a tenth of the spread of the part that it doesn't.
    weights = rng.normal(size=(5, 5)) / np.sqrt(5)

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        known = np.array([float(context[name]) for name in FIVE])
        clipped: Numbers = np.clip(0.5 + 0.02 * weights @ known, 0.2, 0.8)
        return clipped

    return Setting(
        context=lambda t: numbers(FIVE, rng.normal(size=5)),
        means=means,
        reward=lambda means: np.clip(means + 0.2 * rng.normal(size=len(means)), 0.0, 1.0),
        variants=always(V5),
    )


def _classes(rng: np.random.Generator) -> Setting:
    # One class of 26 is right; which one is a softmax of a linear model in 20 numbers.
    weights = rng.normal(size=(26, 20)) * 1.2

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        scores = weights @ np.array([float(context[name]) for name in TWENTY])
        shares: Numbers = np.exp(scores - scores.max())
        shares /= shares.sum()
        return shares

    def reward(means: Numbers) -> Numbers:
        right = np.zeros(len(means))
        right[rng.choice(len(means), p=means)] = 1.0
        return right

    return Setting(
        context=lambda t: numbers(TWENTY, rng.normal(size=20)),
        means=means,
        reward=reward,
        variants=always(V26),
    )


def _categories(rng: np.random.Generator) -> Setting:
    effects = rng.normal(size=(3, VALUES, 10)) * 0.8

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        score: Numbers = np.full(10, -0.8)
        for index, name in enumerate(THREE):
            score = score + effects[index, int(str(context[name])[1:])]
        return sigmoid(score)

    return Setting(
        context=lambda t: {name: f"c{rng.integers(VALUES)}" for name in THREE},
        means=means,
        reward=clicks(rng),
        variants=always(V10),
    )


def _context_free(rng: np.random.Generator) -> Setting:
    fixed = rng.permutation(np.array([0.2, 0.22, 0.25, 0.28, 0.3, 0.4]))
    return Setting(
        context=lambda t: {
            **numbers(FIVE[:4], rng.normal(size=4)),
            "city": f"c{rng.integers(VALUES)}",
            "member": bool(rng.random() < 0.5),
        },
        means=lambda t, context, eligible: fixed,
        reward=clicks(rng),
        variants=always(V6),
    )


def _two_close(rng: np.random.Generator) -> Setting:
    # Which of the two is better depends on the member flag; the gap is 4 points of 32.
    side = int(rng.integers(2))

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        better = side if context["member"] else 1 - side
        found = np.full(2, 0.30)
        found[better] = 0.34
        return found

    return Setting(
        context=lambda t: {"member": bool(rng.random() < 0.7), **numbers(FIVE[:2], rng.normal(size=2))},
        means=means,
        reward=clicks(rng),
        variants=always(V2),
    )


WORLDS: tuple[World, ...] = (
    made_up("linear", "linear", _linear, dict.fromkeys(FIVE, NUMBER), V5),
    made_up("linear-wide", "linear", _wide, dict.fromkeys(FIFTY, NUMBER), V10, held_out=True),
    made_up("categories", "linear", _categories, dict.fromkeys(THREE, CATEGORY), V10),
    made_up("softmax-26", "linear", _classes, dict.fromkeys(TWENTY, NUMBER), V26),
    made_up("noisy", "linear", _noisy, dict.fromkeys(FIVE, NUMBER), V5, held_out=True),
    made_up(
        "context-free",
        "no context",
        _context_free,
        {**dict.fromkeys(FIVE[:4], NUMBER), "city": CATEGORY, "member": FLAG},
        V6,
    ),
    made_up("two-close", "no context", _two_close, {"member": FLAG, **dict.fromkeys(FIVE[:2], NUMBER)}, V2),
)
