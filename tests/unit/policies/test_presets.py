"""A policy section: what is taken, what is refused, and how the refusal is worded."""

import pytest

from bandit.core.experiment import PolicySpec
from bandit.policies import presets

IDS = ["a", "b", "c"]


def section(preset="squarecb", **options):
    return PolicySpec.model_validate({"preset": preset, **options})


def test_the_default_is_squarecb_with_its_defaults():
    policy = presets.resolve(PolicySpec())
    assert policy.preset is presets.PRESETS["squarecb"]
    assert policy.options == {
        "gamma_scale": 100.0,
        "gamma_exponent": 0.5,
        "optimism": 0.5,
        "learning_rate": 0.25,
        "bits": 18.0,
    }
    assert (policy.variant_id, policy.oracle, policy.vw_args) == ("", "auto", "")


def test_every_default_lies_in_its_own_range():
    for preset in presets.PRESETS.values():
        for option in preset.options.values():
            assert option.low <= option.default <= option.high
            assert option.doc


@pytest.mark.parametrize(
    "policy",
    [
        section(gamma_scale=0),
        section("squarecb", gamma_scale=1e6, gamma_exponent=1.0, bits=20),
        section("squarecb:gamma_scale=50,bits=16"),
        section("epsilon_greedy", epsilon=0.1),
        section("epsilon_greedy:epsilon=0.05"),
        section("uniform"),
        section("fixed:b"),
        section(vw="-q UU --l2 1e-6"),
        section(learning_rate=0.5, vw="--noconstant"),
        section(oracle="auto"),
        section("epsilon_greedy", oracle="vw"),
        section("squarecb:oracle=vw"),
        section("squarecb:oracle=auto,optimism=0"),
        section("squarecb:oracle=vw", vw="--sgd"),
        section(oracle="vw", vw="--sgd"),
    ],
)
def test_a_sound_section_has_no_problem(policy):
    assert presets.check(policy, IDS) == []
    presets.resolve(policy)


def test_options_in_the_text_and_beside_it_mean_the_same():
    assert presets.resolve(section("epsilon_greedy:epsilon=0.1")) == presets.resolve(
        section("epsilon_greedy", epsilon=0.1)
    )


@pytest.mark.parametrize("preset", ["squarecb", "epsilon_greedy"])
def test_the_oracle_is_auto_until_something_else_is_said(preset):
    assert presets.resolve(section(preset)).oracle == "auto"
    assert presets.resolve(section(preset, oracle="auto")) == presets.resolve(section(preset))
    assert presets.resolve(section(preset, oracle="vw")).oracle == "vw"
    assert presets.resolve(section(f"{preset}:oracle=vw")) == presets.resolve(section(preset, oracle="vw"))


@pytest.mark.parametrize("arguments", ["--sgd", "-l 0.3", ""])
def test_vw_arguments_imply_the_oracle_that_they_are_for(arguments):
    implied = presets.resolve(section(vw=arguments))
    assert implied.oracle == "vw"
    assert implied == presets.resolve(section(vw=arguments, oracle="vw"))
    assert implied == presets.resolve(section("squarecb:oracle=vw", vw=arguments))


@pytest.mark.parametrize("preset", ["uniform", "fixed:b"])
def test_a_preset_that_does_not_learn_has_no_oracle(preset):
    assert presets.resolve(section(preset)).oracle == ""


def test_a_learning_rate_among_the_vw_arguments_is_the_option():
    by_argument = presets.resolve(section(vw="-l 0.5 -q UU"))
    assert by_argument.options["learning_rate"] == 0.5
    assert by_argument == presets.resolve(section(learning_rate=0.5, vw="--interactions UU"))


def test_a_fixed_variant_may_have_any_name_and_need_not_be_known_without_a_catalogue():
    policy = section("fixed:sale:50%=off, now")
    assert presets.check(policy, []) == []
    assert presets.resolve(policy).variant_id == "sale:50%=off, now"


