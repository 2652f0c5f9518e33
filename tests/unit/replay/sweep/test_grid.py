"""grid.yaml as cells, or as problems that name file, line and field."""

import pytest

from bandit.replay.sweep import grid


def problems(text):
    found = grid.parse(text, "grid.yaml")
    assert found.policies == ()
    return [str(problem) for problem in found.problems]


def test_each_policy_is_crossed_with_the_options_of_its_preset():
    found = grid.parse(
        "policies: [squarecb, 'epsilon_greedy:bits=12', uniform, fixed:a]\n"
        "options:\n"
        "  squarecb: {gamma_scale: [10, 30.5], learning_rate: [0.1, 0.2]}\n"
        "  epsilon_greedy: {epsilon: 0.05}\n",
        "grid.yaml",
    )
    assert found.problems == ()
    assert found.policies == (
        "squarecb:gamma_scale=10,learning_rate=0.1",
        "squarecb:gamma_scale=10,learning_rate=0.2",
        "squarecb:gamma_scale=30.5,learning_rate=0.1",
        "squarecb:gamma_scale=30.5,learning_rate=0.2",
        "epsilon_greedy:bits=12,epsilon=0.05",
        "uniform",
        "fixed:a",
    )


def test_a_policy_without_options_is_one_cell():
    assert grid.parse("policies: [squarecb]", "g").policies == ("squarecb",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "grid.yaml:1: has no key policies at its top"),
        ("[a]", "grid.yaml:1: has no key policies at its top"),
        ("policies: []", "grid.yaml:1: policies: is not a list of policies"),
        ("policies: squarecb", "grid.yaml:1: policies: is not a list of policies"),
        ("policies: [squarecb]\nfolds: 3", "grid.yaml:2: folds: is not known here"),
        ("policies:\n  - squarecb\n  - 3", "grid.yaml:3: policies[1]: is not a text"),
        ("policies:\n  - squarcb", "grid.yaml:2: policies[0]: is 'squarcb', not a preset"),
        ("policies: [fixed]", "grid.yaml:1: policies[0]: is 'fixed' without a variant"),
        ("policies: [squarecb]\noptions: 3", "grid.yaml:2: options: is not a mapping"),
        ("policies: [squarecb]\noptions:\n  squarecb: 3", "grid.yaml:3: options.squarecb: is not a mapping"),
        (
            "policies: [squarecb]\noptions:\n  uniform: {a: 1}",
            "grid.yaml:3: options.uniform: is for a preset that stands under no policy",
        ),
        (
            "policies: [fixed:a]\noptions:\n  fixed: {a: 1}",
            "grid.yaml:3: options.fixed: is for fixed:ID, which has no options",
        ),
        (
            "policies: [squarecb]\noptions:\n  squarecb:\n    gamma: 3",
            "grid.yaml:4: options.squarecb.gamma: 'gamma' is not an option of squarecb",
        ),
        (
            "policies: [squarecb]\noptions:\n  squarecb:\n    floor: 0.1",
            "grid.yaml:4: options.squarecb.floor: 'floor' is not an option of squarecb",
        ),
        (
            "policies: [squarecb]\noptions:\n  squarecb:\n    gamma_scale:\n      - 3\n      - -1",
            "grid.yaml:6: options.squarecb.gamma_scale: gamma_scale is -1.0; use a number from 0 to 1e+06",
        ),
        (
            "policies: [squarecb]\noptions:\n  squarecb: {gamma_scale: []}",
            "grid.yaml:3: options.squarecb.gamma_scale: is an empty list",
        ),
        (
            "policies: [squarecb]\noptions:\n  squarecb: {gamma_scale: [3, x]}",
            "grid.yaml:3: options.squarecb.gamma_scale: holds something else than numbers",
        ),
        (
            "policies: [squarecb]\noptions:\n  squarecb: {gamma_scale: [3, 3.0]}",
            "grid.yaml:3: options.squarecb.gamma_scale: holds 3 twice",
        ),
        (
            "policies: ['squarecb:gamma_scale=3']\noptions:\n  squarecb: {gamma_scale: [3]}",
            "grid.yaml:1: policies: is 'squarecb:gamma_scale=3,gamma_scale=3'",
        ),
        ("policies: [squarecb, squarecb]", "grid.yaml:1: policies: give 'squarecb' twice"),
        ("policies: [squarecb", "grid.yaml:1: is not YAML"),
    ],
)
def test_a_problem_names_the_line_and_the_field(text, message):
    assert any(problem.startswith(message) for problem in problems(text)), problems(text)


def test_a_grid_has_a_limit_of_cells():
    values = list(range(1, 41))
    [problem] = problems(
        f"policies: [squarecb]\noptions:\n  squarecb: {{gamma_scale: {values}, bits: {list(range(10, 25))}, "
        "learning_rate: [0.1, 0.2]}"
    )
    assert problem.startswith("grid.yaml:1: policies: give 1,200 cells with the options; at most 1,000")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    missing = grid.load(tmp_path / "none.yaml")
    assert [problem.message for problem in missing.problems] == ["can't be read: No such file or directory"]
    odd = tmp_path / "odd.yaml"
    odd.write_bytes(b"\xff")
    assert [problem.message for problem in grid.load(odd).problems] == ["is not UTF-8 text; save it as UTF-8"]
