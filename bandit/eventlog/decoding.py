"""Decision records -> Decisions, cheaply where much comes again from one record to the next.

Signals and variants are read as the bytes that they are stored as, and equal bytes are decoded once: a log
that was imported repeats the same variants in every record. Strings are checked when they are decoded.
"""

import struct
from collections.abc import Callable, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from bandit.core.records import Arm, Decision, FeatureValue, Source, Stage, Variant
from bandit.eventlog.log import CorruptRecord
from bandit.log.v1 import records_pb2 as pb

CATALOGUES_KEPT: Final = 64
VARIANT_LISTS_KEPT: Final = 64
VARIANT_LIST_BYTES_KEPT: Final = 256 * 1024
VARIANTS_KEPT: Final = 4_096
VARIANT_BYTES_KEPT: Final = 1_024
ENTRIES_KEPT: Final = 4_096
ENTRY_BYTES_KEPT: Final = 128

_ARMS: Mapping[int, Arm] = MappingProxyType({int(arm): arm for arm in Arm})
_STAGES: Mapping[int, Stage] = MappingProxyType({int(stage): stage for stage in Stage})
_SOURCES: Mapping[int, Source] = MappingProxyType(
    {int(source): source for source in Source if source is not Source.FALLBACK}
)
# How an entry's value begins if it is a number: field 2, of 9 bytes, which are a tag and a double.
_NUMBER = b"\x12\x09\x11"
_double = struct.Struct("<d").unpack
_NAME = itemgetter(0)
# What the constructor of a named tuple does, without its detour.
_new_decision = tuple.__new__

_K = TypeVar("_K")
_V = TypeVar("_V")


def _as_bytes(*descriptors: Descriptor) -> list[Any]:
    """Message classes of the same records with their lists, maps and packed doubles left as bytes."""
    file = FileDescriptorProto(
        name="bandit/log/v1/as_bytes.proto", package="bandit.log.v1.as_bytes", syntax="proto3"
    )
    for descriptor in descriptors:
        message = file.message_type.add()
        descriptor.CopyToProto(message)
        message.ClearField("nested_type")
        for field in message.field:
            field.ClearField("type_name")
            if field.type == FieldDescriptorProto.TYPE_ENUM:
                field.type = FieldDescriptorProto.TYPE_INT32
            elif field.label == FieldDescriptorProto.LABEL_REPEATED:
                if field.type == FieldDescriptorProto.TYPE_DOUBLE:
                    field.label = FieldDescriptorProto.LABEL_OPTIONAL
                field.type = FieldDescriptorProto.TYPE_BYTES
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return [
        GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{descriptor.name}"))
        for descriptor in descriptors
    ]


_Record, _CallVariant = _as_bytes(pb.DecisionRecord.DESCRIPTOR, pb.CallVariant.DESCRIPTOR)


class _Offer:
    """Variants that decisions were made between, and what reading such decisions takes."""

    def __init__(self, variants: tuple[Variant, ...]) -> None:
        self.variants = variants
        self.ids = [variant.id.encode() for variant in variants]
        self.distribution_bytes = 8 * len(variants)
        self.distribution = struct.Struct(f"<{len(variants)}d").unpack


