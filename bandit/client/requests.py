"""Plain Python values -> request messages; a value of a wrong type is a TypeError that names the signal."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from bandit.v1 import bandit_pb2 as pb

Value = str | float | bool | Collection[str]
"""What a signal or feature may be: a category, a number, a flag, or a collection of categories."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant that comes with the call instead of from the experiment's catalogue.

    `features` describe it to the model. `payload` is any JSON value; it comes back as `Choice.payload`, and
    the model never sees it.
    """

    id: str
    features: Mapping[str, Value] = field(default_factory=dict)
    payload: Any = None


VariantLike = Variant | Mapping[str, Any] | str
"""A Variant, a mapping with its keys (`id`, `features`, `payload`, as in an experiment file), or an id."""

_VARIANT_KEYS: Final = ("id", "features", "payload")


@dataclass(frozen=True, slots=True)
class ChooseCall:
    """One call of `choose`, as an item of `choose_batch`; the fields are those of `choose`."""

    experiment_id: str
    context: Mapping[str, Value]
    subject_id: str | None = None
    decision_id: str | None = None
    variants: Sequence[VariantLike] | None = None
    excluded: Collection[str] = ()
    consents: Collection[str] = ()

    def message(self, new_id: Callable[[], str]) -> pb.ChooseRequest:
        """The request, with an id from `new_id` if it has none, so that sending it again is safe.

        Raises TypeError for a value of a type that no signal has, ValueError for one that can't be sent.
        """
        request = pb.ChooseRequest(
            experiment_id=_text("experiment_id", self.experiment_id),
            decision_id=_text("decision_id", self.decision_id or new_id()),
            subject_id=_text("subject_id", self.subject_id or ""),
            excluded_variant_ids=_texts("excluded", self.excluded),
            consents=_texts("consents", self.consents),
        )
        _fill(request.context, "context", self.context)
        for index, given in enumerate(_several(self.variants)):
            variant = _variant(index, given)
            where = f"variants[{variant.id}]"
            message = request.variants.add(
                id=_text(f"variants[{index}].id", variant.id), payload_json=_payload(where, variant.payload)
            )
            _fill(message.features, f"{where}.features", variant.features)
        return request


@dataclass(frozen=True, slots=True)
class RewardCall:
    """One call of `reward`, as an item of `reward_batch`; the fields are those of `reward`."""

    decision_id: str
    value: float
    metric: str | None = None
    reward_id: str | None = None
    observed_at: datetime | None = None

    def message(self) -> pb.RewardRequest:
        """The request. Raises TypeError for a value that is no number, ValueError for what can't be sent."""
        if not isinstance(self.value, int | float):
            raise TypeError(f"value: a reward is a number, not {type(self.value).__name__}")
        request = pb.RewardRequest(
            decision_id=_text("decision_id", self.decision_id),
            value=_number("value", self.value),
            metric=_text("metric", self.metric or ""),
            reward_id=_text("reward_id", self.reward_id or ""),
        )
        if self.observed_at is not None:
            if self.observed_at.tzinfo is None:
                raise ValueError("observed_at: has no time zone; use datetime.now(timezone.utc) or the like")
            request.observed_at.FromDatetime(self.observed_at)
        return request


def _several(given: Sequence[VariantLike] | None) -> Iterable[object]:
    if given is None:
        return ()
    # A text would be a variant a letter, and a mapping lose what its keys stand for.
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise TypeError(
            f"variants: {type(given).__name__} can't be sent; give a list, each item an id, a Variant, or a "
            f"mapping with the keys {', '.join(_VARIANT_KEYS)}"
        )
    return given


def _variant(index: int, given: object) -> Variant:
    if isinstance(given, Variant):
        return given
    if isinstance(given, str):
        return Variant(given)
    if not isinstance(given, Mapping):
        wrong = f"{type(given).__name__} can't be sent; give an id, a Variant, or a mapping"
    elif unknown := [key for key in given if key not in _VARIANT_KEYS]:
        wrong = f"the key {unknown[0]!r} is unknown; give a mapping"
    elif "id" not in given:
        wrong = "has no id; give a mapping"
    else:
        features = given.get("features")
        return Variant(given["id"], {} if features is None else features, given.get("payload"))
    raise TypeError(f"variants[{index}]: {wrong} with the keys {', '.join(_VARIANT_KEYS)}")


def _payload(where: str, payload: Any) -> str:
    try:
        return "" if payload is None else json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{where}.payload: is not JSON; use texts, finite numbers, True, False, None, lists and dicts"
        ) from error


def _fill(target: MutableMapping[str, pb.FeatureValue], where: str, values: Mapping[str, Value]) -> None:
    if not isinstance(values, Mapping):
        raise TypeError(
            f"{where}: {type(values).__name__} can't be sent; give one mapping of names to values, such as "
            '{"price": 9.5}'
        )
    for name, value in values.items():
        if not isinstance(name, str):
            raise TypeError(f"{where}[{name!r}]: a name is a text, not {type(name).__name__}")
        _set(target[name], f"{where}[{name}]", value)


def _set(target: pb.FeatureValue, where: str, value: Value) -> None:
    # bool first: a bool is an int to Python, but a flag to an experiment.
    if isinstance(value, bool):
        target.flag = value
    elif isinstance(value, int | float):
        target.number = _number(where, value)
    elif isinstance(value, str):
        target.text = _encodable(where, value)
    else:
        # Touching the list is what makes an empty one a value instead of a missing one.
        target.texts.SetInParent()
        target.texts.values.extend(_texts(where, value))


def _text(where: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where}: is a text, not {type(value).__name__}; send str(…) of it")
    return value


def _texts(where: str, values: Collection[str]) -> list[str]:
    if not isinstance(values, list | tuple | set | frozenset):
        raise TypeError(
            f"{where}: {type(values).__name__} can't be sent; send a str, an int or float, a bool, or a "
            "list, tuple or set of str, or leave it out"
        )
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{where}: a list holds texts, not {type(value).__name__}")
    texts = [_encodable(where, value) for value in values]
    # A set has no order, but the same body does: a retry from another process must compare equal.
    return sorted(texts) if isinstance(values, set | frozenset) else texts


def _number(where: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{where}: is too large for a double") from error


def _encodable(where: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: holds half of a surrogate pair, which UTF-8 can't carry") from error
    return value
