"""No text can inject a feature, a namespace, a label or a line, and nothing is written like anything else."""

import math
import re
from contextlib import contextmanager

import pylibvw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.core.experiment import Signal
from bandit.core.records import Variant
from bandit.policies.scaling import SPREAD, Scaler
from bandit.policies.vw import options, oracle
from bandit.policies.vw.encoding import BANDS_MAX, CROSSED_MAX, Encoder

VW = pylibvw.vw
WEIGHT_FLOATS = 4
CONSTANT = 128
"""The namespace of VW's own constant feature."""

nasty = st.sampled_from(
    [
        *("", " ", "|", ":", "=", "'", '"', "\n", "\r", "\t", "\0", "%", "%;", "%20;", "+", "?", "~"),
        "3",
        "-1",
        "nan",
    ]
) | st.sampled_from(
    [
        "|U x",
        "|A id=a",
        "shared",
        "a:3",
        "a=3",
        "a~3",
        "a b",
        "a\nb",
        "0:-1:1",
        "\n0:-1:1 |A x",
        "\u2028",
        "\ud800",
        "é😀",
    ]
)
texts = st.one_of(nasty, st.text(max_size=8), st.lists(nasty, max_size=4).map("".join))
# As exact as the text; + 0.0 makes the negative zero the other one, which is the same number.
numbers = st.floats(-4.0, 4.0).map(lambda number: round(number, 4) + 0.0)
values = st.one_of(texts, numbers, st.booleans(), st.lists(texts, max_size=4).map(tuple))
features = st.dictionaries(texts, values, max_size=6)
variants = st.lists(st.builds(Variant, texts, features), min_size=1, max_size=6)


class Parser:
    """VW's own reading of a text."""

    def __init__(self):
        self.vw = VW(list(options.arguments(0.2, 18, "")))

    @contextmanager
    def examples(self, text):
        examples = VW._parse(self.vw, text)
        try:
            yield examples
        finally:
            VW._finish_example_multi_ex(self.vw, examples)

    def hashed(self, word):
        return VW.hash_feature(self.vw, word, VW.hash_space(self.vw, "U"))


@pytest.fixture(scope="module")
def parser():
    parser = Parser()
    yield parser
    VW.finish(parser.vw)


class AnyNumber(Scaler):
    """Standardises every number as one of mean 0 and deviation 1."""

    def standard(self, name, value):
        return min(max(value, -SPREAD), SPREAD)


def encoder():
    return Encoder(None, AnyNumber(), AnyNumber())


def question(encoding, context, variants):
    """The text that asks for a prediction of each variant."""
    return f"{encoding.shared(context)}\n{encoding.lines(variants)}"


def crossed(encoding, context):
    """The context's line for a model that crosses signals with each other."""
    return encoding.crossed(encoding.read(context))


def unescaped(text):
    if text == "%;":
        return ""
    return re.sub("%([0-9A-F]+);", lambda found: chr(int(found[1], 16)), text)


def words(text):
    """The words of a namespace: VW knows no other separator than the space and the tab."""
    return [word for word in text.split(" ") if word]


def decoded(own_words):
    """The features that the words of a namespace stand for, read by the documented grammar alone."""
    features = {}
    for word in own_words:
        name, sign, value = re.fullmatch(r"([^:=?+~]*)([:=?+])([^:=?+~]*)", word).groups()
        name = unescaped(name)
        if sign == ":":
            features[name] = float(value)
        elif sign == "=":
            features[name] = unescaped(value)
        elif sign == "?":
            features[name] = {"1": True, "0": False}[value]
        else:
            features[name] = (*features.get(name, ()), unescaped(value))
    return features


def expected(features):
    """The same features as far as the model tells them apart."""
    seen = {}
    for name, value in features.items():
        if type(value) is tuple:
            if value:
                seen[name] = tuple(dict.fromkeys(value))
        elif type(value) is float:
            seen[name] = float(f"{min(max(value, -SPREAD), SPREAD):.4f}")
        else:
            seen[name] = value
    return seen


def tokens(features):
    """How many features VW must see; it leaves out those of value 0."""
    return sum(
        len(v) if type(v) is tuple else v != 0.0 or type(v) is not float for v in expected(features).values()
    )


def namespaces(example):
    return {
        chr(example.namespace(index))
        if isinstance(example.namespace(index), int)
        else example.namespace(index)
        for index in range(example.num_namespaces())
    } - {chr(CONSTANT)}


@given(features, variants)
def test_vw_sees_exactly_the_features_namespaces_and_lines_that_were_given(parser, context, given_variants):
    with parser.examples(question(encoder(), context, given_variants)) as examples:
        assert len(examples) == 1 + len(given_variants)
        shared, *lines = examples
        assert namespaces(shared) == ({"U"} if tokens(context) else set())
        assert shared.num_features_in(ord("U")) == tokens(context)
        for line, variant in zip(lines, given_variants, strict=True):
            assert namespaces(line) == {"A", "F"} if tokens(variant.features) else {"A"}
            assert line.num_features_in(ord("A")) == 1
            assert line.num_features_in(ord("F")) == tokens(variant.features)
            assert line.num_features_in(ord("U")) == 0
            assert line.get_cbandits_num_costs() == 0


