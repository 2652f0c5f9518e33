"""What becomes of a reward, to the letter."""

import pytest

from bandit.core.errors import Reason, Refused
from bandit.core.records import RewardStatus
from bandit.eventlog.log import NewExperiment, RewardOutcome, Tick

RECORDED, DUPLICATE, LATE = RewardStatus.RECORDED, RewardStatus.DUPLICATE, RewardStatus.LATE
UNKNOWN = RewardStatus.UNKNOWN_DECISION
METRICS = {"complaint": {"range": [0, 1]}}


@pytest.fixture
def start(log, define, decide):
    """Brings an experiment into force and makes the decision d1 under it."""

    def started(**reward_rule):
        experiment = define(reward={"metric": "visit", "window": "1s", **reward_rule}, metrics=METRICS)
        log.append([NewExperiment(experiment, b""), decide(experiment, "d1")])
        return experiment

    return started


@pytest.fixture
def send(log, reward):
    """Sends one reward in a batch of its own: its status, or the reason of its refusal."""

    def sent(decision_id="d1", **fields):
        (answer,) = log.append([reward(decision_id, **fields)])
        return answer.reason if isinstance(answer, Refused) else answer.status

    return sent


def stored(log):
    return [(event.kind, event.key) for event in log.events() if event.kind.startswith("reward")]


def test_a_reward_is_recorded_under_its_experiment_and_metric(start, log, reward):
    start()
    assert log.append([reward("d1"), reward("d1", metric="complaint")]) == [
        RewardOutcome(RECORDED, "front-page", "visit"),
        RewardOutcome(RECORDED, "front-page", "complaint"),
    ]
    assert stored(log) == [("reward", "metric:visit"), ("reward", "metric:complaint")]


def test_naming_the_primary_metric_equals_leaving_it_empty(start, send, log):
    start()
    assert [send(), send(metric="visit"), send(metric="visit", value=0.5)] == [
        RECORDED, DUPLICATE, Reason.REWARD_ID_CONFLICT
    ]  # fmt: skip
    assert len(stored(log)) == 1


def test_a_repeat_is_a_duplicate_and_stores_nothing(start, send, log):
    start()
    assert [send(), send(), send()] == [RECORDED, DUPLICATE, DUPLICATE]
    assert len(stored(log)) == 1


def test_another_value_for_the_same_key_conflicts(start, send, log):
    start()
    assert [send(value=1.0), send(value=0.0)] == [RECORDED, Reason.REWARD_ID_CONFLICT]
    assert [send(reward_id="r", value=1.0), send(reward_id="r", value=0.0)] == [
        RECORDED, Reason.REWARD_ID_CONFLICT
    ]  # fmt: skip
    assert len(stored(log)) == 2


def test_another_metric_for_the_same_reward_id_conflicts(start, send):
    start()
    assert [send(reward_id="r"), send(reward_id="r", metric="complaint")] == [
        RECORDED,
        Reason.REWARD_ID_CONFLICT,
    ]


def test_the_time_of_observation_plays_no_part_in_a_repeat(start, log, reward):
    start()
    first, again = reward("d1"), reward("d1")
    again = again._replace(observed_at_us=5)
    assert [answer.status for answer in log.append([first, again])] == [RECORDED, DUPLICATE]


def test_reward_ids_count_within_their_decision_and_beside_the_one_without_an_id(start, send, log, decide):
    log.append([decide(start(), "d2")])
    assert [send(), send(reward_id="r"), send(reward_id="visit"), send("d2", reward_id="r")] == [RECORDED] * 4


def test_a_reward_id_cannot_be_taken_for_a_metric(start, send):
    start()
    assert [send(), send(reward_id="metric:visit"), send(reward_id="visit", value=0.0)] == [RECORDED] * 3


def test_a_conflict_says_which_reward_and_what_to_do(start, log, reward):
    start()
    log.append([reward("d1"), reward("d1", reward_id="r")])
    by_metric, by_id = log.append([reward("d1", 0.0), reward("d1", 0.0, reward_id="r")])
    assert by_metric.metadata == {"field": "value", "decision_id": "d1", "metric": "visit"}
    assert "Send a reward_id" in by_metric.message
    assert by_id.metadata == {"field": "reward_id", "reward_id": "r", "decision_id": "d1", "metric": "visit"}
    assert "another reward_id" in by_id.message


def test_a_metric_the_experiment_does_not_declare_is_refused_with_those_it_does(start, log, reward):
    start()
    (refused,) = log.append([reward("d1", metric="speed")])
    assert refused.reason is Reason.UNKNOWN_METRIC
    assert refused.metadata == {
        "field": "metric", "metric": "speed", "experiment_id": "front-page", "declared": "visit, complaint"
    }  # fmt: skip
    assert stored(log) == []


@pytest.mark.parametrize("metric", ["", "complaint"])
@pytest.mark.parametrize("value", [-0.001, 1.001, float("nan")])
def test_a_value_outside_the_range_of_its_metric_is_refused(start, log, reward, metric, value):
    start()
    (refused,) = log.append([reward("d1", value, metric=metric)])
    assert refused.reason is Reason.REWARD_OUT_OF_RANGE
    assert [violation.field for violation in refused.violations] == ["value"]
    assert (refused.metadata["low"], refused.metadata["high"]) == ("0", "1")


