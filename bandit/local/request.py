"""Python values -> checked plain data: what the serving edge does with messages, in the same order.

No type is converted into another, except as the client does on its way to the wire: an int is a number, a
list, tuple or set of texts is categories.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import inf, isfinite
from typing import Any, Final, NamedTuple

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
from bandit.core.fields import payload_json
from bandit.core.records import FeatureValue, Variant

Value = str | float | bool | Collection[str]
"""What a signal or feature may be: a category, a number, a flag, or a collection of categories."""

VariantLike = Variant | Mapping[str, Any] | str
"""A Variant, a mapping with `id`, `features` and `payload` as in an experiment file, or an id."""

_DIGEST_BYTES: Final = 16
_VARIANT_KEYS: Final = ("id", "features", "payload")
_VARIANT: Final = f"an id, or a mapping with the keys {', '.join(_VARIANT_KEYS)}"
_FEATURES: Final = 'one mapping of names to values, such as {"price": 9.5}'


class Request(NamedTuple):
    """A call of `choose` whose limits and ids are sound. A context value of None was None."""

    decision_id: str
    subject_id: str
    context: Mapping[str, FeatureValue | None]
    variants: Sequence[Variant]
    excluded: Sequence[str]
    consents: Sequence[str]

    def digest(self, key: bytes) -> bytes:
        """A keyed sum of the call as made: mappings and sets without order, lists with theirs."""
        variants = [(v.id, dict(v.features), v.payload_json) for v in self.variants]
        body = [self.decision_id, self.subject_id, dict(self.context), variants, self.excluded, self.consents]
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return blake2b(text.encode(), key=key, digest_size=_DIGEST_BYTES, person=b"request").digest()


def pseudonym(subject_id: str, key: bytes) -> str:
    """What is stored for a subject; empty for none."""
    if not subject_id:
        return ""
    return blake2b(subject_id.encode(), key=key, digest_size=_DIGEST_BYTES, person=b"subject").hexdigest()


def choose_request(
    context: Mapping[str, Value],
    subject_id: str | None,
    decision_id: str | None,
    variants: Sequence[VariantLike] | None,
    excluded: Collection[str],
    consents: Collection[str],
) -> Request:
    """Checks limits, then ids, then the variants themselves. Raises Refused."""
    if not isinstance(context, Mapping):
        raise _wrong_type("context", context, _FEATURES)
    check_count("context", len(context), limits.CONTEXT_ENTRIES, "entries")
    given = variants or ()
    # A text would be a variant a letter, and a mapping lose what its keys stand for.
    if isinstance(given, str | Mapping) or not isinstance(given, Collection):
        raise _wrong_type("variants", given, f"a list, each item {_VARIANT}")
    check_count("variants", len(given), limits.VARIANTS, "variants")
    _check_names("excluded_variant_ids", excluded, limits.EXCLUDED_VARIANTS, "ids")
    _check_names("consents", consents, limits.CONSENTS, "consents")
    request = Request(
        decision_id=_id_text("decision_id", decision_id or ""),
        subject_id=_text("subject_id", subject_id or "", limits.SUBJECT_BYTES),
        context=_values(context),
        variants=[_variant(index, variant) for index, variant in enumerate(given)] if given else (),
        excluded=_names("excluded_variant_ids", excluded) if excluded else (),
        consents=_names("consents", consents) if consents else (),
    )
    if request.decision_id:
        check_id("decision_id", request.decision_id)
    if not _well_named(tuple(context)):
        for name in sorted(context):
            check_id(f"context[{name!r}]", name)
    if request.variants:
        _check_variant_ids(request.variants)
    for name in request.consents:
        check_id("consents", name)
    if request.variants:
        _check_variants(request.variants)
    return request


def reward_request(
    decision_id: str, value: float | None, metric: str | None, reward_id: str | None
) -> tuple[str, float, str, str]:
    """The same four, checked: limits, ids, value; metric and reward id are empty for none. Raises Refused."""
    texts = (("decision_id", decision_id), ("reward_id", reward_id or ""), ("metric", metric or ""))
    for field, text in texts:
        _id_text(field, text)
    check_required_id("decision_id", decision_id)
    for field, text in texts[1:]:
        if text:
            check_id(field, text)
    if value is None:
        raise refused_field(Reason.MISSING_VALUE, "value", "The reward has no value. Give one; 0 is a value.")
    if not isinstance(value, int | float):
        raise _wrong_type("value", value, "a finite number")
    number = _number(value)
    if not isfinite(number):
        raise refused_field(
            Reason.NON_FINITE_VALUE, "value", "The reward is NaN or infinite. Give a finite number."
        )
    return decision_id, number, metric or "", reward_id or ""


def _values(context: Mapping[str, Value]) -> dict[str, FeatureValue | None]:
    # Every signal of every decision comes by here: values that are already what they should be go first.
    well_named = _well_named(tuple(context))
    values: dict[str, FeatureValue | None] = {}
    for name, value in context.items():
        if well_named and (
            type(value) is float
            or type(value) is bool
            or (type(value) is str and len(value) <= limits.TEXT_CHARACTERS_SAFE and value.isascii())
        ):
            values[name] = value
        else:
            judged = _value("context", name, value)
            values[_plain(name)] = judged
    return values


@lru_cache(maxsize=1024)
def _well_named(names: tuple[str, ...]) -> bool:
    """Whether all are sound names: the same ones come with call after call."""
    return all(type(name) is str and not name_problem(name) for name in names)


def _value(field: str, name: str, value: object) -> FeatureValue | None:
    if type(name) is not str or name_problem(name):
        if not isinstance(name, str):
            raise _wrong_type(f"{field}[{name!r}]", name, "a str for the name")
        _id_text(field, name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, str):
        return _text(f"{field}[{name}]", value, limits.TEXT_BYTES)
    if not isinstance(value, list | tuple | set | frozenset):
        raise _wrong_type(
            f"{field}[{name}]", value, "a str, int, float, bool, or a list, tuple or set of str"
        )
    check_count(f"{field}[{name}]", len(value), limits.TEXTS_VALUES, "values")
    texts = tuple(_text(f"{field}[{name}]", item, limits.TEXT_BYTES) for item in value)
    # A set has no order, but the same call does.
    return tuple(sorted(texts)) if isinstance(value, set | frozenset) else texts


def _variant(index: int, given: VariantLike) -> Variant:
    field = f"variants[{index}]"
    if isinstance(given, str):
        given = Variant(given)
    if isinstance(given, Variant):
        variant_id, features, payload = given.id, given.features, given.payload_json
    elif isinstance(given, Mapping):
        for key in given:
            if key not in _VARIANT_KEYS:
                raise refused_field(
                    Reason.WRONG_TYPE, field, f"{field} has the unknown key {key!r}. Give {_VARIANT}."
                )
        variant_id, features = given.get("id", ""), given.get("features") or {}
        payload = _payload(f"{field}.payload", given.get("payload"))
    else:
        raise _wrong_type(field, given, _VARIANT)
    variant_id = _id_text(f"{field}.id", variant_id)
    if not isinstance(features, Mapping):
        raise _wrong_type(f"{field}.features", features, _FEATURES)
    check_count(f"{field}.features", len(features), limits.FEATURES_PER_VARIANT, "features")
    payload = _text(f"{field}.payload", payload, limits.PAYLOAD_BYTES)
    sound: dict[str, FeatureValue] = {}
    for name, item in features.items():
        value = _value(f"{field}.features", name, item)
        if value is None:
            raise refused_field(
                Reason.MISSING_VALUE,
                f"{field}.features[{name}]",
                f"Feature {name!r} of variant {variant_id!r} is None. Give a value, or leave it out.",
                variant_id=variant_id,
                feature=name,
            )
        sound[_plain(name)] = value
    return Variant(variant_id, sound, payload)


def _payload(field: str, value: object) -> str:
    try:
        return payload_json(value)
    except ValueError as error:
        raise refused_field(Reason.WRONG_TYPE, field, f"{field} {error}.") from error


def _check_variant_ids(variants: Sequence[Variant]) -> None:
    for index, variant in enumerate(variants):
        check_required_id(f"variants[{index}].id", variant.id)
        for name in variant.features:
            if name_problem(name):
                check_id(f"variants[{index}].features[{name!r}]", name)


def _check_variants(variants: Sequence[Variant]) -> None:
    seen: set[str] = set()
    for index, variant in enumerate(variants):
        if variant.id in seen:
            raise refused_field(
                Reason.DUPLICATE_VARIANT_ID,
                f"variants[{index}].id",
                f"Variant {variant.id!r} stands twice. Give each variant once.",
                variant_id=variant.id,
            )
        seen.add(variant.id)
        for name, value in variant.features.items():
            if type(value) is float and not isfinite(value):
                raise refused_field(
                    Reason.NON_FINITE_VALUE,
                    f"variants[{index}].features[{name}]",
                    f"Feature {name!r} of variant {variant.id!r} is NaN or infinite. Give a finite number.",
                    variant_id=variant.id,
                    feature=name,
                )


def _check_names(field: str, names: object, limit: int, unit: str) -> None:
    if not isinstance(names, list | tuple | set | frozenset):
        raise _wrong_type(field, names, "a list, tuple or set of str")
    check_count(field, len(names), limit, unit)


def _names(field: str, names: Collection[str]) -> Sequence[str]:
    texts = [_id_text(field, name) for name in names]
    return sorted(texts) if isinstance(names, set | frozenset) else texts


def _id_text(field: str, text: object) -> str:
    if type(text) is not str and not isinstance(text, str):
        raise _wrong_type(field, text, "a str")
    check_id_size(field, text)
    return _plain(text)


def _text(field: str, text: object, limit: int) -> str:
    if not isinstance(text, str):
        raise _wrong_type(field, text, "a str")
    check_size(field, text, limit)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise refused_field(
                Reason.MALFORMED_MESSAGE, field, f"{field} holds half of a surrogate pair. Give UTF-8 text."
            ) from None
    return _plain(text)


def _plain(text: str) -> str:
    """The text itself, as the wire would carry it: of an enumeration's member `str` would make its name."""
    return str.__str__(text)


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of more than 308 digits
        return inf


def _wrong_type(field: str, value: object, expected: str) -> Refused:
    actual = type(value).__name__
    return refused_field(
        Reason.WRONG_TYPE,
        field,
        f"{field} is of type {actual}. Give {expected}.",
        expected=expected,
        actual=actual,
    )
