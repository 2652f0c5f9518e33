"""Intervals: against formulas written again, against an optimiser, and by how often they hold."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from bandit.replay import estimators, intervals
from bandit.replay.quantiles import chi_square_tail, t_critical, two_sided_normal

SEED = 5
RANGE = (0.0, 1.0)
COVERAGE = Path(__file__).parents[3] / "scripts/bench/coverage.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_coverage", COVERAGE)
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look themselves up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def logged(n, seed=SEED, k=4):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.1, 1.0, n)
    # Half of the weight where it was likely: E[w] = 1 over what was drawn.
    target = np.where(rng.random(n) < 0.5, p, np.minimum(1.0, p * rng.uniform(0.5, 1.5, n)))
    return (rng.random(n) < 0.3).astype(float), p, target, rng.integers(0, n // k, n)


@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-3, 1e-6])
@pytest.mark.parametrize("dof", [0.4, 1.0, 2.0, 7.3, 120.0, 299.0, 301.0, 1e6])
def test_student_quantiles_are_scipys(dof, alpha):
    assert t_critical(alpha, dof) == pytest.approx(stats.t.isf(alpha / 2, dof), rel=1e-8)


@pytest.mark.parametrize("dof", [0.5, 1.0, 9.3, 100.0, 5000.0])
@pytest.mark.parametrize("value", [0.1, 1.0, 30.0, 120.0, 5200.0])
def test_chi_square_tails_are_scipys(dof, value):
    assert chi_square_tail(value, dof) == pytest.approx(stats.chi2.sf(value, dof), rel=1e-8, abs=1e-14)


def test_the_normal_tail_is_scipys():
    assert two_sided_normal(-2.5) == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-12)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_the_asymptotic_interval_is_its_formula(clustered, alpha):
    """SNIPS, by the docstring of `intervals.asymptotic`, with plain loops and scipy's t."""
    reward, p, target, cluster = logged(300)
    cluster = cluster if clustered else np.arange(len(reward))
    found = estimators.snips(reward, p, target, alpha, cluster=cluster)
    w = target / p
    value = math.fsum(w * reward) / math.fsum(w)
    sums: dict[int, float] = {}
    weights: dict[int, float] = {}
    for i, g in enumerate(cluster):
        sums[g] = sums.get(g, 0.0) + w[i] * (reward[i] - value)
        weights[g] = weights.get(g, 0.0) + w[i]
    count = len(sums)
    heaviest = max(w)
    if clustered:
        heaviest = max(heaviest, math.sqrt(math.fsum(x * x for x in weights.values()) / count))
    imagined = [heaviest * (reward.max() - value), heaviest * (reward.min() - value)]
    s2, s3 = (
        math.fsum(u**power for u in sums.values()) + 0.5 * math.fsum(u**power for u in imagined)
        for power in (2, 3)
    )
    error = math.sqrt(s2 * count / (count - 1)) / math.fsum(w)
    t = stats.t.isf(alpha / 2, 1 / (1 / (count - 1) + s3**2 / s2**3 / 2))
    z = stats.norm.isf(alpha / 2)
    shift = error * s3 / s2**1.5 * (2 * z * z + 1) / 6
    assert (found.low, found.high) == pytest.approx(
        (value + shift - t * error, value + shift + t * error), rel=1e-9
    )


def test_many_even_rows_have_the_normal_interval():
    rng = np.random.default_rng(SEED)
    reward = rng.normal(0.0, 1.0, 100_000)
    ones = np.ones(len(reward))
    found = estimators.ips(reward, ones, ones)
    normal = 1.959964 * reward.std(ddof=1) / math.sqrt(len(reward))
    assert (found.high - found.low) / 2 == pytest.approx(normal, rel=2e-3)


@pytest.mark.parametrize("events", [3, 5, 10, 20, 50])
def test_rare_rewards_have_nearly_the_exact_interval_of_a_count(events):
    reward = np.zeros(50_000)
    reward[:events] = 1.0
    found = estimators.ips(reward, np.ones(len(reward)), np.ones(len(reward)))
    exact = np.array([stats.chi2.ppf(0.025, 2 * events), stats.chi2.isf(0.025, 2 * events + 2)]) / 2
    assert (found.low * len(reward), found.high * len(reward)) == pytest.approx(
        exact, abs=0.07 * events + 0.9
    )


