"""Worker processes that are gone when their block ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait

import psutil
import pytest

from bandit.replay.sweep.pool import processes
from waiting import until

HOLDING = """
import sys, time
from bandit.replay.sweep.pool import processes
if __name__ == "__main__":
    with processes(2) as pool:
        for _ in range(4):
            pool.submit(time.sleep, 600)
        print(pool.submit.__name__, flush=True)
        time.sleep(600)
"""


def running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_work_is_done_in_other_processes():
    with processes(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
    assert multiprocessing.active_children() == []


def test_an_exception_ends_workers_in_the_middle_of_their_work():
    def interrupted():
        with processes(1) as pool:
            waiting.append(pool.submit(time.sleep, 600))
            pids.extend(child.pid for child in multiprocessing.active_children())
            raise RuntimeError

    waiting, pids = [], []
    with pytest.raises(RuntimeError):
        interrupted()
    assert len(pids) == 1
    assert multiprocessing.active_children() == []
    assert wait(waiting, timeout=10).not_done == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent_however_it_ends(tmp_path, number):
    script = tmp_path / "holding.py"
    script.write_text(HOLDING)
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        parent.stdout.readline()

        def started():
            children = psutil.Process(parent.pid).children(recursive=True)
            return children if len(children) >= 3 else None  # two workers, and the tracker of semaphores

        pids = [child.pid for child in until(started, "two workers")]
        # As a terminal does: the signal of Ctrl-C reaches the whole group.
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)
        else:
            parent.kill()
        _, errors = parent.communicate(timeout=20)
        until(lambda: not any(map(running, pids)), "the end of the workers")
        # One traceback is the parent's own; a worker's would be a second one.
        assert errors.count(b"Traceback") == (1 if number == signal.SIGINT else 0), errors.decode()
    finally:
        parent.kill()
        parent.wait()
