"""Choose and Reward without gRPC: checked messages in, serialised replies out, the log in between."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from itertools import repeat
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from bandit.core.choose import Policy, View, decide, eligible, explored, fallback
from bandit.core.errors import Reason, Refused
from bandit.core.records import Decision, Features, Variant
from bandit.core.signals import admitted
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.group_commit import Appended, Synced
from bandit.eventlog.log import (
    Item,
    LogUnwritable,
    NewDecision,
    NewReward,
    Result,
    RewardOutcome,
    StoredDecision,
)
from bandit.ids import TimeOrderedIds
from bandit.serving import convert
from bandit.serving.gathering import Deliver
from bandit.serving.metrics import Metrics
from bandit.serving.plain import plain_call
from bandit.serving.replies import REWARD_REPLIES, Replies
from bandit.serving.views import Views
from bandit.v1 import bandit_pb2 as pb

_DIGEST_BYTES: Final = 16

_To = TypeVar("_To")


class Log(Protocol):
    """The event log as serving writes it; see `bandit.eventlog.group_commit.GroupCommit`."""

    def append(self, batch: Sequence[Item], then: Appended) -> None:
        """Commits a batch, and tells `then`, on the event loop, now or later."""
        ...

    def sync(self, then: Synced) -> None:
        """Tells `then`, on the event loop, once what was appended is durable, or can't be."""
        ...


class Policies(Protocol):
    """Where the policies in force come from; see `bandit.serving.models` and `loading`."""

    def policy(self, view: View) -> Policy:
        """The policy of an experiment. What it raises is delivered in place of the call's reply."""
        ...


class _Asked(NamedTuple):
    """A request that may be decided."""

    request: pb.ChooseRequest
    decision_id: str
    subject_id: str
    view: View
    context: Features
    clamped: int
    variants: Sequence[Variant]
    call_variants: bool


class _Made(NamedTuple):
    """A decision that was made and is on its way into the log."""

    request: pb.ChooseRequest
    view: View
    clamped: int
    digest: bytes
    item: NewDecision


class Service:
    """One serving process's Choose and Reward. Runs on one event loop.

    Both take any number of requests, as messages or serialised, and deliver a serialised response, or an
    exception, for each: Refused, or whatever a bug raised. Either takes only its own place.
    """

    def __init__(self, *, views: Views, models: Policies, log: Log, key: bytes, metrics: Metrics) -> None:
        """`key` keys pseudonyms and request digests; it never leaves the data folder's owner."""
        self._views = views
        self._models = models
        self._log = log
        self._key = key
        self._metrics = metrics
        self._new_id = TimeOrderedIds()
        self._replies = Replies()
        self._pseudonyms = blake2b(key=key, digest_size=_DIGEST_BYTES, person=b"subject")

    def choose(self, requests: Sequence[pb.ChooseRequest | bytes], deliver: Deliver[bytes]) -> None:
        """Delivers ChooseResponses once the decisions are committed, in one transaction."""
        # Step by step for all instead of request by request: what a step needs stays in the caches.
        asked = _each(self._asked, requests)
        decided = self._decided(asked)
        made = _each(self._made, decided)
        items = [one.item for one in made if isinstance(one, _Made)]

        def appended(results: Sequence[Result] | Exception) -> None:
            each = _in_turn(results)
            deliver(_each(lambda one: self._reply(one, each()), made))

        self._append(items, appended)

    def reward(self, requests: Sequence[pb.RewardRequest | bytes], deliver: Deliver[bytes]) -> None:
        """Delivers RewardResponses once the rewards are durable, and so is every decision before them."""
        items = _each(_new_reward, requests)

        def appended(results: Sequence[Result] | Exception) -> None:
            each = _in_turn(results)
            outcomes = _each(lambda item: _outcome(each()), items)

            def synced(failure: LogUnwritable | None) -> None:
                deliver(_each(lambda outcome: self._status(outcome, failure), outcomes))

            # A DUPLICATE is waited for, too: what it repeats may not be durable yet.
            if any(isinstance(outcome, RewardOutcome) for outcome in outcomes):
                self._log.sync(synced)
            else:
                synced(None)

        self._append([item for item in items if isinstance(item, NewReward)], appended)

    def _append(self, items: Sequence[Item], then: Appended) -> None:
        if items:
            self._log.append(items, then)
        else:
            then(())

    def _asked(self, request: pb.ChooseRequest | bytes) -> _Asked:
        if isinstance(request, bytes):
            request = convert.parse(pb.ChooseRequest, request)
        view = self._views.find(request.experiment_id)
        if view is not None and view.signals is not None and (plain := plain_call(request, view.signals)):
            variants, _ = eligible(view, None, plain.excluded)
            return _Asked(
                request, plain.decision_id, plain.subject_id, view, plain.context, 0, variants, False
            )
        call = convert.choose_call(request)
        view = self._views.get(call.experiment_id)
        given = convert.call_variants(request) if request.variants else None
        variants, from_call = eligible(view, given, call.excluded)
        context, clamped = admitted(view.signals, call.context, call.consents)
        return _Asked(request, call.decision_id, call.subject_id, view, context, clamped, variants, from_call)

    def _decided(self, asked: Sequence[_Asked | Exception]) -> list[tuple[_Asked, Decision] | Exception]:
        """A decision for each call that may be decided, each in its place."""
        decided: list[Any] = list(asked)
        alike: dict[tuple[int, int], list[int]] = {}
        for index, one in enumerate(asked):
            if isinstance(one, _Asked):
                alike.setdefault((id(one.view), id(one.variants)), []).append(index)
        for indices in alike.values():
            try:
                decisions = self._decisions([decided[index] for index in indices])
            except Exception as error:
                # Of one call that is to blame, or of their policy, which would fail each of them.
                if len(indices) > 1:
                    decisions = _each(lambda one: self._decisions([one])[0], [asked[i] for i in indices])
                else:
                    decisions = [error]
            for index, decision in zip(indices, decisions, strict=True):
                decided[index] = decision if isinstance(decision, Exception) else (asked[index], decision)
        return decided

    def _decisions(self, asked: Sequence[_Asked]) -> Sequence[Decision | Exception]:
        """Those of calls with one view and the same variants."""
        view, variants = asked[0].view, asked[0].variants
        policy = self._models.policy(view)
        floor = view.experiment.policy.floor
        distributions = explored(policy, floor, [one.context for one in asked], variants)
        return [
            decide(
                view,
                policy.snapshot_id,
                distribution,
                decision_id=one.decision_id or self._new_id(),
                subject=self._pseudonym(one.subject_id),
                context=one.context,
                variants=variants,
                call_variants=one.call_variants,
            )
            for one, distribution in zip(asked, distributions, strict=True)
        ]

    def _made(self, decided: tuple[_Asked, Decision]) -> _Made:
        asked, decision = decided
        # Only a client's own id can come twice, so only then is there a body to compare.
        digest = self._digest(asked.request) if asked.decision_id else b""
        window_us = asked.view.experiment.reward.window_us
        item = NewDecision(decision, encode_decision(decision, digest), window_us)
        return _Made(asked.request, asked.view, asked.clamped, digest, item)

    def _reply(self, made: _Made, result: Result | Exception) -> bytes:
        decision = made.item.decision
        if result is None:
            payload = decision.variant.payload_json
            if made.clamped:
                self._metrics.clamped(decision.experiment_id, made.clamped)
        elif isinstance(result, StoredDecision):
            decision = _repeated(result, decision, made.digest)
            payload = _stored_payload(decision, made.request)
            self._metrics.repeated(decision.experiment_id)
            return self._replies.choose(decision, payload)
        elif isinstance(result, LogUnwritable):
            decision = _unlogged(made.view, decision)
            payload = decision.variant.payload_json
        else:
            raise _unexpected(result)
        self._metrics.decided(decision)
        return self._replies.choose(decision, payload)

    def _status(self, outcome: RewardOutcome, failure: LogUnwritable | None) -> bytes:
        if failure is not None:
            raise log_unwritable()
        self._metrics.rewarded(outcome)
        return REWARD_REPLIES[outcome.status]

    def _pseudonym(self, subject_id: str) -> str:
        if not subject_id:
            return ""
        pseudonym = self._pseudonyms.copy()
        pseudonym.update(subject_id.encode())
        return pseudonym.hexdigest()

    def _digest(self, request: pb.ChooseRequest) -> bytes:
        body = request.SerializeToString(deterministic=True)
        return blake2b(body, key=self._key, digest_size=_DIGEST_BYTES, person=b"request").digest()


