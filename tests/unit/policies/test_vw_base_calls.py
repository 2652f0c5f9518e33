"""What the fast calls into Vowpal Wabbit's base class rely on. A VW upgrade that breaks them fails here."""

import os
import resource
from pathlib import Path

import pylibvw
import pytest
import vowpalwabbit

from bandit.policies.errors import IncompatibleModel
from bandit.policies.vw import model_file, options
from bandit.policies.vw.workspace import Workspace, vw_version

KNOWN_VERSION = "9.11.9"
ARGUMENTS = options.arguments(0.2, 18, "")


def question(rng, variants=10):
    context = " ".join(f"s{i}={rng.randrange(5)}" for i in range(7)) + f" n:{rng.gauss(0, 1):.4f}"
    return f"shared |U {context}" + "".join(f"\n|A id={a} |F f={a % 3}" for a in range(variants))


def lesson(rng):
    shared = question(rng, 0)
    return f"{shared}\n0:{-rng.random():.9f}:1 |A id={rng.randrange(10)} |F f={rng.randrange(3)}"


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_the_version_is_the_one_that_this_room_was_written_for():
    assert vw_version() == vowpalwabbit.__version__ == KNOWN_VERSION, (
        f"Vowpal Wabbit is {vw_version()}, this room was written for {KNOWN_VERSION}. Run every test of "
        "tests/unit/policies and tests/property, compare parse_regressor.cc and gd.cc with "
        "bandit/policies/vw/model_file.py, see that models are learned anew, then change KNOWN_VERSION."
    )


def test_the_base_class_has_the_calls():
    for name in ("_parse", "predict_multi", "learn_multi", "_finish_example_multi_ex", "save", "finish"):
        assert callable(getattr(pylibvw.vw, name))
    assert issubclass(vowpalwabbit.Workspace, pylibvw.vw)


def test_results_equal_those_of_the_documented_calls(rng, tmp_path):
    fast = Workspace(ARGUMENTS)
    slow = vowpalwabbit.Workspace(arg_list=list(ARGUMENTS))
    for _ in range(300):
        text = lesson(rng)
        fast.learn(text)
        slow.learn(text)
        asked = question(rng)
        assert fast.predict(asked) == slow.predict(asked)
    fast.save(tmp_path / "fast.vw")
    slow.save(tmp_path / "slow.vw")
    slow.finish()
    fast.close()
    assert (tmp_path / "fast.vw").read_bytes() == (tmp_path / "slow.vw").read_bytes()


def test_costs_come_in_the_order_of_the_lines_and_learning_moves_towards_the_label():
    workspace = Workspace(ARGUMENTS)
    for _ in range(200):
        workspace.learn("shared |U x\n0:-0.9:1 |A id=good")
        workspace.learn("shared |U x\n0:-0.1:1 |A id=bad")
    costs = workspace.predict("shared |U x\n|A id=bad\n|A id=good\n|A id=new")
    assert costs[0] == pytest.approx(-0.1, abs=0.05)
    assert costs[1] == pytest.approx(-0.9, abs=0.05)
    assert len(costs) == 3
    workspace.close()


def test_one_served_variant_weighs_the_same_whatever_was_learned_before(rng):
    """VW divides importance by the mean number of variants an event; with one line each that is always 1."""
    alone = Workspace(ARGUMENTS)
    asked_between = Workspace(ARGUMENTS)
    for _ in range(100):
        text = lesson(rng)
        alone.learn(text)
        asked_between.learn(text)
        asked_between.predict(question(rng, 50))
    text = question(rng)
    assert alone.predict(text) == asked_between.predict(text)
    alone.close()
    asked_between.close()


def test_numbers_are_read_as_written_without_an_exponent():
    """With one, VW reads -4e-196 as minus infinity: the encoder writes fixed-point numbers only."""
    workspace = pylibvw.vw(list(ARGUMENTS))
    for written in ("-0.000000001", "-0.123456789", "-1.000000000", "-0.000000000", "2.9999"):
        examples = pylibvw.vw._parse(workspace, f"shared |U n:{written}\n0:{written}:1 |A x")
        assert examples[1].get_cbandits_cost(0) == pytest.approx(float(written), rel=1e-5)
        if float(written) != 0.0:
            assert examples[0].feature_weight(ord("U"), 0) == pytest.approx(float(written), rel=1e-5)
        pylibvw.vw._finish_example_multi_ex(workspace, examples)
    pylibvw.vw.finish(workspace)


