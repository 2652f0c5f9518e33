"""What is told of a server whose processes are in this state or that."""

import selectors
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bandit.serving import components
from bandit.serving.child import Child
from bandit.serving.health import Status, states_of

WELL = {"ok": True, "detail": ""}
ILL = {"ok": False, "detail": "No space left on device"}


def child(name: str, pid: int = 0, **fields) -> Child:
    return Child(name, lambda report: None, selectors.DefaultSelector(), pid, **fields)


def told(*children: Child, problems=()) -> dict:
    return states_of(children, Path("experiments.yaml"), problems, "127.0.0.1:1")


@pytest.mark.parametrize(
    ("workers", "log"),
    [
        ([child("worker-0", 1)], {"ok": False, "detail": "starting"}),
        ([child("worker-0", failure="of this")], {"ok": False, "detail": "of this"}),
        ([child("worker-0"), child("worker-1", 1, states={"log": WELL})], WELL),
        ([child("worker-0", 1, states={"log": WELL}), child("worker-1", 2, states={"log": ILL})], ILL),
    ],
)
def test_the_log_is_told_by_the_worker_that_is_worst_off(workers, log) -> None:
    # What the learner dies of has nothing to say here.
    assert told(child("learner", failure="of that"), *workers)["log"] == log


@pytest.mark.parametrize(
    ("learner", "ok", "detail"),
    [
        (child("learner", 1), True, ""),
        (child("learner", 1, states={"learner": ILL}), False, ILL["detail"]),
        (child("learner"), False, "down; it will be restarted"),
        (child("learner", failure="of this"), False, "it failed and is restarted; of this"),
        (child("learner", 1, deaths=1, failure="of this"), True, ""),
        (
            child("learner", 1, deaths=2, failure="of this", _started_s=1e9),
            False,
            "it failed and is restarted",
        ),
    ],
)
def test_a_learner_that_failed_and_failed_again_is_not_well_because_it_is_up(learner, ok, detail) -> None:
    state = told(learner)["learner"]
    assert (state["ok"], state["detail"].startswith(detail)) == (ok, True)


def test_a_server_without_learner_tells_of_none_and_every_process_is_named() -> None:
    states = told(child("worker-0", 7), child("page"), problems=("line 3: wrong", "line 5: wrong"))
    assert list(states) == ["log", "experiments", "processes"]
    assert states["experiments"]["detail"] == "line 3: wrong\nline 5: wrong"
    processes = states["processes"]
    assert (processes["ok"], processes["worker-0"], processes["page"]) == (False, 7, 0)


def test_a_file_that_can_not_be_written_is_told_once_and_tried_until_it_can(tmp_path) -> None:
    status = Status(tmp_path / "data")
    with capture_logs() as logs:
        for _ in range(3):
            status.tell({"log": WELL})
        (tmp_path / "data").mkdir()
        status.tell({"log": WELL})
    assert [line["event"] for line in logs] == ["status not written", "status written again"]
    assert components.read_components(tmp_path / "data") == {"log": WELL}
    (tmp_path / "data" / "status.json").unlink()
    status.tell({"log": WELL})
    assert not (tmp_path / "data" / "status.json").exists()