def test_the_snips_interval_does_not_hold_the_denominator_fixed():
    """Rewards that are known, and all alike, leave the ratio no error, however weights vary."""
    rng = np.random.default_rng(SEED)
    p = rng.uniform(0.1, 1.0, 500)
    found = estimators.snips(np.ones(500), p, np.full(500, 0.1), reward_range=(1.0, 1.0))
    assert found.high - found.low == pytest.approx(0.0, abs=1e-12)


# --- Rewards that are all the same ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ips", "snips"])
@pytest.mark.parametrize("reward", [0.0, 0.25, 1.0])
def test_rewards_that_are_all_the_same_have_the_exact_interval_of_none_other(name, reward):
    ones = np.ones(400)
    found = getattr(estimators, name)(ones * reward, ones, ones, reward_range=(0.0, 1.0))
    unseen = stats.beta.isf(0.025, 1, 400)
    assert (found.low, found.high) == pytest.approx(
        (reward - unseen * reward, reward + unseen * (1.0 - reward)), abs=1e-12
    )


@pytest.mark.parametrize("name", ["ips", "snips"])
def test_without_a_range_nothing_is_known_where_all_rewards_are_the_same(name):
    ones = np.ones(400)
    found = getattr(estimators, name)(0.0 * ones, ones, ones)
    assert (found.value, found.low, found.high) == (0.0, -math.inf, math.inf)


@pytest.mark.parametrize(("rate", "rows"), [(0.001, 1_000), (0.002, 500), (0.003, 1_000), (0.99, 200)])
def test_intervals_cover_where_many_logs_have_one_reward_alone(rate, rows):
    """1,000 logs a cell, of which 5 to 37 % have rewards that are all the same."""
    rng = np.random.default_rng(SEED)
    ones, hits = np.ones(rows), 0
    for _ in range(1_000):
        reward = (rng.random(rows) < rate).astype(float)
        found = estimators.ips(reward, ones, ones, reward_range=(0.0, 1.0))
        hits += found.low <= rate <= found.high
    assert hits >= 950


def test_unseen_rewards_weigh_as_much_as_the_heaviest_unit():
    """10 subjects of 40 rows are 10 observations; and of weights 1 and 9, those of 9 are all that counts."""
    ones, subject = np.ones(400), np.arange(400) % 10
    found = estimators.ips(0.0 * ones, ones, ones, cluster=subject, reward_range=(0.0, 1.0))
    assert found.high == pytest.approx(stats.beta.isf(0.025, 1, 10))
    p = np.where(np.arange(400) % 10 == 0, 0.1, 0.9)
    uneven = estimators.snips(0.0 * ones, p, 0.9 * ones, reward_range=(0.0, 1.0))
    assert uneven.high == pytest.approx(1.0 - 0.025 ** (1.0 / 80.0))


def test_weights_that_vary_stay_in_the_interval_of_rewards_that_do_not():
    """IPS of rewards of 0.5: what weights leave open, and what rewards do, on top of each other."""
    rng = np.random.default_rng(SEED)
    columns = np.full(500, 0.5), rng.uniform(0.1, 1.0, 500), np.full(500, 0.1)
    known = estimators.ips(*columns, reward_range=(0.5, 0.5))
    found = estimators.ips(*columns, reward_range=(0.0, 1.0))
    assert found.low < known.low < known.high < found.high


def test_weights_of_zero_leave_the_whole_range():
    never = [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]
    found = estimators.ips(*never, reward_range=(0.0, 2.0))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 2.0)


