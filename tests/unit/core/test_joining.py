import pytest

from bandit.core.choose import View, choose
from bandit.core.joining import Joiner, closes_on_reward, closing_us, join
from bandit.core.records import Outcome, Position, Reward

AT_US = 1_000_000_000
WINDOW_US = 600_000_000
END_US = AT_US + WINDOW_US


class Uniform:
    snapshot_id = ""

    def distributions(self, contexts, variants):
        return [[1 / len(variants)] * len(variants)] * len(contexts)


def decided(experiment, decision_id="d1"):
    view = View.of(experiment, 1, b"salt")
    return choose(
        view,
        Uniform(),
        decision_id=decision_id,
        subject="",
        context={},
        variants=view.catalogue,
        call_variants=False,
    )


def rewards(*entries, metric="visit"):
    """Rewards in log order, each (at_us, value) or (at_us, value, metric)."""
    return [
        Reward(seq, entry[0], entry[2] if len(entry) > 2 else metric, entry[1])
        for seq, entry in enumerate(entries, start=10)
    ]


@pytest.fixture
def at_close(define):
    def defined(**rule):
        return define(
            reward={"metric": "visit", "range": [0, 5], "window": "10m", **rule},
            metrics={"spend": {"range": [0, 100], "aggregate": "sum"}, "complaint": {"range": [0, 1]}},
        )

    return defined


@pytest.fixture
def on_reward(at_close):
    def defined(**rule):
        return at_close(learn="on_reward", default="none", **rule)

    return defined


def joined(experiment, *entries):
    return join(experiment, decided(experiment), 3, AT_US, rewards(*entries))


def test_at_close_an_event_closes_when_its_window_ends_and_has_its_reward(at_close):
    event = joined(at_close(), (AT_US + 5, 1.0))
    assert event.position == Position(END_US, 3)
    assert (event.outcome, event.reward, event.clamped) == (Outcome.REWARDED, 1.0, False)
    assert event.at_us == AT_US
    assert event.decision.decision_id == "d1"


def test_on_reward_an_event_closes_at_its_first_primary_reward(on_reward):
    event = joined(on_reward(), (AT_US + 1, 0.5, "complaint"), (AT_US + 5, 1.0), (AT_US + 9, 0.0))
    assert event.position == Position(AT_US + 5, 3)
    assert event.reward == 1.0
    assert event.metrics == {"complaint": 0.5}


def test_on_reward_without_a_reward_an_event_closes_when_its_window_ends(on_reward):
    event = joined(on_reward(), (AT_US + 5, 0.5, "complaint"))
    assert event.position == Position(END_US, 3)
    assert (event.outcome, event.reward) == (Outcome.UNREWARDED, None)
    assert event.metrics == {"complaint": 0.5}


def test_a_reward_at_the_end_of_the_window_is_too_late_and_one_just_before_counts(at_close, on_reward):
    assert joined(at_close(), (END_US - 1, 1.0)).outcome is Outcome.REWARDED
    assert joined(at_close(), (END_US, 1.0)).outcome is Outcome.DEFAULTED
    assert joined(on_reward(), (END_US - 1, 1.0)).position == Position(END_US - 1, 3)
    assert joined(on_reward(), (END_US, 1.0)).outcome is Outcome.UNREWARDED


def test_a_reward_in_the_same_microsecond_as_its_decision_counts(on_reward):
    assert joined(on_reward(), (AT_US, 1.0)).position == Position(AT_US, 3)


def test_without_a_reward_the_default_is_learned_unless_there_is_none(at_close):
    defaulted = joined(at_close(default=2))
    assert (defaulted.outcome, defaulted.reward) == (Outcome.DEFAULTED, 2.0)
    unrewarded = joined(at_close(default="none"))
    assert (unrewarded.outcome, unrewarded.reward) == (Outcome.UNREWARDED, None)


def test_an_aggregate_out_of_range_is_clamped_and_said_so(at_close):
    event = joined(at_close(aggregate="sum"), (AT_US, 4.0), (AT_US + 1, 4.0))
    assert (event.reward, event.clamped) == (5.0, True)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [("first", 3.0), ("last", 2.0), ("sum", 5.0), ("mean", 5 / 3), ("max", 3.0), ("min", 0.0)],
)
def test_rewards_in_time_are_aggregated_in_log_order(at_close, aggregate, expected):
    event = joined(at_close(aggregate=aggregate), (AT_US, 3.0), (AT_US, 0.0), (AT_US + 9, 2.0), (END_US, 5.0))
    assert event.reward == pytest.approx(expected)


def test_secondary_metrics_are_aggregated_by_their_own_rule_and_left_out_when_not_reported(at_close):
    event = joined(at_close(), (AT_US, 3.0, "spend"), (AT_US + 1, 4.0, "spend"), (END_US, 9.0, "complaint"))
    assert event.metrics == {"spend": 7.0}