@pytest.mark.parametrize(
    ("policy", "field", "message"),
    [
        (
            section("linucb"),
            "policy.preset",
            "is 'linucb', not a preset; use one of squarecb, epsilon_greedy, uniform, fixed:ID",
        ),
        (
            section(gama_scale=3),
            "policy.gama_scale",
            "'gama_scale' is not an option of squarecb; its options are gamma_scale, gamma_exponent, "
            "optimism, learning_rate, bits, oracle, vw",
        ),
        (section(optimism=-1), "policy.optimism", "optimism is -1; use a number from 0 to 10"),
        (section(oracle="linear"), "policy.oracle", "is 'linear'; use auto or vw"),
        (section(oracle=3), "policy.oracle", "is 3; use auto or vw"),
        (section(oracle=True), "policy.oracle", "is True; use auto or vw"),
        (section(oracle=""), "policy.oracle", "is ''; use auto or vw"),
        (section("squarecb:oracle=linear"), "policy.oracle", "is 'linear'; use auto or vw"),
        (section("squarecb:oracle=1"), "policy.oracle", "is 1.0; use auto or vw"),
        (
            section("squarecb:oracle=vw", oracle="vw"),
            "policy.oracle",
            "stands in the preset 'squarecb:oracle=vw' too; keep one of them",
        ),
        (
            section(oracle="auto", vw="--sgd"),
            "policy.oracle",
            "is auto, and `vw` arguments are for vw; keep one of them",
        ),
        (
            section("squarecb:oracle=auto", vw="--sgd"),
            "policy.oracle",
            "is auto, and `vw` arguments are for vw; keep one of them",
        ),
        (
            section("uniform", oracle="vw"),
            "policy.oracle",
            "is for presets that learn; uniform does not: leave it out",
        ),
        (
            section("uniform:oracle=auto"),
            "policy.oracle",
            "is for presets that learn; uniform does not: leave it out",
        ),
        (
            section("fixed:b", oracle="auto"),
            "policy.oracle",
            "is for presets that learn; fixed does not: leave it out",
        ),
        (section(gamma_scale=-1), "policy.gamma_scale", "gamma_scale is -1; use a number from 0 to 1e+06"),
        (section(gamma_scale="9"), "policy.gamma_scale", "gamma_scale is '9'; use a number from 0 to 1e+06"),
        (
            section(gamma_scale=True),
            "policy.gamma_scale",
            "gamma_scale is True; use a number from 0 to 1e+06",
        ),
        (section(bits=18.5), "policy.bits", "bits is 18.5; use a whole number from 10 to 24"),
        (section(bits=40), "policy.bits", "bits is 40; use a whole number from 10 to 24"),
        (
            section(learning_rate=0),
            "policy.learning_rate",
            "learning_rate is 0; use a number from 0.0001 to 10",
        ),
        (
            section("epsilon_greedy:epsilon=much"),
            "policy.preset",
            "epsilon is 'much'; use a number from 0 to 1",
        ),
        (section("epsilon_greedy:epsilon=nan"), "policy.preset", "epsilon is nan; use a number from 0 to 1"),
        (
            section("epsilon_greedy:0.05"),
            "policy.preset",
            "is 'epsilon_greedy:0.05'; write epsilon_greedy:option=number,option=number, each once",
        ),
        (
            section("epsilon_greedy:"),
            "policy.preset",
            "is 'epsilon_greedy:'; write epsilon_greedy:option=number,option=number, each once",
        ),
        (
            section("epsilon_greedy:epsilon=0.1,epsilon=0.2"),
            "policy.preset",
            "is 'epsilon_greedy:epsilon=0.1,epsilon=0.2'; write epsilon_greedy:option=number,option=number, "
            "each once",
        ),
        (
            section("epsilon_greedy:epsilon=0.1", epsilon=0.2),
            "policy.epsilon",
            "stands in the preset 'epsilon_greedy:epsilon=0.1' too; keep one of them",
        ),
        (
            section("uniform", epsilon=0.1),
            "policy.epsilon",
            "'epsilon' is not an option of uniform; it has none: leave it out",
        ),
        (section("fixed"), "policy.preset", "is 'fixed' without a variant; write fixed:ID"),
        (
            section("fixed:d"),
            "policy.preset",
            "names the variant 'd', which is not in the catalogue; use one of a, b, c",
        ),
        (
            section("uniform", vw="-q UU"),
            "policy.vw",
            "is for presets that learn; uniform does not: leave it out",
        ),
        (
            section(vw=3),
            "policy.vw",
            'is not text; write arguments in quotes, such as "--interactions UUA"',
        ),
        (
            section(vw="-l 0.5", learning_rate=0.2),
            "policy.vw",
            "sets --learning_rate, and so does the option learning_rate; keep one of them",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(policy, field, message):
    assert presets.check(policy, IDS) == [(field, message)]
    # The catalogue alone is not the policy's own business.
    if "catalogue" not in message:
        with pytest.raises(ValueError, match="policy"):
            presets.resolve(policy)


def test_every_problem_of_a_section_is_reported():
    problems = presets.check(section(gamma_scale=-1, epsilon=0.1, vw="--passes 2"), IDS)
    assert [field for field, _ in problems] == ["policy.gamma_scale", "policy.epsilon", "policy.vw"]