def test_a_model_that_hits_every_reward_leaves_open_what_rewards_may_be():
    zeros, ones = np.zeros(400), np.ones(400)
    terms = zeros, ones, ones, zeros, zeros
    for found in (
        estimators.dr_terms(*terms, reward_range=(0.0, 1.0)),
        estimators.switch_dr_terms(*terms, 10.0, reward_range=(0.0, 1.0)),
        estimators.dros_terms(*terms, math.inf, reward_range=(0.0, 1.0)),
    ):
        assert found.high == pytest.approx(stats.beta.isf(0.025, 1, 400))
    assert estimators.dr_terms(*terms).high == math.inf


def test_a_range_that_rewards_leave_is_refused():
    with pytest.raises(ValueError, match="outside the declared range"):
        estimators.snips([0.0, 2.0], [0.5, 0.5], [0.5, 0.5], reward_range=(0.0, 1.0))
    with pytest.raises(ValueError, match="the smaller first"):
        estimators.snips([0.0, 1.0], [0.5, 0.5], [0.5, 0.5], reward_range=(1.0, 1.0))


# --- Cressie-Read ---------------------------------------------------------------------------------------


def primal_bound(w, r, weight_range, reward_range, alpha, *, lower):
    """The bound by its definition: the least (or largest) sum q w r over q with sum q = 1, sum q w = 1, and
    limited divergence, with one imagined row; solved on the null space of the constraints."""
    n = len(w)
    nearest = weight_range[1] if w.sum() < n else weight_range[0]

    def divergence(fake):
        points = np.append(w, fake)
        constraints = np.vstack([np.ones(n + 1), points])
        # The q nearest to uniform that meets the constraints.
        uniform = np.full(n + 1, 1.0 / (n + 1))
        step, *_ = np.linalg.lstsq(constraints, np.array([1.0, 1.0]) - constraints @ uniform)
        q = uniform + step
        return q, constraints, float(((q - uniform) ** 2).sum()) * (n + 1)

    radius = divergence(nearest)[2] + stats.f.isf(alpha, 1, n) / (n + 1)
    bounds = []
    for fake in weight_range:
        q, constraints, used = divergence(fake)
        if used > radius:
            continue
        values = np.append(w * r, fake * (reward_range[0] if lower else reward_range[1]))
        # Along the constraints, the direction that changes the value most is its projection.
        coefficients, *_ = np.linalg.lstsq(constraints.T, values)
        direction = values - constraints.T @ coefficients
        reach = math.sqrt((radius - used) / (n + 1)) * float(np.linalg.norm(direction))
        bounds.append(float(values @ q) + (-reach if lower else reach))
    low, high = reward_range
    return max(low, min(bounds)) if lower else min(high, max(bounds))


@pytest.mark.parametrize("largest", [None, 30.0])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_cressie_read_is_the_solution_of_its_primal_problem(alpha, largest):
    reward, p, target, _ = logged(200)
    w = target / p
    weight_range = (0.0, largest or max(1.0, w.max()))
    found = estimators.cressie_read(
        reward, p, target, RANGE, alpha, weight_range=weight_range if largest else None
    )
    for bound, lower in ((found.low, True), (found.high, False)):
        assert bound == pytest.approx(
            primal_bound(w, reward, weight_range, RANGE, alpha, lower=lower), rel=1e-8
        )


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_cressie_read_values_are_those_of_the_published_estimator(scale):
    """The dual solution with gamma and beta, for too little and too much weight; also without a limit."""
    reward, p, target, _ = logged(200)
    p = p if scale == 1.0 else np.minimum(1.0, p * 1.6)
    w, n = target / p, len(p)
    for largest in (w.max(), 40.0, math.inf):
        largest = max(1.0, largest)
        fake = largest if w.sum() < n else 0.0
        if math.isinf(fake):
            gamma, beta = -(1 + n) / n, 0.0
        else:
            a, b = (fake + w.sum()) / (1 + n), (fake**2 + (w * w).sum()) / (1 + n)
            gamma, beta = (b - a) / (a * a - b), (1 - a) / (a * a - b)
        value = (-gamma * (w @ reward) - beta * (w * w @ reward)) / (1 + n)
        missing = max(0.0, 1 - (-gamma * w.sum() - beta * (w * w).sum()) / (1 + n))
        value += missing * reward.mean()
        found = estimators.cressie_read(reward, p, target, RANGE, weight_range=(0.0, largest))
        assert found.value == pytest.approx(value, rel=1e-9)