def _outcome(result: Result | Exception) -> RewardOutcome:
    if isinstance(result, RewardOutcome):
        return result
    if isinstance(result, LogUnwritable):
        raise log_unwritable()
    raise _unexpected(result)


def _unexpected(result: Result | Exception) -> Exception:
    if isinstance(result, Exception):
        return result
    return TypeError(f"the log answered with {type(result).__name__}")


def _in_turn(results: Sequence[Result] | Exception) -> Callable[[], Result | Exception]:
    """The next result each time, or always the exception that befell them all."""
    return partial(next, repeat(results) if isinstance(results, Exception) else iter(results))


def _repeated(stored: StoredDecision, decision: Decision, digest: bytes) -> Decision:
    if stored.digest != digest or not digest:
        raise Refused(
            Reason.DECISION_ID_CONFLICT,
            f"Decision {decision.decision_id!r} exists with another request. Use a new decision_id for a new "
            "request, and repeat a request unchanged.",
            metadata={"decision_id": decision.decision_id},
        )
    return stored.decision


def _stored_payload(decision: Decision, request: pb.ChooseRequest) -> str:
    if decision.call_variants:
        # The request is the same as the stored one, so its payloads are too; the log does not hold them.
        return next((v.payload_json for v in request.variants if v.id == decision.variant.id), "")
    return decision.variant.payload_json


def _unlogged(view: View, decision: Decision) -> Decision:
    if view.experiment.on_log_failure == "fail":
        raise log_unwritable()
    return fallback(view, decision.decision_id, decision.variants, decision.call_variants)


def _new_reward(request: pb.RewardRequest | bytes) -> NewReward:
    if isinstance(request, bytes):
        request = convert.parse(pb.RewardRequest, request)
    return convert.new_reward(request)


def _each(step: Callable[[Any], _To], items: Iterable[Any]) -> list[_To | Exception]:
    """A step's result for each item; an exception, of this step or one before, only takes its item's place.

    One that is not Refused is a bug, logged where it is answered.
    """
    results: list[_To | Exception] = []
    for item in items:
        if isinstance(item, Exception):
            results.append(item)
            continue
        try:
            results.append(step(item))
        except Exception as error:
            results.append(error)
    return results


def log_unwritable() -> Refused:
    """LOG_UNWRITABLE: nothing was stored; the same call may be sent again."""
    return Refused(
        Reason.LOG_UNWRITABLE,
        "The event log can't be written; nothing was stored. Retry with the same ids; its log says why.",
    )
