"""How often the intervals of off-policy estimates hold the true value, and how wide they are.

    .venv/bin/python scripts/bench/coverage.py [--logs 1000] [--seed 1] [--scenario NAME ...] [--json]

Each scenario is a world with a known value of the target policy, from which so many logs are drawn; intervals
are at 95 %. `below low` and `above high` are the shares of logs in which the value lay beyond that end; bias
is the mean error of the value, in standard errors of that mean. `anytime` holds at its last look only if it
held at every look: each interval lies within those before it. `normal` is SNIPS's value -+ 1.96 standard
errors, for comparison: what intervals are without corrections. As it should: 93 to 98.5 % where intervals are
asymptotic, at least 95 % less three standard errors where they are guaranteed (wider for fewer logs).
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import rich.console
import rich.progress
import rich.table

from bandit.replay import estimators, intervals

ALPHA = 0.05
REWARD_RANGE = (0.0, 1.0)
ASYMPTOTIC = ("ips", "snips", "dr")
GUARANTEED = ("cressie_read", "anytime")


@dataclass(frozen=True, slots=True)
class Log:
    """One simulated log, as the estimators take it. `reward_hat` and `value_hat` are a crude model's."""

    reward: Any
    propensity: Any
    target: Any
    reward_hat: Any
    value_hat: Any
    cluster: Any = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world: `draw` makes a log of it, `value` is what the target policy earns there."""

    name: str
    about: str
    value: float
    draw: Callable[[np.random.Generator], Log]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one estimator's intervals in one scenario."""

    scenario: str
    estimator: str
    logs: int
    coverage: float
    low: float
    high: float
    width: float
    bias: float
    holds: bool | None


def fixed_arms(name: str, about: str, rows: int, logging: Any, target: Any, means: Any) -> Scenario:
    """Variants drawn by one distribution; 0/1 rewards whose mean moves with a context in [0, 1]."""
    p, pi, mean = (np.asarray(values, float) for values in (logging, target, means))

    def draw(rng: np.random.Generator) -> Log:
        action = rng.choice(len(p), rows, p=p)
        context = rng.random(rows)
        chance = mean[action] * (0.5 + context)
        reward = (rng.random(rows) < chance).astype(float)
        guess = np.full(rows, float(pi @ mean))
        return Log(reward, p[action], pi[action], guess, guess)

    return Scenario(name, about, float(pi @ mean), draw)


def heavy(rows: int = 2_000) -> Scenario:
    """Two variants, of which the log drew the better one by a context that often left little of the other."""

    def draw(rng: np.random.Generator) -> Log:
        chance = np.clip(rng.beta(0.7, 0.7, rows), 0.003, 0.997)
        first = rng.random(rows) < chance
        propensity = np.where(first, chance, 1.0 - chance)
        reward = (rng.random(rows) < np.where(first, 0.3, 0.6)).astype(float)
        guess = np.full(rows, 0.4)
        return Log(reward, propensity, np.full(rows, 0.5), guess, guess)

    return Scenario("heavy weights", "propensities down to 0.003; weights to 167", 0.45, draw)


def subjects(count: int = 200) -> Scenario:
    """Subjects with 1 to 50 decisions each, and a liking of their own that moves all their rewards."""
    pi, mean = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.8, 0.5, 0.4, 0.3])

    def draw(rng: np.random.Generator) -> Log:
        sizes = rng.integers(1, 51, count)
        cluster = np.repeat(np.arange(count), sizes)
        liking = rng.beta(1.0, 1.0, count)[cluster]
        action = rng.integers(0, 4, len(cluster))
        reward = (rng.random(len(cluster)) < mean[action] * liking).astype(float)
        guess = np.full(len(cluster), 0.3)
        return Log(reward, np.full(len(cluster), 0.25), pi[action], guess, guess, cluster)

    return Scenario(
        "subjects", "200 subjects with 1 to 50 decisions, rewards alike", float(pi @ mean) / 2, draw
    )


def scenarios() -> list[Scenario]:
    """All of them."""
    uniform = [0.1] * 10
    return [
        fixed_arms(
            "balanced",
            "3 variants drawn evenly, 2,000 rows",
            2_000,
            [1 / 3] * 3,
            [0.2, 0.5, 0.3],
            [0.3, 0.5, 0.4],
        ),
        fixed_arms(
            "low overlap",
            "one variant drawn 91 %, nine 1 %; the target is even",
            2_000,
            [0.91] + [0.01] * 9,
            uniform,
            np.linspace(0.2, 0.6, 10),
        ),
        fixed_arms(
            "1 % rewards",
            "10 variants drawn evenly, 5,000 rows",
            5_000,
            uniform,
            [0.55] + [0.05] * 9,
            np.linspace(0.012, 0.008, 10),
        ),
        heavy(),
        subjects(),
    ]


