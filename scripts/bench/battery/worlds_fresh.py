"""Made-up worlds that were written when the held out ones had been in view, by someone blind to the learner.

They are of kinds that a team with e-mails, articles or offers meets. The labelled sets of this group are in
`worlds_sets`. The group is as good as its next use: settings that are chosen by it, or beside it, end that.
"""

import math

import numpy as np

from bandit.core.records import Variant
from battery.synthetic import Setting, always, clicks, made_up, numbers, sigmoid
from battery.world import CATEGORY, FLAG, NUMBER, Context, Numbers, World, plain_variants

V5, V6, V8, V12 = (plain_variants(count) for count in (5, 6, 8, 12))
SLOTS = ["tag_1", "tag_2", "tag_3"]
TAGS = 12
TASTES = ["budget", "patience"]
DEVICES = 3
TIED = 9
BROKEN, REPAIRED = 1_500, 3_000
SEASON = 2_500.0
"""Rounds of a year: the run sees more than one, and ends elsewhere than it began."""


def _at(context: Context, name: str) -> int:
    """The number in a value such as s3."""
    return int(str(context[name])[1:])


def _send_hour(rng: np.random.Generator) -> Setting:
    # Opened e-mails. Each variant has an hour at which it works best, that each segment has earlier or later;
    # 23 and 0 are neighbours. How long ago the reader last opened one matters as much for every variant.
    peak = np.arange(6) * 4.0 + rng.uniform(-1.0, 1.0, size=6)
    later = rng.uniform(0.0, 24.0, size=4)
    liked = rng.normal(size=6) * 0.2

    def context(t: int) -> Context:
        return {
            "segment": f"s{rng.integers(4)}",
            "hour": float(rng.integers(24)),
            "days_since_open": float(rng.exponential(10.0)),
        }

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        away = float(context["hour"]) - peak - later[_at(context, "segment")]
        tired = math.log1p(float(context["days_since_open"])) - 2.0
        return sigmoid(1.5 * np.cos(2.0 * math.pi * away / 24.0) + liked - 0.4 * tired - 1.0)

    return Setting(context=context, means=means, reward=clicks(rng), variants=always(V6))


def _season(rng: np.random.Generator) -> Setting:
    # Clicks rise from 6 % to 35 % and fall again, for all variants alike; who likes what stays as it is.
    by_region = rng.normal(size=(5, 8)) * 0.7
    slopes = rng.normal(size=8) * 0.5
    start = rng.uniform(0.0, 2.0 * math.pi)

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        season = -1.7 + 1.1 * math.sin(start + 2.0 * math.pi * t / SEASON)
        return sigmoid(season + by_region[_at(context, "region")] + slopes * float(context["visits"]))

    return Setting(
        context=lambda t: {"region": f"r{rng.integers(5)}", "visits": float(rng.normal())},
        means=means,
        reward=clicks(rng),
        variants=always(V8),
    )


def _duplicates(rng: np.random.Generator) -> Setting:
    # Nine of twelve subject lines do the same for everyone. Of the three others, one is four times as good on
    # a device, and which one it is depends on the device. An even draw earns 3 %.
    place = rng.permutation(12)
    turn = rng.permutation(DEVICES)
    table = np.full((DEVICES, 12), 0.025)
    for device in range(DEVICES):
        table[device, place[TIED:]] = np.roll([0.10, 0.02, 0.01], turn[device])

    return Setting(
        context=lambda t: {"device": f"d{rng.integers(DEVICES)}", "member": bool(rng.random() < 0.5)},
        means=lambda t, context, eligible: table[_at(context, "device")],
        reward=clicks(rng),
        variants=always(V12),
    )


