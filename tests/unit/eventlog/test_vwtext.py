"""Joined events -> Vowpal Wabbit's text: what its driver makes of it."""

import subprocess
import sys

import pytest

from bandit.eventlog.formats.vwtext import lines
from bandit.policies.vw.text import TextEncoder


@pytest.fixture
def text(every_kind, joined):
    def written(experiment_id, reward_range):
        events = joined(every_kind, experiment_id)
        return "".join(f"{part}\n" for part in lines(events, TextEncoder(None), reward_range))

    return written


def test_an_example_has_the_context_then_the_variants_and_the_label_on_the_served_one(text):
    example = text("front-page", (0.0, 2.0)).split("\n\n")[0].split("\n")
    assert example == [
        "shared |U age:0.0000 channel=Web l+y l+x new?1",
        "|A id=a |F price:0.0000",
        "0:-0.500000000:0.333333333333 |A id=b |F price:0.0000 sale?1",
        "|A id=c%20;%7C;x%3A;1 |F kind=a%3D;b%A;c tags+new tags+sale",
    ]


def test_an_event_without_a_reward_has_no_label(text):
    unrewarded = text("../odd\u00e9 id/=%", (0.0, 1.0)).split("\n\n")[1]
    assert unrewarded.split("\n") == ["shared |U", "|A id=a", "|A id=b", "|A id=c"]


def test_vowpal_wabbit_reads_one_example_an_event_and_no_text_as_syntax(text, tmp_path):
    path = tmp_path / "log.vw"
    path.write_text(text("front-page", (0.0, 2.0)))
    ran = subprocess.run(
        [sys.executable, "-m", "vowpalwabbit", "-d", path, "--cb_explore_adf", "--strict_parse", "--audit"],
        capture_output=True,
        text=True,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    assert "number of examples = 4\n" in said
    namespaces = {
        part.split("^")[0] for line in said.splitlines() if line.startswith("\t") for part in line.split()
    }
    assert {name.split(":")[0] for name in namespaces} <= {"U", "A", "F", "Constant"}
