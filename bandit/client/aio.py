"""The client for asyncio: the methods of `bandit.client.BanditClient`, awaited."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from bandit.client import outcomes
from bandit.client.channel import OPTIONS, checked
from bandit.client.choice import Choice, RewardStatus, reward_status
from bandit.client.errors import BanditError
from bandit.client.requests import ChooseCall, RewardCall, Value, VariantLike
from bandit.ids import TimeOrderedIds
from bandit.v1 import bandit_pb2 as pb
from bandit.v1.bandit_pb2_grpc import BanditServiceStub

if TYPE_CHECKING:
    from bandit.v1.bandit_pb2_grpc import BanditServiceAsyncStub

__all__ = ["BanditClient"]


class BanditClient:
    """`bandit.client.BanditClient` for asyncio: same arguments, same methods, same failures.

    The channels belong to the event loop of the first call, so a client may be made before the loop runs. Use
    it from that loop alone, and close it with `await client.close()` or `async with`.
    """

    def __init__(
        self, target: str, timeout_s: float = 0.1, fallback: str | None = None, *, channels: int = 1
    ) -> None:
        """See `bandit.client.BanditClient`."""
        self._target = target
        self._channels_wanted = checked(channels)
        self._timeout_s = timeout_s
        self._fallback = fallback
        self._new_id = TimeOrderedIds()
        self._channels: list[grpc.aio.Channel] = []
        self._stubs: Iterator[BanditServiceAsyncStub] = iter(())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channels; calls in flight fail."""
        for channel in self._channels:
            await channel.close(None)

    @property
    def _stub(self) -> "BanditServiceAsyncStub":
        """The next channel's."""
        if not self._channels:
            made = range(self._channels_wanted)
            self._channels = [grpc.aio.insecure_channel(self._target, OPTIONS) for _ in made]
            self._stubs = itertools.cycle([BanditServiceStub(channel) for channel in self._channels])
        return next(self._stubs)

    async def choose(
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
        """See `bandit.client.BanditClient.choose`."""
        call = ChooseCall(experiment_id, context, subject_id, decision_id, variants, excluded, consents)
        request = call.message(self._new_id)
        try:
            response = await self._stub.Choose(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            return outcomes.fallback_or_raise(BanditError.from_rpc(error), request, self._fallback)
        return Choice.from_response(response)

    async def reward(
        self,
        decision_id: str,
        value: float,
        *,
        metric: str | None = None,
        reward_id: str | None = None,
        observed_at: datetime | None = None,
    ) -> RewardStatus:
        """See `bandit.client.BanditClient.reward`."""
        if not decision_id:
            return RewardStatus.NOT_SENT
        request = RewardCall(decision_id, value, metric, reward_id, observed_at).message()
        try:
            response = await self._stub.Reward(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise BanditError.from_rpc(error) from error
        return reward_status(response)

    async def choose_batch(self, calls: Sequence[ChooseCall]) -> list[Choice | BanditError]:
        """See `bandit.client.BanditClient.choose_batch`."""
        batch = pb.ChooseBatchRequest(requests=[call.message(self._new_id) for call in calls])
        try:
            response = await self._stub.ChooseBatch(batch, timeout=self._timeout_s)
        except grpc.RpcError as error:
            return outcomes.failed_batch(BanditError.from_rpc(error), batch, self._fallback)
        return outcomes.choices(response, batch, self._fallback)

    async def reward_batch(self, calls: Sequence[RewardCall]) -> list[RewardStatus | BanditError]:
        """See `bandit.client.BanditClient.reward_batch`."""
        batch = pb.RewardBatchRequest(requests=[call.message() for call in calls if call.decision_id])
        if not batch.requests:
            return [RewardStatus.NOT_SENT] * len(calls)
        try:
            response = await self._stub.RewardBatch(batch, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise BanditError.from_rpc(error) from error
        return outcomes.statuses(response, [call.decision_id for call in calls])
