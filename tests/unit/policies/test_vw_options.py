"""Raw Vowpal Wabbit arguments: the allow-list, and that equal meanings are written alike."""

import pytest

from bandit.policies.vw import options
from bandit.policies.vw.workspace import Workspace


@pytest.mark.parametrize(
    "text",
    [
        "-f model.vw",
        "--final_regressor model.vw",
        "-i model.vw",
        "--initial_regressor=model.vw",
        "-d data.txt",
        "--cache_file x",
        "-c",
        "-k",
        "-p /dev/stdout",
        "--predictions out",
        "-r raw",
        "--readable_model r",
        "--invert_hash i",
        "--audit_regressor a",
        "--dump_json_weights_experimental w",
        "--dictionary words",
        "--feature_mask m",
        "--extra_metrics m.json",
        "--log_output stderr",
        "--daemon",
        "--port 9000",
        "--foreground",
        "--span_server host",
        "--sendto host",
        "--pid_file p",
        "--oaa 3",
        "--csoaa 3",
        "--cb 3",
        "--cb_type ips",
        "--cb_explore_adf",
        "--squarecb",
        "--ccb_explore_adf",
        "--slates",
        "--automl 2",
        "--coin",
        "--freegrad",
        "--ftrl",
        "--bfgs",
        "--boosting 3",
        "--lrq UA3",
        "--nn 3",
        "--passes 2",
        "--random_weights",
        "--initial_t 3",
        "--decay_learning_rate 0.9",
        "--loss_function logistic",
        "--link logistic",
        "-b 20",
        "--bit_precision 20",
        "-t",
        "--testonly",
        "--quiet",
        "--audit",
        "--hash strings",
        "--save_resume",
        "--ignore U",
        "--keep U",
        "--redefine U:=A",
        "--version",
        "--help",
        "-qUA",
        "model.vw",
        "-q UA --cb_explore 2",
    ],
)
def test_whatever_is_not_on_the_list_is_refused_with_the_list(text):
    message = options.problem(text)
    assert "is not allowed; allowed are --learning_rate, --power_t, --l1, --l2, --noconstant" in message
    with pytest.raises(ValueError, match="not allowed"):
        options.canonical(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--l2", "has --l2 ''; give it a number from 0 to 1"),
        ("--l2 -q UA", "has --l2 '-q'; give it a number from 0 to 1"),
        ("--power_t 2", "has --power_t '2'; give it a number from 0 to 1"),
        ("-l nan", "has --learning_rate 'nan'; give it a number from 0.0001 to 10"),
        ("-l 0", "has --learning_rate '0'; give it a number from 0.0001 to 10"),
        ("--sgd --sgd", "--sgd stands twice; keep one of them"),
        ("-l 1 --learning_rate 1", "--learning_rate stands twice; keep one of them"),
        (
            "-q UX",
            "has --quadratic 'UX'; give it 2 of the namespaces U (context), A (variant) and "
            "F (variant features), such as AF",
        ),
        (
            "--cubic UA",
            "has --cubic 'UA'; give it 3 of the namespaces U (context), A (variant) and "
            "F (variant features), such as UAF",
        ),
        (
            "--interactions ::",
            "has --interactions '::'; give it 2 to 4 of the namespaces U (context), A (variant) and "
            "F (variant features), such as UUAF",
        ),
        (
            "--ignore_linear",
            "has --ignore_linear ''; give it 1 to 3 of the namespaces U (context), A (variant) and "
            "F (variant features), such as UAF",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(text, message):
    assert options.problem(text) == message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", "-q UA"),
        ("-q AU --quadratic=FU", ""),
        ("-q UU --cubic AUU", "--interactions UUA --interactions UU"),
        ("--ignore_linear UA", "--ignore_linear AU"),
        ("--l2 1e-6 --sgd", "--sgd --l2=0.000001"),
        ("-l 0.5", "--learning_rate .5"),
    ],
)
def test_equal_meanings_are_written_alike(one, other):
    assert options.canonical(one) == options.canonical(other)


def test_canonical_writing_is_its_own_canonical_writing():
    text = "--sgd --interactions UUA -q FF --l1 1e-7 --ignore_linear FU --noconstant --power_t 0.3"
    rate, canonical = options.canonical(text)
    assert (rate, options.canonical(canonical)) == (None, (None, canonical))


def test_context_is_crossed_with_variants_whatever_is_asked_for():
    for text in ("", "--cubic UUA", "--ignore_linear U"):
        words = " ".join(options.arguments(0.2, 18, options.canonical(text)[1]))
        assert "--interactions UA" in words
        assert "--interactions UF" in words


def test_vw_takes_every_allowed_argument_alone_and_together():
    every = "--power_t 0.4 --l1 1e-7 --l2 1e-7 --noconstant --adaptive --normalized --invariant -q UU "
    every += "--cubic UUA --interactions UUAF --ignore_linear UAF"
    for text in (every, "--sgd", "--adaptive", "--invariant", "--normalized", "--power_t 0", "--l1 0 --l2 0"):
        Workspace(options.arguments(0.2, 12, options.canonical(text)[1])).close()
