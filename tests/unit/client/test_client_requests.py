"""Plain Python values -> messages."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bandit.client import ChooseCall, RewardCall, Variant


def new_id() -> str:
    return "made here"


def sent(value: Any) -> Any:
    message = ChooseCall("e", {"s": value}).message(new_id).context["s"]
    return message.WhichOneof("value"), message


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, "flag", True),
        (False, "flag", False),
        (3, "number", 3.0),
        (-2.5, "number", -2.5),
        ("Web", "text", "Web"),
        ("3", "text", "3"),
        ("", "text", ""),
    ],
)
def test_each_python_type_is_one_signal_type(value: Any, kind: str, expected: Any) -> None:
    which, message = sent(value)
    assert which == kind
    assert getattr(message, kind) == expected


@pytest.mark.parametrize("value", [["b", "a"], ("b", "a")])
def test_a_list_keeps_its_order(value: Any) -> None:
    which, message = sent(value)
    assert (which, list(message.texts.values)) == ("texts", ["b", "a"])


@pytest.mark.parametrize("value", [{"b", "a", "c"}, frozenset({"c", "b", "a"})])
def test_a_set_is_sent_in_one_order_so_that_a_retry_is_the_same_body(value: Any) -> None:
    assert list(sent(value)[1].texts.values) == ["a", "b", "c"]


def test_an_empty_list_is_a_value_and_not_an_absent_one() -> None:
    assert sent([])[0] == "texts"


@pytest.mark.parametrize("value", [None, b"bytes", {"a": 1}, object(), 3 + 1j, iter(["a"])])
def test_a_value_of_another_type_is_refused_by_the_name_of_its_signal(value: Any) -> None:
    with pytest.raises(TypeError, match=r"context\[recency\]"):
        ChooseCall("e", {"recency": value}).message(new_id)


def test_a_list_with_a_number_is_refused_by_the_name_of_its_signal() -> None:
    with pytest.raises(TypeError, match=r"context\[channel\].*int"):
        ChooseCall("e", {"channel": ["Web", 3]}).message(new_id)  # type: ignore[dict-item]


def test_a_name_that_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match=r"context\[3\]"):
        ChooseCall("e", {3: "a"}).message(new_id)  # type: ignore[dict-item]


@pytest.mark.parametrize("value", [10**400, "\ud800", ["\ud800"]])
def test_a_value_that_no_message_can_hold_is_refused_by_the_name_of_its_signal(value: Any) -> None:
    with pytest.raises(ValueError, match=r"context\[recency\]"):
        ChooseCall("e", {"recency": value}).message(new_id)


def test_one_text_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(TypeError, match="excluded"):
        ChooseCall("e", {}, excluded="no_email").message(new_id)


def test_every_part_of_a_call_reaches_the_message() -> None:
    call = ChooseCall("e", {}, subject_id="u1", decision_id="d1", excluded={"x", "b"}, consents=["marketing"])
    message = call.message(new_id)
    assert message.experiment_id == "e"
    assert message.subject_id == "u1"
    assert message.decision_id == "d1"
    assert list(message.excluded_variant_ids) == ["b", "x"]
    assert list(message.consents) == ["marketing"]


def test_a_variant_may_be_an_object_a_mapping_or_an_id() -> None:
    given = [
        Variant("a", {"merchandise": "mens"}, {"template": "t"}),
        {"id": "b", "features": {"new": True}, "payload": [1, None]},
        "c",
    ]
    a, b, c = ChooseCall("e", {}, variants=given).message(new_id).variants
    assert (a.id, a.features["merchandise"].text, a.payload_json) == ("a", "mens", '{"template": "t"}')
    assert (b.id, b.features["new"].flag, b.payload_json) == ("b", True, "[1, null]")
    assert (c.id, len(c.features), c.payload_json) == ("c", 0, "")


def test_a_feature_of_a_wrong_type_is_refused_by_its_variant_and_name() -> None:
    with pytest.raises(TypeError, match=r"variants\[a\]\.features\[size\]"):
        ChooseCall("e", {}, variants=[Variant("a", {"size": None})]).message(new_id)  # type: ignore[dict-item]


KEYS = "with the keys id, features, payload"


@pytest.mark.parametrize(
    ("variants", "told"),
    [
        ([{"id": "a", "feature": {}}], f"variants[0]: the key 'feature' is unknown; give a mapping {KEYS}"),
        (["b", {"features": {}}], f"variants[1]: has no id; give a mapping {KEYS}"),
        ([("a", {})], f"variants[0]: tuple can't be sent; give an id, a Variant, or a mapping {KEYS}"),
        ([{"id": 5}], "variants[0].id: is a text, not int; send str(…) of it"),
        (
            [{"id": "a", "features": [{"x": 1}]}],
            "variants[a].features: list can't be sent; give one mapping of",
        ),
        ([{"id": "a", "payload": object()}], "variants[a].payload: is not JSON; use texts, finite numbers,"),
        (
            {"a": {"x": 1}},
            "variants: dict can't be sent; give a list, each item an id, a Variant, or a mapping",
        ),
        ("ab", "variants: str can't be sent; give a list"),
        (5, "variants: int can't be sent; give a list"),
    ],
)
def test_variants_of_another_shape_are_refused_with_the_shape_that_is_right(variants: Any, told: str) -> None:
    with pytest.raises(TypeError, match=re.escape(told)):
        ChooseCall("e", {}, variants=variants).message(new_id)


def test_a_payload_that_json_can_not_hold_is_refused_by_its_variant() -> None:
    with pytest.raises(ValueError, match=r"variants\[a\]\.payload: is not JSON"):
        ChooseCall("e", {}, variants=[Variant("a", payload=float("nan"))]).message(new_id)


def test_features_of_none_are_none_at_all() -> None:
    [variant] = ChooseCall("e", {}, variants=[{"id": "a", "features": None}]).message(new_id).variants
    assert not variant.features


@pytest.mark.parametrize("context", [None, [("a", 1)], "a"])
def test_a_context_that_is_no_mapping_is_refused(context: Any) -> None:
    with pytest.raises(TypeError, match=r"context: .* can't be sent; give one mapping of names to values"):
        ChooseCall("e", context).message(new_id)


@pytest.mark.parametrize("field", ["experiment_id", "subject_id", "decision_id"])
def test_an_id_that_is_no_text_is_refused_by_its_name(field: str) -> None:
    given: Any = {"experiment_id": "e", "context": {}, field: 5}
    with pytest.raises(TypeError, match=f"{field}: is a text, not int"):
        ChooseCall(**given).message(new_id)
    if field == "decision_id":
        with pytest.raises(TypeError, match="decision_id: is a text, not int"):
            RewardCall(5, 1.0).message()  # type: ignore[arg-type]


def test_a_call_without_an_id_gets_a_new_one() -> None:
    assert ChooseCall("e", {}).message(new_id).decision_id == "made here"
    assert ChooseCall("e", {}, decision_id="d1").message(new_id).decision_id == "d1"


def test_a_reward_of_zero_is_a_value() -> None:
    message = RewardCall("d", 0.0).message()
    assert message.HasField("value")
    assert not message.HasField("observed_at")


def test_every_part_of_a_reward_reaches_the_message() -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    message = RewardCall("d", True, metric="visit", reward_id="r1", observed_at=at).message()
    assert (message.decision_id, message.value, message.metric, message.reward_id) == (
        "d",
        1.0,
        "visit",
        "r1",
    )
    assert message.observed_at.ToDatetime(UTC) == at


@pytest.mark.parametrize("value", ["1", None, [1.0]])
def test_a_reward_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="value"):
        RewardCall("d", value).message()


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="observed_at"):
        RewardCall("d", 1.0, observed_at=datetime(2026, 5, 1)).message()
