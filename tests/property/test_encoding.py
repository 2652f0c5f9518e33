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
from bandit.policies.reading import Reader
from bandit.policies.scaling import SPREAD, Scaler
from bandit.policies.vw import encoding as encoding_module
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


class Encoding(Encoder):
    """An encoder with the reader that a learner has beside it."""

    def __init__(self, signals, context_numbers, variant_numbers, **options):
        super().__init__(variant_numbers, **options)
        self.reader = Reader(signals, context_numbers, variant_numbers)
        self.read, self.observe = self.reader.read, self.reader.observe

    def shared(self, context):
        """The context's line."""
        return self.written(self.read(context))


def encoder(*, crosses=False, generalises=False):
    return Encoding(None, AnyNumber(), AnyNumber(), crossed=crosses, generalises=generalises)


def informed(given_variants, *, crosses):
    """An encoder that has taken in an event of these variants, as that of a learner has."""
    encoding = encoder(crosses=crosses)
    encoding.take_in(given_variants)
    return encoding


def question(encoding, context, variants):
    """The text that asks for a prediction of each variant."""
    return f"{encoding.shared(context)}\n{encoding.lines(variants)}"


def crossed(context):
    """The context's line for a model that crosses signals with each other."""
    encoding = encoder(crosses=True)
    return encoding.written(encoding.read(context))


def parts(variant):
    """What could be the same in another variant: a number by its name, all else by its type and value."""
    found = set()
    for name, value in variant.features.items():
        if type(value) is float:
            found.add((name, float))
        else:
            found |= {(name, type(value), text) for text in (value if type(value) is tuple else (value,))}
    return found


def ids_of(given_variants, crosses):
    """The namespace of ids once an event of these variants was taken in."""
    shares = any(
        parts(one) & parts(other)
        for index, one in enumerate(given_variants)
        for other in given_variants[:index]
    )
    return "V" if crosses and shares else "A"


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


@given(features, variants, st.booleans())
def test_vw_sees_exactly_the_features_namespaces_and_lines_that_were_given(
    parser, context, given_variants, crosses
):
    ids = ids_of(given_variants, crosses)
    other_ids = "A" if ids == "V" else "V"
    encoding = informed(given_variants, crosses=crosses)
    with parser.examples(question(encoding, context, given_variants)) as examples:
        assert len(examples) == 1 + len(given_variants)
        shared, *lines = examples
        bands = banded(context) if crosses else {}
        assert namespaces(shared) == {*("U" * bool(tokens(context)) + "B" * bool(bands))}
        assert shared.num_features_in(ord("U")) == tokens(context)
        for line, variant in zip(lines, given_variants, strict=True):
            assert namespaces(line) == ({ids, "F"} if tokens(variant.features) else {ids})
            assert line.num_features_in(ord(ids)) == 1
            assert line.num_features_in(ord(other_ids)) == 0
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


