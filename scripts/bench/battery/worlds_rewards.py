"""Made-up worlds whose rewards are what makes them hard: rare, huge, negative."""

import numpy as np

from bandit.core.records import Variant
from battery.synthetic import Setting, always, clicks, made_up, numbers, sigmoid
from battery.world import CATEGORY, NUMBER, Context, Numbers, World, plain_variants

V4, V5 = plain_variants(4), plain_variants(5)
FOUR = [f"n{index}" for index in range(4)]
MONEY = (0.0, 500.0)


def _segments(rng: np.random.Generator) -> Context:
    return {"segment": f"s{rng.integers(4)}", **numbers(FOUR[:2], rng.normal(size=2))}


def _segment(context: Context) -> int:
    return int(str(context["segment"])[1:])


def _rare(rng: np.random.Generator) -> Setting:
    # About one click in a hundred; by segment, the best variant has two to four times the others' rate.
    rates = np.exp(rng.normal(np.log(0.008), 0.7, size=(4, 5)))
    return Setting(
        context=lambda t: _segments(rng),
        means=lambda t, context, eligible: rates[_segment(context)],
        reward=clicks(rng),
        variants=always(V5),
    )


def _heavy_tails(rng: np.random.Generator) -> Setting:
    # Purchases: mostly none, a few small, very few huge.
    chance = np.clip(np.exp(rng.normal(np.log(0.06), 0.5, size=(4, 4))), 0.01, 0.5)
    level = rng.normal(3.0, 0.4, size=(4, 4))
    spread = 1.0
    draws = np.minimum(np.exp(rng.normal(size=20_000) * spread), 1e9)
    typical = np.array([[np.minimum(np.exp(one) * draws, MONEY[1]).mean() for one in row] for row in level])
    at = [0]

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        at[0] = _segment(context)
        found: Numbers = chance[at[0]] * typical[at[0]]
        return found

    def reward(means: Numbers) -> Numbers:
        amounts = np.minimum(np.exp(level[at[0]] + spread * rng.normal(size=4)), MONEY[1])
        return np.where(rng.random(4) < chance[at[0]], amounts, 0.0)

    return Setting(context=lambda t: _segments(rng), means=means, reward=reward, variants=always(V4))


def _costs(rng: np.random.Generator) -> Setting:
    # Rewards from -1 to 0: what is sent is a cost, as latency or money lost.
    weights = rng.normal(size=(4, 4)) * 0.9
    bias = rng.normal(size=4) * 0.3

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        return -sigmoid(weights @ np.array([float(context[name]) for name in FOUR]) + bias)

    return Setting(
        context=lambda t: numbers(FOUR, rng.normal(size=4)),
        means=means,
        reward=lambda means: np.clip(means + 0.15 * rng.normal(size=4), -1.0, 0.0),
        variants=always(V4),
    )


def _money(rng: np.random.Generator) -> Setting:
    weights = rng.normal(size=(4, 4)) * 25.0
    bias = rng.normal(250.0, 10.0, size=4)

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        found: Numbers = np.clip(
            weights @ np.array([float(context[name]) for name in FOUR]) + bias, 60.0, 440.0
        )
        return found

    return Setting(
        context=lambda t: numbers(FOUR, rng.normal(size=4)),
        means=means,
        reward=lambda means: np.clip(means + 60.0 * rng.normal(size=4), *MONEY),
        variants=always(V4),
    )


_SEGMENTS = {"segment": CATEGORY, **dict.fromkeys(FOUR[:2], NUMBER)}

WORLDS: tuple[World, ...] = (
    made_up("rare", "rewards", _rare, _SEGMENTS, V5, rounds=10_000),
    made_up("heavy-tails", "rewards", _heavy_tails, _SEGMENTS, V4, reward_range=MONEY, held_out=True),
    made_up("costs", "rewards", _costs, dict.fromkeys(FOUR, NUMBER), V4, reward_range=(-1.0, 0.0)),
    made_up("money", "rewards", _money, dict.fromkeys(FOUR, NUMBER), V4, reward_range=MONEY, held_out=True),
)