class Lessons:
    """A workspace that only notes what it is to learn from."""

    def __init__(self, arguments, model):
        self.texts = []

    def learn(self, text):
        self.texts.append(text)
        return 0.0


def lesson(encoding, context, given_variants, chosen, reward, shared):
    """The text that Vowpal Wabbit learns from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "Workspace", Lessons)
        made = oracle.VwOracle((), encoding, shared)
    made.learn(encoding.read(context), given_variants, chosen, reward)
    return made._workspace.texts[0]


@given(features, variants, st.booleans(), st.data())
def test_a_lesson_has_one_label_on_one_line(parser, context, given_variants, crosses, data):
    chosen = data.draw(st.integers(0, len(given_variants) - 1))
    reward = data.draw(st.floats(0.0, 1.0))
    encoding = encoder()
    text = lesson(
        encoding, context, given_variants, chosen, reward, encoding.crossed if crosses else encoding.plain
    )
    with parser.examples(text) as examples:
        shared, line = examples
        assert shared.num_features_in(ord("U")) == tokens(context)
        assert line.get_cbandits_num_costs() == 1
        assert line.get_cbandits_cost(0) == pytest.approx(-reward, abs=1e-6)
        assert line.get_cbandits_probability(0) == 1.0
        assert line.num_features_in(ord("F")) == tokens(given_variants[chosen].features)


def banded(context):
    """The bands of a context's numbers, by the documented grammar."""
    bands = {}
    for name, value in context.items():
        if type(value) is float:
            half_deviations = math.floor(2.0 * min(max(value, -SPREAD), SPREAD))
            bands[name] = min(max(half_deviations, -BANDS_MAX), BANDS_MAX - 1)
    return bands


@given(features)
def test_crossed_lines_have_the_bands_of_all_numbers_beside_what_plain_ones_have(parser, context):
    encoding = encoder()
    text, plain = crossed(encoding, context), encoding.shared(context)
    bands = banded(context)
    assert text.startswith(plain)
    _, bar, rest = text.removeprefix(plain).partition(" |B ")
    found = dict(word.split("~") for word in words(rest))
    assert {unescaped(name): int(band) for name, band in found.items()} == bands
    assert bool(bar) == bool(bands)
    with parser.examples(f"{text}\n|A id=a") as (shared, line):
        assert namespaces(shared) == {*("U" * bool(tokens(context)) + "B" * bool(bands))}
        assert shared.num_features_in(ord("U")) == tokens(context)
        # A band is a token, so that of 0, too, is seen.
        assert shared.num_features_in(ord("B")) == len(bands)
        assert line.num_features_in(ord("A")) == 1


@given(texts, texts, numbers)
def test_no_text_is_written_like_a_band(name, text, number):
    encoding = encoder()
    [band] = words(crossed(encoding, {name: number}).partition(" |B ")[2])
    for written in (
        encoding.shared({text: True}),
        encoding.shared({text: text}),
        encoding.shared({text: (text,)}),
        encoding.shared({text: number}),
        encoding.lines([Variant(text, {text: text})]),
    ):
        assert "~" not in written
        assert band not in words(written)


@pytest.mark.parametrize(
    ("value", "band"),
    [
        (0.0, 0),
        (0.49, 0),
        (0.5, 1),
        (-0.01, -1),
        (-0.5, -1),
        (-0.51, -2),
        (1.99, 3),
        (2.49, 4),
        (2.5, 4),
        (3.0, 4),
        (-2.5, -5),
        (-2.51, -5),
        (-3.0, -5),
    ],
)
def test_a_band_is_half_a_deviation_wide_and_the_outermost_are_open(value, band):
    assert crossed(encoder(), {"n": value}) == f"shared |U n:{value:.4f} |B n~{band}"


@pytest.mark.parametrize("kind", ["flags", "numbers", "list"])
def test_contexts_of_too_many_features_are_not_crossed(kind):
    def context(size):
        if kind == "list":
            return {"tags": tuple(f"t{index}" for index in range(size))}
        return {f"n{index}": True if kind == "flags" else 1.0 for index in range(size)}

    encoding = encoder()
    short, long = context(CROSSED_MAX), context(CROSSED_MAX + 1)
    assert crossed(encoding, short).startswith(encoding.shared(short))
    assert crossed(encoding, long) == encoding.shared(long).replace("shared |U", "shared |L")
    assert crossed(encoding, {**long, "|U": "|U"}).count("|") == 1


def test_an_uncrossed_context_is_still_crossed_with_the_variants():
    for namespace in ("L", "B"):
        assert f"{namespace}A" in options.CROSSED


