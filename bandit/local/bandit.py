"""LocalBandit: choose, learn and log in one process."""

import json
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from bandit import experiment_file
from bandit.core.choose import Policy, View, choose, eligible
from bandit.core.errors import Reason, Refused
from bandit.core.experiment import Experiment
from bandit.core.records import Arm, Decision, RewardStatus, Source
from bandit.core.signals import admitted
from bandit.eventlog.log import NewReward, StoredDecision
from bandit.ids import TimeOrderedIds
from bandit.local.journal import FolderJournal, Journal, MemoryJournal
from bandit.local.request import Request, Value, VariantLike, choose_request, pseudonym, reward_request
from bandit.policies.model import ModelSpec, untrained_policy

_SALT_BYTES: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class LocalChoice:
    """What to show, and how it came about.

    `propensity` is the exact probability with which `variant_id` was drawn, in (0, 1]; `distribution` has one
    entry an eligible variant, in catalogue (or call) order, and sums to 1. `snapshot_id` is `local-N` for the
    model after N joined events, and empty unless `source` is LEARNED. `payload` is the variant's payload as a
    Python value, None if it has none.
    """

    decision_id: str
    variant_id: str
    propensity: float
    distribution: Mapping[str, float]
    snapshot_id: str
    source: Source
    arm: Arm
    payload: Any