def intervals_of(
    log: Log, reward_range: tuple[float, float] = REWARD_RANGE
) -> Iterator[tuple[str, float, float, float]]:
    """(estimator, value, low, high) of each."""
    logged = (log.reward, log.propensity, log.target)
    for name, estimate in (
        ("ips", estimators.ips(*logged, ALPHA, cluster=log.cluster)),
        ("snips", estimators.snips(*logged, ALPHA, cluster=log.cluster)),
        ("dr", estimators.dr_terms(*logged, log.reward_hat, log.value_hat, ALPHA, cluster=log.cluster)),
        ("cressie_read", estimators.cressie_read(*logged, reward_range, ALPHA, cluster=log.cluster)),
    ):
        yield name, estimate.value, estimate.low, estimate.high
    low, high = intervals.anytime(*logged, reward_range, ALPHA, cluster=log.cluster)
    yield "anytime", math.nan, low, high
    weights = log.target / log.propensity
    value = float(weights @ log.reward / weights.sum())
    terms = weights * (log.reward - value)
    if log.cluster is not None:
        terms = np.bincount(log.cluster, terms)
    error = math.sqrt(float(terms @ terms)) / float(weights.sum())
    yield "normal", value, value - 1.959964 * error, value + 1.959964 * error


def measure(
    scenario: Scenario, logs: int, seed: int, progress: Callable[[], None] = lambda: None
) -> list[Result]:
    """Draws the logs, and judges each."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(logs):
        for name, *judged in intervals_of(scenario.draw(rng)):
            found.setdefault(name, []).append(tuple(judged))
        progress()
    return [_result(scenario, name, np.array(rows)) for name, rows in found.items()]


def _result(scenario: Scenario, name: str, rows: Any) -> Result:
    value, low, high = rows.T
    logs = len(rows)
    coverage = float(((low <= scenario.value) & (scenario.value <= high)).mean())
    error = value - scenario.value
    spread = float(error.std(ddof=1)) if logs > 1 else math.nan
    # By chance alone the share of so few logs may be off by three standard errors.
    slack = 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / logs)
    holds = None
    if name in GUARANTEED:
        holds = coverage >= 1.0 - ALPHA - slack
    elif name in ASYMPTOTIC:
        more = max(0.0, slack - 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / 1_000))
        holds = 0.93 - more <= coverage <= 0.985 + more
    return Result(
        scenario=scenario.name,
        estimator=name,
        logs=logs,
        coverage=coverage,
        low=float((scenario.value < low).mean()),
        high=float((scenario.value > high).mean()),
        width=float((high - low).mean()),
        bias=float(error.mean()) / (spread / math.sqrt(logs)) if name != "anytime" and spread else math.nan,
        holds=holds,
    )


def main() -> None:
    """Prints a table, or JSON. Exit 1 if an interval covers less or more than it should."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--logs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", action="append", choices=[each.name for each in scenarios()])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    chosen = [each for each in scenarios() if not given.scenario or each.name in given.scenario]
    results = []
    with rich.progress.Progress(console=rich.console.Console(stderr=True), transient=True) as bars:
        for scenario in chosen:
            task = bars.add_task(scenario.name, total=given.logs)
            results += measure(scenario, given.logs, given.seed, lambda task=task: bars.advance(task))
    if given.json:
        rows = [
            {key: None if value != value else value for key, value in asdict(each).items()}
            for each in results
        ]
        print(json.dumps({"logs": given.logs, "seed": given.seed, "alpha": ALPHA, "results": rows}))
    else:
        rich.console.Console().print(_table(chosen, results))
    sys.exit(any(each.holds is False for each in results))


def _table(chosen: list[Scenario], results: list[Result]) -> rich.table.Table:
    shown = rich.table.Table(title=f"Coverage of 95 % intervals, {results[0].logs:,} logs a scenario")
    for name in ("scenario", "estimator"):
        shown.add_column(name)
    for name in ("covered", "below low", "above high", "mean width", "bias / s.e.", "as it should"):
        shown.add_column(name, justify="right")
    about = {each.name: each.about for each in chosen}
    last = ""
    for each in results:
        if each.scenario != last:
            shown.add_section()
            shown.add_row(f"[bold]{each.scenario}[/]", f"[dim]{about[each.scenario]}[/]")
        last = each.scenario
        shown.add_row(
            "",
            each.estimator,
            f"{each.coverage:.1%}",
            f"{each.low:.1%}",
            f"{each.high:.1%}",
            f"{each.width:.4f}",
            "" if each.bias != each.bias else f"{each.bias:+.1f}",
            {True: "yes", False: "NO", None: ""}[each.holds],
        )
    return shown


if __name__ == "__main__":
    main()