class DecisionDecoder:
    """Decodes decisions, and keeps what most likely comes again, within bounds.

    `variants` is the same tuple object in decisions of one decoder whose call variants are stored in the same
    bytes, or that exclude the same of a catalogue: what is computed once for it is found by the object. Where
    nothing was excluded, it is the catalogue object itself. Threads may share a decoder: at worst, two of
    them decode the same at the same time.
    """

    def __init__(self) -> None:
        # By the number of the catalogue object, which no other can have as long as this one is kept.
        self._catalogues: dict[int, _Offer] = {}
        self._lists: dict[tuple[bytes, ...], _Offer] = {}
        self._subsets: dict[tuple[_Offer | bytes, ...], _Offer] = {}
        self._variants: dict[bytes, Variant] = {}
        self._entries: dict[bytes, tuple[str, FeatureValue]] = {}
        # Numbers seldom come again, but their names do: what an entry begins with -> the name.
        self._numbers: dict[bytes, str] = {}

    def decode(
        self,
        experiment_id: str,
        decision_id: str,
        subject: str | None,
        record: bytes,
        catalogue: Callable[[int], tuple[Variant, ...]],
    ) -> Decision:
        """The decision of a record. `catalogue` gives the catalogue of a version of its experiment.

        Payloads of variants that came with the call were not stored. Raises CorruptRecord.
        """
        try:
            stored = _Record.FromString(record)
            version = stored.version
            # Slices: what goes through a repeated field one by one takes twice as long.
            call_variants = stored.call_variants[:]
            if call_variants:
                offer = self._offered(call_variants)
            else:
                variants = catalogue(version)
                offer = self._catalogues.get(id(variants)) or self._catalogue(variants)
            ids = stored.variant_ids[:]
            if ids != offer.ids:
                offer = self._among(offer, ids)
            packed, policy_packed = stored.probabilities, stored.policy_probabilities
            if not len(packed) == len(policy_packed) == offer.distribution_bytes:
                raise ValueError("its distributions are not parallel to its variants")
            distribution = policy_distribution = list(offer.distribution(packed))
            if policy_packed != packed:
                policy_distribution = list(offer.distribution(policy_packed))
            chosen = stored.chosen
            propensity, pdrop = distribution[chosen], stored.pdrop
            # A source that did not say what was drawn from left nothing but NaN, which differs from itself.
            unknown = propensity != propensity and all(known != known for known in distribution)
            if not (0.0 < propensity <= 1.0 or unknown):
                raise ValueError("its propensity is outside (0, 1]")
            if not 0.0 <= pdrop < 1.0:
                raise ValueError("its pdrop is outside [0, 1)")
            return _new_decision(
                Decision,
                (
                    experiment_id,
                    version,
                    decision_id,
                    subject or "",
                    self._features(stored.context[:]),
                    offer.variants,
                    bool(call_variants),
                    distribution,
                    policy_distribution,
                    chosen,
                    _ARMS[stored.arm],
                    _SOURCES[stored.source],
                    _STAGES[stored.stage],
                    stored.treatment_share,
                    stored.snapshot_id,
                    pdrop,
                ),
            )
        except (DecodeError, LookupError, ValueError) as error:
            raise corrupt(f"decision {decision_id!r}", error) from error

    def _catalogue(self, variants: tuple[Variant, ...]) -> _Offer:
        offer = _Offer(variants)
        _keep(self._catalogues, id(variants), offer, CATALOGUES_KEPT)
        return offer

    def _offered(self, records: list[bytes]) -> _Offer:
        """The variants that came with a call."""
        key = tuple(records)
        offer = self._lists.get(key)
        if offer is None:
            offer = _Offer(tuple([self._variants.get(record) or self._variant(record) for record in records]))
            if sum(map(len, records)) <= VARIANT_LIST_BYTES_KEPT:
                _keep(self._lists, key, offer, VARIANT_LISTS_KEPT)
        return offer

    def _among(self, offer: _Offer, ids: list[bytes]) -> _Offer:
        """Those of the variants. Raises KeyError for one that is not there."""
        key: tuple[_Offer | bytes, ...] = (offer, *ids)
        subset = self._subsets.get(key)
        if subset is None:
            by_id = dict(zip(offer.ids, offer.variants, strict=True))
            subset = _Offer(tuple([by_id[variant_id] for variant_id in ids]))
            _keep(self._subsets, key, subset, VARIANT_LISTS_KEPT)
        return subset

    def _variant(self, record: bytes) -> Variant:
        stored = _CallVariant.FromString(record)
        variant = Variant(stored.id, self._features(stored.features[:]))
        if len(record) <= VARIANT_BYTES_KEPT:
            _keep(self._variants, record, variant, VARIANTS_KEPT)
        return variant

    def _features(self, entries: list[bytes]) -> dict[str, FeatureValue]:
        # Every signal of every decision comes by here.
        known, numbers = self._entries, self._numbers
        pairs: list[tuple[str, FeatureValue]] = []
        for entry in entries:
            pair = known.get(entry)
            if pair is not None:
                pairs.append(pair)
            elif (name := numbers.get(entry[:-8])) is not None:
                pairs.append((name, _double(entry[-8:])[0]))
            else:
                pairs.append(self._entry(entry))
        # A map has an order of its own in every process; a fold must see the same one everywhere.
        pairs.sort(key=_NAME)
        return dict(pairs)

    def _entry(self, entry: bytes) -> tuple[str, FeatureValue]:
        stored = pb.DecisionRecord.ContextEntry.FromString(entry)
        name, value = stored.key, _value(stored.key, stored.value)
        if len(entry) > ENTRY_BYTES_KEPT:
            return name, value
        if type(value) is not float:
            _keep(self._entries, entry, (name, value), ENTRIES_KEPT)
        elif entry[:-8] == b"\x0a%c%b%b" % (len(encoded := name.encode()), encoded, _NUMBER):
            _keep(self._numbers, entry[:-8], name, ENTRIES_KEPT)
        return name, value


decode_decision: Final = DecisionDecoder().decode
"""Decodes with what the whole process keeps: see `DecisionDecoder.decode`."""


def corrupt(what: str, error: Exception) -> CorruptRecord:
    """The error for a record that can't be one of ours."""
    return CorruptRecord(
        f"The event log holds {what} that can't be read ({type(error).__name__}: {error}). It was altered "
        "or its disk is failing: run `banditd verify`; if that fails, restore the data folder from a backup."
    )


def _value(name: str, value: pb.FeatureValue) -> FeatureValue:
    match value.WhichOneof("value"):
        case "number":
            return value.number
        case "text":
            return value.text
        case "flag":
            return value.flag
        case "texts":
            return tuple(value.texts.values)
        case None:
            raise ValueError(f"{name!r} has no value")


def _keep(kept: dict[_K, _V], key: _K, value: _V, most: int) -> None:
    if len(kept) >= most:
        kept.clear()
    kept[key] = value
