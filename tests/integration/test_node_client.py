"""The Node example against a real server, where Node and its packages can be had."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = Path("scripts/examples/node")
INSTALL_SECONDS_MAX = 90
RUN_SECONDS_MAX = 30

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + 3 * RUN_SECONDS_MAX)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages installed, in a copy, so that the checkout stays as it is."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("node and npm are not installed")
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        ROOT / EXAMPLE, copy / EXAMPLE, ignore=shutil.ignore_patterns("node_modules"), dirs_exist_ok=True
    )
    shutil.copytree(ROOT / "protos", copy / "protos")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        done = subprocess.run(
            command, cwd=copy / EXAMPLE, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci did not end within {INSTALL_SECONDS_MAX} s")
    if done.returncode:
        pytest.skip(f"the packages can't be had: {done.stderr.strip()[-300:]}")
    return copy / EXAMPLE


def run(example: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["node", "choose.mjs", *arguments]
    return subprocess.run(command, cwd=example, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)


def test_node_chooses_and_rewards_with_nothing_but_the_proto_files(example: Path, server: str) -> None:
    context = {"recency": 3, "channel": "Web", "mens": True, "interests": ["golf", "tea"]}
    done = run(example, server, "spring-email", json.dumps(context), "1")
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    choice = answers["choice"]
    shares = {entry["variant_id"]: entry["probability"] for entry in choice["distribution"]}
    assert list(shares) == ["no_email", "mens_email", "womens_email"]
    assert choice["propensity"] == shares[choice["variant_id"]]
    assert choice["arm"] == "ARM_TREATMENT"
    assert answers["reward"] == {"status": "REWARD_STATUS_RECORDED"}


def test_node_is_told_what_is_wrong(example: Path, server: str) -> None:
    done = run(example, server, "spring-email", json.dumps({"recency": "3"}))
    assert done.returncode == 1
    assert done.stderr.startswith("INVALID_ARGUMENT: ")
    assert "recency" in done.stderr


def test_the_lock_file_names_versions_and_no_registry() -> None:
    locked = json.loads((ROOT / EXAMPLE / "package-lock.json").read_text())["packages"]
    assert "node_modules/@grpc/grpc-js" in locked
    packages = [package for name, package in locked.items() if name]
    assert all("resolved" not in package and package["integrity"] for package in packages)
