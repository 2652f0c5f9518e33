"""The learner as a process of its own: it waits, steps the trainer, and ends when told."""

import signal
import time
from typing import Final

import structlog

from bandit.eventlog.files import Database
from bandit.eventlog.log import LogUnwritable
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.learning.trainer import Trainer
from bandit.logs import configure
from bandit.process import FolderLock
from bandit.serving import components
from bandit.serving.metrics import Metrics
from bandit.settings import Settings
from bandit.snapshots.store import SnapshotStore

IDLE_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 1.0
LOCK_WAIT_SECONDS: Final = 6.0
"""The learner of a server that was killed ends within 5 s; until then it holds the lock."""


def run(settings: Settings, report: components.Report, database: Database | None = None) -> None:
    """Learns until SIGTERM, or Ctrl-C where that is not ignored.

    `database` is the log's file; without, whichever is there. Raises FolderBusy if another learner holds the
    folder, and LogUnwritable if another file is in the log's place.
    """
    configure(settings.log_level, process=components.LEARNER)
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)
    logger = structlog.get_logger("learner")
    with FolderLock(settings.data_dir / "learner.lock", "A learner", wait_s=LOCK_WAIT_SECONDS):
        log = SqliteEventLog(settings.data_dir, create=False, database=database)
        store = SnapshotStore(settings.data_dir, keep=settings.snapshots_kept)
        metrics = Metrics(lambda _: frozenset())
        trainer = Trainer(log, store, clock_us=wall_clock_us, watch=metrics)
        report(components.LEARNER, True, "")
        logger.info("learning")
        well = True
        while not stopping:
            try:
                more = trainer.step(lambda: stopping)
                wait_s = 0.0 if more else IDLE_SECONDS
                if not well:
                    well = True
                    metrics.log_up(True)
                    report(components.LEARNER, True, "")
                    logger.info("learning again")
            except (LogUnwritable, OSError) as error:
                # The folds in memory are sound up to their positions; only the disk has to come back.
                if well:
                    metrics.log_up(False)
                    report(components.LEARNER, False, f"the log or a snapshot can't be written: {error}")
                    logger.error("learning halted", error=str(error))
                well, wait_s = False, RETRY_SECONDS
                _reopen(log)
            time.sleep(wait_s)
        try:
            trainer.finish()
        except (LogUnwritable, OSError) as error:
            # What was not published is learned again from the log.
            logger.error("last snapshots not published", error=str(error))
        log.close()
        logger.info("stopped")


def wall_clock_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def _reopen(log: SqliteEventLog) -> None:
    try:
        log.reopen()
    except LogUnwritable:
        return
