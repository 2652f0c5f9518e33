"""Learning policies along a log, and the live run made again."""

from itertools import pairwise

import pytest

from bandit.core.records import JoinedEvent
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.fold import ModelFold
from bandit.policies.model import ModelSpec, untrained_policy
from bandit.replay.errors import BadLog, BadPolicy
from bandit.replay.models import as_served
from bandit.replay.policies import with_policy
from bandit.replay.sources import open_source
from bandit.snapshots.store import MODEL, SnapshotStore

PRESETS = ["squarecb", "epsilon_greedy", "uniform", "fixed:b"]


def test_each_decision_is_judged_by_what_was_learned_before_it(live, judged):
    path = live(rounds=200)
    [target] = judged(path, "squarecb", learning=True).targets
    with open_source(path) as source:
        experiment = with_policy(source.experiments()["mail"], "squarecb")
        events: list[JoinedEvent] = list(source.events("mail"))
    expected = []
    for index, event in enumerate(events):
        # Folded afresh for each decision: nothing of it, or after it, can leak in.
        fold = ModelFold.start(ModelSpec.of(experiment))
        fold.take(events[:index])
        policy = fold.learner.policy("") if index else untrained_policy(ModelSpec.of(experiment))
        expected.append(as_served(policy, experiment, event)[event.decision.chosen])
        fold.close()
    assert target.probability.tolist() == expected


def test_a_policy_that_learns_finds_the_better_variant(live, judged):
    path = live("uniform", rounds=3_000, reward=lambda index, variant: float(variant == "bc"[index % 2]))
    found = judged(path, "squarecb", "epsilon_greedy:epsilon=0.05", learning=True)
    assert found.logged.value == pytest.approx(1 / 3, abs=0.05)
    for judgement in found.judgements:
        assert judgement.headline.low > 0.6
    assert [judgement.policy for judgement in found.judgements] == ["squarecb", "epsilon_greedy:epsilon=0.05"]


def test_the_floor_of_the_experiment_is_mixed_in(live, judged):
    [target] = judged(live(rounds=100), "fixed:b", learning=True).targets
    assert sorted({round(value, 9) for value in target.probability.tolist()}) == [
        pytest.approx(0.01 / 3),
        pytest.approx(0.99 + 0.01 / 3),
    ]


def test_secondary_metrics_are_judged_in_their_own_range(live, judged):
    path = live("uniform", rounds=300, windows_ended=True)
    by_reward = judged(path, "fixed:b")
    # It came after the reward that closed the decision, and counts all the same.
    by_metric = judged(path, "fixed:b", metric="spend")
    assert by_metric.columns.reward_range == (0.0, 10.0)
    assert by_metric.logged.value == pytest.approx(10.0 * by_reward.logged.value)
    with pytest.raises(
        BadPolicy, match="metric 'visits' is not declared by the experiment; there: click, spend"
    ):
        judged(path, "uniform", metric="visits")


def test_a_secondary_metric_is_not_judged_before_its_window_has_ended(live, judged):
    with pytest.raises(BadLog, match="The windows of 300 decisions have not ended"):
        judged(live("uniform", rounds=300), "fixed:b", metric="spend")


def test_control_rows_teach_but_are_not_judged(live, judged):
    path = live(rounds=400, rollout="{stage: ramp, percent: 30}")
    found = judged(path, "squarecb", learning=True)
    assert found.counts["control"] > found.counts["treatment"] > 0
    assert found.columns.treatment.all()
    assert len(found.columns.reward) == found.counts["treatment"]
    assert found.counts["control_drawn"] == found.counts["control"]


def test_a_log_of_the_baseline_alone_judges_nothing_else(live, judged):
    path = live(rounds=300, rollout="{stage: shadow}")
    found = judged(path, "fixed:a", "fixed:b")
    baseline, other = found.judgements
    assert baseline.headline.value == found.logged.value
    assert other.headline is None
    assert "nothing but that can be judged" in other.reason


