"""The linear regressions: they are what the formulas say, go on exactly, and give the same bits anywhere."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bandit.policies.linear import ridge
from bandit.policies.linear.ridge import STEADY, TRACKING, Ridges, rows_of

SIZE = 8
ROWS = 4
EXACT = 1e-5
CLOSE = 1e-4
"""How close results must be: covariances are of single precision."""

WAYS = pytest.mark.parametrize("way", [STEADY, TRACKING], ids=["steady", "tracking"])


def drawn(rng, events, size=SIZE, rows=ROWS):
    """Events as (vector, row, reward): a constant, numbers, and tokens of which one always holds."""
    chance = np.random.default_rng(rng.randrange(2**32))
    for _ in range(events):
        x = np.zeros(size, np.float32)
        x[0] = 1.0
        x[1 : size // 2] = chance.standard_normal(size // 2 - 1)
        x[size // 2 + chance.integers(0, size // 2)] = 1.0
        yield x, int(chance.integers(0, rows)), float(chance.random() < 0.5 + 0.1 * x[1])


def with_rows(rows=ROWS, size=SIZE):
    ridges = Ridges(size)
    while ridges.rows < rows:
        ridges.add_row()
    return ridges


def prior(way, size=SIZE):
    """The prior's variances, from its documented precisions."""
    return 1.0 / np.array([ridge.CONSTANT_RIDGE] + [ridge.RIDGES[way]] * (size - 1))


def test_the_steady_one_is_the_ridge_regression_of_all_events_at_once(rng):
    ridges, mean, events = with_rows(), 0.0, []
    for x, row, reward in drawn(rng, 600):
        events.append((x, row, reward - mean))
        ridges.learn(x, row, reward)
        mean += (reward - mean) / len(events)
    probes = [x for x, _, _ in drawn(rng, 20)]
    for row in range(ROWS):
        xs = np.array([x for x, of, _ in events if of == row])
        ys = np.array([y for _, of, y in events if of == row])
        precision = np.diag(1.0 / prior(STEADY)) + xs.T @ xs
        weights = np.linalg.solve(precision, xs.T @ ys)
        for x in probes:
            expected, variance = ridges.predict(x, rows_of([row]), STEADY)
            assert expected[0] == pytest.approx(x @ weights + mean, abs=EXACT)
            assert variance[0] == pytest.approx(x @ np.linalg.solve(precision, x), rel=CLOSE)


def test_the_tracking_one_is_a_kalman_filter_of_a_random_walk(rng):
    ridges, mean = with_rows(), 0.0
    weights, learned_at = np.zeros((ROWS, SIZE)), np.zeros(ROWS)
    covariances = [np.diag(prior(TRACKING)) for _ in range(ROWS)]
    events = list(drawn(rng, 3_000, rows=ROWS - 1))
    # The last variant is seen at the beginning and near the end alone: it forgets in between.
    events[10:10] = [(x, ROWS - 1, 1.0) for x, _, _ in drawn(rng, 20)]
    events += [(x, ROWS - 1, 0.0) for x, _, _ in drawn(rng, 5)]
    for now, (x, row, reward) in enumerate(events, 1):
        ridges.learn(x, row, reward)
        covariance = covariances[row].copy()
        walked = np.diag(covariance) + ridge.DRIFT * (now - learned_at[row])
        np.fill_diagonal(covariance, np.minimum(walked, prior(TRACKING)))
        gain = covariance @ x / (1.0 + x @ covariance @ x)
        weights[row] += gain * (reward - mean - weights[row] @ x)
        # Joseph's form, which is another way to write the same.
        left = np.eye(SIZE) - np.outer(gain, x)
        covariances[row] = left @ covariance @ left.T + np.outer(gain, gain)
        learned_at[row] = now
        mean += (reward - mean) / min(now, ridge.MEAN_EVENTS)
    for x, _, _ in drawn(rng, 20):
        expected, variances = ridges.predict(x, rows_of(range(ROWS)), TRACKING)
        assert expected == pytest.approx(weights @ x + mean, abs=EXACT)
        for row in range(ROWS):
            walked = x @ covariances[row] @ x + x @ x * ridge.DRIFT * (len(events) - learned_at[row])
            assert variances[row] == pytest.approx(min(walked, x * x @ prior(TRACKING)), rel=CLOSE)