def test_examples_do_not_leak(rng):
    workspace = Workspace(ARGUMENTS)
    asked, learned = question(rng), lesson(rng)
    for _ in range(2_000):
        workspace.predict(asked)
        workspace.learn(learned)
    before = resident_bytes()
    for _ in range(5_000):
        workspace.predict(asked)
        workspace.learn(learned)
    # An unfinished example keeps 32 kB; a leak would be over a gigabyte.
    assert resident_bytes() - before < 8_000_000
    workspace.close()


def test_a_closed_workspace_raises_instead_of_crashing(rng, tmp_path):
    workspace = Workspace(ARGUMENTS)
    workspace.close()
    workspace.close()
    with pytest.raises(ValueError, match="closed"):
        workspace.predict(question(rng))
    with pytest.raises(ValueError, match="closed"):
        workspace.learn(lesson(rng))
    with pytest.raises(ValueError, match="closed"):
        workspace.save(tmp_path / "model.vw")


# What changes how features are crossed, weighted or counted might treat a kept example otherwise.
MODELS = pytest.mark.parametrize(
    "update", ["", "--sgd", "-q UU --ignore_linear U", "--cubic UUA", "--noconstant --l1 1e-5 --l2 1e-5"]
)


def split(text):
    shared, _, lines = text.partition("\n")
    return shared, lines


@MODELS
def test_prepared_variants_are_predicted_as_their_text_is_while_it_learns(rng, update):
    workspace = Workspace(options.arguments(0.2, 18, options.canonical(update)[1]))
    catalogues = [split(question(rng, size))[1] for size in (1, 2, 10, 40)]
    prepared = [workspace.prepare(lines) for lines in catalogues]
    answers = set()
    for _ in range(300):
        which = rng.randrange(len(catalogues))
        shared = split(question(rng, 1))[0]
        costs = workspace.predict_prepared(prepared[which], shared)
        assert costs == workspace.predict(f"{shared}\n{catalogues[which]}")
        assert costs == workspace.predict_prepared(prepared[which], shared)
        answers.add(tuple(costs))
        if rng.random() < 0.7:
            workspace.learn(lesson(rng))
        if rng.random() < 0.1:
            workspace.release(prepared[which])
            catalogues[which] = split(question(rng, rng.choice((1, 3, 30))))[1]
            prepared[which] = workspace.prepare(catalogues[which])
    assert len(answers) > 200
    for examples in prepared:
        workspace.release(examples)
    workspace.close()


@MODELS
def test_what_was_prepared_can_be_released_whatever_was_done_last(rng, update):
    """VW judges what it gives back by the last lesson, if nothing was predicted since."""
    workspace = Workspace(options.arguments(0.2, 18, options.canonical(update)[1]))
    last = {
        "nothing": lambda prepared: None,
        "asked": lambda prepared: workspace.predict_prepared(prepared, "shared |U x"),
        "asked another": lambda prepared: workspace.predict("shared |U x\n|A id=1"),
        "learned": lambda prepared: workspace.learn(lesson(rng)),
    }
    for _ in range(200):
        prepared = workspace.prepare(split(question(rng, rng.choice((1, 2, 10))))[1])
        for name in rng.choices(list(last), k=3):
            last[name](prepared)
        workspace.release(prepared)
    assert len(workspace.predict(question(rng))) == 10
    workspace.close()


def test_preparing_asking_and_releasing_changes_nothing_of_the_model(rng, tmp_path):
    alone, asked = Workspace(ARGUMENTS), Workspace(ARGUMENTS)
    for step in range(100):
        shared, lines = split(question(rng, 1 + step % 7))
        prepared = asked.prepare(lines)
        asked.predict_prepared(prepared, shared)
        text = lesson(rng)
        for workspace in (alone, asked):
            workspace.learn(text)
        asked.release(prepared)
    digests = []
    for workspace in (alone, asked):
        workspace.save(tmp_path / "model.vw")
        digests.append(model_file.learned_digest(tmp_path / "model.vw"))
        workspace.close()
    assert digests[0] == digests[1]


def test_prepared_examples_do_not_leak(rng):
    workspace = Workspace(ARGUMENTS)
    shared, lines = split(question(rng))

    def use(times):
        for _ in range(times):
            prepared = workspace.prepare(lines)
            workspace.predict_prepared(prepared, shared)
            workspace.predict_prepared(prepared, shared)
            workspace.release(prepared)

    use(1_000)
    before = resident_bytes()
    use(3_000)
    # An unfinished example keeps 32 kB; a leak would be about a gigabyte.
    assert resident_bytes() - before < 8_000_000
    workspace.close()


