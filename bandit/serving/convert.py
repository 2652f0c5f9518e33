"""Messages -> checked plain data. Knows no experiment and touches no log.

The order of checks is part of the API: limits of the whole message first, then ids, then what they mean.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final, NamedTuple, TypeVar

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
from bandit.core.records import FeatureValue, Variant
from bandit.eventlog.log import NewReward
from bandit.v1 import bandit_pb2 as pb

_NONE: Final[frozenset[str]] = frozenset()

M = TypeVar("M", bound=Message)


class ChooseCall(NamedTuple):
    """A ChooseRequest whose limits and ids are sound. A context value of None had no type set."""

    experiment_id: str
    decision_id: str
    subject_id: str
    context: Mapping[str, FeatureValue | None]
    excluded: frozenset[str]
    consents: frozenset[str]


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
    # Each field is taken out of the message once: that costs as much as what is done with most of them.
    experiment_id = request.experiment_id
    decision_id = request.decision_id
    subject_id = request.subject_id
    entries = request.context
    variants = request.variants
    excluded = request.excluded_variant_ids
    consents = request.consents
    check_count("context", len(entries), limits.CONTEXT_ENTRIES, "entries")
    if variants:
        check_count("variants", len(variants), limits.VARIANTS, "variants")
    if excluded:
        check_count("excluded_variant_ids", len(excluded), limits.EXCLUDED_VARIANTS, "ids")
    if consents:
        check_count("consents", len(consents), limits.CONSENTS, "consents")
    check_id_size("experiment_id", experiment_id)
    check_id_size("decision_id", decision_id)
    check_size("subject_id", subject_id, limits.SUBJECT_BYTES)
    context, misnamed = _values("context", entries)
    if variants:
        for variant in variants:
            _check_variant_limits(variant)
    for name in excluded:
        check_id_size("excluded_variant_ids", name)
    for name in consents:
        check_id_size("consents", name)

    if name_problem(experiment_id):
        check_required_id("experiment_id", experiment_id)
    if decision_id:
        check_id("decision_id", decision_id)
    # A map has no order, but a request has one answer.
    for name in sorted(misnamed):
        check_id(f"context[{name!r}]", name)
    if variants:
        _check_variant_ids(variants)
    for name in consents:
        check_id("consents", name)
    return ChooseCall(
        experiment_id,
        decision_id,
        subject_id,
        context,
        frozenset(excluded) if excluded else _NONE,
        frozenset(consents) if consents else _NONE,
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


def new_reward(request: pb.RewardRequest) -> NewReward:
    """Checks limits, then ids, then the value. Raises Refused."""
    decision_id = request.decision_id
    reward_id = request.reward_id
    metric = request.metric
    check_id_size("decision_id", decision_id)
    check_id_size("reward_id", reward_id)
    check_id_size("metric", metric)
    check_required_id("decision_id", decision_id)
    if reward_id:
        check_id("reward_id", reward_id)
    if metric:
        check_id("metric", metric)
    if not request.HasField("value"):
        raise refused_field(
            Reason.MISSING_VALUE, "value", "The reward has no value. Set value; 0 is a value."
        )
    value = request.value
    if not isfinite(value):
        raise refused_field(
            Reason.NON_FINITE_VALUE, "value", "The reward is NaN or infinite. Send a finite number."
        )
    observed_at_us = None
    if request.HasField("observed_at"):
        # Not judged, so not ToMicroseconds(), which raises outside the years 1 to 9999; the log clamps.
        observed_at_us = request.observed_at.seconds * 1_000_000 + request.observed_at.nanos // 1_000
    return NewReward(decision_id, metric, value, reward_id, observed_at_us)


def check_batch(count: int) -> None:
    """Raises Refused LIMIT_EXCEEDED for a batch of too many items."""
    check_count("requests", count, limits.BATCH_ITEMS, "items")


def _values(
    field: str, entries: Mapping[str, pb.FeatureValue]
) -> tuple[dict[str, FeatureValue | None], Sequence[str]]:
    """The values by name, and the names that are none, once names and texts are known to be short enough."""
    values: dict[str, FeatureValue | None] = {}
    misnamed: list[str] = []
    for name in entries:
        if name_problem(name):
            check_id_size(field, name)
            misnamed.append(name)
        entry = entries[name]
        # What isn't set reads as 0 or "", and to ask which one is set costs more than to try these two.
        value: FeatureValue | None = entry.number or entry.text or _rare_value(field, name, entry)
        if type(value) is str and len(value) > limits.TEXT_CHARACTERS_SAFE:
            check_size(f"{field}[{name}]", value, limits.TEXT_BYTES)
        values[name] = value
    return values, misnamed


def _rare_value(field: str, name: str, entry: pb.FeatureValue) -> FeatureValue | None:
    kind = entry.WhichOneof("value")
    if kind == "flag":
        return entry.flag
    if kind == "number":
        return entry.number
    if kind == "text":
        return entry.text
    if kind == "texts":
        texts = tuple(entry.texts.values)
        check_count(f"{field}[{name}]", len(texts), limits.TEXTS_VALUES, "values")
        for text in texts:
            check_size(f"{field}[{name}]", text, limits.TEXT_BYTES)
        return texts
    return None


def _features(index: int, variant: pb.Variant) -> dict[str, FeatureValue]:
    features: dict[str, FeatureValue] = {}
    values, _ = _values(f"variants[{index}].features", variant.features)
    for name, value in values.items():
        field = f"variants[{index}].features[{name}]"
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


def _check_variant_ids(variants: Sequence[pb.Variant]) -> None:
    for index, variant in enumerate(variants):
        check_required_id(f"variants[{index}].id", variant.id)
        for name in variant.features:
            if name_problem(name):
                check_id(f"variants[{index}].features[{name!r}]", name)


def _check_variant_limits(variant: pb.Variant) -> None:
    check_id_size("variants.id", variant.id)
    check_count("variants.features", len(variant.features), limits.FEATURES_PER_VARIANT, "features")
    check_size("variants.payload_json", variant.payload_json, limits.PAYLOAD_BYTES)
    _values("variants.features", variant.features)
