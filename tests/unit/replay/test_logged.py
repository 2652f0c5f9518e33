"""Joined events as columns, the reward model, and what is judged of them."""

import numpy as np
import pytest

from bandit.core.records import Arm, Decision, JoinedEvent, Outcome, Position, Source, Stage, Variant
from bandit.replay.chunks import CHUNK_ROWS, Columns
from bandit.replay.collector import PausedCollector
from bandit.replay.errors import BadPolicy
from bandit.replay.judging import judge
from bandit.replay.logged import LoggedColumns
from bandit.replay.reward_model import CrossFitted
from bandit.replay.sources import open_source
from bandit.replay.targets import TargetColumns

NAN = float("nan")


def event(number, ids="abc", distribution=None, chosen=0, reward=1.0, subject="", **other):
    p = distribution or [1.0 / len(ids)] * len(ids)
    fields = {"arm": Arm.TREATMENT, "treatment_share": 1.0, "pdrop": 0.0} | other
    decision = Decision(
        "mail", 1, f"d{number}", subject, {}, tuple(map(Variant, ids)), True, p, p, chosen,
        fields["arm"], Source.LEARNED, Stage.FULL, fields["treatment_share"], "", fields["pdrop"],
    )  # fmt: skip
    outcome = Outcome.UNREWARDED if reward is None else Outcome.REWARDED
    return JoinedEvent(Position(number, number), number, decision, outcome, reward, False, {})


def gathered(events):
    columns = LoggedColumns((0.0, 1.0), "a", "own")
    for one in events:
        if not columns.treated and one.decision.arm is Arm.TREATMENT:
            columns.begin()
        columns.take(one)
    return columns.logged({})


def test_calibration_sums_hold_for_sets_of_variants_that_differ_from_row_to_row():
    sets = ["abc", "cb", "d", "abcd"]
    events = [event(n, sets[n % 4], chosen=n % len(sets[n % 4])) for n in range(3 * CHUNK_ROWS + 1)]
    # Rows that are not known in full add nothing.
    events += [event(10**6, "ab", [0.5, NAN]), event(10**6 + 1, "ab", [NAN, NAN])]
    found = gathered(events)
    expected, variance, served = (dict.fromkeys("abcd", 0.0) for _ in range(3))
    for one in events[:-2]:
        decision = one.decision
        served[decision.variant.id] += 1
        for variant, p in zip(decision.variants, decision.distribution, strict=True):
            expected[variant.id] += p
            variance[variant.id] += p * (1 - p)
    for sums, truth in ((found.expected, expected), (found.variance, variance), (found.served, served)):
        assert dict(zip(found.variant_ids, sums.tolist(), strict=True)) == pytest.approx(truth)
    assert found.eligible[:4].tolist() == [3, 2, 1, 4]
    assert np.isnan(found.propensity).sum() == found.counts["no_propensity"] == 1


def test_one_subject_is_one_cluster_and_no_subject_is_one_each():
    found = gathered([event(n, subject=subject) for n, subject in enumerate(["x", "y", "x", "", ""])])
    assert found.cluster[0] == found.cluster[2]
    assert len(set(found.cluster.tolist())) == 4
    again = gathered([event(0, subject="x")])
    assert again.cluster[0] == found.cluster[0]  # the same in every process and log


def test_rows_of_the_baseline_are_dropped_when_the_treatment_begins():
    control = [event(n, distribution=[1.0, 0.0, 0.0], arm=Arm.CONTROL, treatment_share=0.0) for n in range(5)]
    drawn = [event(9, distribution=[1.0, 0.0, 0.0], arm=Arm.CONTROL, treatment_share=0.5)]
    alone = gathered(control)
    assert len(alone.reward) == alone.counts["control"] == 5
    found = gathered([*control, event(6), *drawn, event(10, reward=None)])
    assert found.at_us.tolist() == [6]
    assert found.counts["control"] == 6
    assert found.counts["treatment"] == 2
    assert found.counts["joined"] == 8
    assert found.counts["unrewarded"] == 1
    assert "control_drawn" not in found.counts  # where rewards are missing, the arms' rows can't be compared
    assert gathered([*control, event(6), *drawn]).counts["control_drawn"] == 1
    assert found.served.sum() == 1


