"""Decisions -> the records that the log stores, cheaply where much comes again from one record to the next.

Encoded messages of a kind, one after the other, are one message (protobuf.dev/programming-guides/encoding):
so what comes again is encoded once, by the library, and records are put together from such parts. A number
is the last 8 bytes of the part that it stands alone in.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from bandit.core.records import Arm, Decision, Features, FeatureValue, Source, Stage, Variant
from bandit.log.v1 import records_pb2 as pb

CATALOGUES_KEPT: Final = 64
HEADS_KEPT: Final = 4_096
ENTRIES_KEPT: Final = 4_096
ENTRY_CHARACTERS_KEPT: Final = 64

_double = struct.Struct("<d").pack


class DecisionEncoder:
    """Encodes decisions, and keeps what most likely comes again, within bounds.

    Threads may share an encoder: at worst, two of them encode the same at the same time.
    """

    def __init__(self) -> None:
        # By the number of the catalogue object, which no other can have as long as this one is kept.
        self._catalogues: dict[int, _Catalogue] = {}
        self._heads: dict[tuple[int, int, Arm, Source, Stage, float, str, float], bytes] = {}
        self._entries = _Entries()
        self._numbers = _Numbers()

    def encode(self, decision: Decision, digest: bytes) -> bytes:
        """The record of a decision; `digest` is the keyed digest of the request as sent.

        Raises ValueError for a FALLBACK decision (what was not logged must never look as if it had been), and
        for distributions that are not parallel to the catalogue.
        """
        key = (
            decision.version,
            decision.chosen,
            decision.arm,
            decision.source,
            decision.stage,
            decision.treatment_share,
            decision.snapshot_id,
            decision.pdrop,
        )
        variants = decision.variants
        parts = [self._heads.get(key) or self._head(key)]
        # Of a catalogue, or of a log that is imported; what is left of a catalogue is a list.
        if type(variants) is tuple and not decision.call_variants:
            catalogue = self._catalogues.get(id(variants)) or self._catalogue(variants)
            parts += catalogue.encoded(decision.distribution, decision.policy_distribution)
        else:
            parts.append(
                pb.DecisionRecord(
                    variant_ids=[variant.id for variant in variants],
                    probabilities=decision.distribution,
                    policy_probabilities=decision.policy_distribution,
                ).SerializeToString()
            )
        # Every signal of every decision comes by here.
        numbers, entries = self._numbers, self._entries
        for item in decision.context.items():
            name, value = item
            kind = type(value)
            if kind is float:
                parts += (numbers[name], _double(value))
            elif kind is str or kind is bool:
                parts.append(entries[item])
            else:
                parts.append(_entry(name, value))
        if decision.call_variants:
            parts.append(encode_call_variants(variants))
        if digest:
            parts.append(pb.DecisionRecord(request_digest=digest).SerializeToString())
        return b"".join(parts)

    def _head(self, key: tuple[int, int, Arm, Source, Stage, float, str, float]) -> bytes:
        """The fields that only say a little, and mostly the same."""
        version, chosen, arm, source, stage, treatment_share, snapshot_id, pdrop = key
        if source is Source.FALLBACK:
            raise ValueError("a FALLBACK decision is never stored")
        head = pb.DecisionRecord(
            version=version,
            chosen=chosen,
            arm=int(arm),  # type: ignore[arg-type]  # the numbers are the same by contract, and a test
            source=int(source),  # type: ignore[arg-type]
            stage=int(stage),  # type: ignore[arg-type]
            treatment_share=treatment_share,
            snapshot_id=snapshot_id,
            pdrop=pdrop,
        ).SerializeToString()
        if len(self._heads) >= HEADS_KEPT:
            self._heads.clear()
        self._heads[key] = head
        return head

    def _catalogue(self, variants: tuple[Variant, ...]) -> "_Catalogue":
        catalogue = _Catalogue(variants)
        if len(self._catalogues) >= CATALOGUES_KEPT:
            self._catalogues.clear()
        self._catalogues[id(variants)] = catalogue
        return catalogue


class _Catalogue:
    """Variants that decisions are made between, and what encoding such decisions takes."""

    def __init__(self, variants: tuple[Variant, ...]) -> None:
        self.variants = variants
        size = len(variants)
        zeros = [0.0] * size
        self._pack = struct.Struct(f"<{size}d").pack
        # Ids first: what stands before the doubles of the first distribution, then of the second.
        self._before = pb.DecisionRecord(
            variant_ids=[variant.id for variant in variants], probabilities=zeros
        ).SerializeToString()[: -8 * size or None]
        self._between = pb.DecisionRecord(policy_probabilities=zeros).SerializeToString()[: -8 * size or None]

    def encoded(
        self, distribution: Sequence[float], policy_distribution: Sequence[float]
    ) -> tuple[bytes, bytes, bytes, bytes]:
        try:
            packed = self._pack(*distribution)
            policy_packed = (
                packed if policy_distribution is distribution else self._pack(*policy_distribution)
            )
        except struct.error as error:
            raise ValueError(f"its distributions are not parallel to its variants: {error}") from error
        return self._before, packed, self._between, policy_packed


class _Entries(dict[tuple[str, FeatureValue], bytes]):
    """(name, text or flag) -> its entry of the context; keeps short ones, as most come again."""

    def __missing__(self, key: tuple[str, FeatureValue]) -> bytes:
        name, value = key
        entry = _entry(name, value)
        if type(value) is bool or (type(value) is str and len(value) <= ENTRY_CHARACTERS_KEPT):
            if len(self) >= ENTRIES_KEPT:
                self.clear()
            self[key] = entry
        return entry


class _Numbers(dict[str, bytes]):
    """Name -> what stands before the number of its entry of the context."""

    def __missing__(self, name: str) -> bytes:
        before = _entry(name, 0.0)[:-8]
        if len(self) >= ENTRIES_KEPT:
            self.clear()
        self[name] = before
        return before


def encode_call_variants(variants: Sequence[Variant]) -> bytes:
    """What a decision that came with these variants has in its record beyond one of the catalogue.

    Many decisions can share this part, each after its own.
    """
    record = pb.DecisionRecord()
    for variant in variants:
        _encode_features(record.call_variants.add(id=variant.id).features, variant.features)
    return record.SerializeToString()


def _entry(name: str, value: FeatureValue) -> bytes:
    record = pb.DecisionRecord()
    _encode_features(record.context, {name: value})
    return record.SerializeToString()


def _encode_features(target: "Mapping[str, pb.FeatureValue]", features: Features) -> None:
    for name, value in features.items():
        if type(value) is str:
            target[name].text = value
        elif type(value) is float:
            target[name].number = value
        elif type(value) is bool:
            target[name].flag = value
        elif type(value) is tuple:
            target[name].texts.values.extend(value)
        else:
            raise TypeError(f"{name!r} is {type(value).__name__}, not a feature value")


encode_decision: Final = DecisionEncoder().encode
"""Encodes with what the whole process keeps: see `DecisionEncoder.encode`."""