def test_what_learning_expects_is_what_was_predicted(rng):
    ridges = with_rows()
    for x, row, reward in drawn(rng, 300):
        predicted = [ridges.predict(x, rows_of([row]), way) for way in (STEADY, TRACKING)]
        expected, scales = ridges.learn(x, row, reward)
        for way, (mean, variance) in enumerate(predicted):
            assert expected[way] == pytest.approx(mean[0], abs=1e-6)
            # Predicted is a walk that no dimension's prior ends, and not the event's own step.
            step = ridge.DRIFT * float(x @ x) * 100 if way == TRACKING else 0.0
            assert scales[way] - 1.0 == pytest.approx(variance[0], rel=1e-4, abs=step)


def test_a_variant_that_was_never_seen_is_as_uncertain_as_the_prior_says(rng):
    ridges = with_rows()
    for x, _, reward in drawn(rng, 300, rows=1):
        ridges.learn(x, 0, reward)
    for x, _, _ in drawn(rng, 10):
        for way in (STEADY, TRACKING):
            mean, variance = ridges.predict(x, rows_of([1]), way)
            assert mean[0] == ridges.means[way]
            assert variance[0] == pytest.approx(x * x @ prior(way), rel=1e-6)
            assert ridges.prior_variance(x, way) == pytest.approx(variance[0], rel=1e-6)
            assert ridges.predict(x, rows_of([0]), way)[1][0] < 0.7 * variance[0]


def test_only_the_tracking_one_doubts_what_it_has_not_seen_for_long(rng):
    ridges = with_rows()
    x = np.eye(SIZE, dtype=np.float32)[0]
    for _ in range(200):
        ridges.learn(x, 0, 1.0)
    before = [ridges.predict(x, rows_of([0]), way)[1][0] for way in (STEADY, TRACKING)]
    for x_other, _, reward in drawn(rng, 500):
        ridges.learn(x_other, 1, reward)
    after = [ridges.predict(x, rows_of([0]), way)[1][0] for way in (STEADY, TRACKING)]
    assert after[STEADY] == before[STEADY]
    assert after[TRACKING] > 2 * before[TRACKING]
    assert after[TRACKING] <= prior(TRACKING)[0] * (1 + 1e-6)


def test_the_tracking_one_follows_a_change_that_the_steady_one_averages():
    ridges = with_rows(1)
    x = np.eye(SIZE, dtype=np.float32)[0] + np.eye(SIZE, dtype=np.float32)[1]
    for reward in [1.0] * 2_000 + [0.0] * 1_000:
        ridges.learn(x, 0, reward)
    steady, tracking = (ridges.predict(x, rows_of([0]), way)[0][0] for way in (STEADY, TRACKING))
    assert tracking < 0.1
    assert steady > 0.3


def bits(ridges, way, probes):
    """All that one way says of some vectors."""
    rows = rows_of(range(ridges.rows))
    return [np.array(part).tobytes() for x in probes for part in ridges.predict(x, rows, way)]


def taught(rng, events=500):
    """Regressions that have learned, all rows but the last."""
    ridges = with_rows()
    for x, row, reward in drawn(rng, events, rows=ROWS - 1):
        ridges.learn(x, row, reward)
    return ridges


def test_what_was_forgotten_is_as_uncertain_as_what_was_never_known(rng):
    ridges = taught(rng)
    mean = ridges.means[TRACKING]
    probes = [x for x, _, _ in drawn(rng, 10)]
    assert any(ridges.predict(x, slice(0, ROWS), TRACKING)[0] != [mean] * ROWS for x in probes)
    ridges.forget()
    assert ridges.means[TRACKING] == mean
    # Rows that are still in reserve know nothing either.
    while ridges.rows < 3 * ROWS:
        ridges.add_row()
    for x in probes:
        expected, variances = ridges.predict(x, slice(0, ridges.rows), TRACKING)
        assert expected == [mean] * ridges.rows
        assert variances == pytest.approx([x * x @ prior(TRACKING)] * ridges.rows, rel=1e-6)
    # A walk between two events can't hide that a covariance is less than the prior's: one learns as much.
    ridges.learn(probes[0], 0, 1.0)
    fresh = with_rows()
    fresh.learn(probes[0], 0, 1.0)
    for x in probes:
        ours, theirs = (one.predict(x, slice(0, 1), TRACKING)[1][0] for one in (ridges, fresh))
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_forgetting_changes_no_bit_of_the_steady_one_then_or_later(rng):
    ridges = taught(rng)
    probes = [x for x, _, _ in drawn(rng, 10)]
    other = Ridges.restored(ridges.array())
    before = bits(ridges, STEADY, probes)
    ridges.forget()
    assert bits(ridges, STEADY, probes) == before == bits(other, STEADY, probes)
    assert (ridges.means[STEADY], ridges.events) == (other.means[STEADY], other.events)
    for x, row, reward in drawn(rng, 200):
        ours, theirs = ridges.learn(x, row, reward), other.learn(x, row, reward)
        assert [part[STEADY] for part in ours] == [part[STEADY] for part in theirs]
    assert bits(ridges, STEADY, probes) == bits(other, STEADY, probes)
    assert bits(ridges, TRACKING, probes) != bits(other, TRACKING, probes)


