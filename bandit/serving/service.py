"""Choose and Reward without gRPC: checked messages in, messages out, the log in between."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeVar

from bandit.core.choose import View, choose, eligible, fallback
from bandit.core.errors import Reason, Refused
from bandit.core.records import Decision
from bandit.core.signals import admitted
from bandit.eventlog.codec import encode_decision
from bandit.eventlog.log import LogUnwritable, NewDecision, NewReward, RewardOutcome, StoredDecision
from bandit.ids import TimeOrderedIds
from bandit.serving import convert
from bandit.serving.metrics import Metrics
from bandit.serving.models import Models
from bandit.serving.views import Views
from bandit.v1 import bandit_pb2 as pb

_DIGEST_BYTES: Final = 16


Append = Callable[[NewDecision | NewReward, bool], "asyncio.Future[object]"]
"""Appends an item to the event log: the future gives its result once it is committed, or synced if True."""

_Request = TypeVar("_Request")
_Begun = TypeVar("_Begun")
_Response = TypeVar("_Response")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A decision that was made and is on its way into the log."""

    request: pb.ChooseRequest
    decision: Decision
    digest: bytes
    view: View
    result: "asyncio.Future[object]"


class Service:
    """One serving process's Choose and Reward. Runs on one event loop; nothing here blocks."""

    def __init__(self, *, views: Views, models: Models, append: Append, key: bytes, metrics: Metrics) -> None:
        """`key` keys pseudonyms and request digests; it never leaves the data folder's owner."""
        self._views = views
        self._models = models
        self._append = append
        self._key = key
        self._metrics = metrics
        self._new_id = TimeOrderedIds()

    async def choose(self, request: pb.ChooseRequest) -> pb.ChooseResponse:
        """One decision, committed before it is returned. Raises Refused."""
        return await self._chosen(self._begin_choose(request))

    async def choose_batch(self, requests: Sequence[pb.ChooseRequest]) -> list[pb.ChooseResponse | Refused]:
        """Each request's decision or refusal, in order; all are decided before any is waited for."""
        return await _each(requests, self._begin_choose, self._chosen)

    async def reward(self, request: pb.RewardRequest) -> pb.RewardResponse:
        """One reward, synced before it is acknowledged. Raises Refused."""
        return await self._rewarded(self._begin_reward(request))

    async def reward_batch(self, requests: Sequence[pb.RewardRequest]) -> list[pb.RewardResponse | Refused]:
        """Each reward's status or refusal, in order."""
        return await _each(requests, self._begin_reward, self._rewarded)

    def _begin_choose(self, request: pb.ChooseRequest) -> _Pending:
        decision, digest, view = self._decide(request)
        item = NewDecision(decision, encode_decision(decision, digest), view.experiment.reward.window_us)
        return _Pending(request, decision, digest, view, self._append(item, False))

    async def _chosen(self, pending: _Pending) -> pb.ChooseResponse:
        result = await pending.result
        decision = pending.decision
        if result is None:
            payload = decision.variant.payload_json
        elif isinstance(result, StoredDecision):
            decision = _repeated(result, decision, pending.digest)
            payload = _stored_payload(decision, pending.request)
            self._metrics.repeated(decision.experiment_id)
            return convert.choose_response(decision, payload)
        elif isinstance(result, LogUnwritable):
            decision = _unlogged(pending.view, decision)
            payload = decision.variant.payload_json
        else:
            raise TypeError(f"the log answered a decision with {type(result).__name__}")
        self._metrics.decided(decision)
        return convert.choose_response(decision, payload)

    def _begin_reward(self, request: pb.RewardRequest) -> "asyncio.Future[object]":
        call = convert.reward_call(request)
        item = NewReward(call.decision_id, call.metric, call.value, call.reward_id, call.observed_at_us)
        return self._append(item, True)

    async def _rewarded(self, pending: "asyncio.Future[object]") -> pb.RewardResponse:
        result = await pending
        if isinstance(result, Refused):
            raise result
        if isinstance(result, LogUnwritable):
            raise log_unwritable()
        if not isinstance(result, RewardOutcome):
            raise TypeError(f"the log answered a reward with {type(result).__name__}")
        self._metrics.rewarded(result)
        return pb.RewardResponse(status=pb.RewardStatus.ValueType(result.status))

    def _decide(self, request: pb.ChooseRequest) -> tuple[Decision, bytes, View]:
        call = convert.choose_call(request)
        view = self._views.get(call.experiment_id)
        given = convert.call_variants(request) if request.variants else None
        variants, from_call = eligible(view, given, call.excluded)
        signals = view.experiment.signals
        context, clamped = admitted(None if signals == "open" else signals, call.context, call.consents)
        if clamped:
            self._metrics.clamped(call.experiment_id, clamped)
        # Only a client's own id can come twice, so only then is there a body to compare.
        digest = self._digest(request) if call.decision_id else b""
        decision = choose(
            view,
            self._models.policy(view),
            decision_id=call.decision_id or self._new_id(),
            subject=self._pseudonym(call.subject_id),
            context=context,
            variants=variants,
            call_variants=from_call,
        )
        return decision, digest, view

    def _pseudonym(self, subject_id: str) -> str:
        if not subject_id:
            return ""
        return blake2b(
            subject_id.encode(), key=self._key, digest_size=_DIGEST_BYTES, person=b"subject"
        ).hexdigest()

    def _digest(self, request: pb.ChooseRequest) -> bytes:
        body = request.SerializeToString(deterministic=True)
        return blake2b(body, key=self._key, digest_size=_DIGEST_BYTES, person=b"request").digest()


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


async def _each(
    requests: Sequence[_Request],
    begin: Callable[[_Request], _Begun],
    end: Callable[[_Begun], Awaitable[_Response]],
) -> list[_Response | Refused]:
    """Begins every request, then waits for each; a refusal takes only its own place."""
    begun: list[_Begun | Refused] = []
    for request in requests:
        try:
            begun.append(begin(request))
        except Refused as refusal:
            begun.append(refusal)
    results: list[_Response | Refused] = []
    for item in begun:
        try:
            results.append(item if isinstance(item, Refused) else await end(item))
        except Refused as refusal:
            results.append(refusal)
    return results


def log_unwritable() -> Refused:
    """LOG_UNWRITABLE: nothing was stored; the same call may be sent again."""
    return Refused(
        Reason.LOG_UNWRITABLE,
        "The event log can't be written; nothing was stored. Retry with the same ids; its log says why.",
    )
