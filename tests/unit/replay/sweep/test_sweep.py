"""Many cells, an executor that shares nothing, what is kept, and who is called the best."""

import json
import pickle
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from bandit.replay.runner import Options
from bandit.replay.sweep import Done, Stopped, cell_alpha, rank, sweep
from bandit.replay.sweep.cells import Cell, Kept, log_state


class Apart(Executor):
    """Runs at once, on what is left of a call after it was sent elsewhere."""

    def __init__(self):
        self.sent = []

    def submit(self, fn, /, *args, **kwargs):
        self.sent.append(args)
        fn, args, kwargs = pickle.loads(pickle.dumps((fn, args, kwargs)))  # noqa: S301  (what we just wrote)
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def cell(policy, **changes):
    return replace(
        Cell("0.1", policy, "log.dsjson", "state", "front-page", None, Options(alpha=0.01)), **changes
    )


CELLS = [cell(f"squarecb:gamma_scale={scale}") for scale in (1, 2, 3)]


NO_BLOCKS = {"blocks": None, "logged_blocks": None}


def found(policy, value=0.5, half=0.1, n=100):
    headline = None
    if value is not None:
        headline = {"value": value, "low": value - half, "high": value + half, "ess": 9.0}
    logged = {"value": 0.1, "n": n}
    return {"policy": policy, "headline": headline, "reason": "", "logged": logged, "counts": {}, **NO_BLOCKS}


def run(one):
    if one.policy.endswith("=2") and one.log == "broken":
        raise RuntimeError("no luck")
    return found(one.policy)


def silent(what, done, total):
    pass


def test_cells_go_to_the_executor_as_plain_data_and_results_come_in_the_order_asked(tmp_path):
    executor, seen = Apart(), []
    done = sweep(CELLS, executor, Kept(tmp_path), lambda *told: seen.append(told), run=run)
    assert [one.cell for one in done] == CELLS
    assert [one.result for one in done] == [found(one.policy) for one in CELLS]
    assert executor.sent == [(one,) for one in CELLS]
    assert seen == [("cells", count, 3) for count in range(4)]


def test_a_second_run_does_only_what_is_missing(tmp_path):
    kept = Kept(tmp_path)
    sweep(CELLS[:2], Apart(), kept, silent, run=run)
    executor = Apart()
    done = sweep(CELLS, executor, kept, silent, run=run)
    assert executor.sent == [(CELLS[2],)]
    assert [one.reused for one in done] == [True, True, False]
    assert [one.result for one in done] == [found(one.policy) for one in CELLS]


def test_a_failing_cell_stops_no_other_one_and_is_not_kept(tmp_path):
    broken = [replace(one, log="broken") for one in CELLS]
    done = sweep(broken, Apart(), Kept(tmp_path), silent, run=run)
    assert [one.error for one in done] == ["", "no luck", ""]
    assert len(list(tmp_path.iterdir())) == 2
    assert [one.cell for one in rank(done, 0.05).failed] == [broken[1]]


def test_a_sweep_that_is_asked_to_stop_keeps_what_ended(tmp_path):
    kept = Kept(tmp_path)
    release = threading.Event()

    def first_alone(one):
        if one != CELLS[0]:
            release.wait(30)
        return run(one)

    def stopping():
        return kept.find(CELLS[0]) is not None

    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(Stopped):
            sweep(CELLS, executor, kept, silent, run=first_alone, stopping=stopping)
        assert len(list(tmp_path.iterdir())) == 1
        release.set()


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.2"},
        {"policy": "uniform"},
        {"log_state": "another"},
        {"experiment_id": "x"},
        {"reward_range": (0.0, 2.0)},
        {"options": Options(alpha=0.02)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_was_kept_for_another_cell_is_not_taken(tmp_path, change):
    kept = Kept(tmp_path)
    kept.keep(CELLS[0], found(CELLS[0].policy))
    assert kept.find(replace(CELLS[0], **change)) is None
    assert kept.find(replace(CELLS[0], log="elsewhere")) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"reason"', '"raison"'),
        lambda text: text.replace('"low": 0.4', '"low": "0.4"'),
        lambda text: text.replace("gamma_scale=1", "gamma_scale=2"),
        lambda text: "[" * 100_000,
    ],
)
def test_a_kept_file_that_is_not_whole_is_done_again(tmp_path, spoil):
    kept = Kept(tmp_path)
    kept.keep(CELLS[0], found(CELLS[0].policy))
    [path] = tmp_path.iterdir()
    before = path.read_text()
    path.write_text(spoil(before))
    assert path.read_text() != before
    assert kept.find(CELLS[0]) is None


def test_a_kept_file_under_another_cells_name_is_not_taken(tmp_path):
    kept, other = Kept(tmp_path), replace(CELLS[0], log_state="another")
    kept.keep(CELLS[0], found(CELLS[0].policy))
    (tmp_path / f"{CELLS[0].digest}.json").rename(tmp_path / f"{other.digest}.json")
    assert kept.find(other) is None


def done(policy, value, half=0.1, n=100):
    return Done(cell(policy), found(policy, value, half, n), "", False)


def test_best_are_those_whose_interval_reaches_the_highest_lower_end():
    ranking = rank([done("a", 0.5), done("b", 0.9), done("c", 0.75), done("d", 0.6), done("e", None)], 0.05)
    assert [one.cell.policy for one in ranking.rows] == ["b", "c", "d", "a", "e"]
    assert ranking.best == ("b", "c")
    assert ranking.winner.cell.policy == "b"
    assert not ranking.uneven


def test_a_wide_interval_may_be_best_though_others_are_better_estimated():
    assert rank([done("a", 0.5, 0.6), done("b", 0.9, 0.01)], 0.05).best == ("b", "a")


def test_without_a_headline_there_is_no_winner():
    ranking = rank([done("a", None), done("b", float("nan"))], 0.05)
    assert (ranking.winner, ranking.best) == (None, ())
    assert len(ranking.rows) == 2


def test_cells_that_judged_other_rows_are_told():
    assert rank([done("a", 0.5, n=99), done("b", 0.5)], 0.05).uneven


def test_the_level_is_shared_among_the_cells():
    assert cell_alpha(0.05, 24) == pytest.approx(0.05 / 24)


def test_the_state_of_a_log_changes_with_it(tmp_path):
    path = tmp_path / "log.dsjson"
    path.write_text("a")
    first = log_state(path)
    assert log_state(path) == first
    path.write_text("ab")
    assert log_state(path) != first
    folder_state = log_state(tmp_path)
    (tmp_path / "more.parquet").write_text("x")
    assert log_state(tmp_path) != folder_state


def test_the_state_of_a_data_folder_is_its_last_row(folder, shop):
    folder.define(shop())
    first = log_state(folder.path)
    folder.pass_seconds(1)
    assert log_state(folder.path) != first


def test_a_kept_cell_is_a_small_file_that_people_can_read(tmp_path):
    Kept(tmp_path).keep(CELLS[0], found(CELLS[0].policy))
    [path] = tmp_path.iterdir()
    assert path.name == f"{CELLS[0].digest}.json"
    held = json.loads(path.read_text())
    assert held["cell"]["policy"] == CELLS[0].policy
    assert held["result"]["headline"]["value"] == 0.5
