"""A policy is changed, pinned and unpinned under traffic: a model decides all the time, and all is proved."""

import json
import socket
import subprocess
import sys
from urllib.request import urlopen

from bandit.client import BanditClient
from bandit.snapshots.manifest import spec_of
from bandit.snapshots.store import SnapshotStore
from waiting import until

NOWHERE = "1700000000000000-0000000001-0a1b2c3d"

EXPERIMENTS = """
experiments:
  - id: mail
    owner: growth@shop.example
    variants: [{{id: a}}, {{id: b, features: {{size: 2.0}}}}, {{id: c}}]
    baseline: a
    signals: {{recency: {{type: number, range: [1, 12]}}, channel: {{type: category}}}}
    reward: {{metric: click, range: [0, 1], window: 10m, default: none, learn: on_reward}}
    policy: {{{policy}}}
    rollout: {{stage: full}}
"""
SQUARE = "preset: squarecb"
GREEDY = "preset: epsilon_greedy"


def banditd(*arguments):
    command = [sys.executable, "-m", "bandit", *map(str, arguments), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.returncode, json.loads(ran.stdout)


class Shop:
    """Changes the policy of a running server, and asks it."""

    def __init__(self, servers):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.page = f"127.0.0.1:{free.getsockname()[1]}"
        flags = ("--workers", "2", "--metrics-listen", self.page)
        self.address = servers.start(
            "127.0.0.1:0", *flags, experiments_text=EXPERIMENTS.format(policy=SQUARE)
        )
        self.folder = servers.folder()
        self.data_dir = self.folder / "data"
        self.store = SnapshotStore(self.data_dir)
        self._asked = 0

    def policy(self, text):
        (self.folder / "experiments.yaml").write_text(EXPERIMENTS.format(policy=text))

    def play(self, rounds=40):
        """The snapshots that chose."""
        snapshots = []
        with BanditClient(self.address, timeout_s=5.0) as client:
            for _ in range(rounds):
                self._asked += 1
                context = {"recency": 1 + self._asked % 12, "channel": "xyz"[self._asked % 3]}
                choice = client.choose("mail", context, subject_id=f"s{self._asked % 70}")
                snapshots.append(choice.snapshot_id)
                client.reward(choice.decision_id, float(self._asked % 3 == 0))
        return snapshots

    def play_until(self, holds, what):
        """All snapshots that chose until those of one whole round do as is wanted."""
        seen = []

        def played():
            seen.extend(last := self.play())
            return all(map(holds, last))

        until(played, what)
        return seen

    def listed(self):
        code, found = banditd("experiment", "list", "--data-dir", self.data_dir)
        assert code == 0
        [mail] = found["experiments"]
        return mail


def test_a_change_of_mind_costs_nothing(servers):
    shop = Shop(servers)
    shop.play_until(bool, "the first snapshot")
    first_spec = spec_of(shop.play()[-1])

    shop.policy(GREEDY)
    seen = shop.play_until(lambda name: spec_of(name) != first_spec, "the new policy")
    # A model all the time: the old one, then the new one.
    assert all(seen)
    specs = [spec_of(name) for name in seen]
    second_spec = specs[-1]
    assert set(specs) == {first_spec, second_spec}
    mail = shop.listed()
    assert (mail["preset"], mail["retraining"], mail["pinned"]) == ("epsilon_greedy", None, None)

    [old] = [name for name in shop.store.names("mail") if spec_of(name) == first_spec]
    shop.policy(f"{GREEDY}, snapshot: {old}")
    shop.play_until(lambda name: name == old, "the pinned snapshot")
    learned = shop.listed()["joined"]
    assert set(shop.play(120)) == {old}
    until(lambda: shop.listed()["joined"] >= learned + 120, "learning goes on under a pin")
    assert shop.listed()["pinned"] == {"snapshot_id": old, "problem": "", "ok": True}
    code, found = banditd("verify", "--data-dir", shop.data_dir)
    assert (code, found["ok"]) == (0, True)

    shop.policy(f"{GREEDY}, snapshot: {NOWHERE}")
    shop.play_until(lambda name: spec_of(name) == second_spec, "the newest in the place of none")
    assert "not stored" in shop.listed()["pinned"]["problem"]
    assert "pinned snapshot can't serve" in (shop.folder / "log").read_text()

    shop.policy(SQUARE)
    # It goes on from its own last snapshot, which is behind, so the other serves until then.
    seen = shop.play_until(lambda name: spec_of(name) == first_spec, "the first policy again")
    assert all(seen)

    with urlopen(f"http://{shop.page}/metrics") as page:
        behind = [line for line in page.read().decode().splitlines() if "behind_events{" in line]
    assert [line.partition("{")[0] for line in behind] == ["banditd_learner_behind_events"]
    assert 'experiment="mail"' in behind[0]
    servers.stop()
    code, found = banditd("verify", "--data-dir", shop.data_dir)
    assert (code, found["ok"]) == (0, True)
    ran = subprocess.run(
        [sys.executable, "-m", "bandit", "replay", str(shop.data_dir), "--policy", "logged", "--json"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    run = json.loads(ran.stdout)["live_run"]
    assert run["reproduced"] == run["of"] >= 300
    assert run["final_snapshot_equal"] is True
