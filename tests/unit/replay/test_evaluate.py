"""Fixed policies, judged on a log."""

import math
import random

import numpy as np
import pytest

from bandit.replay.errors import BadLog, BadPolicy


def logged_lines(line, count, seed=1, best=1, **other):
    """Drawn as told; variant `best` earns .6, the others .2."""
    rng = random.Random(seed)
    p = (0.5, 0.3, 0.2)
    lines = []
    for number in range(count):
        served = rng.choices(range(3), p)[0]
        reward = float(rng.random() < (0.6 if served == best else 0.2))
        context = {"U": {"hour": "am" if number % 2 else "pm", "age": float(number % 7)}}
        lines.append(line(number, served, reward, p, context, **other))
    return lines


def test_ips_and_snips_are_those_of_the_rows(line, log_of, judged):
    p = (0.5, 0.3, 0.2)
    served, rewards = [0, 1, 1, 2] * 50, [1.0, 0.0, 1.0, 1.0] * 50
    lines = [line(n, s, r, p) for n, (s, r) in enumerate(zip(served, rewards, strict=True))]
    found = judged(log_of(lines), "uniform", "fixed:v1")
    weights = [(1 / 3) / p[s] for s in served]
    total = math.fsum(w * r for w, r in zip(weights, rewards, strict=True))
    uniform, fixed = found.judgements
    assert uniform.estimates["ips"].value == pytest.approx(total / 200, rel=1e-12)
    assert uniform.estimates["snips"].value == pytest.approx(total / math.fsum(weights), rel=1e-12)
    assert fixed.estimates["snips"].value == pytest.approx(0.5)
    assert found.logged.value == pytest.approx(0.75)
    assert found.counts["joined"] == found.counts["treatment"] == 200
    assert found.columns.served.tolist() == [50, 100, 50]
    assert found.columns.expected == pytest.approx([100, 60, 40])


def test_a_better_policy_is_seen_to_be_better(line, log_of, judged):
    found = judged(log_of(logged_lines(line, 3_000)), "fixed:v1", "fixed:v2", "uniform")
    best, worse, uniform = found.judgements
    assert best.headline.low < 0.6 < best.headline.high
    assert worse.headline.low < 0.2 < worse.headline.high
    assert uniform.headline.low < 1 / 3 < uniform.headline.high
    assert best.reason == ""


def test_a_preset_learns_from_the_first_half_and_all_are_judged_on_the_second(line, log_of, judged):
    lines = logged_lines(line, 2_000)
    found = judged(log_of(lines), "preset:epsilon_greedy:epsilon=0", "uniform")
    assert len(found.columns.reward) == 1_000
    assert found.judgements[0].headline.low > 0.45
    alone = judged(log_of(lines[1_000:], "second.dsjson"), "uniform")
    assert found.judgements[1].estimates["snips"] == alone.judgements[0].estimates["snips"]
    # What comes later is not learned: a frozen policy puts the same on a variant wherever it is.
    pairs = {(int(variant), hour): set() for variant in range(3) for hour in range(2)}
    for index, (variant, probability) in enumerate(
        zip(found.columns.chosen, found.targets[0].probability, strict=True)
    ):
        pairs[int(variant), index % 2].add(round(float(probability), 12))
    assert all(len(values) <= 2 for values in pairs.values())


def test_a_column_holds_the_served_variants_probability_or_all_of_them(line, log_of, judged):
    lines = [
        line(n, n % 3, float(n % 2), (0.5, 0.3, 0.2), one=0.2 if n % 3 else 0.6, all=[0.6, 0.2, 0.2])
        for n in range(300)
    ]
    found = judged(log_of(lines), "column:one", "column:all")
    one, everything = found.judgements
    assert one.estimates["snips"] == everything.estimates["snips"]
    support = {check.name: check.verdict for check in one.diagnostics.checks}["support"]
    assert support == "unknown"  # one number a row does not tell where the rest lies


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, r"is 1.5; a probability lies in \[0, 1\]"),
        ([0.5, 0.5], "there are 3 variants"),
        ([0.5, 0.6, 0.2], "sums to 1.3"),
        ([1.2, -0.2, 0.0], "at least 0"),
        ("x", "a list with one a variant"),
        (..., "is missing"),
    ],
)
def test_a_column_that_holds_no_probabilities_is_refused_with_its_decision(
    value, message, line, log_of, judged
):
    path = log_of([line(1, mine=0.5), line(2, mine=value)])
    with pytest.raises(BadLog, match=f"column 'mine' of decision 'e2'.*{message}"):
        judged(path, "column:mine")


