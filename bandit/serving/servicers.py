"""BanditService on bytes: parse, call the service, serialise. Nothing here decides anything.

Handlers take and return bytes, so that undecodable requests are refused by us (MALFORMED_MESSAGE) instead of
by the transport with an exception's text.
"""

from collections.abc import Mapping

import grpc

from bandit.core.errors import Refused
from bandit.serving import convert
from bandit.serving.interceptors import Endpoint, Gate, Handle, endpoint
from bandit.serving.metrics import Metrics
from bandit.serving.service import Service
from bandit.serving.status import call_error
from bandit.v1 import bandit_pb2 as pb

SERVICE = "bandit.v1.BanditService"


def bandit_service(service: Service, gate: Gate, metrics: Metrics) -> "grpc.GenericRpcHandler[bytes, bytes]":
    """The handler to add to a gRPC server."""
    servicer = _Servicer(service, metrics)
    handles: Mapping[str, Handle] = {
        "Choose": servicer.choose,
        "ChooseBatch": servicer.choose_batch,
        "Reward": servicer.reward,
        "RewardBatch": servicer.reward_batch,
    }
    methods = {name: _unary(endpoint(name, handle, gate, metrics)) for name, handle in handles.items()}
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _unary(method: Endpoint) -> "grpc.RpcMethodHandler[bytes, bytes]":
    return grpc.unary_unary_rpc_method_handler(method)


class _Servicer:
    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    async def choose(self, body: bytes) -> bytes:
        response = await self._service.choose(convert.parse(pb.ChooseRequest, body))
        return response.SerializeToString()

    async def reward(self, body: bytes) -> bytes:
        response = await self._service.reward(convert.parse(pb.RewardRequest, body))
        return response.SerializeToString()

    async def choose_batch(self, body: bytes) -> bytes:
        requests = convert.parse(pb.ChooseBatchRequest, body).requests
        convert.check_batch(len(requests))
        response = pb.ChooseBatchResponse()
        for result in await self._service.choose_batch(requests):
            if isinstance(result, Refused):
                response.results.add(error=self._refused("ChooseBatch", result))
            else:
                response.results.add(response=result)
        return response.SerializeToString()

    async def reward_batch(self, body: bytes) -> bytes:
        requests = convert.parse(pb.RewardBatchRequest, body).requests
        convert.check_batch(len(requests))
        response = pb.RewardBatchResponse()
        for result in await self._service.reward_batch(requests):
            if isinstance(result, Refused):
                response.results.add(error=self._refused("RewardBatch", result))
            else:
                response.results.add(response=result)
        return response.SerializeToString()

    def _refused(self, method: str, refusal: Refused) -> pb.CallError:
        self._metrics.refused(method, refusal.reason)
        return call_error(refusal)