@pytest.mark.parametrize("events", [5, 500, 3_000])
def test_after_forgetting_the_mean_is_that_of_few_events(rng, events):
    ridges = taught(rng, events)
    steady, before = ridges.means
    ridges.forget()
    ridges.learn(np.eye(SIZE, dtype=np.float32)[0], 0, 3.0)
    counted = min(events, ridge.FORGOTTEN_MEAN_EVENTS) + 1
    assert ridges.means[TRACKING] == pytest.approx(before + (3.0 - before) / counted)
    assert ridges.means[STEADY] == pytest.approx(steady + (3.0 - steady) / (events + 1))


def test_one_that_was_stored_as_it_forgot_goes_on_bit_by_bit(rng):
    whole = taught(rng)
    for _ in range(3):
        whole.forget()
        array = whole.array()
        broken = Ridges.restored(array)
        assert broken.array().tobytes() == array.tobytes()
        for x, row, reward in drawn(rng, 200):
            assert whole.learn(x, row, reward) == broken.learn(x, row, reward)
            for way in (STEADY, TRACKING):
                assert bits(whole, way, [x]) == bits(broken, way, [x])
        assert whole.array().tobytes() == broken.array().tobytes()
        assert symmetric(whole)


def test_what_is_learned_anew_after_forgetting_is_not_held_back_by_the_past():
    ridges, twin = with_rows(1), with_rows(1)
    x = np.eye(SIZE, dtype=np.float32)[0] + np.eye(SIZE, dtype=np.float32)[1]
    for each in (ridges, twin):
        for _ in range(2_000):
            each.learn(x, 0, 1.0)
    ridges.forget()
    for each in (ridges, twin):
        for _ in range(30):
            each.learn(x, 0, 0.0)
    forgot, held = (each.predict(x, rows_of([0]), TRACKING)[0][0] for each in (ridges, twin))
    assert forgot < 0.1 < 0.3 < held


def symmetric(ridges):
    covariances = [
        value[:, :, :-1]
        for value in vars(ridges).values()
        if isinstance(value, np.ndarray) and value.ndim == 4
    ]
    assert covariances
    return all(np.array_equal(found, np.swapaxes(found, -1, -2)) for found in covariances)


def test_covariances_are_symmetric_to_the_last_bit_and_stay_positive(rng):
    ridges = with_rows()
    for index, (x, row, reward) in enumerate(drawn(rng, 2_000)):
        ridges.learn(x * 3.0, row, reward)
        if index % 100 == 0:
            assert symmetric(ridges)
            for way in (STEADY, TRACKING):
                assert min(ridges.predict(x, rows_of(range(ROWS)), way)[1]) > 0.0
    assert symmetric(ridges)


def test_a_stored_one_goes_on_bit_by_bit_while_it_grows(rng):
    whole = Ridges(SIZE)
    broken = Ridges.restored(whole.array())
    for index, (x, row, reward) in enumerate(drawn(rng, 400, size=40, rows=9)):
        if index in (50, 120, 300):
            for ridges in (whole, broken):
                ridges.grow(ridges.size + 8)
        while whole.rows <= row:
            assert whole.add_row() == broken.add_row()
        cut = x[: whole.size]
        assert whole.learn(cut, row, reward) == broken.learn(cut, row, reward)
        if rng.random() < 0.1:
            array = broken.array()
            broken = Ridges.restored(array)
            assert broken.array().tobytes() == array.tobytes()
            assert symmetric(broken)
    assert (whole.rows, whole.size, whole.events) == (broken.rows, broken.size, broken.events)
    assert whole.array().tobytes() == broken.array().tobytes()
    for way in (STEADY, TRACKING):
        assert bits(whole, way, [cut]) == bits(broken, way, [cut])


