"""The Python client of the service: plain values in, plain values out, a fallback when the sidecar is away.

It needs grpc and the generated messages, not the model. `bandit.client.aio` has the same client for asyncio.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from bandit.client import outcomes
from bandit.client.channel import OPTIONS, checked
from bandit.client.choice import Arm, Choice, RewardStatus, Source, reward_status
from bandit.client.errors import BanditError
from bandit.client.requests import ChooseCall, RewardCall, Value, Variant, VariantLike
from bandit.ids import TimeOrderedIds
from bandit.v1 import bandit_pb2 as pb
from bandit.v1.bandit_pb2_grpc import BanditServiceStub

__all__ = [
    "Arm",
    "BanditClient",
    "BanditError",
    "Choice",
    "ChooseCall",
    "RewardCall",
    "RewardStatus",
    "Source",
    "Variant",
]


class BanditClient:
    """Chooses variants and reports rewards at `target` (`host:port` or `unix:/path`).

    Every call ends within `timeout_s`, retries included: a call that the service could not take (UNAVAILABLE)
    is sent again with the same ids, so it is one decision or one reward however often it arrives. A channel
    connects with its first call, within that call's deadline.

    Calls take the `channels` in turn. Each is a connection of its own, which the kernel gives to one worker:
    to keep N workers busy, all clients together need several times N channels.

    `fallback` is the variant that `choose` answers with when the service can't be asked in time (UNAVAILABLE,
    DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED), as a Choice with source FALLBACK and an empty `decision_id`, whose
    reward is not sent. Without one such a failure is raised, and so it is if the call excludes the fallback.
    A decision whose reply was lost may have been logged nevertheless; it closes with the default reward.
    Refusals, which are the caller's bugs, are always raised; so is a failed reward, which may be sent again.

    Safe to use from many threads. Make one a process, after any fork; it does not reconnect after `close`.
    """

    def __init__(
        self, target: str, timeout_s: float = 0.1, fallback: str | None = None, *, channels: int = 1
    ) -> None:
        """Connects to nothing yet. Raises TypeError or ValueError if `channels` is not 1 to 64."""
        self._timeout_s = timeout_s
        self._fallback = fallback
        self._new_id = TimeOrderedIds()
        self._channels = [grpc.insecure_channel(target, OPTIONS) for _ in range(checked(channels))]
        # A cycle moves on atomically, so threads need no lock.
        self._stubs = itertools.cycle([BanditServiceStub(channel) for channel in self._channels])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channels; calls in flight fail."""
        for channel in self._channels:
            channel.close()

    @property
    def _stub(self) -> BanditServiceStub:
        """The next channel's."""
        return next(self._stubs)

    def choose(
        self,
        experiment_id: str,
        context: Mapping[str, Value],
        *,
        subject_id: str | None = None,
        decision_id: str | None = None,
        variants: Sequence[VariantLike] | None = None,
        excluded: Collection[str] = (),
        consents: Collection[str] = (),
    ) -> Choice:
        """Chooses a variant for a context: signal name to a str, number, bool, or list, tuple or set of str.

        `subject_id` keeps a person in one arm. `decision_id` is made here if not given. `variants` replace
        the experiment's catalogue; `excluded` are variant ids not to serve now; `consents` are those given.

        Raises BanditError, TypeError for a value of another type, ValueError for one that can't be sent.
        """
        call = ChooseCall(experiment_id, context, subject_id, decision_id, variants, excluded, consents)
        request = call.message(self._new_id)
        try:
            response = self._stub.Choose(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            return outcomes.fallback_or_raise(BanditError.from_rpc(error), request, self._fallback)
        return Choice.from_response(response)

    def reward(
        self,
        decision_id: str,
        value: float,
        *,
        metric: str | None = None,
        reward_id: str | None = None,
        observed_at: datetime | None = None,
    ) -> RewardStatus:
        """Reports what a decision was worth; returns once it is on disk. Safe to repeat.

        `metric` is the experiment's primary one if not given. `reward_id` tells several rewards of one
        decision and metric apart. `observed_at` needs a time zone. An empty `decision_id`, a fallback
        choice's, is answered NOT_SENT without a call. Raises BanditError, TypeError or ValueError.
        """
        if not decision_id:
            return RewardStatus.NOT_SENT
        request = RewardCall(decision_id, value, metric, reward_id, observed_at).message()
        try:
            response = self._stub.Reward(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise BanditError.from_rpc(error) from error
        return reward_status(response)

    def choose_batch(self, calls: Sequence[ChooseCall]) -> list[Choice | BanditError]:
        """Up to 1,000 choices in one call, in order; an item that was refused is its BanditError, not raised.

        Raises BanditError if the call as a whole was refused, or failed and there is no fallback.
        """
        batch = pb.ChooseBatchRequest(requests=[call.message(self._new_id) for call in calls])
        try:
            response = self._stub.ChooseBatch(batch, timeout=self._timeout_s)
        except grpc.RpcError as error:
            return outcomes.failed_batch(BanditError.from_rpc(error), batch, self._fallback)
        return outcomes.choices(response, batch, self._fallback)

    def reward_batch(self, calls: Sequence[RewardCall]) -> list[RewardStatus | BanditError]:
        """Up to 1,000 rewards in one call, in order; an item that was refused is its BanditError, not raised.

        Raises BanditError if the call as a whole failed; it may be sent again.
        """
        batch = pb.RewardBatchRequest(requests=[call.message() for call in calls if call.decision_id])
        if not batch.requests:
            return [RewardStatus.NOT_SENT] * len(calls)
        try:
            response = self._stub.RewardBatch(batch, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise BanditError.from_rpc(error) from error
        return outcomes.statuses(response, [call.decision_id for call in calls])
