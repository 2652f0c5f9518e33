"""Decision lines and data folders for the replay tests."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bandit import LocalBandit
from bandit.replay.runner import Evaluation, Options, choose_experiment, evaluate, replay
from bandit.replay.sources import open_source

START = datetime(2026, 1, 1, tzinfo=UTC)


def _line(
    number: int,
    served: int = 0,
    reward: float = 1.0,
    p: Sequence[float] = (0.5, 0.3, 0.2),
    context: dict[str, Any] | None = None,
    **other: Any,
) -> str:
    ranked = [served, *(index for index in range(len(p)) if index != served)]
    body = {
        "_label_cost": -reward,
        "_label_probability": p[served],
        "_label_Action": served + 1,
        "_labelIndex": served,
        "o": [{"v": reward, "EventId": f"e{number}", "ActionTaken": False}],
        "Timestamp": (START + timedelta(seconds=number)).isoformat(),
        "Version": "1",
        "EventId": f"e{number}",
        "a": [index + 1 for index in ranked],
        "c": {**(context or {}), "_multi": [{"id": f"v{index}"} for index in range(len(p))]},
        "p": [p[index] for index in ranked],
        "VWState": {"m": "m"},
        **other,
    }
    return json.dumps({name: value for name, value in body.items() if value is not ...})


@pytest.fixture
def line() -> Callable[..., str]:
    """Makes a decision line; a key given as `...` is left out."""
    return _line


@pytest.fixture
def log_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines to a file."""

    def written(lines: Sequence[str], name: str = "log.dsjson") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{one}\n" for one in lines))
        return path

    return written


def _quiet(what: str, done: int, total: int) -> None: ...


@pytest.fixture
def judged() -> Callable[..., Evaluation]:
    """Evaluates, or with `learning` replays, policies on the log at a path."""

    def run(
        path: Path,
        *policies: str,
        learning: bool = False,
        experiment: str = "",
        reward_range: tuple[float, float] | None = None,
        **options: Any,
    ) -> Evaluation:
        with open_source(path, reward_range=reward_range) as source:
            experiment_id = choose_experiment(source, experiment)
            judge = replay if learning else evaluate
            return judge(source, experiment_id, policies, Options(**options), _quiet)

    return run


EXPERIMENT = """
experiments:
  - id: mail
    owner: growth@shop.example
    variants: [{{id: a}}, {{id: b, features: {{size: 2.0}}}}, {{id: c, features: {{size: 3.5, kind: x}}}}]
    baseline: a
    signals: {{age: {{type: number}}, hour: {{type: category}}}}
    reward: {{metric: click, range: [0, 1], window: 10m, default: {default}, learn: on_reward}}
    metrics: {{spend: {{range: [0, 10]}}}}
    policy: {{preset: {preset}}}
    rollout: {rollout}
"""


@pytest.fixture
def live(tmp_path: Path) -> Callable[..., Path]:
    """Plays a live run into a data folder; answers with the folder. Deterministic."""

    def run(
        preset: str = "squarecb",
        rollout: str = "{stage: full}",
        rounds: int = 300,
        default: str = "none",
        windows_ended: bool = False,
        reward: Callable[[int, str], float | None] = lambda index, variant: float(
            (index * 7 + ord(variant[0])) % 3 == 0
        ),
    ) -> Path:
        folder = tmp_path / f"live-{preset.replace(':', '-')}"
        clock = iter(range(10**15, 10**16, 1_000))
        text = EXPERIMENT.format(preset=f"'{preset}'", rollout=rollout, default=default)
        with LocalBandit.from_yaml(
            text, "mail", data_dir=folder, salt=bytes(16), clock_us=lambda: next(clock)
        ) as bandit:
            for index in range(rounds):
                hour = ("am", "pm")[index % 2]
                choice = bandit.choose({"age": 20.0 + index % 50, "hour": hour}, subject_id=f"s{index % 90}")
                value = reward(index, choice.variant_id)
                if value is not None:
                    bandit.reward(choice.decision_id, value)
                    bandit.reward(choice.decision_id, 10.0 * value, metric="spend")
            if windows_ended:
                bandit.advance(timedelta(days=1))
        return folder

    return run
