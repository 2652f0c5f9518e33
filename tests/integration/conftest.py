"""A real `banditd serve`, as its users start it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waiting import until

READY_SECONDS_MAX = 60.0

EXPERIMENTS = """
experiments:
  - id: spring-email
    owner: growth@shop.example
    variants:
      - {id: no_email}
      - {id: mens_email,   features: {merchandise: mens},   payload: {template: mens-spring}}
      - {id: womens_email, features: {merchandise: womens}, payload: {template: womens-spring}}
    baseline: no_email
    signals:
      recency:  {type: number, range: [1, 12], purpose: personalization}
      channel:  {type: category, purpose: personalization}
      mens:     {type: flag, purpose: personalization}
      interests: {type: categories, purpose: personalization}
      zip_code: {type: category, purpose: personalization, consent: marketing}
    reward: {metric: visit, range: [0, 1], window: 10m, default: none, learn: on_reward}
    metrics: {complaint: {range: [0, 1]}}
  - id: own-variants
    owner: growth@shop.example
    variants: []
    signals: open
    reward: {metric: click}
"""


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    def serving() -> str:
        assert process.poll() is None, f"the server ended with exit code {process.returncode}"
        for line in log.read_text().splitlines():
            entry: Any = json.loads(line) if line.startswith("{") else {}
            if entry.get("event") == "serving":
                return str(entry["address"])
        return ""

    try:
        return until(serving, "the server's start", READY_SECONDS_MAX)
    except AssertionError as error:
        raise AssertionError(f"{error}; its log:\n{log.read_text()}") from None


class Servers:
    """The servers of one test; each has a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def folder(self, index: int = -1) -> Path:
        """The folder of a server, by default the last: `experiments.yaml`, `log` (its output), `data`."""
        return self._folder / f"server-{range(len(self._started))[index]}"

    def start(self, listen: str, *flags: str, experiments_text: str = EXPERIMENTS) -> str:
        """Starts one that listens there; answers with the address to call, once it serves."""
        folder = self._folder / f"server-{len(self._started)}"
        folder.mkdir()
        experiments, log = folder / "experiments.yaml", folder / "log"
        experiments.write_text(experiments_text)
        command = [sys.executable, "-m", "bandit", "serve", "--listen", listen]
        command += ["--data-dir", str(folder / "data"), "--experiments", str(experiments), *flags]
        with log.open("wb") as output:
            self._started.append(subprocess.Popen(command, stdout=output, stderr=output))
        return _address(self._started[-1], log)

    def stop(self) -> None:
        """Stops all that run."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(30)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Starts servers; stops them in the end."""
    all_of_them = Servers(tmp_path)
    yield all_of_them
    all_of_them.stop()


@pytest.fixture(scope="module")
def module_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Starts servers that the tests of a module share; stops them in the end."""
    all_of_them = Servers(tmp_path_factory.mktemp("servers"))
    yield all_of_them
    all_of_them.stop()


TRANSPORTS = ("grpcio", "native")


@pytest.fixture
def transport() -> str:
    """What a test's servers speak HTTP/2 with. Parametrise it with both where that can make a difference."""
    return TRANSPORTS[0]


@pytest.fixture(scope="module", params=TRANSPORTS)
def module_transport(request: pytest.FixtureRequest) -> str:
    """Each transport, for what the tests of a module share."""
    return str(request.param)


@pytest.fixture(scope="module", params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, module_transport: str, module_servers: Servers) -> Iterator[str]:
    """The address of a module's server: each transport on loopback and on a Unix socket."""
    flags = ("--transport", module_transport)
    if request.param == "tcp":
        yield module_servers.start("127.0.0.1:0", *flags)
        module_servers.stop()
        return
    # A socket's path has room for about 100 bytes; pytest's own folders may take more.
    folder = tempfile.mkdtemp(prefix="banditd-", dir=os.environ.get("XDG_RUNTIME_DIR"))
    try:
        yield module_servers.start(f"unix:{folder}/s", *flags)
    finally:
        module_servers.stop()
        shutil.rmtree(folder)
