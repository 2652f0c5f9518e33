"""What a process's counters say before anything has happened."""

import os
import subprocess
import sys
from pathlib import Path

STARTED = """
import sys
from pathlib import Path
from bandit.serving import metrics
folder = metrics.prepare(Path(sys.argv[1]))
metrics.Metrics(lambda _: frozenset())
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_a_process_that_is_starting_is_no_outage_of_the_log(tmp_path: Path) -> None:
    # In a process of its own: prometheus_client settles on files or memory when it is first imported.
    command = [sys.executable, "-c", STARTED, str(tmp_path)]
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=True
    )
    assert "\nbanditd_log_up 1.0\n" in f"\n{done.stdout}"
