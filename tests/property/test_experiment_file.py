"""Whatever stands in an experiment file, reading it ends in experiments or in problems."""

from hypothesis import given
from hypothesis import strategies as st

from bandit.core.experiment import Experiment
from bandit.experiment_file import parse

GOOD = """\
experiments:
  - id: mail
    owner: growth
    variants: [{id: a, features: {colour: blue, price: 1}}, {id: b, payload: {template: x}}]
    baseline: a
    signals: {recency: {type: number, range: [1, 12]}, channel: {type: category, values: [web]}}
    reward: {metric: visit, window: 10m, default: none, learn: on_reward}
    metrics: {complaint: {range: [0, 1], guardrail: {worse: higher}}}
    policy: {preset: squarecb, floor: 0.01}
    rollout: {stage: ramp, percent: 5}
"""

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def edited(draw_from):
    """The good file with some pieces cut out and others put in."""
    text = GOOD
    for _ in range(draw_from(st.integers(1, 4))):
        start = draw_from(st.integers(0, len(text)))
        length = draw_from(st.integers(0, 12))
        piece = draw_from(
            st.sampled_from(["", "&x ", "*x", "- ", ": ", "{", "]", "'", "!!str ", "\n  ", "no", ".nan"])
        )
        text = text[:start] + piece + text[start + length :]
    return text


@given(text=edited() | st.text())
def test_any_text_gives_experiments_or_problems_with_a_line_of_the_text(text):
    loaded = parse(text, "FILE")
    assert not (loaded.experiments and loaded.problems)
    for told in (*loaded.problems, *loaded.warnings):
        assert 1 <= told.line <= max(len(text.splitlines()), 1)
        assert "\n" not in str(told)
        assert "Input should" not in told.message
    for experiment in loaded.experiments:
        assert Experiment.from_json(experiment.canonical_json()) == experiment


@given(key=st.sampled_from(sorted(Experiment.model_fields)), value=values)
def test_any_value_of_any_key_is_taken_or_told_with_its_field(define, key, value):
    # JSON is YAML, so a definition with any value is a file with any value.
    import json

    definition = json.loads(define().canonical_json())
    loaded = parse(json.dumps({"experiments": [{**definition, key: value}]}), "FILE")
    assert loaded.experiments or loaded.problems
    for problem in loaded.problems:
        assert problem.field == "" or problem.field.startswith("experiments[0]")
        assert "Input should" not in problem.message
