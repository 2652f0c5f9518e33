"""BanditService on bytes: parse, call the service, serialise. Nothing here decides anything.

Handlers take and return bytes, so that undecodable requests are refused by us (MALFORMED_MESSAGE) instead of
by the transport with an exception's text.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import grpc

from bandit.core.errors import Refused
from bandit.serving import convert
from bandit.serving.gathering import Answer, Gather
from bandit.serving.interceptors import Endpoint, Gate, Handle, endpoint, internal
from bandit.serving.loading import NotLoaded
from bandit.serving.metrics import Metrics
from bandit.serving.replies import batch_reply
from bandit.serving.service import Service
from bandit.serving.status import call_error
from bandit.v1 import bandit_pb2 as pb

SERVICE = "bandit.v1.BanditService"

_Request = TypeVar("_Request")


def add_bandit_service(
    server: grpc.aio.Server, service: Service, gate: Gate, metrics: Metrics, loop: asyncio.AbstractEventLoop
) -> None:
    """Adds the service to a server, in both ways as generated code does: each transport looks at its own."""
    servicer = _Servicer(service, metrics, loop)
    handles: Mapping[str, Handle] = {
        "Choose": Gather(service.choose, loop),
        "ChooseBatch": servicer.choose_batch,
        "Reward": Gather(service.reward, loop),
        "RewardBatch": servicer.reward_batch,
    }
    methods = {name: _unary(endpoint(name, handle, gate, metrics)) for name, handle in handles.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_registered_method_handlers(SERVICE, methods)  # type: ignore[attr-defined]  # not in the stubs


def _unary(method: Endpoint) -> "grpc.RpcMethodHandler[bytes, bytes]":
    return grpc.unary_unary_rpc_method_handler(method)


class _Servicer:
    def __init__(self, service: Service, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._metrics = metrics
        self._loop = loop

    async def choose_batch(self, body: bytes) -> bytes:
        requests = convert.parse(pb.ChooseBatchRequest, body).requests
        replies = await self._chosen(requests)
        return batch_reply(self._result("ChooseBatch", reply) for reply in replies)

    async def _chosen(self, requests: Sequence[pb.ChooseRequest]) -> Sequence[bytes | Exception]:
        """A reply, or an exception, for each; asked again where a policy was not in memory."""
        replies = list(await self._all(self._service.choose, requests))
        while missing := {
            index: reply for index, reply in enumerate(replies) if isinstance(reply, NotLoaded)
        }:
            for index, error in missing.items():
                try:
                    await error.loaded()
                except Exception as failure:
                    replies[index] = failure
            again = [index for index in missing if isinstance(replies[index], NotLoaded)]
            if not again:
                break
            found = await self._all(self._service.choose, [requests[index] for index in again])
            for index, reply in zip(again, found, strict=True):
                replies[index] = reply
        return replies

    async def reward_batch(self, body: bytes) -> bytes:
        requests = convert.parse(pb.RewardBatchRequest, body).requests
        replies = await self._all(self._service.reward, requests)
        return batch_reply(self._result("RewardBatch", reply) for reply in replies)

    async def _all(
        self, answer: Answer[_Request, bytes], requests: Sequence[_Request]
    ) -> Sequence[bytes | Exception]:
        convert.check_batch(len(requests))
        replies: asyncio.Future[Sequence[bytes | Exception]] = self._loop.create_future()
        answer(requests, lambda delivered: None if replies.done() else replies.set_result(delivered))
        return await replies

    def _result(self, method: str, reply: bytes | Exception) -> bytes | pb.CallError:
        if not isinstance(reply, Exception):
            return reply
        refusal = reply if isinstance(reply, Refused) else internal(method, reply)
        self._metrics.refused(method, refusal.reason)
        return call_error(refusal)
