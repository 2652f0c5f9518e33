"""What every test may use. pytest-randomly prints the seed; hypothesis how to repeat a failure."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from bandit.core.experiment import Experiment

# No deadline: a shared machine is slow at times, and speed is judged by the benchmarks.
settings.register_profile("banditd", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("banditd")

Define = Callable[..., Experiment]


@pytest.fixture(scope="session")
def define() -> Define:
    """Makes a small experiment of the variants a, b and c; a keyword replaces one key of it."""

    def defined(**changes: Any) -> Experiment:
        definition: dict[str, Any] = {
            "id": "front-page",
            "owner": "growth@shop.example",
            "variants": [{"id": "a"}, {"id": "b"}, {"id": "c"}],
            "baseline": "a",
            "reward": {"metric": "visit", "window": "10m"},
        }
        return Experiment.model_validate({**definition, **changes})

    return defined