def test_what_was_prepared_does_not_outlive_its_workspace(rng):
    workspace = Workspace(ARGUMENTS)
    shared, lines = split(question(rng))
    prepared = workspace.prepare(lines)
    workspace.predict_prepared(prepared, shared)
    workspace.close()
    with pytest.raises(ValueError, match="closed"):
        workspace.predict_prepared(prepared, shared)
    with pytest.raises(ValueError, match="closed"):
        workspace.release(prepared)
    with pytest.raises(ValueError, match="closed"):
        workspace.prepare(lines)


def test_nothing_is_printed_even_for_text_that_is_wrong(capfd, tmp_path):
    workspace = Workspace(ARGUMENTS)
    for wrong in (
        "shared |U a:nan\n0:nan:0.5 |A x",
        "shared |U a:1:2:3\n0:-1:7 |A x",
        "nonsense\n|A x",
        "shared |U a:1e40\n0:-5:1 |A x:1e40",
    ):
        workspace.learn(wrong)
        workspace.predict(wrong)
    workspace.save(tmp_path / "model.vw")
    workspace.close()
    with pytest.raises(IncompatibleModel):
        Workspace(ARGUMENTS, tmp_path / "none.vw")
    assert capfd.readouterr() == ("", "")


def test_vw_reads_no_environment_and_leaves_no_file_behind(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VW_OPTIONS", "--passes 3")
    workspace = Workspace(ARGUMENTS)
    workspace.learn(lesson(rng))
    (tmp_path / "a folder, with ünicode").mkdir()
    path = tmp_path / "a folder, with ünicode" / "--model.vw"
    workspace.save(path)
    workspace.close()
    Workspace(ARGUMENTS, path).close()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [
        "a folder, with ünicode/--model.vw"
    ]


def test_a_model_that_cannot_be_written_is_an_error(tmp_path):
    workspace = Workspace(ARGUMENTS)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="can't be written"):
        workspace.save(tmp_path / "file" / "model.vw")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    workspace.close()


def test_a_model_that_does_not_fit_on_the_disk_is_an_error_and_leaves_the_old_one(rng, tmp_path):
    workspace = Workspace(ARGUMENTS)
    for _ in range(500):
        workspace.learn(lesson(rng))
    (tmp_path / "model.vw").write_bytes(b"the one before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))
    try:
        with pytest.raises(OSError, match="can't be written"):
            workspace.save(tmp_path / "model.vw")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the one before"]
    workspace.close()


def test_a_file_carries_its_version_bits_and_options(rng, tmp_path):
    for text in ("", "--sgd -q UU --ignore_linear UF --power_t 0.3 --l2 1e-6 --noconstant --cubic UUA"):
        arguments = options.arguments(0.3, 14, options.canonical(text)[1])
        workspace = Workspace(arguments)
        workspace.learn(lesson(rng))
        workspace.save(tmp_path / "model.vw")
        workspace.close()
        header = model_file.read_header((tmp_path / "model.vw").read_bytes())
        assert (header.version, header.bits) == (vw_version(), 14)
        assert options.stored(header.options) == options.stored(arguments)


@pytest.mark.parametrize(
    "update", ["", "--sgd", "--adaptive", "--invariant", "--l1 1e-5 --l2 1e-5", "--power_t 0.2"]
)
def test_a_resumed_model_is_the_uninterrupted_one_and_asking_it_changes_nothing(rng, tmp_path, update):
    arguments = options.arguments(0.2, 18, update)
    path = tmp_path / "model.vw"

    def digest(workspace):
        workspace.save(path)
        return model_file.learned_digest(path)

    def reloaded(workspace):
        workspace.save(path)
        workspace.close()
        return Workspace(arguments, path)

    plain, resumed, asked = Workspace(arguments), Workspace(arguments), Workspace(arguments)
    for step in range(200):
        text = lesson(rng)
        for workspace in (plain, resumed, asked):
            workspace.learn(text)
        asked.predict(question(rng))
        if step % 37 == 0:
            resumed, asked = reloaded(resumed), reloaded(asked)
    assert digest(plain) == digest(resumed) == digest(asked)
    text = question(rng)
    assert plain.predict(text) == resumed.predict(text) == asked.predict(text)
    before = digest(plain)
    plain.learn(lesson(rng))
    assert digest(plain) != before
    for workspace in (plain, resumed, asked):
        workspace.close()
