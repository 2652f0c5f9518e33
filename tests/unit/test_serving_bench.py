"""The benches of serving: a ratio is of rounds that came together, and generators share a load."""

import sys
from pathlib import Path

import pytest

BENCH = str(Path(__file__).parents[2] / "scripts" / "bench")

# Only for as long as it takes: other modules there have names that others have too.
sys.path.insert(0, BENCH)
import load  # noqa: E402
import ratios  # noqa: E402
import timed  # noqa: E402

sys.path.remove(BENCH)


def one(rate, p50_ms=1.0):
    return load.Round(calls=100, rate=rate, p50_ms=p50_ms, p99_ms=5.0, cpu_us=10.0)


def test_a_ratio_is_of_the_rounds_of_one_rotation():
    rounds = {"floor": [one(100), one(200), one(400)], "service": [one(50), one(20), one(100)]}
    found = ratios.compared("Choose", rounds, "service", "floor", [ratios.rate("requests")])
    measured = found["measures"]["requests/s"]
    assert (measured["value"], measured["beside"]) == (50, 200)
    assert measured["ratio"] == [0.1, 0.25, 0.5]


def test_a_latency_that_is_later_is_told_in_microseconds():
    rounds = {"floor": [one(1, 1.0), one(1, 2.0)], "service": [one(1, 1.5), one(1, 2.25)]}
    found = ratios.compared("Choose", rounds, "service", "floor", [ratios.P50_MORE])
    assert found["measures"]["p50 us more"]["difference"] == [250, 375, 500]


def test_generators_share_bodies_channels_and_calls_in_flight():
    whole = load.Load("address", "Choose", [b"a", b"b", b"c"], 32, 1.0, True, 8)
    shares = [load._share(whole, index, 2) for index in range(2)]
    assert [share.bodies for share in shares] == [[b"a", b"c"], [b"b"]]
    assert [(share.in_flight, share.channels) for share in shares] == [(16, 4), (16, 4)]


def test_a_round_counts_the_items_of_all_generators():
    measured = load._round([load.Sent([0.003, 0.001], 2.0), load.Sent([0.002], 1.0)], items=100)
    assert (measured.calls, measured.rate, measured.p50_ms) == (3, 150, 2.0)


def test_a_round_in_which_nothing_was_sent_is_no_result():
    with pytest.raises(RuntimeError, match="nothing to send"):
        load._round([load.Sent([], 1.0)], items=1)


def test_what_is_timed_learns_from_each_of_its_choices():
    learned = []
    play = timed.timed(
        lambda context: context, lambda chosen, reward: learned.append((chosen, reward)), [1, 2], 7
    )
    assert len(learned) == timed.WARM_UP_CALLS
    assert play(0.0) >= 0
    assert len(learned) == timed.WARM_UP_CALLS + timed.CALLS_MIN
    assert {reward for _, reward in learned} == {0.0, 1.0}
