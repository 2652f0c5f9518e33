"""Joined events -> dsjson lines: what the field's tools find where they look, and what comes back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bandit.eventlog.formats.dsjson import Reader, lines

GOLDEN = Path(__file__).parents[2] / "golden" / "dsjson" / "banditd.dsjson"
KEYS = [
    "_label_cost",
    "_label_probability",
    "_label_Action",
    "_labelIndex",
    "_skipLearn",
    "o",
    "Timestamp",
    "Version",
    "EventId",
    "a",
    "c",
    "p",
    "VWState",
    "pdrop",
    "_original_label_cost",
]
ODD = "../odd\u00e9 id/=%"


@pytest.fixture
def events(every_kind, joined):
    return {experiment_id: joined(every_kind, experiment_id) for experiment_id in ("front-page", ODD)}


def test_keys_stand_in_the_fields_order(events):
    written = [line for found in events.values() for line in lines(found)]
    assert len(written) == 6
    for line in written:
        assert line.startswith('{"_label_cost":')
        keys = list(json.loads(line))
        assert keys == [key for key in KEYS if key in keys]
        assert set(KEYS) - set(keys) <= {"_skipLearn", "pdrop"}
    pairs = [json.loads(line) for line in written]
    assert [("pdrop" in one, "_skipLearn" in one) for one in pairs] == [
        (False, False),
        (False, False),
        (False, False),
        (True, False),
        (False, False),
        (False, True),
    ]


def test_the_served_action_stands_first_and_p_is_parallel(events):
    first = json.loads(next(lines(events[ODD])))
    assert (first["a"], first["p"]) == ([2, 3, 1], [0.7, 0.2, 0.1])
    assert (first["_label_Action"], first["_labelIndex"], first["_label_probability"]) == (2, 1, 0.7)
    assert (first["_label_cost"], first["_original_label_cost"]) == (-1.0, -1.0)
    assert first["Timestamp"] == "2023-11-14T22:13:20.0000000Z"


def test_what_was_written_comes_back_as_it_was(events, plain):
    for experiment_id, found in events.items():
        reader = Reader(experiment_id, (0.0, 2.0))
        back = [reader.event(line.encode(), n) for n, line in enumerate(lines(found), start=1)]
        assert back == [plain(event) for event in found]


def test_unknown_propensities_are_left_out_and_come_back_unknown(events):
    nan = float("nan")
    event = events["front-page"][0]
    for distribution, has in (([nan, 0.25, nan], True), ([nan] * 3, False)):
        decision = event.decision._replace(distribution=distribution, policy_distribution=distribution)
        [line] = lines([event._replace(decision=decision)])
        written = json.loads(line)
        assert ("_label_probability" in written, "a" in written, "p" in written) == (has, False, False)
        back = Reader("front-page", (0.0, 2.0)).event(line.encode(), 1).decision
        assert str(list(back.distribution)) == str(distribution)
        assert back.chosen == 1


def test_what_was_written_once_stays_readable(events):
    text = "".join(f"{line}\n" for line in lines(events["front-page"]))
    if os.environ.get("BANDITD_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text


def test_vowpal_wabbit_reads_every_line_and_no_name_or_text_as_anything_else(events, tmp_path):
    path = tmp_path / "log.dsjson"
    found = [event for one in events.values() for event in one]
    path.write_text("".join(f"{line}\n" for line in lines(found)))
    options = ["--strict_parse", "-q", "UA", "--audit"]
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "vowpalwabbit",
            "-d",
            path,
            "--dsjson",
            "--chain_hash",
            "--cb_explore_adf",
            *options,
        ],
        capture_output=True,
        text=True,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    # The one with _skipLearn is passed over.
    assert "number of examples = 5\n" in said
    namespaces = {
        part.split("^")[0] for line in said.splitlines() if line.startswith("\t") for part in line.split()
    }
    assert {name.split("*")[0].split(":")[0] for name in namespaces} <= {"U", "A", "F", "Constant"}
    assert "U^%_multi^x" in said
    assert "U^l+y:" in said
