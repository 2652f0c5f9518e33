"""Numbers standardised online."""

import json
import math
import statistics

import pytest

from bandit.policies import scaling
from bandit.policies.scaling import Scaler


def fed(values, name="x"):
    scaler = Scaler()
    for value in values:
        scaler.update(name, value)
    return scaler


def test_values_are_told_by_their_distance_from_the_mean_in_standard_deviations(rng):
    values = [rng.gauss(1e6, 2.5) for _ in range(2000)]
    scaler = fed(values)
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    for distance in (-2.5, -1.0, 0.0, 0.3, 2.0):
        # Values over three deviations away are brought back, so the figures differ a little.
        assert scaler.standard("x", mean + distance * deviation) == pytest.approx(distance, abs=0.25)


def test_few_values_give_the_exact_mean_and_deviation():
    scaler = fed([1.0, 2.0, 6.0])
    assert scaler.standard("x", 5.0) == pytest.approx((5.0 - 3.0) / statistics.pstdev([1.0, 2.0, 6.0]))


def test_an_unknown_number_and_one_that_never_varied_are_0():
    assert Scaler().standard("x", 5.0) == 0.0
    assert fed([0.1] * 1000).standard("x", 0.1) == 0.0
    assert fed([0.1] * 1000).standard("x", 99.0) == 0.0


def test_far_values_are_brought_back():
    scaler = fed([0.0, 1.0])
    for far in (1e9, math.inf, 1.7e308):
        assert scaler.standard("x", far) == scaling.SPREAD
        assert scaler.standard("x", -far) == -scaling.SPREAD


def test_one_absurd_value_does_not_flatten_the_others(rng):
    scaler = fed([rng.gauss(0.0, 1.0) for _ in range(100)])
    before = scaler.standard("x", 1.0)
    scaler.update("x", 1e12)
    assert scaler.standard("x", 1.0) == pytest.approx(before, rel=0.1)


def test_a_number_that_was_constant_for_long_may_still_begin_to_vary():
    scaler = fed([0.0] * 100 + [50.0, 60.0, 40.0])
    assert scaler.standard("x", 50.0) > 0.5


def test_no_value_breaks_the_running_figures():
    scaler = fed([math.nan, math.inf, -math.inf, 1e308, -1e308, 1e100, -1e100, 1.0])
    for figures in scaler.state().values():
        assert all(map(math.isfinite, figures))
    assert math.isfinite(scaler.standard("x", math.nan))


def test_a_stored_scaler_goes_on_exactly(rng):
    values = [rng.lognormvariate(0.0, 2.0) for _ in range(300)]
    whole = fed(values)
    half = fed(values[:123])
    resumed = Scaler.restored(json.loads(json.dumps(half.state())))
    for value in values[123:]:
        resumed.update("x", value)
    assert resumed.state() == whole.state()
    assert [resumed.standard("x", v) for v in values] == [whole.standard("x", v) for v in values]


def test_endless_new_names_are_not_kept():
    scaler = Scaler()
    for index in range(scaling.NAMES + 10):
        scaler.update(f"n{index}", 1.0)
        scaler.update(f"n{index}", 2.0)
    assert len(scaler.state()) == scaling.NAMES
    assert scaler.standard(f"n{scaling.NAMES}", 2.0) == 0.0
    assert scaler.standard("n0", 2.0) > 0.0


def test_with_a_step_what_is_seen_of_a_value_holds_until_a_tenth_more_were_taken(rng):
    stepped, live = Scaler(0.1), Scaler()
    held = 0
    for index in range(2_000):
        before, changes = stepped.standard("x", 3.0), stepped.changes
        value = rng.gauss(1.0, 2.0)
        stepped.update("x", value)
        live.update("x", value)
        if stepped.changes == changes:
            assert stepped.standard("x", 3.0) == before
            held += 1
        else:
            assert stepped.standard("x", 3.0) == live.standard("x", 3.0)
        if index == 20:
            assert stepped.changes > 10
    # About log(2000 / 10) / log(1.1) times, after the first ten.
    assert held > 1_900
    assert live.changes == 2_000
    assert stepped.standard("x", 3.0) == pytest.approx(live.standard("x", 3.0), abs=0.2)


@pytest.mark.parametrize("cut", [5, 123, 124, 299])
def test_a_stored_one_with_a_step_goes_on_exactly(rng, cut):
    values = [rng.lognormvariate(0.0, 2.0) for _ in range(300)]
    whole, half = Scaler(0.1), Scaler(0.1)
    for value in values:
        whole.update("x", value)
    for value in values[:cut]:
        half.update("x", value)
    resumed = Scaler.restored(json.loads(json.dumps(half.state())), 0.1)
    for value in values[cut:]:
        assert resumed.standard("x", 2.0) == half.standard("x", 2.0)
        resumed.update("x", value)
        half.update("x", value)
    assert resumed.state() == whole.state() == half.state()


def test_a_state_of_another_kind_is_refused():
    for step, other in ((0.0, 0.1), (0.1, 0.0)):
        scaler = Scaler(step)
        scaler.update("x", 1.0)
        with pytest.raises(ValueError, match="numbers"):
            Scaler.restored(scaler.state(), other)