def test_dropped_events_weigh():
    found = gathered([event(1, pdrop=0.75), event(2)])
    assert found.weight.tolist() == [4.0, 1.0]


def test_columns_come_as_they_went_in_however_many():
    columns = Columns(np.int64, np.float64)
    for number in range(2 * CHUNK_ROWS + 3):
        columns.append((number, number / 2))
        if number % 1_000 == 0:
            columns.put_away()
    whole, halves = columns.arrays()
    assert whole.tolist() == list(range(2 * CHUNK_ROWS + 3))
    assert (halves * 2).tolist() == whole.tolist()
    assert columns.arrays()[0].size == 0


def test_the_reward_model_never_predicts_a_subject_that_it_learned(live):
    path = live("uniform", rounds=200)
    with open_source(path) as source:
        experiment, events = source.experiments()["mail"], list(source.events("mail"))
    mine = [one for one in events if one.decision.subject == events[0].decision.subject]
    others = [one for one in events if one.decision.subject != events[0].decision.subject]
    assert mine
    assert others
    with_mine, without = (CrossFitted(experiment, (0.0, 1.0)) for _ in range(2))
    for one in events:
        with_mine.learn(one)
    for one in others:
        without.learn(one)
    assert with_mine.predict(mine[0]) == without.predict(mine[0])
    # A subject of another fold was learned from it.
    assert any(with_mine.predict(one) != without.predict(one) for one in others)
    for model in (with_mine, without):
        model.close()


def test_predicted_rewards_have_the_unit_of_the_metric(live):
    with open_source(live("uniform", rounds=300)) as source:
        experiment, events = source.experiments()["mail"], list(source.events("mail"))
    by_reward, by_metric = CrossFitted(experiment, (0.0, 1.0)), CrossFitted(experiment, (0.0, 10.0), "spend")
    for one in events:
        by_reward.learn(one)
        by_metric.learn(one)
    for one in events[:20]:
        assert by_metric.predict(one) == pytest.approx([10.0 * p for p in by_reward.predict(one)], abs=1e-3)
    by_reward.close()
    by_metric.close()


def test_a_judgement_names_every_problem_and_keeps_its_estimates():
    events = [event(n, chosen=n % 3, reward=float(n % 2)) for n in range(600)]
    logged = gathered(events)
    target = TargetColumns("t", modelled=False)
    for one in events:
        target.take([0.2, 0.3, 0.5], one.decision.distribution, one.decision.chosen, None, 0.0)
    columns = target.target()
    sound = judge(logged, columns)
    assert sound.headline == sound.estimates["snips"]
    told = judge(logged, columns, problems=["One.", "Two."])
    assert (told.headline, told.reason) == (None, "One. Two.")
    assert told.estimates == sound.estimates
    modelled = judge(logged, columns, estimator="dr")
    assert modelled.headline is None
    assert "--reward-model vw" in modelled.reason
    assert told.to_json()["headline"] is None
    with pytest.raises(BadPolicy, match="'best' is not an estimator"):
        judge(logged, columns, estimator="best")


def test_the_collector_is_as_it_was_after_the_block():
    import gc

    assert gc.isenabled()
    with PausedCollector() as paused:
        assert not gc.isenabled()
        paused.tick()
    assert gc.isenabled()


def test_the_anytime_interval_is_the_same_part_by_part(monkeypatch):
    from bandit.replay import intervals, judging

    events = [event(n, chosen=n % 3, reward=float(n % 5 == 0)) for n in range(2_000)]
    logged = gathered(events)
    target = TargetColumns("t", modelled=False)
    for one in events:
        target.take([0.2, 0.3, 0.5], one.decision.distribution, one.decision.chosen, None, 0.0)
    columns = target.target()
    whole = intervals.anytime(logged.reward, logged.propensity, columns.probability, (0.0, 1.0))
    monkeypatch.setattr(judging, "PART_ROWS", 300)
    found = judge(logged, columns).estimates["anytime"]
    assert (found.low, found.high) == pytest.approx(whole, abs=1e-9)