def test_a_secondary_metric_counts_until_the_windows_end_whatever_has_closed_the_decision(on_reward):
    told = [(AT_US + 5, 1.0), (AT_US + 5, 2.0, "spend"), (END_US - 1, 3.0, "spend"), (END_US, 9.0, "spend")]
    event = joined(on_reward(), *told)
    assert event.metrics == {"spend": 5.0}
    assert event.position.closing_us == AT_US + 5


def test_a_primary_reward_after_the_closing_one_does_not_count(on_reward):
    assert joined(on_reward(), (AT_US + 5, 1.0), (AT_US + 6, 3.0)).reward == 1.0


def test_a_metric_that_the_experiment_does_not_know_is_left_out(at_close):
    assert joined(at_close(), (AT_US, 1.0, "clicks")).metrics == {}


def test_only_the_primary_metric_closes_and_only_on_reward(at_close, on_reward):
    assert closes_on_reward(on_reward(), "visit")
    assert not closes_on_reward(on_reward(), "spend")
    assert not closes_on_reward(at_close(), "visit")
    assert closing_us(at_close(), AT_US, rewards((AT_US, 1.0))) == END_US


def test_a_joiner_closes_strictly_before_the_time_it_is_told(at_close):
    joiner, experiment = Joiner(), at_close()
    joiner.decision(experiment, decided(experiment), 3, AT_US)
    assert joiner.closed(END_US) == []
    assert [event.position for event in joiner.closed(END_US + 1)] == [Position(END_US, 3)]
    assert joiner.closed(END_US + 1_000) == []


def test_a_joiner_returns_events_by_closing_time_and_then_by_seq(on_reward):
    joiner, experiment = Joiner(), on_reward()
    for seq in (1, 2, 3):
        joiner.decision(experiment, decided(experiment, f"d{seq}"), seq, AT_US)
    joiner.reward("d3", Reward(4, AT_US + 10, "visit", 1.0))
    joiner.reward("d1", Reward(5, AT_US + 20, "visit", 1.0))
    positions = [event.position for event in joiner.closed(END_US + 1)]
    assert positions == [(AT_US + 10, 3), (AT_US + 20, 1), (END_US, 2)]


def test_events_that_close_at_the_same_time_come_in_the_order_of_their_decisions(on_reward):
    joiner, experiment = Joiner(), on_reward()
    for seq in (1, 2, 3):
        joiner.decision(experiment, decided(experiment, f"d{seq}"), seq, AT_US)
    for seq, decision_id in enumerate(("d3", "d1", "d2"), start=4):
        joiner.reward(decision_id, Reward(seq, AT_US + 10, "visit", 1.0))
    assert [event.position.seq for event in joiner.closed(AT_US + 11)] == [1, 2, 3]


def test_a_joiner_leaves_out_a_reward_for_a_decision_that_is_closed_or_unknown(on_reward):
    joiner, experiment = Joiner(), on_reward()
    joiner.decision(experiment, decided(experiment), 1, AT_US)
    joiner.reward("d1", Reward(2, AT_US + 1, "visit", 1.0))
    assert len(joiner.closed(AT_US + 2)) == 1
    joiner.reward("d1", Reward(3, AT_US + 2, "visit", 0.0))
    joiner.reward("nobody", Reward(4, AT_US + 2, "visit", 0.0))
    assert joiner.closed(END_US * 2) == []


def test_a_joiner_does_not_close_a_decision_when_an_earlier_one_with_its_id_was_due(on_reward):
    joiner, experiment = Joiner(), on_reward()
    joiner.decision(experiment, decided(experiment), 1, AT_US)
    joiner.reward("d1", Reward(2, AT_US + 1, "visit", 1.0))
    assert len(joiner.closed(AT_US + 2)) == 1
    joiner.decision(experiment, decided(experiment), 3, AT_US + 5)
    assert joiner.closed(END_US + 5) == []
    assert [event.position for event in joiner.closed(END_US + 6)] == [(END_US + 5, 3)]


def test_a_joiner_keeps_nothing_of_the_many_decisions_that_rewards_closed(on_reward):
    joiner, experiment = Joiner(), on_reward()
    joiner.decision(experiment, decided(experiment, "open"), 1, AT_US)
    for seq in range(2, 5_000):
        joiner.decision(experiment, decided(experiment, f"d{seq}"), seq, AT_US + seq)
        joiner.reward(f"d{seq}", Reward(seq, AT_US + seq, "visit", 1.0))
        assert len(joiner.closed(AT_US + seq + 1)) == 1
    assert len(joiner._due) < 2_000
    assert joiner.due_us() == END_US
    assert [event.position.seq for event in joiner.closed(END_US + 1)] == [1]
