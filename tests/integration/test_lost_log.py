"""A real server whose log is deleted, replaced, moved, or ahead of the clock."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bandit.client import BanditClient, BanditError
from bandit.eventlog.log import Tick
from bandit.eventlog.sqlite import SqliteEventLog
from pages import experiments_of
from waiting import until

TIMEOUT_S = 20.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

EXPERIMENTS = experiments_of("baseline", failing=["fail"])


def health(address: str) -> int:
    # A connection of its own: the kernel spreads connections over the workers.
    with grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        request = health_pb2.HealthCheckRequest()
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S).status)


def component(data_dir: Path, name: str) -> dict[str, Any]:
    states: dict[str, dict[str, Any]] = json.loads((data_dir / "status.json").read_text())
    return states.get(name, {"ok": False, "detail": "starting"})


def told(log: Path, event: str) -> list[dict[str, Any]]:
    """The lines about an event in a server's output."""
    # A long line may be read before the end of it is written.
    whole, _, _ = log.read_text().rpartition("\n")
    lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def metric(output: Path, name: str) -> float:
    """A metric without labels, from a server's page."""
    (page,) = told(output, "page up")
    with urllib.request.urlopen(f"http://{page['address']}/metrics", timeout=TIMEOUT_S) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    return next(float(line[1]) for line in lines if line[0] == name)


def rows(database: Path, kind: str) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT decision_id FROM events WHERE kind = ?", (kind,))
        return {decision_id for (decision_id,) in found}


def delete_all(data_dir: Path) -> None:
    for path in data_dir.glob("events.db*"):
        path.unlink()


def restore_a_backup(data_dir: Path) -> None:
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))"
    backup = data_dir / "backup.db"
    subprocess.run([sys.executable, "-c", code, data_dir / "events.db", backup], check=True)
    backup.replace(data_dir / "events.db")


def delete_the_write_ahead_log(data_dir: Path) -> None:
    (data_dir / "events.db-wal").unlink()


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(BanditError) as error:
        call()
    return error.value.reason


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("lose", [delete_all, restore_a_backup, delete_the_write_ahead_log])
def test_nothing_is_acknowledged_into_a_log_that_was_deleted_or_replaced(
    servers: Any, lose: Callable[[Path], None], workers: str
) -> None:
    address = servers.start("127.0.0.1:0", "--workers", workers, experiments_text=EXPERIMENTS)
    folder = servers.folder()
    data_dir, output = folder / "data", folder / "log"
    # All of them have the log open: who opens it later has whatever is there then.
    until(lambda: told(output, "learning") and len(told(output, "serving")) == int(workers))
    clients = [BanditClient(address, timeout_s=TIMEOUT_S) for _ in range(6)]
    known = [client.choose("fail", {}).decision_id for client in clients]
    unrewarded = [client.choose("fail", {}).decision_id for client in clients]
    for client, decision_id in zip(clients, known, strict=True):
        assert client.reward(decision_id, 1.0) == "RECORDED"
    lose(data_dir)
    # The very next reward waits for the sync, and that sees it.
    for client, decision_id in zip(clients, unrewarded, strict=True):
        assert refused(lambda c=client, d=decision_id: c.reward(d, 1.0)) == "LOG_UNWRITABLE"
        assert refused(lambda c=client: c.choose("fail", {})) == "LOG_UNWRITABLE"
        assert client.choose("baseline", {}).source == "FALLBACK"
    until(lambda: all(health(address) == NOT_SERVING for _ in range(6)))
    for name in ("log", "learner"):
        state = until(lambda name=name: (s := component(data_dir, name)) and not s["ok"] and s)
        assert "was deleted or replaced" in state["detail"]
    lines = until(lambda: len(found := told(output, "log unwritable")) == int(workers) and found)
    assert all("Stop the server, restore the log" in line["error"] for line in lines)
    # Nor does it come back by itself, as it would after a full disk.
    reopened_at = time.monotonic() + 2.5
    until(lambda: time.monotonic() > reopened_at)
    assert not told(output, "log writable again")
    assert "Traceback" not in output.read_text()
    for client in clients:
        client.close()
    servers.stop()
    if lose is delete_the_write_ahead_log:
        assert set(known) <= rows(data_dir / "events.db", "reward")