def test_cressie_read_without_a_largest_weight_is_the_limit_of_ever_larger_ones():
    reward, p, target, _ = logged(300)
    unlimited = estimators.cressie_read(reward, p, target, RANGE, weight_range=(0.0, math.inf))
    large = estimators.cressie_read(reward, p, target, RANGE, weight_range=(0.0, 1e7))
    assert (unlimited.low, unlimited.high) == pytest.approx((large.low, large.high), rel=1e-4)
    known = estimators.cressie_read(reward, p, target, RANGE)
    assert known.high - known.low < unlimited.high - unlimited.low


def test_clustered_cressie_read_contains_a_value_iff_the_test_of_it_says_so():
    """theta on the bound has exactly the allowed divergence, by an optimiser over q."""
    reward, p, target, cluster = logged(120)
    found = estimators.cressie_read(reward, p, target, RANGE, 0.05, cluster=cluster)
    w = target / p
    codes = np.unique(cluster, return_inverse=True)[1]
    n, weights, gained = (np.bincount(codes, x) for x in (np.ones(len(w)), w, w * reward))
    count, size, largest = len(n), n.mean(), max(1.0, w.max())

    def divergence(fake, theta=None, reward_end=0.0):
        u = np.append(gained, size * fake * reward_end) - (theta or 0.0) * np.append(n, size)
        v = np.append(weights - n, size * (fake - 1.0))
        rows = [np.ones(count + 1), v] + ([u] if theta is not None else [])
        constraints = np.vstack(rows)
        uniform = np.full(count + 1, 1.0 / (count + 1))
        goal = np.zeros(len(rows))
        goal[0] = 1.0
        step, *_ = np.linalg.lstsq(constraints, goal - constraints @ uniform)
        return float((step**2).sum()) * (count + 1)

    nearest = largest if weights.sum() < n.sum() else 0.0
    radius = divergence(nearest) + stats.f.isf(0.05, 1, count) / (count + 1)

    def inside(theta, end):
        return min(divergence(fake, theta, end) for fake in (0.0, largest)) - radius

    low = optimize.brentq(inside, found.value - 0.5, found.value, args=(RANGE[0],), xtol=1e-13)
    high = optimize.brentq(inside, found.value, found.value + 0.5, args=(RANGE[1],), xtol=1e-13)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-7)


def test_cressie_read_is_not_certain_when_no_reward_was_seen():
    found = estimators.cressie_read(np.zeros(200), np.full(200, 0.5), np.full(200, 0.5), RANGE)
    assert found.low == 0.0
    assert 0.005 < found.high < 0.05


# --- valid at every look --------------------------------------------------------------------------------


def sequence_by_loops(reward, p, target, alpha):
    """The lower and upper ends at each time, row by row, by the docstring's formulas."""
    lambdas = [0.9 * 2 ** (-0.5 * k) for k in range(28)]
    ends, out = [0.0, 0.0], []
    state = [[0.0, 0.0], [0.0, 0.0]]
    for t, (r, w) in enumerate(zip(reward, target / p, strict=True), start=1):
        for side, phi in enumerate((w * r, w * (1.0 - r))):
            total, v = state[side]
            guess = min(1.0, (0.5 + total) / t)
            total, v = total + phi, v + (phi - guess) ** 2
            state[side] = [total, v]

            def wealth(nu, total=total, v=v, t=t):
                bets = [math.exp(x * (total - t * nu) - (-math.log1p(-x) - x) * v) for x in lambdas]
                return math.fsum(bets) / len(bets) - 2.0 / alpha

            if wealth(ends[side]) > 0.0 and wealth(1.0) < 0.0:
                ends[side] = optimize.brentq(wealth, ends[side], 1.0, xtol=1e-14)
        out.append((ends[0], 1.0 - ends[1]))
    return out