class LocalBandit:
    """One experiment in this process: for notebooks, simulations and tests. One thread at a time.

    It is the service without its server: the same checks, choice, joining and learner. What differs: it has
    learned a reward before `reward` returns. So with `aggregate: first` it joins as `learn: on_reward`,
    whatever the file says, and the definition that it uses and logs says so too. With any other aggregate a
    decision is learned when its window ends, as is a decision without a reward: log time gets there by
    itself, or by `advance`. Every call first learns what is due.

    Log time is in microseconds since the epoch and strictly increases: each call takes max(clock, last + 1).
    The same experiment, `salt`, `clock_us` and calls give the same choices.

    Without `data_dir` nothing is kept: decisions are in memory until they close, and then until so many
    others have closed (`journal.CLOSED_KEPT`); afterwards their ids are unknown. With it everything is
    appended to the event log of that folder, which no server may use meanwhile, and the next LocalBandit, or
    a server, goes on from there. What is written survives the end of the process at once, and a loss of power
    from `close` on.

    A refused call raises `bandit.core.errors.Refused`, whose reasons are the API's. A log that can't be
    written raises `bandit.eventlog.log.LogUnwritable`.
    """

    def __init__(
        self,
        experiment: Experiment,
        data_dir: str | Path | None = None,
        *,
        salt: bytes | None = None,
        clock_us: Callable[[], int] | None = None,
    ) -> None:
        """`salt` seeds every random choice; one that the folder has for the experiment goes before it.

        Raises process.FolderBusy if a server, a learner or another LocalBandit has the folder, LogUnwritable,
        SchemaTooNew, OSError.
        """
        experiment = _learning_at_once(experiment)
        spec = ModelSpec.of(experiment)
        salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
        key = blake2b(salt, digest_size=32).digest()
        self._journal: Journal = MemoryJournal(key) if data_dir is None else FolderJournal(Path(data_dir))
        self._clock_us = _wall_clock_us if clock_us is None else clock_us
        self._now_us = self._journal.head_us()
        self._new_id = TimeOrderedIds(lambda: self._now_us // 1_000, self._random_bytes)
        self._untrained = untrained_policy(spec)
        self._policy: Policy = self._untrained
        self._due_us = 0
        self._closed = False
        try:
            definition = self._journal.define(experiment, salt, self._next_us())
            self._view = View.of(definition.experiment, definition.version, definition.salt)
            self._fold = self._journal.resumed(spec)
            self._learn()
        except BaseException:
            self._journal.release()
            raise

    @classmethod
    def from_yaml(
        cls,
        source: str | Path,
        experiment_id: str,
        data_dir: str | Path | None = None,
        *,
        salt: bytes | None = None,
        clock_us: Callable[[], int] | None = None,
    ) -> "LocalBandit":
        """The experiment of a file, a folder of files, or a YAML text.

        Raises ValueError with every problem of the YAML, Refused UNKNOWN_EXPERIMENT, and as the constructor.
        """
        text = isinstance(source, str) and ("\n" in source or "experiments:" in source)
        if text:
            loaded = experiment_file.parse(str(source), "<text>")
        else:
            loaded = experiment_file.load(Path(source))
        if loaded.problems:
            raise ValueError("\n".join(str(problem) for problem in loaded.problems))
        for experiment in loaded.experiments:
            if experiment.id == experiment_id:
                return cls(experiment, data_dir, salt=salt, clock_us=clock_us)
        known = ", ".join(sorted(experiment.id for experiment in loaded.experiments)[:10]) or "none"
        raise Refused(
            Reason.UNKNOWN_EXPERIMENT,
            f"Experiment {experiment_id!r} is not in the file (there: {known}). Check the id.",
            metadata={"experiment_id": experiment_id},
        )

    def choose(
        self,
        context: Mapping[str, Value],
        *,
        subject_id: str | None = None,
        decision_id: str | None = None,
        variants: Sequence[VariantLike] | None = None,
        excluded: Collection[str] = (),
        consents: Collection[str] = (),
    ) -> LocalChoice:
        """Chooses a variant. Ints are numbers; lists, tuples and sets of texts are categories.

        A `decision_id` that was used answers with its decision if the call is the same, else it is refused as
        DECISION_ID_CONFLICT. `variants` are those of this call instead of the catalogue's. Raises Refused.
        """
        request = choose_request(context, subject_id, decision_id, variants, excluded, consents)
        view = self._view
        among, from_call = eligible(view, request.variants, request.excluded)
        admitted_context, _ = admitted(view.signals, request.context, request.consents)
        stamp_us = self._next_us()
        if stamp_us >= self._due_us:
            self._learn()
        key = self._journal.key
        # Only a caller's own id can come twice, so only then is there a call to compare.
        digest = request.digest(key) if request.decision_id else b""
        decision = choose(
            view,
            self._policy,
            decision_id=request.decision_id or self._new_id(),
            subject=pseudonym(request.subject_id, key),
            context=admitted_context,
            variants=among,
            call_variants=from_call,
        )
        stored = self._journal.decision(decision, digest, stamp_us)
        if stored is not None:
            return _choice(_repeated(stored, decision, digest), request)
        self._due_us = min(self._due_us, stamp_us + view.experiment.reward.window_us)
        return _choice(decision, request)

    def reward(
        self, decision_id: str, value: float, *, metric: str | None = None, reward_id: str | None = None
    ) -> RewardStatus:
        """Takes a reward, and has learned what it closes when it returns. `metric` None is the primary one.

        Without a `reward_id` a decision has one reward a metric. Raises Refused.
        """
        checked_id, number, metric_name, key = reward_request(decision_id, value, metric, reward_id)
        stamp_us = self._next_us()
        if stamp_us >= self._due_us:
            self._learn()
        status = self._journal.reward(NewReward(checked_id, metric_name, number, key, None), stamp_us)
        self._take()
        return status

    def advance(self, to: datetime | timedelta | int) -> int:
        """Moves log time forward, and learns what closes by then; returns how many decisions that were.

        `to` is a time with its zone, a span from now on, or microseconds since the epoch. Log time never goes
        back: for a time that has passed, only what is due now closes. Raises TypeError, ValueError.
        """
        now_us = self._next_us()
        to_us = _time_us(to, now_us - 1)
        if to_us >= _NEVER:
            raise ValueError(f"to: is {to_us} microseconds since the epoch, which is beyond all dates")
        self._now_us = max(now_us, to_us)
        self._journal.tick(self._now_us)
        return self._learn()

    def close(self) -> None:
        """Frees the model; with a data folder, publishes a snapshot and lets go of the folder first.

        Raises LogUnwritable, OSError. The second call does nothing.
        """
        if not self._closed:
            stamp_us = self._next_us()
            self._closed = True
            self._journal.close(self._fold, stamp_us)

    def __enter__(self) -> "LocalBandit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_us(self) -> int:
        if self._closed:
            raise RuntimeError("this LocalBandit is closed; open another one")
        self._now_us = max(self._clock_us(), self._now_us + 1)
        return self._now_us

    def _random_bytes(self, count: int) -> bytes:
        # No stamp comes twice in a log, so neither do these; and a simulation can be repeated.
        stamp = self._now_us.to_bytes(8, "big", signed=True)
        return blake2b(stamp + self._view.salt, digest_size=count, person=b"id").digest()

    def _learn(self) -> int:
        """Learns what closes by now, and finds out when something will be due again."""
        closed = self._take()
        due_us = self._journal.due_us(self._fold.position)
        self._due_us = _NEVER if due_us is None else due_us
        return closed

    def _take(self) -> int:
        closed = 0
        while events := self._journal.closed(self._fold.position, self._now_us):
            self._fold.take(events)
            closed += len(events)
        learner = self._fold.learner
        joined = self._fold.summary.joined
        learned = joined - self._fold.summary.outcomes["unrewarded"]
        if learner is not None and learned and (closed or self._policy is self._untrained):
            self._policy = learner.policy(f"local-{joined}")
        return closed


def _learning_at_once(experiment: Experiment) -> Experiment:
    rule = experiment.reward
    if rule.aggregate != "first":
        return experiment
    return experiment.model_copy(update={"reward": rule.model_copy(update={"learn": "on_reward"})})


def _time_us(to: datetime | timedelta | int, now_us: int) -> int:
    if isinstance(to, timedelta):
        return now_us + to // _MICROSECOND
    if isinstance(to, datetime):
        if to.tzinfo is None:
            raise ValueError("to: has no time zone; use datetime.now(UTC) or the like")
        return (to - _EPOCH) // _MICROSECOND
    if isinstance(to, bool) or not isinstance(to, int):
        raise TypeError(f"to: give a datetime, a timedelta, or microseconds, not {type(to).__name__}")
    return to


def _repeated(stored: StoredDecision, decision: Decision, digest: bytes) -> Decision:
    if stored.digest != digest or not digest:
        raise Refused(
            Reason.DECISION_ID_CONFLICT,
            f"Decision {decision.decision_id!r} exists with another call. Use a new decision_id for a new "
            "call, and repeat a call unchanged.",
            metadata={"decision_id": decision.decision_id},
        )
    return stored.decision


def _choice(decision: Decision, request: Request) -> LocalChoice:
    served = decision.variant
    payload = served.payload_json
    if decision.call_variants and not payload:
        # A log does not hold the payloads of a call's own variants; a repeated call brings them again.
        payload = next((v.payload_json for v in request.variants if v.id == served.id), "")
    ids = [variant.id for variant in decision.variants]
    return LocalChoice(
        decision_id=decision.decision_id,
        variant_id=served.id,
        propensity=decision.propensity,
        distribution=dict(zip(ids, decision.distribution, strict=True)),
        snapshot_id=decision.snapshot_id if decision.source is Source.LEARNED else "",
        source=decision.source,
        arm=decision.arm,
        payload=json.loads(payload) if payload else None,
    )


def _wall_clock_us() -> int:
    return time.time_ns() // 1_000
