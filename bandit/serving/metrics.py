"""What is counted and timed, right across processes (prometheus-client's files in the data folder).

Labels are names that operators declared, or fixed words: text from a call never becomes a label.

To count in such a file takes several microseconds. So what every call counts stands in plain numbers first,
and `Metrics.flush` carries it over; the rest is rare, and is counted in the files at once.

`prepare` must run before this process imports prometheus_client, or each process would count for itself.
"""

import os
import shutil
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bandit.core.errors import Reason
from bandit.core.records import Arm, Decision, RewardStatus, Source

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

    from bandit.eventlog.log import RewardOutcome

_FOLDER_NAME: Final = "metrics"
_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_CALL_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_COMMIT_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_COMMIT_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CALL_VARIANT: Final = "(from the call)"
"""The label of every variant that is not in the catalogue."""


def prepare(data_dir: Path) -> Path:
    """Makes the folder of the counters, empty: a restart of the server starts them anew."""
    remove(data_dir)
    folder = data_dir / _FOLDER_NAME
    folder.mkdir(parents=True)
    os.environ[_FOLDER_VARIABLE] = str(folder)
    return folder


def remove(data_dir: Path) -> None:
    """Removes the folder of the counters, if there is one; for when no process of the server counts."""
    shutil.rmtree(data_dir / _FOLDER_NAME, ignore_errors=True)


def forget_process(pid: int) -> None:
    """What a process that died said of its present state is said no more; what it counted stays."""
    if os.environ.get(_FOLDER_VARIABLE):
        from prometheus_client.multiprocess import mark_process_dead

        with suppress(OSError):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # untyped upstream


