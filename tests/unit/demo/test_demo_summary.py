"""From rounds to figures, JSON and tables."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from bandit.client import RewardStatus
from bandit.demo import progress, table
from bandit.demo.customers import Customer
from bandit.demo.player import Played, Round
from bandit.demo.summary import Paths, Summary, summarise


def a_round(sent: str, chosen: str, visit: float, history: str = "mens", snapshot: str = "") -> Round:
    distribution = {"no_email": 0.2, "mens_email": 0.5, "womens_email": 0.3}
    source = "LEARNED" if snapshot else "UNTRAINED"
    return Round(Customer({}, history, sent, visit), chosen, distribution, source, snapshot)


def summary_of(rounds: list[Round], data_dir: Path, *, interrupted: bool = False) -> Summary:
    counted = sum(r.counts for r in rounds)
    played = Played(rounds, Counter({RewardStatus.RECORDED: counted} if counted else {}), 2.0)
    return summarise("spring-email", 7, interrupted, played, Paths.of(data_dir))


EIGHT = [
    a_round("mens_email", "mens_email", 1.0),
    a_round("mens_email", "no_email", 0.0),
    a_round("no_email", "no_email", 0.0),
    a_round("womens_email", "mens_email", 1.0),
    a_round("no_email", "no_email", 0.0, "womens", "s1"),
    a_round("womens_email", "no_email", 0.0, "womens", "s1"),
    a_round("womens_email", "womens_email", 1.0, "womens", "s2"),
    a_round("mens_email", "womens_email", 1.0, "both", "s2"),
]


def test_each_row_counts_its_own_rounds(tmp_path: Path) -> None:
    summary = summary_of(EIGHT, tmp_path)
    assert (summary.customers, summary.rounds_counted) == (8, 4)
    rows = [summary.served, summary.last_quarter, summary.uniform, *summary.fixed.values()]
    assert [row.rounds for row in rows] == [4, 1, 8, 2, 3, 3]
    values = [row.mean.value for row in rows if row.mean]
    assert values == pytest.approx([0.5, 1.0, 0.5, 0.0, 2 / 3, 2 / 3])
    assert summary.uniform.difference_to_uniform is None
    fixed = summary.fixed["mens_email"].difference_to_uniform
    assert fixed is not None
    assert fixed.value == pytest.approx(2 / 3 - 0.5)


def test_preferences_are_those_of_the_last_quarter(tmp_path: Path) -> None:
    preferences = summary_of(EIGHT, tmp_path).preferences
    assert list(preferences) == ["womens", "both"]
    assert preferences["womens"].customers == 1
    assert preferences["both"].top == "mens_email"
    assert preferences["both"].distribution == {"no_email": 0.2, "mens_email": 0.5, "womens_email": 0.3}


def test_snapshots_are_those_seen_and_those_that_came_after_the_last_reply(tmp_path: Path) -> None:
    for name in ("s2", "s3"):
        folder = tmp_path / "snapshots" / "e-spring-email" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    (tmp_path / "snapshots" / "e-spring-email" / ".being-written").mkdir()
    assert summary_of(EIGHT, tmp_path).snapshots == 3


def test_the_json_has_every_figure_and_only_json_values(tmp_path: Path) -> None:
    figures = json.loads(json.dumps(summary_of(EIGHT, tmp_path).as_json(), allow_nan=False))
    assert figures["served"]["rounds"] == 4
    assert set(figures["served"]["difference_to_uniform"]) == {"value", "low", "high"}
    assert figures["rewards"] == {"RECORDED": 4}
    assert figures["sources"] == {"UNTRAINED": 4, "LEARNED": 4}
    assert figures["decisions_per_second"] == 4.0
    assert figures["seed"] == 7
    assert figures["paths"]["events"] == str(tmp_path / "events.db")


def test_a_run_that_was_stopped_before_its_first_round_still_has_a_summary(tmp_path: Path) -> None:
    figures = summary_of([], tmp_path, interrupted=True).as_json()
    assert figures["interrupted"] is True
    assert figures["served"] == {"rounds": 0, "mean": None, "difference_to_uniform": None}
    assert shown(summary_of([], tmp_path, interrupted=True))


def shown(summary: Summary) -> str:
    out = io.StringIO()
    table.show(Console(file=out, width=80), summary)
    return out.getvalue()


def test_the_table_shows_intervals_and_whole_paths_in_eighty_columns(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    text = shown(summary_of(EIGHT, deep))
    assert ".5000 [.0100, .9900]" in text
    assert "always womens_email" in text
    assert "+.1667 [" in text
    assert str(deep / "events.db") in text
    assert "4 of 8 rounds counted" in text
    assert "…" not in text


def test_progress_in_a_file_is_a_line_each_tenth() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=100)
    with progress.watching(console, 40) as watch:
        for _ in range(5):
            for finished in EIGHT:
                watch.on_round(finished)
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert " ".join(lines[-1].split()) == "40 of 40 mean reward 0.5000 over 20 counted"


def test_progress_on_a_terminal_shows_the_running_mean() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with progress.watching(console, 8) as watch:
        for finished in EIGHT:
            watch.on_round(finished)
    assert "mean reward 0.5000 over 4 counted" in out.getvalue()


def test_progress_of_fewer_than_ten_customers_says_each_once() -> None:
    out = io.StringIO()
    with progress.watching(Console(file=out, force_terminal=False), 3) as watch:
        for finished in EIGHT[:3]:
            watch.on_round(finished)
    assert len(out.getvalue().splitlines()) == 3
