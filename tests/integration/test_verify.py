"""`banditd verify` beside a real server, and after it."""

import json
import subprocess
import sys

import pytest

from bandit.client import BanditClient
from bandit.snapshots.store import MODEL, SnapshotStore
from waiting import until


def banditd(*arguments):
    command = [sys.executable, "-m", "bandit", *map(str, arguments), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.returncode, json.loads(ran.stdout)


def play(address, rounds):
    with BanditClient(address, timeout_s=5.0) as client:
        for index in range(rounds):
            choice = client.choose(
                "spring-email", {"recency": 1 + index % 12, "channel": "Web"}, subject_id=str(index)
            )
            client.reward(choice.decision_id, float(index % 3 == 0))


def wait_for_joined(data_dir, joined):
    """Waits until the learner has published this many events."""
    store = SnapshotStore(data_dir)

    def learned():
        names = store.names("spring-email")
        return names and store.read("spring-email", names[0])[1].joined >= joined

    until(learned, f"learning {joined} events")


def test_what_a_server_publishes_is_what_its_log_gives(servers, tmp_path):
    address = servers.start("127.0.0.1:0")
    data_dir = tmp_path / "server-0" / "data"
    code, before = banditd("verify", "--data-dir", data_dir)
    assert (code, before["ok"]) == (0, True)
    assert {one["id"]: one["position"] for one in before["experiments"]} == {
        "own-variants": None,
        "spring-email": None,
    }

    verifying = subprocess.Popen(
        [sys.executable, "-m", "bandit", "verify", "--data-dir", str(data_dir)], stdout=subprocess.PIPE
    )
    play(address, 300)  # beside a running verify
    output, _ = verifying.communicate()
    assert verifying.returncode == 0, output

    wait_for_joined(data_dir, 300)
    code, running = banditd("verify", "--data-dir", data_dir)
    assert (code, running["ok"], running["log"]["ok"]) == (0, True, True)
    spring = next(one for one in running["experiments"] if one["id"] == "spring-email")
    assert (spring["joined"], spring["equal"]) == (300, True)
    assert set(spring["position"]) == {"closing_us", "seq"}

    code, listed = banditd("experiment", "list", "--data-dir", data_dir)
    assert code == 0
    spring = next(one for one in listed["experiments"] if one["id"] == "spring-email")
    assert (spring["joined"], listed["problems"]) == (300, [])
    assert spring["mean_reward"] == pytest.approx(1 / 3)
    code, inspected = banditd("log", "inspect", "--data-dir", data_dir)
    assert code == 0
    rows = {(one["kind"], one["experiment_id"]): one["rows"] for one in inspected["events"]}
    assert rows["decision", "spring-email"] == rows["reward", "spring-email"] == 300
    assert inspected["open_decisions"]["spring-email"] == 0

    servers.stop()
    code, stopped = banditd("verify", "--data-dir", data_dir)
    assert (code, stopped["ok"]) == (0, True)
    store = SnapshotStore(data_dir)
    folder, _ = store.read("spring-email", store.names("spring-email")[0])
    model = bytearray((folder / MODEL).read_bytes())
    model[len(model) // 2] ^= 1
    (folder / MODEL).write_bytes(bytes(model))
    code, spoilt = banditd("verify", "--data-dir", data_dir)
    assert (code, spoilt["ok"], spoilt["log"]["ok"]) == (1, False, True)
