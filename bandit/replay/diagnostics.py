"""Whether a log can answer what a policy would have earned: each check with a limit, a verdict and advice.

A failed check means that no figure may be headlined; `warn` that one should know; `unknown` that the log does
not hold what the check needs. Checks do not look at rewards' values, except whether there are any two.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from bandit.replay import estimators
from bandit.replay.arrays import ABOVE_ONE_MAX, Clusters, by_cluster, cluster_codes
from bandit.replay.columns import BOOL, F64, Logged, Target
from bandit.replay.quantiles import chi_square_tail, normal_quantile, t_critical

Verdict = Literal["ok", "warn", "fail", "unknown"]

FALSE_ALARM: Final = 1e-4
"""The chance that a sound log fails one of the three tests that chance can fail. So a report of a hundred
policies and segments is nearly always left alone if it is sound, and faults that matter are far beyond. (The
mean weight's is one in 500 where weights are as heavy as those that `largest_weight_share` mostly fails.)"""

EFFECTIVE_ROWS_MIN: Final = 100.0
"""Intervals were tried on simulated logs of about so many effective rows; below, coverage is a guess."""

WEIGHT_MAX: Final = 1_000.0
"""A floor of 0.01 spread over 10 variants gives weights up to 1,000; more comes from smaller propensities."""

WEIGHT_SHARE_MAX: Final = 0.05
"""One row that carries a twentieth of all weight moves the value by a twentieth of its reward."""

UNSUPPORTED_MAX: Final = 1e-3
"""Mass that the log could not have served biases the value by as much, in units of the reward range."""

BROKEN_SHARE_MAX: Final = 1e-3
"""Rows with unusable propensities, and duplicates, are left out; more than these are a fault of the log."""

EXPECTED_MIN: Final = 5.0
"""Variants expected less often are put together: the chi-square distribution needs a few of each."""

MISSING_MAX: Final = 0.1
"""If a tenth of decisions never got a reward, those that did may be others than those that did not."""

DEFAULTED_MAX: Final = 0.99
"""With under one true reward in a hundred, rather check that rewards arrive at all."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One check. `value` is None if it can't be told; `threshold` is the limit that it was held against."""

    name: str
    value: float | None
    threshold: float
    verdict: Verdict
    advice: str


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """All checks of one policy on one log."""

    checks: tuple[Diagnostic, ...]

    @property
    def failed(self) -> tuple[Diagnostic, ...]:
        """Those that take the headline away."""
        return tuple(check for check in self.checks if check.verdict == "fail")

    def to_json(self) -> list[dict[str, Any]]:
        """JSON values, one object a check; a value that is not finite is null."""
        return [
            asdict(check)
            | {"value": None if check.value is None or not math.isfinite(check.value) else check.value}
            for check in self.checks
        ]


def diagnose(logged: Logged, target: Target) -> Diagnostics:
    """Judges whether the rows can tell the target's value. Never raises for what the log holds."""
    propensity, probability = logged.propensity, target.probability
    usable = (propensity > 0.0) & (propensity <= 1.0 + ABOVE_ONE_MAX)
    usable &= (probability >= 0.0) & (probability <= 1.0 + ABOVE_ONE_MAX)
    return Diagnostics(
        (
            *_weights(logged, probability, usable),
            _calibration(logged),
            _sample_ratio(logged),
            _support(logged, target),
            _duplicates(logged),
            _out_of_order(logged),
            _missing(logged),
            _defaulted(logged),
            _variation(logged),
            _propensities(logged, usable),
        )
    )


def _weights(logged: Logged, probability: F64, usable: BOOL) -> Iterator[Diagnostic]:
    """effective_sample_size, largest_weight, largest_weight_share, mean_weight."""
    sizes = logged.weight[usable]
    w = probability[usable] / logged.propensity[usable] * sizes
    total = float(w.sum())
    ess = total**2 / float(w @ w) if total > 0.0 else 0.0
    if not len(w):
        nothing = (
            "No row has a usable propensity, so there are no weights: only what was served can be averaged."
        )
        yield Diagnostic("effective_sample_size", 0.0, EFFECTIVE_ROWS_MIN, "fail", nothing)
        yield _unknown("largest_weight", WEIGHT_MAX, nothing)
        yield _unknown("largest_weight_share", WEIGHT_SHARE_MAX, nothing)
        yield _unknown("mean_weight", 1.0, nothing)
        return
    yield _at_least(
        "effective_sample_size",
        ess,
        EFFECTIVE_ROWS_MIN,
        f"The weights leave as much as {ess:,.0f} rows of the policy's own would tell.",
        f"Only {ess:,.0f} rows' worth of information is left: gather more, explore more, or judge a policy "
        "closer to the one that served.",
    )
    largest = float(w.max())
    yield _at_most(
        "largest_weight",
        largest,
        WEIGHT_MAX,
        "No weight is out of the ordinary.",
        f"One row stands for {largest:,.0f} decisions: look at the smallest propensities, and prefer DR or "
        "Cressie–Read.",
        otherwise="warn",
    )
    share = largest / total if total > 0.0 else 0.0
    yield _at_most(
        "largest_weight_share",
        share,
        WEIGHT_SHARE_MAX,
        "No single row decides the value.",
        f"One row carries {share:.1%} of all weight: the value is that row's reward more than the policy's, "
        "so gather more rows.",
    )
    yield _mean_weight(logged, probability, usable)


def _mean_weight(logged: Logged, probability: F64, usable: BOOL) -> Diagnostic:
    """The value of the reward 1 is 1. Beyond its own interval it is not by chance."""
    found = estimators.ips(
        np.ones(int(usable.sum())),
        logged.propensity[usable],
        probability[usable],
        FALSE_ALARM,
        cluster=logged.cluster[usable],
        weight=logged.weight[usable],
        reward_range=(1.0, 1.0),
    )
    below = found.value < 1.0
    limit = 1.0 - (found.high - found.value) if below else 1.0 + (found.value - found.low)
    if not math.isfinite(limit):
        return _unknown("mean_weight", 1.0, "One row or subject alone tells no sampling error.")
    # Weights that are all 1 add up to 1 but for rounding.
    if found.low <= 1.0 <= found.high or abs(found.value - 1.0) < 1e-9:
        advice = "The weights have mean 1 within their sampling error, as they should."
        return Diagnostic("mean_weight", found.value, limit, "ok", advice)
    advice = (
        f"The weights have mean {found.value:.3f}, not 1, and chance does not explain it: some propensities "
        "are not those that variants were drawn with, or the policy wants what the log never served."
    )
    return Diagnostic("mean_weight", found.value, limit, "fail", advice)


def _calibration(logged: Logged) -> Diagnostic:
    """Pearson's X = sum over variants of (served - expected)^2 / expected.

    Its mean is the sum of variance / expected: k - 1 if every row has the same distribution, and less if not.
    It is held against the chi-square distribution with that mean, whose tail is at least as heavy as X's.
    """
    name = "propensity_calibration"
    rare = logged.expected < EXPECTED_MIN
    expected, variance, served = (
        np.append(sums[~rare], sums[rare].sum()) for sums in (logged.expected, logged.variance, logged.served)
    )
    kept = expected > 0.0
    # What was never expected and was served all the same is against the propensities by itself.
    impossible = int(logged.served[logged.expected <= 0.0].sum())
    expected, variance, served = expected[kept], variance[kept], served[kept]
    if not len(expected):
        return _unknown(name, 1.0, "The log holds no full distributions to hold what was served against.")
    dof = float((variance / expected).sum())
    found = float(((served - expected) ** 2 / expected).sum())
    if dof < 1e-9:
        # Every row had one possible variant: any difference at all is wrong.
        limit = 1e-6
    else:
        limit = _chi_square_limit(dof)
    if impossible == 0 and found <= limit:
        return Diagnostic(
            name, found, limit, "ok", "Variants were served as often as their propensities say."
        )
    advice = (
        "Variants were not served as often as their logged propensities say, so no weight can be trusted: "
        "find out where they are computed, and whether rows are lost on the way."
    )
    return Diagnostic(name, found, limit, "fail", advice)


def _sample_ratio(logged: Logged) -> Diagnostic:
    """z of the treatment arm's size, by subject, against the treatment share in force at each decision.

    A score test: the variance is that which the shares give, not that of the arms as they came, which is
    small where the treatment arm is. The limit is that of Student's t with the variance's degrees of freedom,
    plus skewness (z^2 - 1) / 6 on the side that skewness makes heavy and minus it on the other (Cornish &
    Fisher, "Moments and cumulants in the specification of distributions", 1938). Where both arms are at hand
    and subjects came more than once, the variance is that of the subjects' own sums.
    """
    name, usual = "sample_ratio", normal_quantile(1.0 - FALSE_ALARM / 2.0)
    drawn = (logged.share > 0.0) & (logged.share < 1.0)
    share, treated = logged.share[drawn], logged.treatment[drawn]
    control = logged.counts.get("control_drawn")
    if not len(share) or (treated.all() and control is None):
        return _unknown(name, usual, "The log tells of no random split into arms, so there is none to check.")
    clusters = cluster_codes(logged.cluster[drawn], len(share))
    if treated.all():
        arms = _arms_of_treated(share, clusters, control or 0)
    elif clusters is None:
        variances = share * (1.0 - share)
        third = float(variances @ (1.0 - 2.0 * share))
        arms = _Arms(float((treated - share).sum()), float(variances.sum()), third)
    else:
        # A share that changed between a subject's decisions leaves these less alike than one draw would: by
        # how much, its own sum tells.
        sums = by_cluster(treated - share, clusters)
        arms = _Arms(float(sums.sum()), float(sums @ sums), 0.0)
    z = abs(arms.difference) / math.sqrt(arms.variance)
    skewness = math.copysign(1.0, arms.difference) * arms.third / arms.variance**1.5
    limit = t_critical(FALSE_ALARM, arms.dof)
    # The expansion is of small skewness: with a handful of subjects it would go below 0.
    limit = max(limit / 2.0, limit + skewness * (usual * usual - 1.0) / 6.0)
    if z <= limit:
        return Diagnostic(name, z, limit, "ok", "The arms are as large as the treatment share says.")
    advice = (
        f"The arms' sizes are {z:.1f} standard errors from the treatment share: something other than the "
        "draw decides which decisions are here, so find out what is lost before believing any comparison."
    )
    return Diagnostic(name, z, limit, "fail", advice)


@dataclass(frozen=True, slots=True)
class _Arms:
    """By how many decisions the treatment arm is too large, and what chance allows: variance, third central
    moment, and the degrees of freedom of the variance, infinite if it is known.
    """

    difference: float
    variance: float
    third: float
    dof: float = math.inf


def _arms_of_treated(share: F64, clusters: Clusters, control: int) -> _Arms:
    """From the treated decisions' shares and a count of the control decisions.

    Each treated decision stands for (1 - rho) / rho of control. A subject with m decisions so adds
    m (1 - rho) / rho, or -m, with variance m^2 (1 - rho) / rho and third moment m^3 (1 - rho)
    (1 - 2 rho) / rho^2. It is seen with probability rho, and stands for 1 / rho such subjects. Together they
    stand for a number of decisions that the log tells exactly, so sums are brought to it (the ratio estimator
    of Hajek): with one share the variance of decisions without subjects is then the binomial's, whatever the
    arms came to.
    """
    stands_for = 1.0 / share
    total = float(stands_for.sum())
    scale = (len(share) + control) / total
    each = by_cluster(np.sqrt(1.0 - share) / share, clusters) ** 2
    thirds = by_cluster(np.cbrt((1.0 - share) * (1.0 - 2.0 * share)) / share, clusters) ** 3
    found = float(each.sum())
    # Of decisions without subjects only what the ratio leaves varies; how often subjects come does so freely.
    varying = each - found / total * stands_for if clusters is None else each
    noise = float(varying @ varying) / found**2
    return _Arms(
        difference=total - len(share) - control,
        variance=found * scale,
        third=float(thirds.sum()) * scale,
        dof=2.0 / noise if noise > 0.0 else math.inf,
    )


def _support(logged: Logged, target: Target) -> Diagnostic:
    name = "support"
    if not len(target.unsupported):
        return _unknown(name, UNSUPPORTED_MAX, "There is no row to judge.")
    lost = float((target.unsupported @ logged.weight) / logged.weight.sum())
    if not math.isfinite(lost):
        return _unknown(name, UNSUPPORTED_MAX, "The log does not tell what else it could have served.")
    if lost > UNSUPPORTED_MAX:
        advice = (
            f"The policy puts {lost:.2%} of its choices on variants that could not have been served there: "
            "the log can't tell their rewards, so explore them first."
        )
        return Diagnostic(name, lost, UNSUPPORTED_MAX, "fail", advice)
    if lost > 1e-9:
        advice = (
            f"The policy puts {lost:.4%} of its choices where the log has no support: the bias is that small."
        )
        return Diagnostic(name, lost, UNSUPPORTED_MAX, "warn", advice)
    advice = "Everything that the policy would choose could have been served."
    return Diagnostic(name, lost, UNSUPPORTED_MAX, "ok", advice)


def _duplicates(logged: Logged) -> Diagnostic:
    found = logged.counts.get("duplicates")
    if found is None:
        return _unknown("duplicates", BROKEN_SHARE_MAX, "Duplicates were not counted here.")
    return _share(
        "duplicates",
        found / max(1, _joined(logged) + found),
        "No decision is there twice.",
        "{:.2%} of decisions came more than once and count once: find out what writes them again before "
        "believing that the rest is sound.",
    )


def _out_of_order(logged: Logged) -> Diagnostic:
    name, found = "out_of_order", logged.counts.get("out_of_order")
    if found is None:
        return _unknown(name, 0.0, "The order of events was not checked here.")
    advice = (
        f"{found:,} events come after later ones: values hold, but what was learned when, and anytime "
        "intervals, follow the file's order."
    )
    return _at_most(name, float(found), 0.0, "Events are in the order of time.", advice, otherwise="warn")


def _missing(logged: Logged) -> Diagnostic:
    name, found = "missing_rewards", logged.counts.get("unrewarded")
    if found is None:
        return _unknown(name, MISSING_MAX, "Decisions without a reward were not counted here.")
    share = found / max(1, _joined(logged))
    advice = (
        f"{share:.1%} of decisions never got a reward and are left out: the value is that of those that did, "
        "unless the experiment declares a default."
    )
    return _at_most(name, share, MISSING_MAX, "Nearly all decisions have a reward.", advice, otherwise="warn")


def _defaulted(logged: Logged) -> Diagnostic:
    name = "defaulted_rewards"
    if not len(logged.defaulted):
        return _unknown(name, DEFAULTED_MAX, "There is no row to judge.")
    share = float(logged.defaulted.mean())
    advice = (
        f"{share:.2%} of rewards are the default: make sure that rewards arrive within the window, and "
        "expect wide intervals."
    )
    return _at_most(name, share, DEFAULTED_MAX, "Enough rewards were reported.", advice, otherwise="warn")


def _variation(logged: Logged) -> Diagnostic:
    """Without two different rewards an interval tells of the declared range and the rows' number alone."""
    if not len(logged.reward):
        return _unknown("reward_variation", 0.0, "There is no row to judge.")
    spread = float(logged.reward.max() - logged.reward.min())
    if spread > 0.0:
        return Diagnostic("reward_variation", spread, 0.0, "ok", "Rewards differ from row to row.")
    advice = (
        f"Every judged reward is {logged.reward[0]:g}, so nothing tells how far the value may be off: make "
        "sure that rewards are reported, or gather more rows."
    )
    return Diagnostic("reward_variation", spread, 0.0, "fail", advice)


def _propensities(logged: Logged, usable: BOOL) -> Diagnostic:
    unread = logged.counts.get("bad_propensity", 0)
    rows = len(usable) + unread
    if not rows:
        return _unknown("propensities", BROKEN_SHARE_MAX, "There is no row to judge.")
    return _share(
        "propensities",
        (int((~usable).sum()) + unread) / rows,
        "Every row has a propensity in (0, 1].",
        "{:.2%} of rows have a propensity that is missing, 0, above 1 or no number: log the probability that "
        "the served variant was drawn with.",
    )


def _joined(logged: Logged) -> int:
    return logged.counts.get("joined", len(logged.reward))


def _share(name: str, share: float, good: str, bad: str) -> Diagnostic:
    """A share of broken rows: a few are a warning."""
    verdict: Verdict = "ok" if share == 0.0 else "fail" if share > BROKEN_SHARE_MAX else "warn"
    return Diagnostic(name, share, BROKEN_SHARE_MAX, verdict, good if verdict == "ok" else bad.format(share))


def _at_least(name: str, value: float, limit: float, good: str, bad: str) -> Diagnostic:
    return Diagnostic(name, value, limit, *(("ok", good) if value >= limit else ("fail", bad)))


def _at_most(
    name: str, value: float, limit: float, good: str, bad: str, *, otherwise: Verdict = "fail"
) -> Diagnostic:
    return Diagnostic(name, value, limit, *(("ok", good) if value <= limit else (otherwise, bad)))


def _unknown(name: str, limit: float, why: str) -> Diagnostic:
    return Diagnostic(name, None, limit, "unknown", why)


def _chi_square_limit(dof: float) -> float:
    """The value that a chi-square variable exceeds with probability FALSE_ALARM."""
    low, high = 0.0, 10.0 * (dof + 10.0)
    for _ in range(100):
        middle = (low + high) / 2.0
        if chi_square_tail(middle, dof) > FALSE_ALARM:
            low = middle
        else:
            high = middle
    return high