def test_a_log_without_propensities_gives_its_own_mean_and_says_what_can_be_done(line, log_of, judged):
    lines = [line(n, n % 3, float(n % 2), p=(0.5, 0.3, 0.2)) for n in range(200)]
    bare = [one.replace('"p":', '"x":').replace('"_label_probability":', '"y":') for one in lines]
    found = judged(log_of(bare), "uniform")
    [judgement] = found.judgements
    assert found.logged.value == 0.5
    assert judgement.headline is None
    assert judgement.estimates == {}
    assert "no propensities" in judgement.reason
    assert "replay can still train" in judgement.reason
    assert found.counts["no_propensity"] == 200


def test_rows_whose_other_probabilities_are_unknown_are_judged_without_a_word_on_support(
    line, log_of, judged
):
    lines = [one.replace('"p":', '"x":') for one in logged_lines(line, 500)]
    [judgement] = judged(log_of(lines), "fixed:v1").judgements
    assert judgement.headline is not None
    assert {check.name: check.verdict for check in judgement.diagnostics.checks}["support"] == "unknown"


@pytest.mark.parametrize("bad", [0.0, 1.5, "NaN"])
def test_propensities_that_can_not_be_are_counted_and_take_the_headline_away(bad, line, log_of, judged):
    lines = logged_lines(line, 300)
    for index in range(0, 300, 30):
        broken = line(10_000 + index, 0, 1.0, p=(0.5, 0.5), _label_probability=-1.0)
        lines[index] = broken.replace('-1.0, "_label_Action', f'{bad}, "_label_Action').replace(
            '"p": [0.5, 0.5]', f'"p": [{bad}, 1.0]'
        )
    found = judged(log_of(lines), "uniform")
    assert found.counts["bad_propensity"] == 10
    assert len(found.columns.reward) == 290
    assert found.judgements[0].headline is None
    assert "propensity" in found.judgements[0].reason


def test_distributions_that_do_not_sum_to_1_take_the_headline_away_too(line, log_of, judged):
    lines = logged_lines(line, 300)
    for index in range(0, 300, 30):
        lines[index] = line(10_000 + index, 0, 1.0, p=(0.5, 0.1), _label_probability=0.5)
    found = judged(log_of(lines), "uniform")
    assert found.counts["bad_propensity"] == 10
    assert found.judgements[0].headline is None


def test_rewards_outside_the_declared_range_take_the_headline_away(line, log_of, judged):
    lines = [*logged_lines(line, 300), line(300, reward=5.0)]
    found = judged(log_of(lines), "uniform")
    assert found.judgements[0].headline is None
    assert "outside the declared range [0, 1]" in found.judgements[0].reason
    assert "--reward-range" in found.judgements[0].reason
    declared = judged(log_of(lines), "uniform", reward_range=(0.0, 5.0))
    assert declared.judgements[0].headline is not None
    assert declared.columns.reward.max() == 5.0


def test_a_log_that_can_not_be_used_says_why(line, log_of, judged, tmp_path):
    (tmp_path / "empty").write_text("")
    with pytest.raises(BadLog, match="is empty"):
        judged(tmp_path / "empty", "uniform")
    with pytest.raises(
        BadLog, match=r"None of the log's 1 lines could be read; line 1 .*NOT_A_DECISION|could be"
    ):
        judged(log_of(["[]"]), "uniform")
    with pytest.raises(BadLog, match="'other' is not in the log; there: imported"):
        judged(log_of([line(1)]), "uniform", experiment="other")
    with pytest.raises(BadLog, match="None of the 1 closed decisions has a reward"):
        judged(log_of([line(1, _skipLearn=True)]), "uniform")
    with pytest.raises(BadLog, match="in that time"):
        judged(log_of([line(1)]), "uniform", until_us=5)


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (["squarecb"], "is not a policy to evaluate"),
        (["fixed:"], "is not a policy to evaluate"),
        (["fixed:v9"], "names a variant that no decision could serve; there: v0, v1, v2"),
        (["preset:unknown"], "not a preset"),
        (["snapshot:x"], "is a model of a data folder"),
        (["uniform", "uniform"], "twice"),
        ([], "no policy"),
    ],
)
def test_a_policy_that_there_is_not_is_bad_usage(policies, message, line, log_of, judged):
    with pytest.raises(BadPolicy, match=message):
        judged(log_of([line(n) for n in range(5)]), *policies)


def test_only_the_time_asked_for_takes_part(line, log_of, judged):
    path = log_of([line(n, reward=float(n >= 50)) for n in range(100)])
    at_us = judged(path, "uniform").columns.at_us
    found = judged(path, "uniform", since_us=int(at_us[50]), until_us=int(at_us[90]))
    assert found.counts["joined"] == 40
    assert found.logged.value == 1.0


