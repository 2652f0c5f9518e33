"""The check that both arms have the same contexts."""

import random

import pytest

from bandit.core.records import Arm, Decision, JoinedEvent, Outcome, Position, Source, Stage, Variant
from bandit.replay.arms import ArmCheck
from bandit.replay.errors import BadLog
from bandit.replay.logged import LoggedColumns

VARIANTS = (Variant("a"), Variant("b"))


def event(number, arm, share, context, subject="", chosen=0):
    decision = Decision(
        "mail", 1, f"d{number}", subject, context, VARIANTS, False, [1.0, 0.0], [0.5, 0.5], chosen, arm,
        Source.BASELINE, Stage.RAMP, share, "",
    )  # fmt: skip
    return JoinedEvent(Position(number, number), number, decision, Outcome.REWARDED, 0.0, False, {})


def checked(events):
    check = ArmCheck()
    for one in events:
        check.take(one)
    check.verdict()


def drawn(rng, share):
    return Arm.TREATMENT if rng.random() < share else Arm.CONTROL


def context(rng):
    return {
        "age": rng.gauss(40, 12),
        "hour": rng.choice(["am", "pm"]),
        "new": rng.random() < 0.3,
        "tags": tuple(rng.sample(["x", "y", "z"], 2)),
    }


@pytest.mark.parametrize("seed", range(20))
def test_arms_that_are_drawn_pass_even_where_the_share_and_the_contexts_change(seed):
    rng = random.Random(seed)
    events = []
    for number in range(2_000):
        share = 0.05 if number < 1_000 else 0.6
        seen = context(rng) | ({"season": "winter"} if number < 900 else {"season": "spring"})
        events.append(event(number, drawn(rng, share), share, seen))
    checked(events)


@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("hour", lambda seen: seen["hour"] == "am"),
        ("new", lambda seen: seen["new"]),
        ("tags has [xyz]", lambda seen: "x" in seen["tags"]),
        ("age", lambda seen: seen["age"] > 45),
    ],
)
def test_a_context_that_sways_the_arm_is_refused_by_name(name, tells):
    rng = random.Random(7)
    contexts = [context(rng) for _ in range(3_000)]
    events = [
        event(number, drawn(rng, 0.65 if tells(seen) else 0.35), 0.5, seen)
        for number, seen in enumerate(contexts)
    ]
    with pytest.raises(BadLog, match=rf"differs between the arms \({name}"):
        checked(events)


def test_subjects_that_come_often_count_once():
    # Two subjects, one an arm: a thousand decisions of theirs tell no more than two.
    events = [
        event(n, Arm.TREATMENT if n % 2 else Arm.CONTROL, 0.5, {"who": str(n % 2)}, subject=f"s{n % 2}")
        for n in range(1_000)
    ]
    checked(events)


def test_a_baseline_that_changed_has_no_marginal_propensity():
    gathered = LoggedColumns((0.0, 1.0), "a", "marginal")
    assert gathered.take(event(1, Arm.CONTROL, 0.5, {}, chosen=0))
    assert list(gathered.distribution) == [0.75, 0.25]
    with pytest.raises(BadLog, match="baseline was not 'a' all along"):
        gathered.take(event(2, Arm.CONTROL, 0.5, {}, chosen=1))