@WAYS
def test_growing_changes_nothing_that_was_learned(rng, way):
    ridges = with_rows()
    for x, row, reward in drawn(rng, 200):
        ridges.learn(x, row, reward)
    before = ridges.predict(x, rows_of(range(ROWS)), way)
    ridges.grow(SIZE + 16)
    longer = np.concatenate([x, np.zeros(16, np.float32)])
    for part, now in zip(before, ridges.predict(longer, rows_of(range(ROWS)), way), strict=True):
        assert now == pytest.approx(part, rel=1e-5)
    longer[-1] = 2.0
    _, variances = ridges.predict(longer, rows_of(range(ROWS)), way)
    # The tracking one's walk goes through the new dimension, too.
    more = 4.0 / ridge.RIDGES[way]
    assert variances == pytest.approx([variance + more for variance in before[1]], rel=0.05)


@WAYS
def test_rows_are_told_apart_however_they_are_asked_for(rng, way):
    ridges = with_rows()
    for x, row, reward in drawn(rng, 200):
        ridges.learn(x, row, reward)
    everything = ridges.predict(x, rows_of(range(ROWS)), way)
    for rows in ([0], [2, 3], [3, 2], [0, 2], [1, 1, 1], [], [3, 0, 1]):
        found = ridges.predict(x, rows_of(rows), way)
        for part, whole in zip(found, everything, strict=True):
            assert part == pytest.approx([whole[row] for row in rows], rel=1e-6, abs=1e-12)


@WAYS
def test_what_is_predicted_are_plain_floats_that_no_later_call_changes(rng, way):
    ridges = taught(rng)
    x, other = (x for x, _, _ in drawn(rng, 2))
    for rows in ([0, 1, 2], [2, 0], [1], []):
        found = ridges.predict(x, rows_of(rows), way)
        kept = repr(found)
        assert [type(part) for part in found] == [list, list]
        assert {type(number) for part in found for number in part} <= {float}
        ridges.predict(other, rows_of(rows), way)
        ridges.learn(other, 0, 1.0)
        assert repr(found) == kept


def test_there_is_room_for_as_many_numbers_as_was_said():
    ridges = Ridges(SIZE)
    for size in (8, 24, 64):
        most = ridge.NUMBERS_MAX // (2 * size * size)
        assert ridges.has_room(most, size)
        assert not ridges.has_room(most + 1, size)


def test_an_array_of_the_first_files_gives_the_same_bits(rng, first_written):
    for size in (SIZE, 40):
        ridges = Ridges(size)
        for x, row, reward in drawn(rng, 300, size=size):
            while ridges.rows <= row:
                ridges.add_row()
            ridges.learn(x, row, reward)
        array = ridges.array()
        first = first_written(array)
        assert first.dtype == np.float64
        assert first.nbytes > 1.9 * array.nbytes
        again = Ridges.restored(first)
        assert again.array().tobytes() == array.tobytes()
        assert symmetric(again)
        for x, row, reward in drawn(rng, 50, size=size):
            for way in (STEADY, TRACKING):
                assert bits(again, way, [x]) == bits(ridges, way, [x])
            assert again.learn(x, row, reward) == ridges.learn(x, row, reward)


def test_counts_and_means_that_single_precision_can_not_hold_stay_exact(rng, first_written):
    ridges = taught(rng)
    ridges.events = 2**24 + 1
    ridges.means = [1 / 3, 2 / 3]
    x = np.eye(SIZE, dtype=np.float32)[0]
    ridges.learn(x, 1, 1.0)
    ridges.learn(x, 2, 0.0)
    for array in (ridges.array(), first_written(ridges.array())):
        again = Ridges.restored(array)
        assert (again.events, again.means) == (2**24 + 3, ridges.means)
        # What the tracking one doubts is counted from when a row was last learned of.
        for way in (STEADY, TRACKING):
            assert bits(again, way, [x]) == bits(ridges, way, [x])
        assert again.learn(x, 1, 0.5) == Ridges.restored(ridges.array()).learn(x, 1, 0.5)