def test_the_marginal_propensity_judges_both_arms(live, judged):
    path = live("uniform", rounds=2_000, rollout="{stage: ramp, percent: 50}")
    found = judged(path, "uniform", propensity="marginal")
    assert len(found.columns.reward) == 2_000
    values = sorted({round(p, 6) for p in found.columns.propensity.tolist()})
    assert values == pytest.approx([1 / 6, 1 / 6 + 1 / 2], abs=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("rollout", ["{stage: full}", "{stage: ramp, percent: 60}"])
def test_a_live_run_is_made_again_to_the_last_bit(preset, rollout, live, judged):
    found = judged(live(preset, rollout), "logged", learning=True)
    assert (found.live_run.reproduced, found.live_run.of) == (300, 300)
    assert found.live_run.final_snapshot_equal is True
    assert found.live_run.differs == ""
    assert found.live_run.equal


def test_a_decision_that_differs_is_found(live, judged, monkeypatch):
    path = live("squarecb", rounds=100)
    from bandit.replay import live_run

    real = live_run.choose
    calls = []

    def off_by_a_hair(view, policy, **rest):
        made = real(view, policy, **rest)
        calls.append(made)
        return made._replace(distribution=[*made.distribution[:-1], 0.5]) if len(calls) == 40 else made

    monkeypatch.setattr(live_run, "choose", off_by_a_hair)
    found = judged(path, "logged", learning=True)
    assert (found.live_run.reproduced, found.live_run.of) == (99, 100)
    assert "its distribution" in found.live_run.differs
    assert not found.live_run.equal


def test_a_snapshot_that_is_not_what_the_log_gives_is_found(live, judged):
    path = live("squarecb", rounds=100)
    store = SnapshotStore(path)
    folder, manifest = store.read("mail", store.names("mail")[0])
    fold = ModelFold.start(ModelSpec.from_json(manifest.spec))
    with open_source(path) as source:
        fold.take(list(source.events("mail"))[:-1])
    store.publish(manifest, fold.save)  # one event behind
    fold.close()
    assert (folder / MODEL).exists()
    found = judged(path, "logged", learning=True)
    assert found.live_run.reproduced == 100
    assert found.live_run.final_snapshot_equal is False
    assert manifest.snapshot_id in found.live_run.differs


def test_only_a_data_folder_can_be_made_again(line, log_of, judged):
    with pytest.raises(BadLog, match="holds no snapshots: give the data folder"):
        judged(log_of([line(1)]), "logged", learning=True)


def test_a_snapshot_is_judged_as_it_would_be_served(live, judged):
    path = live("squarecb", rounds=300)
    [name] = SnapshotStore(path).names("mail")
    found = judged(path, f"snapshot:{name}")
    assert found.judgements[0].policy == f"snapshot:{name}"
    assert found.targets[0].probability.min() >= 0.01 / 3
    # All that is judged here is what it had learned.
    [note] = found.judgements[0].notes
    assert note.startswith(f"It had learned from {len(found.columns.reward)} of the decisions")
    assert judged(path, "uniform").judgements[0].notes == ()
    with pytest.raises(BadPolicy, match=f"is not in the data folder.*there: {name}"):
        judged(path, "snapshot:other")


def test_rewards_that_came_early_are_not_judged_before_their_contemporaries_close(live, judged):
    # Every other decision gets its reward at once, the rest would get the default in ten minutes.
    path = live("uniform", default="0", reward=lambda index, variant: 1.0 if index % 2 else None)
    with pytest.raises(
        BadLog, match=r"150 decisions have their reward, and 150 of the same time are still open"
    ):
        judged(path, "uniform")
    # What was decided can be made again all the same.
    assert judged(path, "logged", learning=True).live_run.equal


def test_a_parquet_data_set_is_judged_as_its_data_folder(live, judged, tmp_path):
    from bandit.eventlog.formats import parquet

    path = live("uniform", rounds=300, rollout="{stage: ramp, percent: 60}")
    with open_source(path) as source:
        parquet.write({"mail": source.events("mail")}, tmp_path / "set", source.experiments())
    folder, frame = (
        judged(path, "squarecb", learning=True),
        judged(tmp_path / "set", "squarecb", learning=True),
    )
    assert folder.judgements[0].estimates == frame.judgements[0].estimates
    assert folder.targets[0].probability.tolist() == frame.targets[0].probability.tolist()


def test_a_log_that_is_written_meanwhile_is_read_up_to_where_it_was(live, judged):
    path = live("uniform", rounds=50)
    log = SqliteEventLog(path, create=False)
    log.close()
    first, second = judged(path, "uniform"), judged(path, "uniform")
    assert first.judgements == second.judgements
    assert all(a <= b for a, b in pairwise(first.columns.at_us.tolist()))


def test_lines_written_once_for_a_catalogue_teach_as_lines_written_anew(live):
    # One learner is asked before each lesson, so that it has the catalogue's lines at hand; one never is.
    path = live(rounds=120)
    with open_source(path) as source:
        experiment = source.experiments()["mail"]
        events = list(source.events("mail"))
    spec = ModelSpec.of(experiment)
    asked, silent = ModelFold.start(spec), ModelFold.start(spec)
    for event in events:
        asked.learner.predict(event.decision.context, event.decision.variants)
        asked.take([event])
        silent.take([event])
    assert asked.learner.fingerprint() == silent.learner.fingerprint()
