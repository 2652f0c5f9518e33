"""A new experiment that starts from a historic log: its first decision is learned, its log stays true."""

import json
import os
import random
import signal
import subprocess
import sys

from bandit.client import BanditClient
from bandit.eventlog.sqlite import SqliteEventLog
from waiting import until

FILE = """
experiments:
  - id: shop
    owner: growth@shop.example
    variants: [{id: a}, {id: b}, {id: c}]
    baseline: a
    signals: {channel: {type: category}}
    reward: {metric: visit, range: [0, 1], window: 10m, default: none, learn: on_reward}
"""
BEST = {"Web": "b", "Shop": "c"}


def banditd(*arguments):
    command = [sys.executable, "-m", "bandit", *map(str, arguments), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.returncode, json.loads(ran.stdout)


def historic(path, decisions):
    """dsjson of somebody else's: drawn by 0.6, 0.2, 0.2; b pays on the Web, c in the shop, a a little."""
    chance = random.Random(5)
    with path.open("w") as file:
        for number in range(decisions):
            channel = chance.choice(list(BEST))
            served = chance.choices([1, 2, 3], [0.6, 0.2, 0.2])[0]
            actions = [served, *(n for n in (1, 2, 3) if n != served)]
            pays = 0.7 if "abc"[served - 1] == BEST[channel] else 0.1
            line = {
                "_label_cost": -float(chance.random() < pays),
                "_label_probability": 0.6 if served == 1 else 0.2,
                "_label_Action": served,
                "_labelIndex": served - 1,
                "Timestamp": f"2024-05-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
                "EventId": f"e{number}",
                "a": actions,
                "c": {"channel": channel, "_multi": [{"id": each} for each in "abc"]},
                "p": [0.6 if action == 1 else 0.2 for action in actions],
            }
            file.write(json.dumps(line) + "\n")


def children(process_id):
    found = subprocess.run(["pgrep", "-P", str(process_id)], capture_output=True, text=True).stdout.split()
    return [int(each) for each in found]


def gone(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_server_started_from_a_historic_log_chooses_by_it_at_once_and_survives_a_kill(servers, tmp_path):
    log, file, data_dir = tmp_path / "old.dsjson", tmp_path / "experiments.yaml", tmp_path / "data"
    historic(log, 3_000)
    file.write_text(FILE)
    code, started = banditd("learn", "--from", log, "--data-dir", data_dir, "--experiments", file)
    assert (code, started["joined"], started["bad_lines"]) == (0, 3_000, 0)

    flags = ("--data-dir", str(data_dir))  # the last one of a flag counts
    address = servers.start("127.0.0.1:0", *flags, experiments_text=FILE)
    with BanditClient(address, timeout_s=20.0) as client:
        for channel, best in BEST.items():
            choice = client.choose("shop", {"channel": channel})
            assert choice.source == "LEARNED"
            assert choice.snapshot_id == started["snapshot_id"]
            assert max(choice.distribution, key=choice.distribution.get) == best
            assert choice.distribution[best] > 0.8
            client.reward(choice.decision_id, 1.0)
    code, verified = banditd("verify", "--data-dir", data_dir)
    assert (code, verified["ok"]) == (0, True)

    server = servers._started[-1]
    family = [server.pid, *children(server.pid)]
    assert len(family) > 2
    for process_id in family:
        os.kill(process_id, signal.SIGKILL)
    server.wait(10)
    for process_id in family:
        until(lambda one=process_id: gone(one), "the end of a killed process")
    address = servers.start("127.0.0.1:0", *flags, experiments_text=FILE)
    with BanditClient(address, timeout_s=20.0) as client:
        assert client.choose("shop", {"channel": "Web"}).source == "LEARNED"

    def learned():
        _, listed = banditd("experiment", "list", "--data-dir", data_dir)
        return listed["experiments"][0]["joined"] == 3_002

    until(learned, "learning what came since")
    servers.stop()
    code, verified = banditd("verify", "--data-dir", data_dir)
    assert (code, verified["ok"]) == (0, True)
    assert verified["experiments"][0]["joined"] == 3_002
    # The file that started it is the one in force: no other version was written by the servers.
    events = SqliteEventLog(data_dir, create=False)
    assert [one.version for one in events.definitions()] == [1, 2]
    events.close()
    code, judged = banditd("evaluate", data_dir, "--policy", "uniform")
    assert (code, judged["policies"][0]["headline"] is not None) == (0, True)
