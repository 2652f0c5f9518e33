"""A client that knows nothing of this project but an address: all else comes from server reflection."""

from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TIMEOUT_S = 10.0


class ReflectionClient:
    """Calls unary methods of a service by name with dynamic messages."""

    def __init__(self, channel: grpc.Channel, service: str) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        # A pool of its own: the generated messages of this project are in the default one.
        self._service = DescriptorPool(self._database).FindServiceByName(service)

    def services(self) -> list[str]:
        return list(self._database.get_services())

    def call(self, method: str, fill: Any) -> Any:
        described = self._service.methods_by_name[method]
        request = GetMessageClass(described.input_type)()
        fill(request)
        invoke = self._channel.unary_unary(
            f"/{self._service.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        return invoke(request, timeout=TIMEOUT_S)


def enum_name(message: Any, field: str) -> str:
    described = message.DESCRIPTOR.fields_by_name[field]
    return str(described.enum_type.values_by_number[getattr(message, field)].name)


def test_a_client_that_only_reflects_chooses_and_rewards(server: str) -> None:
    with grpc.insecure_channel(server) as channel:
        client = ReflectionClient(channel, "bandit.v1.BanditService")
        assert {"bandit.v1.BanditService", "grpc.health.v1.Health"} <= set(client.services())

        def ask(request: Any) -> None:
            request.experiment_id = "spring-email"
            request.context["recency"].number = 3
            request.context["channel"].text = "Web"
            request.context["mens"].flag = True
            request.context["interests"].texts.values.extend(["golf", "tea"])

        choice = client.call("Choose", ask)
        assert choice.variant_id in {"no_email", "mens_email", "womens_email"}
        assert enum_name(choice, "arm") == "ARM_TREATMENT"
        assert {entry.variant_id: entry.probability for entry in choice.distribution}[
            choice.variant_id
        ] == choice.propensity

        def tell(request: Any) -> None:
            request.decision_id = choice.decision_id
            request.value = 1.0

        assert enum_name(client.call("Reward", tell), "status") == "REWARD_STATUS_RECORDED"
        assert enum_name(client.call("Reward", tell), "status") == "REWARD_STATUS_DUPLICATE"
