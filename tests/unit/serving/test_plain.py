"""A call that is plain is what the careful checks make of it; and no other call is plain."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.core import limits
from bandit.core.checks import check_id
from bandit.core.errors import Refused
from bandit.core.experiment import Signal
from bandit.core.signals import admitted, rules
from bandit.serving import convert
from bandit.serving.plain import PlainCall, plain_call
from bandit.v1 import bandit_pb2 as pb

RULES = rules(
    {
        "age": Signal(type="number", range=(0, 120), strict=True, purpose="personalization"),
        "recency": Signal(type="number", range=(-1, 365), purpose="personalization"),
        "basket": Signal(type="number", purpose="personalization"),
        "channel": Signal(type="category", values=("web", "app"), purpose="personalization"),
        "größe": Signal(type="category", purpose="personalization"),
        "tags": Signal(type="categories", purpose="personalization"),
        "few": Signal(type="categories", values=("a", "b"), purpose="personalization"),
        "member": Signal(type="flag", purpose="personalization"),
        "income": Signal(type="number", purpose="personalization", consent="marketing"),
    }
)
PLAIN: dict[str, Any] = {
    "age": 30.0,
    "recency": 0.0,
    "basket": -2.5,
    "channel": "web",
    "größe": "XL",
    "tags": ("x", "y"),
    "few": ("b", "a"),
    "member": False,
}
VALUES = st.one_of(
    st.none(),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 120.0]),
    st.booleans(),
    st.sampled_from(["", "web", "other", "XL", "ü" * 600, "x" * 256, "x" * 257, "x" * 1_025]),
    st.lists(st.sampled_from(["", "a", "b", "other", "x" * 300, "ü" * 600]), max_size=3).map(tuple),
    st.just(("a",) * 65),
)


def asking(context: dict[str, Any], **fields: Any) -> pb.ChooseRequest:
    request = pb.ChooseRequest(experiment_id="mail", **fields)
    for name, value in context.items():
        entry = request.context[name]
        if isinstance(value, bool):
            entry.flag = value
        elif isinstance(value, float):
            entry.number = value
        elif isinstance(value, str):
            entry.text = value
        elif value is not None:
            entry.texts.values.extend(value)
    return request


def carefully(request: pb.ChooseRequest) -> tuple[PlainCall, int] | None:
    """What the careful checks make of a request, and how much of it is clamped; None if it is refused."""
    try:
        call = convert.choose_call(request)
        convert.call_variants(request)
        context, clamped = admitted(RULES, call.context, call.consents)
    except Refused:
        return None
    return PlainCall(call.decision_id, call.subject_id, context, call.excluded), clamped


def same(left: PlainCall | None, right: PlainCall) -> bool:
    """By repr, because -0.0 equals 0.0, and 1.0 True."""
    return left is not None and repr(left) == repr(right)


@given(
    st.dictionaries(st.sampled_from([*RULES, "undeclared"]), VALUES),
    st.sampled_from(["", "d", "ö" * 32, "ö" * 33, "a\nb"]),
    st.sampled_from(["", "s", "ü" * 128, "s" * 257]),
    st.lists(st.sampled_from(["marketing", "news", "", "x" * 65, "\x00"]), max_size=2),
    st.lists(st.sampled_from(["a", "b", "", "x" * 65, "\x00"]), max_size=2),
)
def test_a_plain_call_is_what_the_careful_checks_make_of_it(
    context: dict[str, Any], decision_id: str, subject_id: str, consents: list[str], excluded: list[str]
) -> None:
    request = asking(
        context,
        decision_id=decision_id,
        subject_id=subject_id,
        consents=consents,
        excluded_variant_ids=excluded,
    )
    plain, careful = plain_call(request, RULES), carefully(request)
    if plain is not None:
        assert careful is not None
        assert same(plain, careful[0])
        assert careful[1] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"decision_id": "ö" * 32, "subject_id": "user-7"},
        {"excluded_variant_ids": ["a", "b", "a"], "consents": ["news"]},
    ],
)
def test_the_usual_call_is_plain(fields: dict[str, Any]) -> None:
    request = asking(PLAIN, **fields)
    careful = carefully(request)
    assert careful is not None
    assert same(plain_call(request, RULES), careful[0])
    assert plain_call(asking({}, **fields), RULES)


@pytest.mark.parametrize("consents", [["news"], ["news", "marketing"]])
def test_a_signal_without_its_consent_is_left_out_of_a_plain_call(consents: list[str]) -> None:
    plain = plain_call(asking({"income": 5.0, "age": 3.0}, consents=consents), RULES)
    assert plain is not None
    assert plain.context == {"age": 3.0, **({"income": 5.0} if "marketing" in consents else {})}


@pytest.mark.parametrize(
    "context",
    [
        {"undeclared": 1.0},
        {"age": 121.0},
        {"recency": -2.0},
        {"basket": float("nan")},
        {"basket": float("inf")},
        {"basket": "2"},
        {"basket": None},
        {"channel": "fax"},
        {"größe": 0.0},
        {"größe": "ü" * 600},
        {"few": ("a", "c")},
        {"tags": ("ü" * 600,)},
        {"tags": ("a",) * 65},
        {"tags": "a"},
        {"member": 0.0},
        {"member": None},
        {"income": "much"},
    ],
)
def test_a_call_with_anything_to_refuse_drop_unseen_or_clamp_is_not_plain(context: dict[str, Any]) -> None:
    assert plain_call(asking({**PLAIN, **context}), RULES) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"decision_id": "x" * 65},
        {"decision_id": "a\nb"},
        {"subject_id": "s" * 257},
        {"consents": [""]},
        {"consents": ["a"] * (limits.CONSENTS + 1)},
        {"excluded_variant_ids": ["x" * 65]},
        {"excluded_variant_ids": ["a"] * (limits.EXCLUDED_VARIANTS + 1)},
        {"variants": [pb.Variant(id="a")]},
    ],
)
def test_a_call_with_a_bad_id_or_too_many_or_variants_of_its_own_is_not_plain(fields: dict[str, Any]) -> None:
    assert plain_call(asking(PLAIN, **fields), RULES) is None


def test_names_that_are_too_long_are_refused_alike_each_time() -> None:
    for _ in range(2):
        with pytest.raises(Refused, match="66 bytes"):
            check_id("name", "ö" * 33)
        assert plain_call(asking(PLAIN, consents=["ö" * 33]), RULES) is None
        assert carefully(asking({"ö" * 33: 1.0})) is None
