"""A real server's run, made again from its log: every decision and the last model, to the last bit."""

import json
import subprocess
import sys

import pytest

from bandit.client import BanditClient
from bandit.snapshots.store import SnapshotStore

EXPERIMENTS = """
experiments:
  - id: mail
    owner: growth@shop.example
    variants: [{{id: a}}, {{id: b, features: {{size: 2.0, kind: x}}}}, {{id: c, features: {{size: 3.5}}}}]
    baseline: a
    signals:
      recency: {{type: number, range: [1, 12]}}
      channel: {{type: category}}
      interests: {{type: categories}}
    reward: {{metric: click, range: [0, 1], window: 10m, default: none, learn: on_reward}}
    policy: {{preset: '{preset}', floor: 0.02}}
    rollout: {{stage: ramp, percent: 70}}
"""


def replayed(data_dir):
    command = [sys.executable, "-m", "bandit", "replay", str(data_dir), "--policy", "logged", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.returncode, json.loads(ran.stdout)


def play(address, rounds):
    """Plays, and returns how many different snapshots chose."""
    snapshots = set()
    with BanditClient(address, timeout_s=5.0) as client:
        for index in range(rounds):
            context = {
                "recency": 1 + index % 12,
                "channel": "xyz"[index % 3],
                "interests": ["p", "q"][: index % 3],
            }
            excluded = ["c"] if index % 5 == 0 else []
            choice = client.choose("mail", context, subject_id=f"s{index % 70}", excluded=excluded)
            snapshots.add(choice.snapshot_id)
            client.reward(choice.decision_id, float((index + len(choice.variant_id)) % 3 == 0))
    return snapshots - {""}


@pytest.mark.parametrize(
    ("preset", "learns"),
    [("squarecb", True), ("epsilon_greedy", True), ("uniform", False), ("fixed:b", False)],
)
def test_replaying_a_servers_log_gives_its_decisions_and_its_model(preset, learns, servers, tmp_path):
    address = servers.start(
        "127.0.0.1:0", "--workers", "2", experiments_text=EXPERIMENTS.format(preset=preset)
    )
    snapshots = set()
    for _ in range(100):
        snapshots |= play(address, 60)
        if len(snapshots) > 3 or not learns:
            break
    servers.stop()
    data_dir = servers.folder() / "data"
    code, found = replayed(data_dir)
    assert code == 0, found
    run = found["live_run"]
    assert run["reproduced"] == run["of"] >= 60
    assert run["final_snapshot_equal"] is True
    assert bool(snapshots) is learns
    assert SnapshotStore(data_dir).names("mail")
