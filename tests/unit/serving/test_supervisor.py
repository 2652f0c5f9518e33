"""How long a stop waits for whom."""

import pytest

from bandit.serving.supervisor import STOP_SECONDS_SPARE_MAX, stop_deadlines_s


@pytest.mark.parametrize(
    ("drain_seconds", "spare_s"), [(0.5, 0.025), (2.0, 0.1), (10.0, 0.5), (3_600.0, STOP_SECONDS_SPARE_MAX)]
)
def test_a_stop_leaves_the_learner_its_share_and_is_over_before_the_drain_time_is(
    drain_seconds: float, spare_s: float
) -> None:
    workers_s, all_s = stop_deadlines_s(100.0, drain_seconds)
    assert all_s == pytest.approx(100.0 + drain_seconds - spare_s)
    # A worker itself waits for its calls for 0.7 of the time, and then has the log to close.
    assert 100.0 + 0.7 * drain_seconds < workers_s == pytest.approx(all_s - 0.15 * drain_seconds)