def test_anytime_is_its_formula_at_every_look():
    reward, p, target, _ = logged(150)
    expected = sequence_by_loops(reward, p, target, 0.05)
    for look in (1, 2, 10, 60, 149, 150):
        found = intervals.anytime(reward[:look], p[:look], target[:look], RANGE)
        assert found == pytest.approx(expected[look - 1], abs=1e-9)


def test_anytime_only_ever_narrows_and_streams_as_it_judges():
    reward, p, target, _ = logged(3_000)
    reward = 10.0 * reward - 5.0
    declared = (-5.0, 5.0)
    stream = intervals.ConfidenceSequence(declared)
    assert stream.interval == declared
    last = declared
    for start in range(0, 3_000, 250):
        cut = slice(start, start + 250)
        stream.add(reward[cut], p[cut], target[cut])
        at_once = intervals.anytime(*(x[: start + 250] for x in (reward, p, target)), declared)
        assert stream.interval == pytest.approx(at_once, abs=1e-9)
        assert last[0] <= stream.interval[0] <= stream.interval[1] <= last[1]
        last = stream.interval
    assert stream.add([], [], []).interval == last


def test_anytime_is_not_widened_by_the_data_but_refuses_what_was_not_declared():
    with pytest.raises(ValueError, match="declared range"):
        intervals.anytime([2.0], [1.0], [1.0], RANGE)
    with pytest.raises(ValueError, match="empty"):
        intervals.anytime([], [], [], RANGE)
    stream = intervals.ConfidenceSequence(RANGE)
    with pytest.raises(ValueError, match="unit_decisions_max"):
        stream.add([1.0, 0.0], [1.0, 1.0], [1.0, 1.0], cluster=[7, 7])


def test_anytime_takes_clusters_and_weights():
    reward, p, target, cluster = logged(2_000)
    plain = intervals.anytime(reward, p, target, RANGE)
    wide = intervals.anytime(reward, p, target, RANGE, cluster=cluster)
    assert wide[0] < plain[0] < plain[1] < wide[1]
    assert intervals.anytime(reward, p, target, RANGE, cluster=np.arange(2_000)) == plain
    assert intervals.anytime(reward, p, target, RANGE, weight=np.ones(2_000)) == plain
    twice = intervals.anytime(reward, p, target, RANGE, weight=np.full(2_000, 2.0))
    assert twice == pytest.approx(plain, abs=1e-9)


def test_weights_that_cannot_be_leave_a_point_and_end():
    """A mean weight of 2 contradicts itself: both ends pass each other, and nothing hangs."""
    n = 20_000
    low, high = intervals.anytime(np.full(n, 0.5), np.full(n, 0.5), np.ones(n), RANGE)
    assert low == high


# --- how often they hold --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["balanced", "low overlap", "1 % rewards", "heavy weights", "subjects"])
def test_intervals_hold_as_often_as_they_say(bench, name):
    """The short form of scripts/bench/coverage.py, seed 3."""
    scenario = next(each for each in bench.scenarios() if each.name == name)
    results = bench.measure(scenario, logs=100, seed=3)
    assert [each for each in results if each.holds is False] == []
    widths = {each.estimator: each.width for each in results}
    # Not by being silly: a corrected interval is at most half as wide again as the normal one, or so.
    for corrected in ("snips", "dr", "cressie_read"):
        assert widths[corrected] < 1.65 * widths["normal"]
    biases = {each.estimator: each.bias for each in results}
    assert all(abs(biases[unbiased]) < 4.0 for unbiased in ("ips", "dr"))


def test_anytime_holds_at_every_look(bench):
    """Seed 4: of 60 logs, not more may ever have missed than chance explains."""
    scenario = next(each for each in bench.scenarios() if each.name == "low overlap")
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(60):
        log = scenario.draw(rng)
        stream = intervals.ConfidenceSequence(RANGE)
        for start in range(0, 600, 20):
            cut = slice(start, start + 20)
            low, high = stream.add(log.reward[cut], log.propensity[cut], log.target[cut]).interval
            if not low <= scenario.value <= high:
                missed += 1
                break
    assert missed <= 60 * 0.05 + 3 * math.sqrt(60 * 0.05 * 0.95)
