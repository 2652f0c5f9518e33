"""Experiment files: each fixture holds one mistake, and above it, as comments, exactly what is told of it."""

from pathlib import Path

import pytest
import yaml

from bandit.core import limits
from bandit.experiment_file import load, parse

FIXTURES = Path(__file__).parents[1] / "fixtures" / "experiments"

GOOD = """\
experiments:
  - id: spring-email
    owner: growth@shop.example
    hypothesis: Mens merchandise lifts visits for recent buyers.
    variants:
      - {id: no_email}
      - {id: mens_email,   features: {merchandise: mens},   payload: {template: mens-spring}}
      - {id: womens_email, features: {merchandise: womens}, payload: {template: womens-spring}}
    baseline: no_email
    signals:
      recency:  {type: number, range: [1, 12], purpose: personalization}
      channel:  {type: category, purpose: personalization, consent: marketing}
    reward: {metric: visit, range: [0, 1], window: 10m, default: 0, aggregate: first, learn: at_close}
    metrics:
      complaint: {range: [0, 1], guardrail: {worse: higher, tolerance: 0.002}}
    policy: {preset: squarecb, floor: 0.01}
    on_log_failure: baseline
    rollout: {stage: ramp, percent: 5, holdout_percent: 5}
"""

SMALL = """\
experiments:
  - id: {id}
    owner: growth
    variants: [{{id: a}}, {{id: b}}]
    baseline: a
    signals: {{recency: {{type: number}}}}
    reward: {{metric: visit}}
"""


def told(loaded):
    return [str(problem) for problem in loaded.problems]


def expected(path):
    """The comments at the top of a fixture: what `banditd check` prints of it."""
    lines = path.read_text().splitlines()
    return [line.removeprefix("# ") for line in lines if line.startswith("# FILE:")]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_mistake_is_told_with_its_line_its_field_and_what_would_be_right(path):
    loaded = load(path)
    printed = [str(problem) for problem in loaded.problems]
    printed += [f"{warning} (warning)" for warning in loaded.warnings]
    assert [line.replace(str(path), "FILE") for line in printed] == expected(path)
    assert printed
    assert bool(loaded.problems) == (not path.stem.startswith("warns_"))


def test_the_documented_example_is_in_order():
    loaded = parse(GOOD, "FILE")
    assert (loaded.problems, loaded.warnings) == ((), ())
    (experiment,) = loaded.experiments
    assert experiment.id == "spring-email"
    assert experiment.signals["recency"].range == (1.0, 12.0)
    assert experiment.reward.window_us == 600_000_000
    assert experiment.catalogue()[1].payload_json == '{"template":"mens-spring"}'
    assert experiment.metrics["complaint"].guardrail.tolerance == 0.002


def test_all_problems_are_told_at_once_in_the_order_of_their_lines():
    text = GOOD.replace("owner:", "ownr:").replace("10m", "10").replace("percent: 5,", "percent: x,")
    assert [problem.line for problem in parse(text, "FILE").problems] == [2, 3, 13, 18]


def test_with_any_problem_there_are_no_experiments():
    broken = SMALL.format(id="b").replace("baseline: a", "baseline: z").removeprefix("experiments:\n")
    loaded = parse(SMALL.format(id="a") + broken, "FILE")
    assert len(loaded.problems) == 1
    assert loaded.experiments == ()


def test_a_text_is_named_as_the_caller_says():
    assert told(parse("", "experiments.yaml"))[0].startswith("experiments.yaml:1: is empty")


def test_scalars_are_read_as_in_yaml_1_2():
    features = (
        "a: 1e-3, b: 010, c: 12:30, d: 1_000, e: 2026-01-01, f: .5, g: -3, h: 0x1F, i: 'no', j: +1.5E+2"
    )
    text = SMALL.format(id="a").replace("{id: a}", f"{{id: a, features: {{{features}}}}}", 1)
    (experiment,) = parse(text, "FILE").experiments
    assert experiment.variants[0].features == {
        "a": 0.001,
        "b": "010",
        "c": "12:30",
        "d": "1_000",
        "e": "2026-01-01",
        "f": 0.5,
        "g": -3.0,
        "h": "0x1F",
        "i": "no",
        "j": 150.0,
    }


