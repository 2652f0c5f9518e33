"""kill -9 of any process, at any moment: nothing acknowledged is lost, and the models stay the same."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.crash
@pytest.mark.parametrize(("transport", "cycles"), [("grpcio", 4), ("native", 2)])
def test_whatever_is_killed_under_load_nothing_acknowledged_is_lost_and_the_models_are_equal(
    transport: str, cycles: int
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print("seed", seed)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.crash", "--cycles", str(cycles), "--seed", str(seed)],
        cwd=REPOSITORY,
        env={**os.environ, "BANDITD_TRANSPORT": transport},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert f"seed {seed}: {cycles} kills" in done.stdout
    assert "0 lost or wrong" in done.stdout
    assert "models equal" in done.stdout
