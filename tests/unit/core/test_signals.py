import math

import pytest

from bandit.core.errors import Reason, Refused
from bandit.core.experiment import Signal
from bandit.core.signals import admitted, for_model, rules


def signal(**definition):
    return Signal.model_validate(definition)


SIGNALS = {
    "recency": signal(type="number", range=[1, 12]),
    "channel": signal(type="category", values=["web", "phone"]),
    "member": signal(type="flag"),
    "tags": signal(type="categories", values=["a", "b"]),
    "age": signal(type="number", range=[0, 120], strict=True),
    "income": signal(type="number", consent="marketing"),
}
RULES = rules(SIGNALS)


def refusal(context, consents=()):
    with pytest.raises(Refused) as refused:
        admitted(RULES, context, consents)
    return refused.value


def test_signals_of_their_declared_type_are_admitted_as_sent():
    context = {"recency": 3.0, "channel": "web", "member": False, "tags": ("a", "b")}
    assert admitted(RULES, context, ()) == (context, 0)


def test_an_absent_signal_is_allowed_and_so_is_an_empty_context():
    assert admitted(RULES, {}, ()) == ({}, 0)


def test_an_undeclared_signal_is_refused_by_name():
    refused = refusal({"recencyy": 3.0})
    assert refused.reason is Reason.UNDECLARED_SIGNAL
    assert refused.metadata["signal"] == "recencyy"
    assert refused.metadata["field"] == "context[recencyy]"
    assert "declared: recency, channel" in refused.message


@pytest.mark.parametrize(
    ("name", "value", "expected", "actual"),
    [
        ("recency", "3", "number", "category"),
        ("recency", True, "number", "flag"),
        ("channel", 3.0, "category", "number"),
        ("channel", ("web",), "category", "categories"),
        ("member", 1.0, "flag", "number"),
        ("tags", "a", "categories", "category"),
    ],
)
def test_no_type_is_converted_into_another(name, value, expected, actual):
    refused = refusal({name: value})
    assert refused.reason is Reason.WRONG_TYPE
    assert (refused.metadata["expected"], refused.metadata["actual"]) == (expected, actual)
    assert [violation.field for violation in refused.violations] == [f"context[{name}]"]


def test_a_value_without_a_type_is_missing():
    assert refusal({"recency": None}).reason is Reason.MISSING_VALUE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value):
    assert refusal({"recency": value}).reason is Reason.NON_FINITE_VALUE


@pytest.mark.parametrize("value", [None, math.nan, "text", 1e9])
def test_without_its_consent_a_signal_is_dropped_before_its_value_is_looked_at(value):
    assert admitted(RULES, {"income": value, "recency": 2.0}, ()) == ({"recency": 2.0}, 0)


def test_with_its_consent_a_signal_is_admitted_and_checked():
    assert admitted(RULES, {"income": 5.0}, ("news", "marketing")) == ({"income": 5.0}, 0)
    assert refusal({"income": "much"}, ["marketing"]).reason is Reason.WRONG_TYPE


def test_a_number_out_of_range_is_kept_as_sent_counted_and_clamped_for_the_model():
    assert admitted(RULES, {"recency": 99.0}, ()) == ({"recency": 99.0}, 1)
    assert for_model(SIGNALS["recency"], 99.0) == 12.0
    assert for_model(SIGNALS["recency"], -1.0) == 1.0
    assert for_model(SIGNALS["recency"], 1.0) == 1.0


def test_a_category_outside_its_values_is_kept_as_sent_counted_and_other_for_the_model():
    assert admitted(RULES, {"channel": "fax", "tags": ("a", "z")}, ()) == (
        {"channel": "fax", "tags": ("a", "z")},
        2,
    )
    assert for_model(SIGNALS["channel"], "fax") == "other"
    assert for_model(SIGNALS["tags"], ("a", "z", "b")) == ("a", "other", "b")


def test_a_strict_signal_out_of_its_range_is_refused():
    refused = refusal({"age": 121.0})
    assert refused.reason is Reason.SIGNAL_OUT_OF_RANGE
    assert refused.metadata["allowed"] == "[0.0, 120.0]"
    assert admitted(RULES, {"age": 120.0}, ()) == ({"age": 120.0}, 0)


def test_other_is_outside_too_unless_it_is_declared():
    signals = rules(
        {"open": signal(type="category", values=["a"]), "own": signal(type="category", values=["other"])}
    )
    assert admitted(signals, {"open": "other", "own": "other"}, ()) == ({"open": "other", "own": "other"}, 1)
    strict = rules({"c": signal(type="category", values=["a"], strict=True)})
    with pytest.raises(Refused) as raised:
        admitted(strict, {"c": "other"}, ())
    assert raised.value.reason is Reason.SIGNAL_OUT_OF_RANGE


def test_open_signals_take_any_name_and_type_but_no_missing_or_infinite_value():
    context = {"anything": 3.0, "else": "x", "flag": True, "list": ("a",)}
    assert admitted(None, context, ()) == (context, 0)
    for value, reason in ((None, Reason.MISSING_VALUE), (math.nan, Reason.NON_FINITE_VALUE)):
        with pytest.raises(Refused) as refused:
            admitted(None, {"anything": value}, ())
        assert refused.value.reason is reason


def test_an_empty_category_is_a_value():
    free = {"note": signal(type="category")}
    assert admitted(rules(free), {"note": ""}, ()) == ({"note": ""}, 0)


def test_no_value_is_repeated_in_a_refusal():
    for context in ({"channel": 1234.5}, {"age": 987.0}, {"recency": "secret"}):
        refused = refusal(context)
        told = f"{refused.message} {refused.metadata} {refused.violations}"
        assert not any(secret in told for secret in ("1234", "987", "secret"))


@pytest.mark.parametrize("turn", [list, reversed])
def test_declared_comes_before_type_and_type_before_range_in_whatever_order_a_map_comes(turn):
    sent = [("age", 500.0), ("recency", "x"), ("nobody", 1.0)]
    assert refusal(dict(turn(sent))).reason is Reason.UNDECLARED_SIGNAL
    assert refusal(dict(turn(sent[:2]))).reason is Reason.WRONG_TYPE
    assert refusal(dict(turn(sent[:1]))).reason is Reason.SIGNAL_OUT_OF_RANGE
    # Of several of one kind the first by name.
    several = [("tags", ("z",)), ("recency", math.nan), ("channel", 1.0), ("member", None)]
    assert refusal(dict(turn(several))).metadata["signal"] == "channel"


def test_a_refusal_shows_only_the_beginning_of_long_values():
    signals = {"topic": signal(type="category", strict=True, values=[f"{n}{'é' * 500}" for n in range(10)])}
    with pytest.raises(Refused) as refused:
        admitted(rules(signals), {"topic": "x"}, ())
    assert refused.value.metadata["allowed"].endswith("…")
    assert len(refused.value.metadata["allowed"]) == 128
