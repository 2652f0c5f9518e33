"""Messages -> checked plain data, and decisions -> messages. Knows no experiment and touches no log.

The order of checks is part of the API: limits of the whole message first, then ids, then what they mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from bandit.core import limits
from bandit.core.checks import (
    check_count,
    check_id,
    check_id_size,
    check_required_id,
    check_size,
    name_problem,
)
from bandit.core.errors import Reason, Refused, refused_field
from bandit.core.records import Decision, FeatureValue, Source, Variant
from bandit.v1 import bandit_pb2 as pb

# A character has at most four bytes: texts of so few need no call, and no name of their field, to be known
# short enough. Every signal of every Choose comes by here.
_ID_CHARACTERS_SAFE: Final = limits.ID_BYTES // 4
_TEXT_CHARACTERS_SAFE: Final = limits.TEXT_BYTES // 4

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class ChooseCall:
    """A ChooseRequest whose limits and ids are sound. A context value of None had no type set."""

    experiment_id: str
    decision_id: str
    subject_id: str
    context: Mapping[str, FeatureValue | None]
    excluded: frozenset[str]
    consents: frozenset[str]


@dataclass(frozen=True, slots=True)
class RewardCall:
    """A RewardRequest that may be judged."""

    decision_id: str
    value: float
    reward_id: str
    observed_at_us: int | None
    metric: str


def parse(kind: type[M], body: bytes) -> M:
    """The message in `body`. Raises Refused MALFORMED_MESSAGE."""
    try:
        return kind.FromString(body)
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        raise Refused(
            Reason.MALFORMED_MESSAGE,
            f"The bytes are not a {name}. Generate the client from the service's own .proto files.",
            metadata={"type": name},
        ) from None


def choose_call(request: pb.ChooseRequest) -> ChooseCall:
    """Checks limits, then ids. Variants and signals are checked once the experiment is known."""
    check_count("context", len(request.context), limits.CONTEXT_ENTRIES, "entries")
    check_count("variants", len(request.variants), limits.VARIANTS, "variants")
    check_count("excluded_variant_ids", len(request.excluded_variant_ids), limits.EXCLUDED_VARIANTS, "ids")
    check_count("consents", len(request.consents), limits.CONSENTS, "consents")
    check_id_size("experiment_id", request.experiment_id)
    check_id_size("decision_id", request.decision_id)
    check_size("subject_id", request.subject_id, limits.SUBJECT_BYTES)
    context = {name: _value("context", name, value) for name, value in request.context.items()}
    for variant in request.variants:
        _check_variant_limits(variant)
    for name in request.excluded_variant_ids:
        check_id_size("excluded_variant_ids", name)
    for name in request.consents:
        check_id_size("consents", name)

    check_required_id("experiment_id", request.experiment_id)
    if request.decision_id:
        check_id("decision_id", request.decision_id)
    for name in context:
        if name_problem(name):
            check_id(f"context[{name!r}]", name)
    for index, variant in enumerate(request.variants):
        check_required_id(f"variants[{index}].id", variant.id)
        for name in variant.features:
            if name_problem(name):
                check_id(f"variants[{index}].features[{name!r}]", name)
    for name in request.consents:
        check_id("consents", name)
    return ChooseCall(
        request.experiment_id,
        request.decision_id,
        request.subject_id,
        context,
        frozenset(request.excluded_variant_ids),
        frozenset(request.consents),
    )


def call_variants(request: pb.ChooseRequest) -> list[Variant]:
    """The variants of the call. Raises Refused DUPLICATE_VARIANT_ID, MISSING_VALUE, NON_FINITE_VALUE."""
    seen: set[str] = set()
    variants = []
    for index, variant in enumerate(request.variants):
        if variant.id in seen:
            raise refused_field(
                Reason.DUPLICATE_VARIANT_ID,
                f"variants[{index}].id",
                f"Variant {variant.id!r} stands twice. Send each variant once.",
                variant_id=variant.id,
            )
        seen.add(variant.id)
        variants.append(Variant(variant.id, _features(index, variant), variant.payload_json))
    return variants


def reward_call(request: pb.RewardRequest) -> RewardCall:
    """Checks limits, then ids, then the value. Raises Refused."""
    for field, text in (
        ("decision_id", request.decision_id),
        ("reward_id", request.reward_id),
        ("metric", request.metric),
    ):
        check_id_size(field, text)
    check_required_id("decision_id", request.decision_id)
    for field, text in (("reward_id", request.reward_id), ("metric", request.metric)):
        if text:
            check_id(field, text)
    if not request.HasField("value"):
        raise refused_field(
            Reason.MISSING_VALUE, "value", "The reward has no value. Set value; 0 is a value."
        )
    if not isfinite(request.value):
        raise refused_field(
            Reason.NON_FINITE_VALUE, "value", "The reward is NaN or infinite. Send a finite number."
        )
    observed_at_us = None
    if request.HasField("observed_at"):
        # Not judged, so not ToMicroseconds(), which raises outside the years 1 to 9999; the log clamps.
        observed_at_us = request.observed_at.seconds * 1_000_000 + request.observed_at.nanos // 1_000
    return RewardCall(request.decision_id, request.value, request.reward_id, observed_at_us, request.metric)


def choose_response(decision: Decision, payload_json: str) -> pb.ChooseResponse:
    """The reply that a decision gives, new or stored."""
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
    )


def check_batch(count: int) -> None:
    """Raises Refused LIMIT_EXCEEDED for a batch of too many items."""
    check_count("requests", count, limits.BATCH_ITEMS, "items")


def _value(field: str, name: str, value: pb.FeatureValue) -> FeatureValue | None:
    if len(name) > _ID_CHARACTERS_SAFE:
        check_id_size(field, name)
    kind = value.WhichOneof("value")
    if kind == "number":
        return value.number
    if kind == "text":
        text = value.text
        if len(text) > _TEXT_CHARACTERS_SAFE:
            check_size(f"{field}[{name}]", text, limits.TEXT_BYTES)
        return text
    if kind == "flag":
        return value.flag
    if kind == "texts":
        texts = tuple(value.texts.values)
        check_count(f"{field}[{name}]", len(texts), limits.TEXTS_VALUES, "values")
        for text in texts:
            check_size(f"{field}[{name}]", text, limits.TEXT_BYTES)
        return texts
    return None


def _features(index: int, variant: pb.Variant) -> dict[str, FeatureValue]:
    features: dict[str, FeatureValue] = {}
    for name, item in variant.features.items():
        field = f"variants[{index}].features[{name}]"
        value = _value(f"variants[{index}].features", name, item)
        if value is None:
            raise refused_field(
                Reason.MISSING_VALUE,
                field,
                f"Feature {name!r} of variant {variant.id!r} has no value. Set one, or leave it out.",
                variant_id=variant.id,
                feature=name,
            )
        if type(value) is float and not isfinite(value):
            raise refused_field(
                Reason.NON_FINITE_VALUE,
                field,
                f"Feature {name!r} of variant {variant.id!r} is NaN or infinite. Send a finite number.",
                variant_id=variant.id,
                feature=name,
            )
        features[name] = value
    return features


def _check_variant_limits(variant: pb.Variant) -> None:
    check_id_size("variants.id", variant.id)
    check_count("variants.features", len(variant.features), limits.FEATURES_PER_VARIANT, "features")
    check_size("variants.payload_json", variant.payload_json, limits.PAYLOAD_BYTES)
    for name, value in variant.features.items():
        _value("variants.features", name, value)