def test_segments_are_judged_apart_and_are_all_of_the_rows(line, log_of, judged):
    found = judged(log_of(logged_lines(line, 1_000)), "uniform", segment="U.hour")
    assert set(found.segments) == {"am", "pm"}
    assert sum(one.n for one in found.segment_logged.values()) == 1_000
    am = judged(log_of(logged_lines(line, 1_000)[1::2], "am.dsjson"), "uniform")
    assert found.segments["am"][0].estimates["ips"] == am.judgements[0].estimates["ips"]
    with pytest.raises(BadPolicy, match="has a signal 'nothing'"):
        judged(log_of(logged_lines(line, 10)), "uniform", segment="nothing")


def test_segments_are_bounded(line, log_of, judged):
    words = log_of([line(n, context={"word": f"w{n % 30}"}) for n in range(300)], "words")
    found = judged(words, "uniform", segment="word")
    assert len(found.segments) == 13
    assert found.segment_logged["(other)"].n == 300 - 12 * 10
    numbers = log_of([line(n, context={"x": n + 0.5} if n % 10 else {}) for n in range(300)], "numbers")
    found = judged(numbers, "uniform", segment="x")
    assert len(found.segments) == 5
    assert found.segment_logged["(absent)"].n == 30
    assert sum(one.n for one in found.segment_logged.values()) == 300


def test_the_doubly_robust_estimate_comes_with_a_reward_model(line, log_of, judged):
    path = log_of(logged_lines(line, 2_000))
    found = judged(path, "fixed:v1", "uniform", estimator="dr", reward_model=True)
    for judgement, truth in zip(found.judgements, (0.6, 1 / 3), strict=True):
        assert {"dm", "dr", "switch_dr", "dros"} <= judgement.estimates.keys()
        assert judgement.headline_estimator == "dr"
        assert judgement.headline.low < truth < judgement.headline.high
    # A model that knows something narrows the interval.
    assert found.judgements[1].estimates["dm"].value == pytest.approx(1 / 3, abs=0.1)


def test_predicted_rewards_may_come_from_a_column(line, log_of, judged):
    lines = logged_lines(line, 800, q=[0.2, 0.6, 0.2], pi=[0.0, 1.0, 0.0])
    [judgement] = judged(log_of(lines), "column:pi", reward_model_column="q").judgements
    assert judgement.estimates["dm"].value == pytest.approx(0.6)
    r = np.array(judged(log_of(lines), "uniform").columns.reward)
    chosen = judged(log_of(lines), "uniform").columns
    served = np.array([chosen.variant_ids[code] == "v1" for code in chosen.chosen])
    by_hand = np.mean(0.6 + np.where(served, (r - 0.6) / 0.3, 0.0))
    assert judgement.estimates["dr"].value == pytest.approx(by_hand)
    with pytest.raises(BadLog, match="column 'q' of decision 'e0'"):
        judged(log_of(logged_lines(line, 5, q=0.3)), "uniform", reward_model_column="q")


def test_dropped_events_count_for_those_that_were_kept(line, log_of, judged):
    lines = [line(n, reward=1.0, pdrop=0.75) for n in range(100)]
    lines += [line(100 + n, reward=0.0, pdrop=0) for n in range(100)]
    found = judged(log_of(lines), "uniform")
    assert found.logged.value == pytest.approx(0.8)


def test_a_better_estimate_is_reproducible(line, log_of, judged):
    path = log_of(logged_lines(line, 500))
    first, second = (judged(path, "uniform", estimator="dr", reward_model=True) for _ in range(2))
    assert first.judgements[0].estimates == second.judgements[0].estimates


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_equal_rewards_leave_open_what_400_rows_can_not_rule_out(reward, line, log_of, judged):
    lines = [line(n, n % 2, reward, (0.5, 0.5), {"U": {"hour": "am"}}) for n in range(400)]
    found = judged(log_of(lines), "uniform", segment="U.hour")
    unseen = 1.0 - 0.025 ** (1 / 400)
    ends = pytest.approx((reward - unseen * reward, reward + unseen * (1.0 - reward)))
    assert (found.logged.low, found.logged.high) == ends
    assert [(one.low, one.high) for one in found.segment_logged.values()] == [ends]
    judgement = found.judgements[0]
    assert judgement.headline is None
    for name in ("snips", "ips"):
        assert (judgement.estimates[name].low, judgement.estimates[name].high) == ends


def test_a_log_that_always_served_the_same_judges_that_alone(line, log_of, judged):
    lines = [line(n, 1, float(n % 3 == 0), (0.0, 1.0, 0.0)) for n in range(300)]
    same, other, even = judged(log_of(lines), "fixed:v1", "fixed:v0", "uniform").judgements
    assert same.headline.value == pytest.approx(1 / 3)
    for judgement in (other, even):
        assert judgement.headline is None
        assert "nothing but that can be judged" in judgement.reason