@pytest.mark.parametrize("lose", [delete_all, restore_a_backup])
def test_a_process_that_is_restarted_after_it_refuses_the_log_as_its_siblings_do(
    servers: Any, lose: Callable[[Path], None]
) -> None:
    address = servers.start("127.0.0.1:0", "--workers", "2", experiments_text=EXPERIMENTS)
    data_dir, output = servers.folder() / "data", servers.folder() / "log"
    until(lambda: told(output, "learning") and len(told(output, "serving")) == 2)
    clients = [BanditClient(address, timeout_s=TIMEOUT_S) for _ in range(6)]
    for client in clients:
        assert client.choose("fail", {}).source == "UNTRAINED"
    lose(data_dir)
    for name in ("worker-0", "learner"):
        os.kill(component(data_dir, "processes")[name], signal.SIGKILL)
    for name in ("worker-0", "learner"):
        failed = until(
            lambda name=name: [line for line in told(output, "child failed") if line["process"] == name]
        )
        assert "events.db was deleted or replaced under the running process" in failed[0]["exception"]
    # None was up with what is there now.
    assert len(told(output, "serving")) == 2
    assert len(told(output, "learning")) == 1
    until(lambda: component(data_dir, "log")["detail"])
    for name in ("log", "learner"):
        until(lambda name=name: "was deleted or replaced" in component(data_dir, name)["detail"])
        assert not component(data_dir, name)["ok"]
    for client in clients:
        assert refused(lambda c=client: c.choose("fail", {})) == "LOG_UNWRITABLE"
        client.close()
    assert (data_dir / "events.db").exists() == (lose is restore_a_backup)


def test_a_server_without_calls_sees_it_too_and_serves_on_once_its_folder_is_back(servers: Any) -> None:
    address = servers.start("127.0.0.1:0", "--workers", "2", experiments_text=EXPERIMENTS)
    data_dir, output = servers.folder() / "data", servers.folder() / "log"
    until(lambda: told(output, "learning") and len(told(output, "serving")) == 2)
    away = data_dir.rename(data_dir.with_name("away"))
    until(lambda: all(health(address) == NOT_SERVING for _ in range(6)))
    if data_dir.exists():
        shutil.rmtree(data_dir)
    away.rename(data_dir)
    until(lambda: all(health(address) == SERVING for _ in range(6)))
    with BanditClient(address, timeout_s=TIMEOUT_S) as client:
        choice = client.choose("fail", {})
        assert client.reward(choice.decision_id, 1.0) == "RECORDED"
    assert rows(data_dir / "events.db", "reward") == {choice.decision_id}
    assert told(output, "log writable again")


def test_a_log_ahead_of_the_clock_is_told_in_health_while_the_server_serves(servers: Any) -> None:
    page = ("--metrics-listen", "127.0.0.1:0")
    address = servers.start("127.0.0.1:0", *page, experiments_text=EXPERIMENTS)
    data_dir, output = servers.folder() / "data", servers.folder() / "log"
    until(lambda: component(data_dir, "log")["ok"] and component(data_dir, "learner")["ok"])
    assert component(data_dir, "log")["detail"] == ""
    until(lambda: told(output, "page up"))
    assert metric(output, "banditd_log_ahead_seconds") == 0
    # As a writer leaves it whose clock is an hour ahead for a moment.
    ahead = SqliteEventLog(data_dir, clock_us=lambda: (time.time_ns() // 1_000) + 3_600_000_000)
    ahead.append([Tick()])
    _, head_us = ahead.head()
    ahead.close()
    state = until(lambda: (s := component(data_dir, "log"))["detail"] and s)
    assert state["ok"]
    end = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(head_us / 1e6))
    assert f"stands still until {end} UTC" in state["detail"]
    (warning,) = told(output, "log time stands still")
    assert (warning["level"], warning["detail"]) == ("warning", state["detail"])
    assert 0 < metric(output, "banditd_log_ahead_seconds") <= 3_600
    assert health(address) == SERVING
    with BanditClient(address, timeout_s=TIMEOUT_S) as client:
        assert client.reward(client.choose("fail", {}).decision_id, 1.0) == "RECORDED"
