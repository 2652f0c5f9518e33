"""What a process's counters say before anything has happened, and when what was counted is seen."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram

from bandit.serving.metrics import _observe

STARTED = """
import sys
from pathlib import Path
from bandit.serving import metrics
folder = metrics.prepare(Path(sys.argv[1]))
counted = metrics.Metrics(lambda _: frozenset(catalogue))
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
catalogue = {"red"}
def show():
    print(generate_latest(registry).decode())
"""
COUNT = """
from bandit.core.records import Arm, Decision, RewardStatus, Source, Stage, Variant
from bandit.eventlog.log import RewardOutcome
def decided(name, source, arm):
    variant = Variant(name)
    rest = "", {}, (variant,), False, (1.0,), (1.0,), 0, arm, source, Stage.FULL, 0.9, ""
    counted.decided(Decision("shop", 1, "id", *rest))
counted.called("Choose", "OK", 1 / 256)
counted.called("Choose", "OK", 5.0)
counted.called("Choose", "NOT_FOUND", 1 / 1024)
decided("red", Source.LEARNED, Arm.TREATMENT)
decided("red", Source.LEARNED, Arm.TREATMENT)
decided("red", Source.BASELINE, Arm.TREATMENT)
decided("blue", Source.LEARNED, Arm.CONTROL)
decided("green", Source.LEARNED, Arm.CONTROL)
counted.rewarded(RewardOutcome(RewardStatus.DUPLICATE, "shop", "click"))
counted.committed(3, 0.0002)
counted.synced(0.02)
"""
COUNTED = {
    'banditd_calls_total{code="OK",method="Choose"} 2.0',
    'banditd_calls_total{code="NOT_FOUND",method="Choose"} 1.0',
    'banditd_call_seconds_bucket{le="0.001",method="Choose"} 1.0',
    'banditd_call_seconds_bucket{le="0.002",method="Choose"} 1.0',
    'banditd_call_seconds_bucket{le="0.005",method="Choose"} 2.0',
    'banditd_call_seconds_bucket{le="1.0",method="Choose"} 2.0',
    'banditd_call_seconds_count{method="Choose"} 3.0',
    'banditd_call_seconds_sum{method="Choose"} 5.0048828125',
    'banditd_decisions_total{arm="TREATMENT",experiment="shop",source="LEARNED",variant="red"} 2.0',
    'banditd_decisions_total{arm="TREATMENT",experiment="shop",source="BASELINE",variant="red"} 1.0',
    'banditd_decisions_total{arm="CONTROL",experiment="shop",source="LEARNED",variant="(from the call)"} 2.0',
    'banditd_broken_distributions_total{experiment="shop"} 1.0',
    'banditd_rewards_total{experiment="shop",status="DUPLICATE"} 1.0',
    "banditd_commit_rows_sum 3.0",
    'banditd_commit_seconds_bucket{le="0.0003"} 1.0',
    "banditd_sync_seconds_count 1.0",
}


def said(script: str, folder: Path) -> set[str]:
    """The lines that it prints."""
    # In a process of its own: prometheus_client settles on files or memory when it is first imported.
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.splitlines())


def test_a_process_that_is_starting_is_no_outage_of_the_log(tmp_path: Path) -> None:
    assert "banditd_log_up 1.0" in said(STARTED + "show()", tmp_path)


def test_log_time_is_ahead_by_no_second_until_it_is_and_by_the_most_that_a_living_process_sees(
    tmp_path: Path,
) -> None:
    assert "banditd_log_ahead_seconds 0.0" in said(STARTED + "show()", tmp_path)
    script = STARTED + "counted.log_ahead_us(7_250_000)\nshow()"
    assert "banditd_log_ahead_seconds 7.25" in said(script, tmp_path)
    forgotten = STARTED + "counted.log_ahead_us(1)\nimport os\nmetrics.forget_process(os.getpid())\nshow()"
    assert not any(line.startswith("banditd_log_ahead_seconds ") for line in said(forgotten, tmp_path))


def test_what_calls_count_is_seen_once_it_is_carried_over(tmp_path: Path) -> None:
    assert not COUNTED & said(STARTED + COUNT + "show()", tmp_path)
    assert COUNTED - said(STARTED + COUNT + "counted.flush()\nshow()", tmp_path) == set()


def test_nothing_is_carried_over_twice_and_what_comes_later_is_added(tmp_path: Path) -> None:
    script = STARTED + COUNT + "counted.flush()\n" * 3 + "show()"
    assert COUNTED - said(script, tmp_path) == set()
    script = STARTED + (COUNT + "counted.flush()\n") * 2 + "show()"
    assert COUNTED & said(script, tmp_path) == set()
    assert 'banditd_call_seconds_bucket{le="0.005",method="Choose"} 4.0' in said(script, tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_to_observe_many_is_to_observe_each(seed: int) -> None:
    rng = random.Random(seed)
    bounds = sorted(rng.sample(range(1, 50), rng.randint(1, 8)))
    # Whole numbers lie on bounds, too; some lie above all of them.
    values = [float(rng.randint(0, 60)) for _ in range(rng.randint(0, 50))]
    each, many = (Histogram("some", "Some.", buckets=bounds, registry=CollectorRegistry()) for _ in range(2))
    for value in values:
        each.observe(value)
    for part in (values[:10], values[10:]):
        assert _observe(many, list(part)) == len(part)
    assert observed(many) == observed(each)


class Meanwhile(list[float]):
    """Another thread appends 2 to it as soon as it was read."""

    def __iter__(self) -> Iterator[float]:
        yield from tuple(super().__iter__())
        self.append(2.0)


def test_what_other_threads_append_meanwhile_is_kept_for_the_next_time() -> None:
    values = Meanwhile([0.5, 3.0])
    assert _observe(Histogram("some", "Some.", registry=CollectorRegistry()), values) == 2
    assert values == [2.0]


def observed(histogram: Histogram) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in histogram.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