@pytest.mark.parametrize("written", ["now", "first"])
@pytest.mark.parametrize("change", ["short", "long", "none", "head", "rows", "size", "twofold", "type"])
def test_an_array_that_is_no_regressions_is_refused(first_written, change, written):
    array = with_rows().array()
    if written == "first":
        array = first_written(array)
    numbers = array.view(np.float64)
    changed = {
        "short": array[:-1],
        "long": np.append(numbers, 0.0).view(array.dtype),
        "none": array[:0],
        "head": numbers[:5].view(array.dtype),
        "rows": np.concatenate([[ROWS + 1.0], numbers[1:]]).view(array.dtype),
        "size": np.concatenate([numbers[:1], [SIZE + 1.0], numbers[2:]]).view(array.dtype),
        "twofold": array.reshape(1, -1),
        "type": array.astype(np.float32),
    }[change]
    with pytest.raises(ValueError, match="it"):
        Ridges.restored(changed)


def moved(array, by):
    """The same numbers at another place: `by` numbers behind a boundary of 64 bytes."""
    step = array.dtype.itemsize
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + by * step
    found = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    assert found.ctypes.data % 64 == by * step
    return found


def moved_ridges(ridges, by):
    """The same regressions in other memory."""
    again = Ridges.restored(ridges.array())
    own = ("_learned", "_tracking_prior", "_change", "_product")
    for name in own:
        setattr(again, name, moved(getattr(again, name), by))
    again._spread = again._product[: again.size]
    again._column, again._line = again._product[:, None], again._product[None, : again.size]
    arrays = [value for value in vars(again).values() if isinstance(value, np.ndarray)]
    places = [getattr(again, name) for name in own]
    assert all(any(np.shares_memory(array, place) for place in places) for array in arrays)
    asked_of = again._asked_of

    def asked_elsewhere(learned):
        products = moved(asked_of(learned)[1].reshape(-1, again.size + 1), by)
        return learned.reshape(-1, again.size), products.reshape(-1), products[:, :-1], products[:, -1]

    again._asked_of = asked_elsewhere
    return again


def test_where_numbers_lie_in_memory_changes_no_bit(rng):
    events = list(drawn(rng, 200, size=40))
    results = set()
    for by in range(8):
        ridges = moved_ridges(with_rows(size=40), by)
        said = []
        for index, (x, row, reward) in enumerate(events):
            if index % 50 == 0:
                ridges = moved_ridges(ridges, (by + index) % 8)
            x = moved(x, by)
            said.append(ridges.learn(x, row, reward))
            for way in (STEADY, TRACKING):
                said += bits(ridges, way, [x])
        results.add((repr(said), ridges.array().tobytes()))
    assert len(results) == 1


PROCESS = """
import hashlib, random, sys
import numpy as np
from bandit.policies.linear.ridge import Ridges, rows_of
seed, stir = int(sys.argv[1]), random.Random(sys.argv[2])
chance, kept, sum = np.random.default_rng(seed), [], hashlib.sha256()
for size, rows in ((8, 300), (64, 120)):
    ridges = Ridges(size)
    while ridges.rows < rows:
        ridges.add_row()
    for index in range(250):
        kept += [np.empty(stir.randrange(1, 999)), bytearray(stir.randrange(1, 99))]
        del kept[stir.randrange(len(kept))]
        x = (chance.standard_normal(size) * (chance.random(size) < 0.5)).astype(np.float32)
        x[0] = 1.0
        sum.update(repr(ridges.learn(x, int(chance.integers(0, rows)), chance.random())).encode())
        if index % 10 == 0:
            for way in (0, 1):
                for part in ridges.predict(x, rows_of(range(rows)), way):
                    sum.update(np.array(part).tobytes())
    sum.update(ridges.array().tobytes())
print(sum.hexdigest())
"""


def test_every_process_gives_the_same_bits_whatever_its_memory_and_threads(rng):
    seed = str(rng.randrange(2**32))
    sums = set()
    for stirred, threads, memory in (("a", "1", "pymalloc"), ("b", "4", "malloc"), ("c", "4", "pymalloc")):
        ran = subprocess.run(
            [sys.executable, "-c", PROCESS, seed, stirred],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONMALLOC": memory},
            capture_output=True,
            text=True,
            check=True,
        )
        sums.add(ran.stdout)
    assert len(sums) == 1