def test_an_alias_repeats_what_its_anchor_holds():
    shared = SMALL.format(id="a").replace("reward: ", "reward: &reward ")
    again = SMALL.format(id="b").replace("{metric: visit}", "*reward").removeprefix("experiments:\n")
    assert [e.reward.metric for e in parse(shared + again, "FILE").experiments] == ["visit", "visit"]


def test_a_problem_in_an_aliased_value_is_told_where_it_is_used():
    shared = SMALL.format(id="a").replace("{metric: visit}", "&reward {metric: visit, default: 9}")
    again = SMALL.format(id="b").replace("{metric: visit}", "*reward").removeprefix("experiments:\n")
    lines = [(problem.line, problem.field) for problem in parse(shared + again, "FILE").problems]
    assert lines == [(7, "experiments[0].reward.default"), (7, "experiments[1].reward.default")]


def test_a_bomb_of_aliases_is_refused_before_it_is_written_out():
    rungs = [f"- &r{n} [{', '.join([f'*r{n - 1}'] * 9)}]" for n in range(1, 20)]
    text = "experiments:\n- &r0 [x]\n" + "\n".join(rungs)
    assert any("500,000 values, aliases written out" in line for line in told(parse(text, "FILE")))


@pytest.mark.parametrize("text", ["[" * 100_000, "experiments: " + "[" * 65 + "]" * 65, "{a: " * 100_000])
def test_deep_nesting_is_refused(text):
    assert "nested over 64 deep" in told(parse(text, "FILE"))[0]


def test_a_chain_of_aliases_can_not_nest_deeper_than_brackets():
    rungs = [f"- &r{n} [*r{n - 1}]" for n in range(1, 5_000)]
    text = "experiments:\n- &r0 [x]\n" + "\n".join(rungs)
    assert any("nested over 64 deep" in line for line in told(parse(text, "FILE")))


def test_a_file_over_its_limit_is_not_read_any_further(tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(limits.EXPERIMENT_FILE_BYTES + 1)
    message = "is over 4 MiB; split it into several files in a folder"
    assert told(load(path)) == [f"{path}:1: {message}"]
    assert told(parse("#" * (limits.EXPERIMENT_FILE_BYTES + 1), "FILE")) == [f"FILE:1: {message}"]


def test_a_payload_over_its_limit_is_refused():
    payload = "x" * (limits.PAYLOAD_BYTES - 1)
    text = SMALL.format(id="a").replace("{id: b}", f"{{id: b, payload: {payload}}}")
    assert told(parse(text, "FILE")) == [
        "FILE:4: experiments[0].variants[1].payload: has 65537 bytes as JSON; at most 65536 are allowed"
    ]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (f"variants: [{', '.join(['{}'] * 1_001)}]", "variants: has 1001 variants; at most 1000 are allowed"),
        (
            f"signals: {{{', '.join(f's{n}: {{type: flag}}' for n in range(1_001))}}}",
            "signals: has 1001 signals; at most 1000 fit a call",
        ),
        (
            f"metrics: {{{', '.join(f'm{n}: {{range: [0, 1]}}' for n in range(101))}}}",
            "metrics: has 101 metrics; at most 100 are allowed",
        ),
        (
            f"signals: {{s: {{type: category, values: [{', '.join(['v'] * 1_001)}]}}}}",
            "signals.s.values: has 1001 values; at most 1000 are allowed",
        ),
        (
            f"signals: {{s: {{type: category, values: [a, {'v' * 1_025}]}}}}",
            "signals.s.values[1]: has 1025 bytes; at most 1024 are allowed",
        ),
        (
            f"variants: [{{id: a, features: {{{', '.join(f'f{n}: 1' for n in range(257))}}}}}]",
            "variants[0].features: has 257 features; at most 256 are allowed",
        ),
        (
            f"variants: [{{id: a, features: {{f: [{', '.join(['t'] * 65)}]}}}}]",
            "variants[0].features.f: has 65 texts; at most 64 are allowed",
        ),
        (
            f"variants: [{{id: a, features: {{f: {'t' * 1_025}}}}}]",
            "variants[0].features.f: has a text of 1025 bytes; at most 1024 are allowed",
        ),
    ],
)
def test_every_list_of_a_definition_has_a_limit(entries, message):
    lines = [line for line in SMALL.format(id="a").splitlines() if line.strip()[:4] != entries[:4]]
    (problem,) = parse("\n".join([*lines, f"    {entries}"]), "FILE").problems
    assert f"{problem.field}: {problem.message}" == f"experiments[0].{message}"


