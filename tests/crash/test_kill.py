"""kill -9 of any process, at any moment: nothing acknowledged is lost, and the models stay the same."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CYCLES = 4


@pytest.mark.crash
def test_whatever_is_killed_under_load_nothing_acknowledged_is_lost_and_the_models_are_equal() -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print("seed", seed)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.crash", "--cycles", str(CYCLES), "--seed", str(seed)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert f"seed {seed}: {CYCLES} kills" in done.stdout
    assert "0 lost or wrong" in done.stdout
    assert "models equal" in done.stdout
