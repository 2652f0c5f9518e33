"""Worker processes behind the executor interface that are gone when their block ends, however it ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """An executor of up to `workers` processes, each started afresh (nothing of this one is inherited).

    A block that ends by an exception ends them at once, in the middle of their work. They also end by
    themselves when this process is killed. A signal's handler must not raise while the block waits for a
    future: it would leave locks of the pool behind, held for good.
    """
    before = set(multiprocessing.active_children())
    pool = _Pool(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        # In this order: the pool drops what waits, and then takes the end of its processes for an accident.
        pool.shutdown(wait=False, cancel_futures=True)
        children = set(multiprocessing.active_children()) - before
        for child in children:
            child.terminate()
        for child in children:
            child.join()
        raise
    pool.shutdown()


class _Pool(ProcessPoolExecutor):
    """A terminal's Ctrl-C reaches a command's whole process group: what it means is the parent's to say."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        # Processes start here, and inherit what is blocked: it holds from their first instruction on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def wait(join: Callable[[], Any]) -> None:
        join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=wait, args=(parent.join,), name="parent", daemon=True).start()