def test_over_a_thousand_experiments_are_refused():
    many = "".join(SMALL.format(id=f"e{n}").removeprefix("experiments:\n") for n in range(1_001))
    (problem,) = parse("experiments:\n" + many, "FILE").problems
    assert problem.message.startswith("has over 1,000 experiments")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "1: is empty; write experiments: and a list of them below"),
        (b"~\n", "1: is empty; write experiments: and a list of them below"),
        (b"a: 1\nb: \xff\n", "2: is not UTF-8 text; save it as UTF-8"),
        ("experiments: []".encode("utf-16"), "1: is not UTF-8 text; save it as UTF-8"),
        (b"a: 1\nb: \x00\n", "2: has the control character '\\x00'; take it out"),
        (b"a: 1\nb: \x1b[31m\n", "2: has the control character '\\x1b'; take it out"),
    ],
)
def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path, data, message):
    path = tmp_path / "e.yaml"
    path.write_bytes(data)
    assert told(load(path)) == [f"{path}:{message}"]


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert [experiment.id for experiment in load(path).experiments] == ["spring-email"]


def test_a_file_that_is_not_there_is_told(tmp_path):
    path = tmp_path / "nowhere.yaml"
    assert told(load(path)) == [f"{path}:1: can't be read: No such file or directory"]


def test_a_folder_is_read_in_the_order_of_names_without_hidden_or_other_files(tmp_path):
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "notes.txt", "c.yaml.bak"):
        (tmp_path / name).write_text(SMALL.format(id=name))
    (tmp_path / "folder.yaml").mkdir()
    loaded = load(tmp_path)
    assert told(loaded) == []
    assert [experiment.id for experiment in loaded.experiments] == ["a.yml", "b.yaml"]


def test_an_id_that_two_files_give_is_told_with_both_places(tmp_path):
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("# comment\n" + SMALL.format(id="mail"))
    assert told(load(tmp_path)) == [
        f"{tmp_path}/b.yaml:3: experiments[0].id: is 'mail', as on {tmp_path}/a.yaml:3; rename one of them"
    ]


def test_one_broken_file_of_a_folder_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text(SMALL.format(id="a"))
    (tmp_path / "b.yaml").write_text(SMALL.format(id="b").replace("visit", "no"))
    loaded = load(tmp_path)
    assert told(loaded) == [
        f'{tmp_path}/b.yaml:7: experiments[0].reward.metric: is read as false; put quotes around it: "no"'
    ]
    assert loaded.experiments == ()


def test_a_folder_without_experiment_files_is_told(tmp_path):
    assert told(load(tmp_path)) == [f"{tmp_path}:1: has no .yaml or .yml file; put one in, or name a file"]


def test_links_as_a_mounted_config_map_has_them_are_followed(tmp_path):
    data = tmp_path / "..2026_01_01"
    data.mkdir()
    (data / "mail.yaml").write_text(SMALL.format(id="mail"))
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "mail.yaml").symlink_to(Path("..data") / "mail.yaml")
    assert [experiment.id for experiment in load(tmp_path).experiments] == ["mail"]


def test_half_of_a_surrogate_pair_is_refused_by_either_yaml_reader(monkeypatch):
    text = SMALL.format(id='"\\ud800"')
    assert len(parse(text, "FILE").problems) == 1
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert told(parse(text, "FILE")) == [
        "FILE:2: experiments[0].id: has half of a surrogate pair; write the character itself"
    ]
    assert [experiment.id for experiment in parse(GOOD, "FILE").experiments] == ["spring-email"]


def test_a_number_of_hundreds_of_digits_is_not_finite():
    text = SMALL.format(id="a").replace("{type: number}", f"{{type: number, range: [0, {'9' * 5_000}]}}")
    assert told(parse(text, "FILE")) == [
        "FILE:6: experiments[0].signals.recency.range[1]: is not finite; write an ordinary number"
    ]


def test_a_name_with_a_dot_is_told_in_quotes():
    text = SMALL.format(id="a").replace("recency: {type: number}", "a.b: {type: nr}")
    assert parse(text, "FILE").problems[0].field == "experiments[0].signals['a.b'].type"