class Metrics:
    """Every counter of a serving process or a learner. Construct one a process.

    Calls, decisions, rewards, commits and syncs are seen by nobody before `flush`, which a serving process
    calls ten times a second or so, and when it ends. `committed` and `synced` may run on any thread, also
    during a flush.
    """

    def __init__(self, catalogue_of: Callable[[str], frozenset[str]]) -> None:
        """`catalogue_of` gives an experiment's declared variant ids, when `flush` asks for them; others share
        one label.
        """
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        # A registry of its own: in multiprocess mode values live in files, and tests may build several.
        registry = CollectorRegistry()
        self._catalogue_of = catalogue_of
        self._calls = Counter(
            "banditd_calls", "Calls by method and status code.", ["method", "code"], registry=registry
        )
        self._call_seconds = Histogram(
            "banditd_call_seconds",
            "Seconds from a call's arrival to its reply.",
            ["method"],
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self._decisions = Counter(
            "banditd_decisions",
            "Decisions by experiment, variant, source and arm.",
            ["experiment", "variant", "source", "arm"],
            registry=registry,
        )
        self._repeats = Counter(
            "banditd_decisions_repeated",
            "Retried calls that were answered with the stored decision.",
            ["experiment"],
            registry=registry,
        )
        self._rewards = Counter(
            "banditd_rewards",
            "Rewards by experiment and status.",
            ["experiment", "status"],
            registry=registry,
        )
        self._refusals = Counter(
            "banditd_refusals",
            "Refused calls and batch items by method and reason.",
            ["method", "reason"],
            registry=registry,
        )
        self._clamped = Counter(
            "banditd_signals_clamped",
            "Signal values outside their declared range or values.",
            ["experiment"],
            registry=registry,
        )
        self._broken = Counter(
            "banditd_broken_distributions",
            "Decisions whose policy failed, served from the baseline.",
            ["experiment"],
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "banditd_commit_seconds",
            "Seconds a commit to the event log took.",
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self._commit_rows = Histogram(
            "banditd_commit_rows", "Events in one commit.", buckets=_COMMIT_ROWS, registry=registry
        )
        self._sync_seconds = Histogram(
            "banditd_sync_seconds",
            "Seconds a sync of the event log took.",
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self._log_up = Gauge(
            "banditd_log_up",
            "1 while the event log can be written, in every process.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        # Before the log was tried: a gauge starts at 0, and a process that is starting is no outage.
        self._log_up.set(1)
        self._log_ahead = Gauge(
            "banditd_log_ahead_seconds",
            "Seconds that log time is ahead of the clock, and stands still; 0 normally.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._learned = Counter(
            "banditd_joined_events", "Joined events taken by the learner.", ["experiment"], registry=registry
        )
        self._published = Counter(
            "banditd_snapshots_published", "Snapshots published.", ["experiment"], registry=registry
        )
        self._lag = Gauge(
            "banditd_learner_lag_seconds",
            "Age of the oldest event that is due and not yet learned.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._behind = Gauge(
            "banditd_learner_behind_events",
            "Joined events that are due and not yet learned; at least, while many are being counted.",
            ["experiment"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._snapshot_age = Gauge(
            "banditd_snapshot_age_seconds",
            "Seconds from the last event in the snapshot that serves to now.",
            ["experiment"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        # What `flush` carries over: the seconds of calls by method and code, and so on.
        self._ended: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self._decided: defaultdict[tuple[str, str, int, int], int] = defaultdict(int)
        self._rewarded: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._committed_rows: list[float] = []
        self._committed_seconds: list[float] = []
        self._synced_seconds: list[float] = []
        self._known_decisions: dict[tuple[str, str, int, int], Counter] = {}

    def flush(self) -> None:
        """Carries over what was counted since the last time, for the page to see. Nothing counts twice."""
        while self._decided:
            (experiment_id, variant_id, source, arm), decisions = self._decided.popitem()
            self._counter(experiment_id, variant_id, source, arm).inc(decisions)
            if arm == Arm.TREATMENT and source == Source.BASELINE:
                self._broken.labels(experiment_id).inc(decisions)
        while self._rewarded:
            (experiment_id, status), rewards = self._rewarded.popitem()
            self._rewards.labels(experiment_id, RewardStatus(status).name).inc(rewards)
        _observe(self._commit_rows, self._committed_rows)
        _observe(self._commit_seconds, self._committed_seconds)
        _observe(self._sync_seconds, self._synced_seconds)
        # Last: who sees a call on the page sees what it counted.
        for (method, code), seconds in self._ended.items():
            if ended := _observe(self._call_seconds.labels(method), seconds):
                self._calls.labels(method, code).inc(ended)

    def _counter(self, experiment_id: str, variant_id: str, source: int, arm: int) -> "Counter":
        key = (experiment_id, variant_id, source, arm)
        counter = self._known_decisions.get(key)
        if counter is None:
            variant = variant_id if variant_id in self._catalogue_of(experiment_id) else CALL_VARIANT
            counter = self._decisions.labels(experiment_id, variant, Source(source).name, Arm(arm).name)
            if variant is not CALL_VARIANT:
                self._known_decisions[key] = counter
        return counter

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call ended."""
        self._ended[method, code].append(seconds)

    def decided(self, decision: Decision) -> None:
        """A decision was served."""
        # Plain numbers: to hash a member of an enum is a call into Python.
        key = (decision.experiment_id, decision.variant.id, int(decision.source), int(decision.arm))
        self._decided[key] += 1

    def repeated(self, experiment_id: str) -> None:
        """A stored decision was served again."""
        self._repeats.labels(experiment_id).inc()

    def rewarded(self, outcome: "RewardOutcome") -> None:
        """A reward was stored, or known already."""
        self._rewarded[outcome.experiment_id, int(outcome.status)] += 1

    def refused(self, method: str, reason: Reason) -> None:
        """A call or a batch item was refused."""
        self._refusals.labels(method, reason.value).inc()

    def clamped(self, experiment_id: str, values: int) -> None:
        """Signals came from outside their range."""
        self._clamped.labels(experiment_id).inc(values)

    def committed(self, rows: int, seconds: float) -> None:
        """A transaction was committed."""
        self._committed_rows.append(rows)
        self._committed_seconds.append(seconds)

    def synced(self, seconds: float) -> None:
        """The log was synced."""
        self._synced_seconds.append(seconds)

    def log_up(self, up: bool) -> None:
        """The log can, or can't, be written."""
        self._log_up.set(int(up))

    def log_ahead_us(self, ahead_us: int) -> None:
        """How far log time is ahead of the clock."""
        self._log_ahead.set(ahead_us / 1e6)

    def learned(self, experiment_id: str, events: int) -> None:
        """The learner took joined events."""
        self._learned.labels(experiment_id).inc(events)

    def published(self, experiment_id: str) -> None:
        """The learner published a snapshot."""
        self._published.labels(experiment_id).inc()

    def lag_us(self, lag_us: int) -> None:
        """How far the learner is behind."""
        self._lag.set(lag_us / 1e6)

    def behind(self, experiment_id: str, events: int) -> None:
        """How many joined events the learner has still to take."""
        self._behind.labels(experiment_id).set(events)

    def snapshot_age(self, experiment_id: str, seconds: float) -> None:
        """How old what is learned is, where it serves."""
        self._snapshot_age.labels(experiment_id).set(seconds)


def _observe(histogram: "Histogram", values: list[float]) -> int:
    """Takes the values out of the list and observes them, in one go; how many they were.

    Other threads may append meanwhile. prometheus_client has no way to observe many: this does to each of a
    histogram's parts what its `observe` would have done to them one value after the other.
    """
    if not values:
        return 0
    taken = sorted(values)
    del values[: len(taken)]
    below = 0
    for bucket, bound in zip(histogram._buckets, histogram._upper_bounds, strict=True):
        upto = bisect_right(taken, bound)
        if upto > below:
            bucket.inc(upto - below)
        below = upto
    histogram._sum.inc(sum(taken))
    return len(taken)
