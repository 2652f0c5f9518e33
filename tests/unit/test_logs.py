import io
import json

import pytest
import structlog

from bandit.logs import configure


class Recorder(io.StringIO):
    """Keeps each write, as two processes that write to one file would see them mixed."""

    def __init__(self, terminal=False):
        super().__init__()
        self.terminal = terminal
        self.writes = []

    def write(self, text):
        self.writes.append(text)
        return len(text)

    def isatty(self):
        return self.terminal


@pytest.fixture(autouse=True)
def _as_before():
    yield
    structlog.reset_defaults()


def fail(subject):
    raise ValueError("of the call")


def test_a_line_is_one_write_so_that_processes_can_share_a_file():
    out = Recorder()
    configure("info", process="worker-0", stream=out)
    for _ in range(3):
        structlog.get_logger("any").info("some\nthing", detail="x\ny")
    assert [json.loads(text)["event"] for text in out.writes] == ["some\nthing"] * 3
    assert all(text.endswith("\n") and text.count("\n") == 1 for text in out.writes)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_traceback_shows_no_local_variables(terminal):
    out = Recorder(terminal)
    configure("info", process="worker-0", stream=out)
    try:
        fail("marker-" + "of-a-subject")
    except ValueError:
        structlog.get_logger("any").exception("failed")
    told = "".join(out.writes)
    assert "ValueError" in told
    assert "marker-of-a-subject" not in told
