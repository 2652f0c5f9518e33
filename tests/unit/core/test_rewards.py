import pytest

from bandit.core.rewards import AGGREGATES, clamp, unit_scale


@pytest.mark.parametrize(
    ("name", "expected"),
    [("first", -3.0), ("last", -2.0), ("sum", -6.0), ("mean", -2.0), ("max", -1.0), ("min", -3.0)],
)
def test_all_negative_rewards_are_aggregated_as_defined(name, expected):
    assert AGGREGATES[name]([-3.0, -1.0, -2.0]) == expected


def test_a_mean_does_not_leave_its_values_by_rounding():
    assert AGGREGATES["mean"]([0.1, 0.1, 0.1]) == 0.1


def test_a_sum_is_not_eaten_by_large_intermediate_values():
    assert AGGREGATES["sum"]([1e15, 1.0, -1e15]) == 1.0


def test_a_value_is_clamped_to_its_range():
    assert [clamp(value, -1.0, 2.0) for value in (-5.0, -1.0, 0.5, 2.0, 7.0)] == [-1.0, -1.0, 0.5, 2.0, 2.0]


def test_the_unit_scale_has_the_worst_reward_at_zero_and_the_best_at_one():
    assert [unit_scale(value, -2.0, 2.0) for value in (-2.0, 0.0, 2.0)] == [0.0, 0.5, 1.0]
