"""What is counted and timed, right across processes (prometheus-client's files in the data folder).

Labels are names that operators declared, or fixed words: text from a call never becomes a label.

`prepare` must run before this process imports prometheus_client, or each process would count for itself.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bandit.core.errors import Reason
from bandit.core.records import Arm, Decision, Source

if TYPE_CHECKING:
    from bandit.eventlog.log import RewardOutcome

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_CALL_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_COMMIT_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_COMMIT_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CALL_VARIANT: Final = "(from the call)"
"""The label of every variant that is not in the catalogue."""


def prepare(data_dir: Path) -> Path:
    """Makes the folder of the counters, empty: a restart of the server starts them anew."""
    folder = data_dir / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[_FOLDER_VARIABLE] = str(folder)
    return folder


class Metrics:
    """Every counter of a serving process or a learner. Construct one a process."""

    def __init__(self, catalogue_of: Callable[[str], frozenset[str]]) -> None:
        """`catalogue_of` gives an experiment's declared variant ids; others share one label."""
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
        self._known_calls: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._known_rewards: dict[tuple[str, int], Counter] = {}
        self._known_decisions: dict[tuple[str, str, int, int], Counter] = {}

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call ended."""
        known = self._known_calls.get((method, code))
        if known is None:
            known = (self._calls.labels(method, code), self._call_seconds.labels(method))
            self._known_calls[method, code] = known
        known[0].inc()
        known[1].observe(seconds)

    def decided(self, decision: Decision) -> None:
        """A decision was served."""
        source, arm = decision.source, decision.arm
        # Plain numbers: to hash a member of an enum is a call into Python.
        key = (decision.experiment_id, decision.variant.id, int(source), int(arm))
        counter = self._known_decisions.get(key)
        if counter is None:
            variant = key[1] if key[1] in self._catalogue_of(key[0]) else CALL_VARIANT
            counter = self._decisions.labels(key[0], variant, source.name, arm.name)
            if variant is not CALL_VARIANT:
                self._known_decisions[key] = counter
        counter.inc()
        if decision.arm is Arm.TREATMENT and decision.source is Source.BASELINE:
            self._broken.labels(decision.experiment_id).inc()

    def repeated(self, experiment_id: str) -> None:
        """A stored decision was served again."""
        self._repeats.labels(experiment_id).inc()

    def rewarded(self, outcome: "RewardOutcome") -> None:
        """A reward was stored, or known already."""
        key = (outcome.experiment_id, int(outcome.status))
        counter = self._known_rewards.get(key)
        if counter is None:
            counter = self._known_rewards[key] = self._rewards.labels(key[0], outcome.status.name)
        counter.inc()

    def refused(self, method: str, reason: Reason) -> None:
        """A call or a batch item was refused."""
        self._refusals.labels(method, reason.value).inc()

    def clamped(self, experiment_id: str, values: int) -> None:
        """Signals came from outside their range."""
        self._clamped.labels(experiment_id).inc(values)

    def committed(self, rows: int, seconds: float) -> None:
        """A transaction was committed."""
        self._commit_rows.observe(rows)
        self._commit_seconds.observe(seconds)

    def synced(self, seconds: float) -> None:
        """The log was synced."""
        self._sync_seconds.observe(seconds)

    def log_up(self, up: bool) -> None:
        """The log can, or can't, be written."""
        self._log_up.set(int(up))

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
