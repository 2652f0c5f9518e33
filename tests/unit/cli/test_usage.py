"""Bad usage and failures of the system are one line each, and help fits the screen."""

import os
import subprocess
import sys

import pytest

from bandit.cli.usage import told_of_system, unwrapped

PLAIN = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}


def banditd(*arguments, columns=100, **rest):
    return subprocess.run(
        [sys.executable, "-m", "bandit", *map(str, arguments)],
        env={**PLAIN, "COLUMNS": str(columns)},
        **{"stdout": subprocess.PIPE, **rest},
        stderr=subprocess.PIPE,
        text=True,
    )


SERVE = ("serve", "--data-dir", "new", "--experiments", "e.yaml")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("log", "export", "--data-dir", ".", "--format", "csv"), "'csv' is not one of 'jsonl', 'dsjson'"),
        (("log", "export", "--data-dir", "."), "Choose from: jsonl, dsjson, parquet, vw; see"),
        (("log", "export", "--format"), "Option '--format' requires an argument; see banditd --help"),
        (
            (*SERVE, "--workers", "0"),
            "'--workers' (env var: 'BANDITD_WORKERS'): 0 is too small; use at least 1",
        ),
        ((*SERVE, "--workers", "65"), "65 is too large; use at most 64"),
        ((*SERVE, "--workers", "many"), "'many' is not a whole number"),
        ((*SERVE, "--drain-seconds", "long"), "'long' is not a number"),
        (("serve", "--data-dir", "", "--experiments", "e.yaml"), "banditd: --data-dir is empty; give a path"),
        (("verify", "--data-dir="), "banditd: --data-dir is empty; give a path"),
        (("serve",), "banditd serve: Missing option '--data-dir'"),
        (("xyz",), "No such command 'xyz'; there are serve, learn, demo"),
        (
            ("log", "expotr"),
            "banditd log: No such command 'expotr'. Did you mean 'export'? see banditd log --help",
        ),
        (("check", "--jsno", "x"), "banditd check: No such option: --jsno"),
        (("check", "nowhere"), "banditd check: Invalid value for 'file': path 'nowhere' does not exist."),
        (
            ("evaluate", "x", "--policy", "uniform", "--since", "now"),
            "for --since: 'now' is no time; write it",
        ),
    ],
)
def test_bad_usage_is_one_line_that_says_what_would_be_right(tmp_path, arguments, told):
    ran = banditd(*arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert told in ran.stderr
    assert ran.stderr.startswith("banditd")
    assert ran.stderr.count("\n") == 1
    assert not any(word in ran.stderr for word in ("Value error", "Input should", "Traceback"))
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_one_line_too(folder, shop):
    folder.define(shop())
    with open("/dev/full", "w") as full:
        ran = banditd("log", "inspect", "--data-dir", folder.path, "--json", stdout=full)
    assert ran.returncode == 1
    assert ran.stderr == "banditd: No space left on device; make room, or name another place\n"


def test_an_error_of_the_system_is_told_without_its_number():
    assert told_of_system(PermissionError(13, "Permission denied", "x")) == (
        "x: Permission denied; give this user the right to it, or name another place"
    )
    assert told_of_system(OSError("There is no log.")) == "There is no log."
    assert told_of_system(ValueError("is wrong")) == "is wrong"


def test_a_paragraph_of_help_has_no_line_breaks_of_the_source():
    assert unwrapped("One\n    two.\n\n    Three\n    four.\n    ") == "One two.\n\nThree four."


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("replay",), "if the log can't be used at all, or if a live run was not reproduced."),
        (("log", "import"), "imported. The log has the source's times, in their order, and"),
    ],
)
def test_help_is_as_wide_as_the_screen(arguments, line):
    # The source breaks both lines.
    assert line in banditd(*arguments, "--help", columns=140).stdout
