"""Messages -> checked plain data, and decisions -> messages. Knows no experiment and touches no log.

The order of checks is part of the API: limits of the whole message first, then ids, then what they mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from bandit.core import limits
from bandit.core.errors import Reason, Refused, limit_exceeded, refused_field
from bandit.core.experiment import id_problem
from bandit.core.records import Decision, FeatureValue, Source, Variant
from bandit.v1 import bandit_pb2 as pb

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
    _check_count("context", len(request.context), limits.CONTEXT_ENTRIES, "entries")
    _check_count("variants", len(request.variants), limits.VARIANTS, "variants")
    _check_count("excluded_variant_ids", len(request.excluded_variant_ids), limits.EXCLUDED_VARIANTS, "ids")
    _check_count("consents", len(request.consents), limits.CONSENTS, "consents")
    _check_id_size("experiment_id", request.experiment_id)
    _check_id_size("decision_id", request.decision_id)
    _check_size("subject_id", request.subject_id, limits.SUBJECT_BYTES)
    context = {name: _value("context", name, value) for name, value in request.context.items()}
    for variant in request.variants:
        _check_variant_limits(variant)
    for name in request.excluded_variant_ids:
        _check_id_size("excluded_variant_ids", name)
    for name in request.consents:
        _check_id_size("consents", name)

    _check_required_id("experiment_id", request.experiment_id)
    if request.decision_id:
        _check_id("decision_id", request.decision_id)
    for name in context:
        if _name_problem(name):
            _check_id(f"context[{name!r}]", name)
    for index, variant in enumerate(request.variants):
        _check_required_id(f"variants[{index}].id", variant.id)
        for name in variant.features:
            if _name_problem(name):
                _check_id(f"variants[{index}].features[{name!r}]", name)
    for name in request.consents:
        _check_id("consents", name)
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
        _check_id_size(field, text)
    _check_required_id("decision_id", request.decision_id)
    for field, text in (("reward_id", request.reward_id), ("metric", request.metric)):
        if text:
            _check_id(field, text)
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
    _check_count("requests", count, limits.BATCH_ITEMS, "items")


def _value(field: str, name: str, value: pb.FeatureValue) -> FeatureValue | None:
    _check_id_size(field, name)
    kind = value.WhichOneof("value")
    if kind == "text":
        _check_size(f"{field}[{name}]", value.text, limits.TEXT_BYTES)
        return value.text
    if kind == "number":
        return value.number
    if kind == "flag":
        return value.flag
    if kind == "texts":
        texts = tuple(value.texts.values)
        _check_count(f"{field}[{name}]", len(texts), limits.TEXTS_VALUES, "values")
        for text in texts:
            _check_size(f"{field}[{name}]", text, limits.TEXT_BYTES)
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
    _check_id_size("variants.id", variant.id)
    _check_count("variants.features", len(variant.features), limits.FEATURES_PER_VARIANT, "features")
    _check_size("variants.payload_json", variant.payload_json, limits.PAYLOAD_BYTES)
    for name, value in variant.features.items():
        _value("variants.features", name, value)


def _check_count(field: str, count: int, limit: int, unit: str) -> None:
    if count > limit:
        raise limit_exceeded(field, limit, count, unit)


def _check_size(field: str, text: str, limit: int) -> None:
    # A character has at most four bytes, so most texts need no encoding to be known short enough.
    if len(text) * 4 > limit and (size := len(text.encode())) > limit:
        raise limit_exceeded(field[: limits.ID_BYTES * 2], limit, size, "bytes")


def _check_id_size(field: str, text: str) -> None:
    _check_size(field, text, limits.ID_BYTES)


def _check_required_id(field: str, text: str) -> None:
    if not text:
        raise refused_field(Reason.MISSING_ID, field, f"{field} is empty. Give 1 to {limits.ID_BYTES} bytes.")
    _check_id(field, text)


def _check_id(field: str, text: str) -> None:
    problem = id_problem(text)
    if problem:
        raise refused_field(Reason.INVALID_ID, field, f"{field} {problem}.")


@lru_cache(maxsize=4096)
def _name_problem(name: str) -> str:
    # Names of signals and features are few and come with every call.
    return id_problem(name)
