import json
import os
import subprocess
import sys

import pytest

from bandit import __version__
from bandit.cli.main import VERBS


def python(*arguments):
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=plain)


def imported_for(*arguments):
    """The modules in a fresh process that has made the command line for `arguments`."""
    code = "import json, sys; from bandit.cli.main import app_for; app_for(sys.argv[1:]); "
    code += "print(json.dumps(list(sys.modules)))"
    return set(json.loads(python("-c", code, *arguments).stdout))


def test_the_version_is_printed_without_any_verb():
    ran = python("-m", "bandit", "--version")
    assert (ran.returncode, ran.stdout) == (0, f"banditd {__version__}\n")


def test_help_lists_every_verb():
    ran = python("-m", "bandit", "--help")
    assert ran.returncode == 0
    assert all(f" {verb} " in ran.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_help_and_imports_no_other_verb_and_nothing_heavy(verb):
    modules = imported_for(verb, "--help")
    # A verb may be in more than one module; what it must not bring along is another verb.
    assert {name for name in VERBS if f"bandit.cli.{name}" in modules} == {verb}
    heavy = {"grpc", "numpy", "pylibvw", "rich", "sqlite3", "vowpalwabbit", "yaml"}
    assert heavy.isdisjoint(modules)
    ran = python("-m", "bandit", verb, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Usage: banditd" in ran.stdout


def test_no_verb_is_bad_usage():
    assert python("-m", "bandit").returncode == 2