def test_the_ends_of_the_range_are_inside(start, send):
    start(range=[-2, 3], default=0)
    assert [send(value=-2.0, reward_id="low"), send(value=3.0, reward_id="high")] == [RECORDED, RECORDED]


def test_a_reward_just_before_the_windows_end_counts_and_at_its_end_is_late(start, send, clock):
    start()
    clock.now_us += 999_999
    assert send(reward_id="in time") is RECORDED
    clock.now_us += 1
    assert send(reward_id="too late") is LATE


def test_a_secondary_metric_is_late_after_the_window_too(start, send, clock):
    start(learn="on_reward")
    clock.now_us += 1_000_000
    assert send(metric="complaint") is LATE


def test_a_repeat_of_a_late_reward_is_a_duplicate(start, send, log, clock):
    start()
    clock.now_us += 1_000_000
    assert [send(), send(), send(value=0.0)] == [LATE, DUPLICATE, Reason.REWARD_ID_CONFLICT]
    assert len(stored(log)) == 1


def test_a_repeat_that_comes_late_is_a_duplicate(start, send, clock):
    start()
    assert send() is RECORDED
    clock.now_us += 1_000_000
    assert send() is DUPLICATE


def test_lateness_is_judged_by_log_time_when_the_clock_goes_back(start, send, log, clock):
    start()
    clock.now_us += 1_000_000
    log.append([Tick()])
    clock.now_us -= 1_000_000
    assert send() is LATE


def test_at_close_takes_several_primary_rewards(start, send):
    start(aggregate="sum")
    assert [send(), send(reward_id="1"), send(reward_id="2")] == [RECORDED] * 3


def test_on_reward_a_later_primary_reward_is_late_and_a_secondary_metric_is_not(start, send):
    start(learn="on_reward")
    assert [send(), send(reward_id="2"), send(metric="complaint")] == [RECORDED, LATE, RECORDED]
    assert [send(reward_id="2"), send(reward_id="2", value=0.0)] == [DUPLICATE, Reason.REWARD_ID_CONFLICT]


def test_on_reward_a_later_primary_reward_of_the_same_batch_is_late(start, log, reward):
    start(learn="on_reward")
    answers = log.append([reward("d1", reward_id="1"), reward("d1", reward_id="2"), reward("d1")])
    assert [answer.status for answer in answers] == [RECORDED, LATE, LATE]


def test_on_reward_a_secondary_metric_closes_nothing(start, send):
    start(learn="on_reward")
    assert [send(metric="complaint"), send(), send(reward_id="2")] == [RECORDED, RECORDED, LATE]


def test_a_reward_of_an_unknown_decision_is_stored_each_time_as_it_came(log, reward):
    answers = log.append([reward("later", 99.0, metric="anything", reward_id="r"), reward("later", 99.0)])
    assert answers == [RewardOutcome(UNKNOWN, "", "anything"), RewardOutcome(UNKNOWN, "", "")]
    assert stored(log) == [("reward_unknown", None)] * 2


def test_a_reward_may_be_sent_again_once_its_decision_exists(start, send, log, reward):
    log.append([reward("d1"), reward("d1")])
    start()
    assert send() is RECORDED


def test_a_batch_is_judged_in_its_order(log, define, decide, reward):
    experiment = define()
    log.append([NewExperiment(experiment, b"")])
    answers = log.append(
        [reward("d1"), decide(experiment, "d1"), reward("d1"), reward("d1"), reward("d1", 0.0), reward("d2")]
    )
    assert [getattr(answer, "status", getattr(answer, "reason", None)) for answer in answers] == [
        UNKNOWN, None, RECORDED, DUPLICATE, Reason.REWARD_ID_CONFLICT, UNKNOWN
    ]  # fmt: skip


def test_a_batch_knows_what_earlier_batches_and_other_writers_stored(start, open_log, reward):
    start(learn="on_reward")
    other = open_log()
    other.append([reward("d1", reward_id="1")])
    answers = other.append([reward("d1", reward_id="1"), reward("d1", reward_id="2")])
    assert [answer.status for answer in answers] == [DUPLICATE, LATE]


def test_a_reward_is_judged_by_the_version_its_decision_was_made_under(start, log, send, define, decide):
    start()
    second = define(reward={"metric": "visit", "window": "1s", "range": [0, 5]})
    log.append([NewExperiment(second, b""), decide(second, "d2", version=2)])
    assert [send(value=5.0), send(metric="complaint")] == [Reason.REWARD_OUT_OF_RANGE, RECORDED]
    assert [send("d2", value=5.0), send("d2", metric="complaint")] == [RECORDED, Reason.UNKNOWN_METRIC]


def test_many_rewards_of_many_decisions_are_judged_in_one_batch(start, log, decide, reward):
    experiment = start()
    ids = [f"many-{index}" for index in range(1500)]
    log.append([decide(experiment, decision_id) for decision_id in ids])
    assert {answer.status for answer in log.append([reward(decision_id) for decision_id in ids])} == {
        RECORDED
    }
    assert {answer.status for answer in log.append([reward(decision_id) for decision_id in ids])} == {
        DUPLICATE
    }