def _ratings(rng: np.random.Generator) -> Setting:
    # Stars from 1 to 5. A reader lists three of twelve tags, in any order, with a column for each place; each
    # counts the same wherever it stands. Half of the articles are long, and liked by who has the time alone.
    liking = rng.normal(size=(TAGS, 8)) * 0.7
    long = rng.permutation(8) < 4
    enough = rng.uniform(10.0, 20.0)

    def context(t: int) -> Context:
        tags = rng.permutation(TAGS)[: len(SLOTS)].tolist()
        listed: Context = {slot: f"t{tag}" for slot, tag in zip(SLOTS, tags, strict=True)}
        return {**listed, "minutes": float(rng.gamma(2.0, 8.0))}

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        score = sum(liking[_at(context, slot)] for slot in SLOTS)
        fits = long == (float(context["minutes"]) >= enough)
        return 1.0 + 4.0 * sigmoid(score + np.where(fits, 0.7, -0.7))

    return Setting(
        context=context,
        means=means,
        reward=lambda means: (1.0 + rng.binomial(4, (means - 1.0) / 4.0)).astype(np.float64),
        variants=always(V8),
    )


def _outage(rng: np.random.Generator) -> Setting:
    # The variant that is best in three segments of five earns nothing between the two rounds, its link being
    # broken, and then all that it did before. Nothing else changes.
    first = int(rng.integers(5))
    table = rng.uniform(0.15, 0.40, size=(5, 5))
    others = [each for each in range(5) if each != first]
    for place, segment in enumerate(rng.permutation(5).tolist()):
        table[segment, first if place < 3 else others[int(rng.integers(4))]] = 0.60
    broken = table.copy()
    broken[:, first] = 0.0

    return Setting(
        context=lambda t: {"segment": f"s{rng.integers(5)}", "app": bool(rng.random() < 0.5)},
        means=lambda t, context, eligible: (broken if BROKEN <= t < REPAIRED else table)[
            _at(context, "segment")
        ],
        reward=clicks(rng),
        variants=always(V5),
    )


def _six_of_30(rng: np.random.Generator) -> Setting:
    # Offers with two numbers. Neither is good or bad: each counts times a number of the reader's. Every call
    # brings six of thirty: one of a shelf of ready sets, so that a set is the same tuple again.
    values = rng.normal(size=(30, 2))
    weights = rng.choice([-1.0, 1.0], size=2) * rng.uniform(0.7, 1.3, size=2)
    offers = [
        Variant(f"offer{index}", {"price": price, "length": length})
        for index, (price, length) in enumerate(values.tolist())
    ]
    shelf = [rng.permutation(30)[:6] for _ in range(300)]
    sets = [tuple(offers[index] for index in each) for each in shelf]

    def means(t: int, context: Context, eligible: tuple[Variant, ...]) -> Numbers:
        tastes = np.array([float(context[name]) for name in TASTES])
        return sigmoid(values[shelf[_turn(t)]] @ (weights * tastes) - 0.8)

    return Setting(
        context=lambda t: {**numbers(TASTES, rng.normal(size=2)), "app": bool(rng.random() < 0.5)},
        means=means,
        reward=clicks(rng),
        variants=lambda t: sets[_turn(t)],
    )


def _turn(t: int) -> int:
    return (t * 7) % 300


WORLDS: tuple[World, ...] = (
    made_up(
        "send-hour",
        "curved",
        _send_hour,
        {"segment": CATEGORY, "hour": NUMBER, "days_since_open": NUMBER},
        V6,
        held_out=True,
    ),
    made_up("season", "changing", _season, {"region": CATEGORY, "visits": NUMBER}, V8, held_out=True),
    made_up("duplicates", "rewards", _duplicates, {"device": CATEGORY, "member": FLAG}, V12, held_out=True),
    made_up(
        "ratings",
        "rewards",
        _ratings,
        {**dict.fromkeys(SLOTS, CATEGORY), "minutes": NUMBER},
        V8,
        reward_range=(0.0, 5.0),
        held_out=True,
    ),
    made_up(
        "outage",
        "changing",
        _outage,
        {"segment": CATEGORY, "app": FLAG},
        V5,
        held_out=True,
        shifts=(BROKEN, REPAIRED),
    ),
    made_up(
        "six-of-30", "variants", _six_of_30, {**dict.fromkeys(TASTES, NUMBER), "app": FLAG}, held_out=True
    ),
)
