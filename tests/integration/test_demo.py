"""`banditd demo` as its users run it, with a real server, in a short form."""

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from waiting import until

CUSTOMERS = 1_500
DEADLINE_SECONDS = 60.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bandit", "demo", *arguments]


def left_running(data_dir: Path) -> list[psutil.Process]:
    """Processes that still work on a data folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(data_dir) in (process.info["cmdline"] or []):
            found.append(process)
    return found


def counts(events: Path) -> dict[str, int]:
    """Events by kind; none before the server has made the table."""
    log = sqlite3.connect(events)
    try:
        return dict(log.execute("SELECT kind, count(*) FROM events GROUP BY kind"))
    except sqlite3.OperationalError:
        return {}
    finally:
        log.close()


def test_a_short_run_prints_one_json_object_that_agrees_with_the_log(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    arguments = [
        "--quick",
        "--json",
        "--customers",
        str(CUSTOMERS),
        "--seed",
        "3",
        "--data-dir",
        str(data_dir),
    ]
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert (figures["customers"], figures["seed"], figures["interrupted"]) == (CUSTOMERS, 3, False)
    assert figures["uniform"]["rounds"] == CUSTOMERS
    assert sum(row["rounds"] for row in figures["fixed"].values()) == CUSTOMERS
    counted = figures["rounds_counted"]
    assert 0 < counted == figures["served"]["rounds"] < CUSTOMERS
    assert figures["rewards"] == {"RECORDED": counted}
    assert set(figures["sources"]) <= {"UNTRAINED", "LEARNED"}
    assert figures["snapshots"] >= 1
    for preference in figures["preferences"].values():
        assert sum(preference["distribution"].values()) == pytest.approx(1.0)
        assert preference["top"] == max(preference["distribution"], key=preference["distribution"].get)
    paths = {name: Path(path) for name, path in figures["paths"].items()}
    assert paths["data_dir"] == data_dir
    assert paths["snapshots"].is_dir()
    assert '"serving"' in paths["log"].read_text()
    logged = counts(paths["events"])
    assert (logged["decision"], logged["reward"]) == (CUSTOMERS, counted)
    assert left_running(data_dir) == []


def test_people_get_tables_and_a_line_a_tenth(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    done = subprocess.run(
        command("--customers", "200", "--data-dir", str(data_dir)), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "always womens_email" in done.stdout
    assert str(data_dir / "events.db") in done.stdout
    assert len([line for line in done.stderr.splitlines() if " of 200 " in line]) == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_shows_what_it_has_and_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    data_dir = tmp_path / "data"
    demo = subprocess.Popen(
        command("--json", "--data-dir", str(data_dir)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    events = data_dir / "events.db"
    until(lambda: events.exists() and counts(events).get("reward", 0) > 20, "rewards")
    demo.send_signal(number)
    out, err = demo.communicate(timeout=DEADLINE_SECONDS)
    assert demo.returncode == 128 + number, err
    figures = json.loads(out)
    assert figures["interrupted"] is True
    assert 0 < figures["customers"] < 64_000
    logged = counts(events)
    # Every call that was made was awaited: what the log holds is what the figures count.
    assert (logged["decision"], logged["reward"]) == (figures["customers"], figures["rounds_counted"])
    assert left_running(data_dir) == []


def test_a_run_that_is_stopped_before_it_begins_ends_as_cleanly(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    demo = subprocess.Popen(
        command("--json", "--data-dir", str(data_dir)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until((data_dir / "server.log").exists, "the server's start")
    demo.send_signal(signal.SIGINT)
    out, err = demo.communicate(timeout=DEADLINE_SECONDS)
    assert demo.returncode == 128 + signal.SIGINT, err
    assert json.loads(out)["interrupted"] is True
    assert left_running(data_dir) == []


def test_a_folder_with_a_past_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_text("")
    done = subprocess.run(command("--data-dir", str(tmp_path)), capture_output=True, text=True)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert done.stdout == ""