@given(features, variants)
def test_the_text_can_be_read_back_so_no_two_inputs_share_one(context, given_variants):
    shared, *lines = question(encoder(), context, given_variants).split("\n")
    assert shared.startswith("shared |U")
    assert decoded(words(shared.removeprefix("shared |U"))) == expected(context)
    assert len(lines) == len(given_variants)
    for line, variant in zip(lines, given_variants, strict=True):
        about, _, own = line.removeprefix("|A ").partition(" |F ")
        assert decoded([about]) == {"id": variant.id}
        assert decoded(words(own)) == expected(variant.features)


@given(features)
def test_vw_hashes_the_very_words_of_the_text(parser, context):
    text = question(encoder(), context, [Variant("a")])
    own = [word.partition(":") for word in words(text.split("\n")[0].removeprefix("shared |U"))]
    names = [name for name, colon, value in own if not colon or float(value) != 0.0]
    hashes = [parser.hashed(name) for name in names]
    with parser.examples(text) as examples:
        count = examples[0].num_features_in(ord("U"))
        seen = [examples[0].feature(ord("U"), index) // WEIGHT_FLOATS for index in range(count)]
    assert seen == hashes


@given(texts, values, texts, values)
def test_different_features_have_different_words(one_name, one, other_name, other):
    one_text, other_text = (
        question(encoder(), {name: value}, [Variant("a")]).split("\n")[0]
        for name, value in ((one_name, one), (other_name, other))
    )
    one_words, other_words = (words(text.removeprefix("shared |U")) for text in (one_text, other_text))
    if expected({one_name: one}) == expected({other_name: other}) and type(one) is type(other):
        assert one_words == other_words
    else:
        # Nothing at all is written of an empty list.
        assert one_words != other_words or not one_words


def test_a_category_that_looks_like_a_number_is_not_that_number():
    for value in ("3", "3.0", "-1", "nan"):
        text = question(encoder(), {"n": value}, [Variant("a")])
        assert text == f"shared |U n={value}\n|A id=a"
    assert question(encoder(), {"n": 3.0}, [Variant("a")]) == "shared |U n:3.0000\n|A id=a"
    assert question(encoder(), {"n": True, "m": ("3",)}, [Variant("a")]) == "shared |U m+3 n?1\n|A id=a"


def test_the_lines_follow_the_variants_and_the_running_figures():
    numbers = Scaler()
    encoding = Encoder(None, Scaler(), numbers)
    catalogue = (Variant("a", {"price": 1.0}), Variant("b", {"price": 3.0}))
    assert question(encoding, {}, catalogue) == "shared |U\n|A id=a |F price:0.0000\n|A id=b |F price:0.0000"
    for variant in catalogue:
        encoding.observe({}, variant)
    after = "shared |U\n|A id=a |F price:-1.0000\n|A id=b |F price:1.0000"
    assert question(encoding, {}, catalogue) == question(encoding, {}, catalogue) == after
    assert question(encoding, {}, catalogue[:1]) == "shared |U\n|A id=a |F price:-1.0000"
    changing = [Variant("x")]
    assert question(encoding, {}, changing).endswith("|A id=x")
    changing[0] = Variant("y")
    assert question(encoding, {}, changing).endswith("|A id=y")
    assert question(encoding, {}, catalogue) == after


def test_what_is_not_declared_or_declared_otherwise_is_left_out():
    declared = {"n": Signal(type="number", range=(0.0, 1.0)), "c": Signal(type="category", values=("x", "y"))}
    encoding = Encoder(declared, AnyNumber(), AnyNumber())
    assert question(encoding, {"n": "3", "c": 3.0, "z": True}, [Variant("a")]) == "shared |U\n|A id=a"
    assert question(encoding, {"n": 9.0, "c": "q"}, [Variant("a")]) == "shared |U n:1.0000 c=other\n|A id=a"


def test_no_number_is_written_with_an_exponent():
    context = {"small": 1e-9, "large": 1e300, "tiny": -5e-324}
    for reward in (4e-196, 1e-5, 0.0, 1.0):
        encoding = encoder()
        for shared in (encoding.plain, encoding.crossed):
            text = lesson(encoding, context, (Variant("a", context),), 0, reward, shared)
            assert "e" not in re.sub("[a-z]{2,}", "", text)


def test_a_value_of_no_known_type_is_an_error_and_not_a_guess():
    with pytest.raises(TypeError, match="'n' is of type int"):
        question(encoder(), {"n": 3}, [Variant("a")])


def test_endless_new_texts_do_not_pile_up():
    encoding = encoder()
    for index in range(10_000):
        question(encoding, {"t": f"text {index}", "long": "x" * 1000 + str(index)}, [Variant(f"v{index}")])
    assert len(encoding._escapes) <= 4096
    assert all(len(text) <= 64 for text in encoding._escapes)
