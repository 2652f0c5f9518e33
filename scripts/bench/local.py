"""Times LocalBandit.choose between rewards that it learns from: 10 variants, 10 signals, in memory.

    python scripts/bench/local.py [CALLS]

Prints medians and 99th percentiles in microseconds, for a catalogue described by categories, and for one
with a number a variant.
"""

import argparse
import random
import time
from statistics import median, quantiles

from bandit import LocalBandit

WARM_UP = 1_000
SIGNALS = 10
VARIANTS = 10

TEMPLATE = "\n".join(
    (
        "experiments:",
        "  - id: bench",
        "    owner: bench@shop.example",
        "    baseline: v0",
        "    variants:",
        *(f"      - {{id: v{n}, features: {{kind: k{n % 3}, shade: SHADE{n}}}}}" for n in range(VARIANTS)),
        "    signals:",
        *(f"      n{n}: {{type: number}}" for n in range(SIGNALS // 2)),
        *(f"      c{n}: {{type: category}}" for n in range(SIGNALS // 2)),
        "    reward: {metric: click}",
    )
)


def measure(experiments: str, calls: int, seed: int) -> tuple[list[float], list[float]]:
    """The microseconds of each choose and of each reward."""
    chance = random.Random(seed)
    chose_us, rewarded_us = [], []
    with LocalBandit.from_yaml(experiments, "bench", salt=b"bench") as bandit:
        for call in range(WARM_UP + calls):
            context = {f"n{n}": chance.gauss(10, 3) for n in range(SIGNALS // 2)}
            context |= {f"c{n}": chance.choice("abcdefgh") for n in range(SIGNALS // 2)}
            start = time.perf_counter_ns()
            choice = bandit.choose(context)
            chosen = time.perf_counter_ns()
            bandit.reward(choice.decision_id, float(chance.random() < 0.1))
            rewarded = time.perf_counter_ns()
            if call >= WARM_UP:
                chose_us.append((chosen - start) / 1_000)
                rewarded_us.append((rewarded - chosen) / 1_000)
    return chose_us, rewarded_us


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("calls", nargs="?", type=int, default=10_000)
    calls, seed = parser.parse_args().calls, 1
    print(f"{VARIANTS} variants, {SIGNALS} signals, {calls} calls, seed {seed}")
    for kind, shade in (("categories", "s"), ("numbers", "")):
        chose_us, rewarded_us = measure(TEMPLATE.replace("SHADE", shade), calls, seed)
        for name, times in (("choose", chose_us), ("reward", rewarded_us)):
            p99 = quantiles(times, n=100)[98]
            print(f"{kind}: {name} median {median(times):.1f} us, p99 {p99:.1f} us")


if __name__ == "__main__":
    main()
