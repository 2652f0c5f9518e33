"""Decisions and outcomes -> serialised replies, cheaply where much comes again from one to the next.

Encoded messages of a kind, one after the other, are one message (protobuf.dev/programming-guides/encoding):
so a reply is put together from parts that are kept.
"""

import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf.message import Message

from bandit.core.records import Arm, Decision, RewardStatus, Source, Variant
from bandit.v1 import bandit_pb2 as pb

_SAID_KEPT: Final = 256
"""Of each experiment. A payload may have 64 KiB, but those of a catalogue are few."""

_double: Final = struct.Struct("<d").pack


class Replies:
    """Decisions -> serialised ChooseResponses.

    Of the reply to a decision among a whole catalogue most is kept serialised: ten messages need not be made
    for ten variants each time.
    """

    def __init__(self) -> None:
        """Keeps one form an experiment."""
        self._forms: dict[str, _ReplyForm] = {}

    def choose(self, decision: Decision, payload_json: str) -> bytes:
        """The reply that a decision gives, new or stored."""
        variants = decision.variants
        # Tuples are catalogues; what is left of one, or came with the call, is a list.
        if type(variants) is not tuple or decision.call_variants:
            return _reply(decision, payload_json)
        form = self._forms.get(decision.experiment_id)
        if form is None or form.variants is not variants:
            form = self._forms[decision.experiment_id] = _ReplyForm(variants)
        return form.filled(decision, payload_json)


class _ReplyForm:
    """The parts of the replies of one catalogue. A number is the last 8 bytes of the part that it stands
    alone in.
    """

    __slots__ = ("_distribution", "_pack", "_said", "variants")

    def __init__(self, variants: tuple[Variant, ...]) -> None:
        self.variants = variants
        # What comes again of a reply, before its propensity.
        self._said: dict[tuple[int, Source, Arm, str, str], bytes] = {}
        # What stands before a variant's probability, and the probability, in turn.
        self._distribution: list[bytes | float] = []
        layout = "<"
        for variant in variants:
            entry = pb.VariantProbability(variant_id=variant.id, probability=1.0)
            before = pb.ChooseResponse(distribution=[entry]).SerializeToString()[:-8]
            self._distribution += (before, 1.0)
            layout += f"{len(before)}sd"
        self._pack = struct.Struct(layout).pack

    def filled(self, decision: Decision, payload_json: str) -> bytes:
        """Every number is set anew, so nothing of an earlier decision stays."""
        self._distribution[1::2] = decision.distribution
        decision_id = decision.decision_id.encode()
        key = (decision.chosen, decision.source, decision.arm, decision.snapshot_id, payload_json)
        parts = (
            _DECISION_ID_TAG,
            _varint(len(decision_id)),
            decision_id,
            self._said.get(key) or self._say(key),
            _double(decision.propensity),
            self._pack(*self._distribution),
        )
        return b"".join(parts)

    def _say(self, key: tuple[int, Source, Arm, str, str]) -> bytes:
        chosen, source, arm, snapshot_id, payload_json = key
        said = pb.ChooseResponse(
            variant_id=self.variants[chosen].id,
            snapshot_id=snapshot_id if source is Source.LEARNED else "",
            source=pb.DecisionSource.ValueType(source),
            payload_json=payload_json,
            arm=pb.Arm.ValueType(arm),
        )
        # The propensity's own 8 bytes follow.
        part = said.SerializeToString() + pb.ChooseResponse(propensity=1.0).SerializeToString()[:-8]
        if len(self._said) >= _SAID_KEPT:
            self._said.clear()
        self._said[key] = part
        return part


def _reply(decision: Decision, payload_json: str) -> bytes:
    """The reply, made without anything kept."""
    return pb.ChooseResponse(
        decision_id=decision.decision_id,
        variant_id=decision.variant.id,
        propensity=decision.propensity,
        distribution=[
            pb.VariantProbability(variant_id=variant.id, probability=probability)
            for variant, probability in zip(decision.variants, decision.distribution, strict=True)
        ],
        snapshot_id=decision.snapshot_id if decision.source is Source.LEARNED else "",
        source=pb.DecisionSource.ValueType(decision.source),
        payload_json=payload_json,
        arm=pb.Arm.ValueType(decision.arm),
    ).SerializeToString()


REWARD_REPLIES: Final[Mapping[RewardStatus, bytes]] = MappingProxyType(
    {
        status: pb.RewardResponse(status=pb.RewardStatus.ValueType(status)).SerializeToString()
        for status in RewardStatus
    }
)
"""The serialised reply to a reward of each status."""


def batch_reply(results: Iterable[bytes | pb.CallError]) -> bytes:
    """A serialised ChooseBatchResponse or RewardBatchResponse, which are written alike: serialised responses
    and errors, in order. To parse each reply only to write it again would cost as much as to decide.
    """
    parts: list[bytes] = []
    for result in results:
        if isinstance(result, bytes):
            tag, body = _RESPONSE_TAG, result
        else:
            tag, body = _ERROR_TAG, result.SerializeToString()
        inner = tag + _varint(len(body))
        parts += (_RESULTS_TAG + _varint(len(inner) + len(body)), inner, body)
    return b"".join(parts)


def _tag(message: type[Message], field: str) -> bytes:
    """What stands before a length-delimited field (protobuf.dev/programming-guides/encoding)."""
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def _varint(number: int) -> bytes:
    if number <= 0x7F:
        return b"%c" % number
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


_RESULTS_TAG: Final = _tag(pb.ChooseBatchResponse, "results")
_RESPONSE_TAG: Final = _tag(pb.ChooseResult, "response")
_ERROR_TAG: Final = _tag(pb.ChooseResult, "error")
_DECISION_ID_TAG: Final = _tag(pb.ChooseResponse, "decision_id")