def lesson(encoding, context, given_variants, chosen, reward):
    """The text that Vowpal Wabbit learns from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "Workspace", Lessons)
        made = oracle.VwOracle((), encoding)
    made.learn(encoding.read(context), given_variants, chosen, reward)
    return made._workspace.texts[0]


@given(features, variants, st.booleans(), st.data())
def test_a_lesson_has_one_label_on_one_line(parser, context, given_variants, crosses, data):
    chosen = data.draw(st.integers(0, len(given_variants) - 1))
    reward = data.draw(st.floats(0.0, 1.0))
    text = lesson(informed(given_variants, crosses=crosses), context, given_variants, chosen, reward)
    with parser.examples(text) as examples:
        shared, line = examples
        assert shared.num_features_in(ord("U")) == tokens(context)
        assert line.get_cbandits_num_costs() == 1
        assert line.get_cbandits_cost(0) == pytest.approx(-reward, abs=1e-6)
        assert line.get_cbandits_probability(0) == 1.0
        assert line.num_features_in(ord("F")) == tokens(given_variants[chosen].features)
        # What is known of it is looked for where it was learned, though a lesson has one variant alone.
        assert line.num_features_in(ord(ids_of(given_variants, crosses))) == 1


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
    text, plain = crossed(context), encoder().shared(context)
    assert encoder(crosses=True).shared(context) == text
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
    [band] = words(crossed({name: number}).partition(" |B ")[2])
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
    assert crossed({"n": value}) == f"shared |U n:{value:.4f} |B n~{band}"


def test_the_band_of_every_number_is_the_floor_of_its_half_deviations():
    for step in range(-3_000, 3_001):
        value = step / 1_000
        band = min(max(math.floor(2.0 * value), -5), 4)
        assert crossed({"n": value}).endswith(f" |B n~{band}"), value
    # Exactly at, and next to, where one band ends and another begins.
    for half in range(-6, 7):
        for value in (half / 2, math.nextafter(half / 2, 9.0)):
            if value <= SPREAD:
                assert crossed({"n": value}).endswith(f" |B n~{min(max(half, -5), 4)}"), value


@pytest.mark.parametrize("crosses", [False, True], ids=["plain", "crossed"])
def test_of_an_empty_context_only_its_namespace_is_written(crosses):
    encoding = encoder(crosses=crosses)
    assert encoding.written(encoding.read({})) == encoding.shared({}) == "shared |U"


@pytest.mark.parametrize("kind", ["flags", "numbers", "list"])
def test_contexts_of_too_many_features_are_not_crossed(kind):
    def context(size):
        if kind == "list":
            return {"tags": tuple(f"t{index}" for index in range(size))}
        return {f"n{index}": True if kind == "flags" else 1.0 for index in range(size)}

    encoding = encoder()
    short, long = context(CROSSED_MAX), context(CROSSED_MAX + 1)
    assert crossed(short).startswith(encoding.shared(short))
    assert crossed(long) == encoding.shared(long).replace("shared |U", "shared |L")
    assert crossed({**long, "|U": "|U"}).count("|") == 1
    assert encoding.shared(long).startswith("shared |U ")


def test_an_uncrossed_context_is_still_crossed_with_the_variants():
    for crossing in ("LA", "LV", "LF", "BA", "UV"):
        assert crossing in options.CROSSED


@given(variants, st.booleans())
def test_variants_share_what_two_of_them_have(given_variants, crosses):
    shares = ids_of(given_variants, True) == "V"
    for given_so in (given_variants, tuple(given_variants)):
        assert encoding_module._generalise(given_so) is shares
        encoding = encoder(crosses=crosses)
        assert encoding.generalises is False
        for _ in range(2):
            encoding.take_in(given_so)
            assert encoding.generalises is (crosses and shares)


@given(variants, variants, st.booleans(), st.booleans(), st.data())
def test_what_is_written_of_a_variant_rests_on_events_and_not_on_the_variants_of_its_call(
    given_variants, others, crosses, generalises, data
):
    encoding = encoder(crosses=crosses, generalises=crosses and generalises)
    for _ in range(2):
        ids = "V" if encoding.generalises else "A"
        lines = encoding.lines(given_variants).split("\n")
        assert all(line.startswith(f"|{ids} id=") for line in lines)
        some = data.draw(st.lists(st.integers(0, len(given_variants) - 1), min_size=1, max_size=4))
        call = tuple(given_variants[at] for at in some)
        assert encoding.lines(call).split("\n") == [lines[at] for at in some]
        for at in some:
            assert encoding.line(given_variants, at) == lines[at]
        # Writing takes nothing in.
        assert encoding.generalises is (ids == "V")
        encoding.take_in(others)
    assert encoding.generalises is (crosses and (generalises or ids_of(others, True) == "V"))


@pytest.mark.parametrize(
    ("given_features", "shared"),
    [
        ([{"price": 1.0}, {"price": 2.0}], True),
        ([{"kind": "x"}, {"kind": "y"}, {"kind": "x"}], True),
        ([{"hot": True}, {"hot": True}], True),
        ([{"hot": False}, {"hot": False}], True),
        ([{"tags": ("a", "b")}, {"tags": ("b", "c")}], True),
        ([{"name": "a", "price": 1.0}, {"name": "b"}, {"name": "c", "price": 1.0}], True),
        ([{"name": "a"}, {"name": "b"}], False),
        ([{"hot": True}, {"hot": False}], False),
        ([{"tags": ("a", "b")}, {"tags": ("c", "d")}], False),
        ([{"kind": "x"}, {"sort": "x"}], False),
        ([{"price": 1.0}, {"weight": 1.0}], False),
        ([{"price": 1.0, "kind": "x", "hot": True, "tags": ("a", "b")}], False),
        # A list is a set, and a word of a list is another one than the same text alone.
        ([{"tags": ("a", "a")}], False),
        ([{"tags": ("a", "a")}, {"tags": ("b",)}], False),
        ([{"tags": ("a",)}, {"tags": "a"}], False),
        ([{"hot": True}, {"hot": 1.0}], False),
        ([{"tags": ()}, {"tags": ()}], False),
        ([{}, {}], False),
        ([{}], False),
        ([], False),
    ],
    ids=str,
)
def test_features_tell_what_holds_for_other_variants_if_several_have_them(given_features, shared):
    given_variants = [Variant(str(index), each) for index, each in enumerate(given_features)]
    for given_so in (given_variants, tuple(given_variants)):
        for crosses, ids in ((True, "V" if shared else "A"), (False, "A")):
            encoding = informed(given_so, crosses=crosses)
            assert encoding.generalises is (ids == "V")
            assert encoding.lines([Variant("x")]) == f"|{ids} id=x"


ALIKE, APART = (
    tuple(Variant(at, {"kind": kind}) for at, kind in zip("ab", pair, strict=True)) for pair in ("xx", "xy")
)


def test_what_a_tuple_shares_is_looked_up_once_and_of_a_list_each_time_until_it_is_settled(monkeypatch):
    calls = []
    looked_up = encoding_module._generalise
    monkeypatch.setattr(encoding_module, "_generalise", lambda given: calls.append(given) or looked_up(given))
    plain, encoding = encoder(), encoder(crosses=True)
    for _ in range(5):
        plain.take_in(ALIKE)
        encoding.take_in(APART)
    assert calls == [APART]
    changing = list(APART)
    for _ in range(5):
        encoding.take_in(changing)
    assert len(calls) == 6
    # A list in between is not taken for the tuple that was asked about before, nor for what it was itself.
    encoding.take_in(APART)
    assert len(calls) == 7
    assert not encoding.generalises
    changing[1] = ALIKE[1]
    encoding.take_in(changing)
    assert encoding.generalises
    for given_variants in (ALIKE, APART, changing):
        encoding.take_in(given_variants)
    assert len(calls) == 8


def test_once_features_told_what_holds_for_others_they_always_do():
    encoding = encoder(crosses=True)
    for given_variants, generalises in ((APART, False), (APART[:1], False), (ALIKE, True), (APART, True)):
        encoding.take_in(given_variants)
        assert encoding.generalises is generalises
        for call in (ALIKE, APART, list(ALIKE), ALIKE[1:], (Variant("x"),)):
            assert all(line[1] == ("V" if generalises else "A") for line in encoding.lines(call).split("\n"))
    # As one that was stored knows from the beginning.
    assert encoder(crosses=True, generalises=True).lines(APART) == encoding.lines(APART)


@pytest.mark.parametrize("kind", [tuple, list])
def test_the_line_that_is_learned_is_the_one_that_would_be_predicted(kind):
    encoding, call = encoder(crosses=True), kind(APART)
    for given_variants, ids in ((APART, "A"), (ALIKE, "V"), (APART, "V")):
        # What was written before the event is not kept beyond it.
        encoding.lines(call)
        encoding.take_in(given_variants)
        before = [encoding.line(call, chosen) for chosen in range(2)]
        lines = encoding.lines(call).split("\n")
        assert lines == before == [encoding.line(call, chosen) for chosen in range(2)]
        assert all(line.startswith(f"|{ids} ") for line in lines)


def test_the_revision_changes_when_lines_do_and_only_then():
    encoding = Encoding(None, Scaler(), Scaler(), crossed=True)
    priced, bare = Variant("a", {"price": 1.0}), Variant("a")
    revisions = [encoding.revision]
    for step in (
        lambda: encoding.take_in(ALIKE),
        lambda: encoding.observe({"n": 1.0}, priced),
        lambda: encoding.observe({"n": 2.0}, priced),
    ):
        for unchanged in (
            lambda: encoding.take_in(APART),
            lambda: encoding.observe({"n": 3.0}, bare),
            lambda: encoding.lines(ALIKE),
            lambda: encoding.read({"n": 4.0}),
        ):
            unchanged()
            assert encoding.revision == revisions[-1]
        step()
        assert encoding.revision not in revisions
        revisions.append(encoding.revision)
    encoding.take_in(ALIKE)
    assert encoding.revision == revisions[-1]


@given(features, variants, st.booleans())
def test_the_text_can_be_read_back_so_no_two_inputs_share_one(context, given_variants, crosses):
    encoding = informed(given_variants, crosses=crosses)
    shared, *lines = question(encoding, context, given_variants).split("\n")
    assert shared.startswith("shared |U")
    own_words, _, _ = shared.removeprefix("shared |U").partition(" |B ")
    assert decoded(words(own_words)) == expected(context)
    ids = ids_of(given_variants, crosses)
    assert len(lines) == len(given_variants)
    for line, variant in zip(lines, given_variants, strict=True):
        about, _, own = line.removeprefix(f"|{ids} ").partition(" |F ")
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
    encoding = Encoding(None, Scaler(), numbers)
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
    encoding = Encoding(declared, AnyNumber(), AnyNumber())
    assert question(encoding, {"n": "3", "c": 3.0, "z": True}, [Variant("a")]) == "shared |U\n|A id=a"
    assert question(encoding, {"n": 9.0, "c": "q"}, [Variant("a")]) == "shared |U n:1.0000 c=other\n|A id=a"


def test_no_number_is_written_with_an_exponent():
    context = {"small": 1e-9, "large": 1e300, "tiny": -5e-324}
    for reward in (4e-196, 1e-5, 0.0, 1.0):
        for crosses in (False, True):
            text = lesson(encoder(crosses=crosses), context, (Variant("a", context),), 0, reward)
            assert "e" not in re.sub("[a-z]{2,}", "", text)


def test_a_value_of_no_known_type_is_an_error_and_not_a_guess():
    with pytest.raises(TypeError, match="'n' is of type int"):
        question(encoder(), {"n": 3}, [Variant("a")])


def test_endless_new_texts_do_not_pile_up():
    encoding = encoder()
    for index in range(10_000):
        text, long = f"text {index}", "x" * 1000 + str(index)
        question(encoding, {"t": text, "long": long, text: 1.0, long: 1.0}, [Variant(text), Variant(long)])
    tokens, numbers = encoding.reader._tokens, encoding.reader._numbers
    for escapes in (encoding._escapes, tokens._escapes):
        assert len(escapes) <= 4096
        assert all(len(text) <= 64 for text in escapes)
    assert len(tokens) <= 4096
    assert all(len(text) <= 64 for _, text in tokens)
    assert len(numbers) <= 4096
    assert all(len(name) <= 64 for name in numbers)
