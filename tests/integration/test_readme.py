"""The README's own snippets, run as a newcomer would run them, so that they can't rot.

A snippet is a fenced block, or a command, a line of Python or a key of an experiment file in the prose. Each
is run by a test that names its beginning (`@runs`), or its beginning stands in NOT_RUN with the reason.
What has to be another in a test, such as an address, is replaced exactly: a README that says something else
fails, and the message says what to do.
"""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bandit.client import BanditClient, ChooseCall, RewardCall, RewardStatus, Source
from bandit.core import errors, records
from bandit.serving.metrics import Metrics
from bandit.snapshots.store import SnapshotStore
from bandit.v1 import bandit_pb2 as pb
from bandit.v1.bandit_pb2_grpc import BanditServiceStub
from waiting import until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

HERE = "tests/integration/test_readme.py"
ADDRESS = "127.0.0.1:50051"
TIMEOUT_S = 20.0
COMMAND_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0

DEMO = "sets up and plays for minutes; test_demo.py plays the demo in short"
BENCHMARK = "a benchmark: minutes to hours"
NOT_RUN = {
    "$ scripts/demo --quick ": DEMO,
    "scripts/demo ": DEMO,
    "Visits a customer, with 95 % intervals": "what the demo printed, not what one types",
    " Choose ─▶ convert": "a drawing",
    "$ python3 -m venv .venv-bench": "fetches the peers from a package index, then takes hours",
    ".venv/bin/python scripts/bench/": BENCHMARK,
    "scripts/bench/": BENCHMARK,
    "scripts/test ": "runs tests of this suite",
    "source .venv/bin/activate": "changes a shell; here the same folder stands first on PATH",
    "pip install ": "fetches from a package index",
    "buf generate protos": "needs a template of the reader's own",
    "<Protobuf Include=": "a build item of .NET, nothing to run by itself",
}
"""How each snippet that can't be run here begins, and why it can't. One beginning may stand for several."""


@dataclass(frozen=True)
class Snippet:
    """A snippet, and the README's line on which it begins."""

    line: int
    text: str


FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
TYPED = re.compile(
    r"(banditd|mkdir|protoc|buf|pip|source|sqlite3|grpc_health_probe|<Protobuf) ."
    r"|(scripts/[\w/.]+|\.venv/bin/\w+) ."
    r"|(client|sqlite3)\.\w+\(|(reward|rollout|policy|metrics|guardrail): \{"
)
"""How a snippet in the prose begins. Words without an argument are names of commands: see NAME."""
NAME = re.compile(r"banditd( [a-z]+)+")


def prose() -> Iterator[Snippet]:
    """Everything in backquotes outside of the blocks, its white space made one blank."""
    text = FENCED.sub(lambda block: "\n" * block[0].count("\n"), README)
    for span in INLINE.finditer(text):
        yield Snippet(text.count("\n", 0, span.start()) + 1, " ".join(span[1].split()))


def snippets() -> list[Snippet]:
    blocks = [
        Snippet(README.count("\n", 0, block.start()) + 1, block[1]) for block in FENCED.finditer(README)
    ]
    return blocks + [one for one in prose() if TYPED.match(one.text) and not NAME.fullmatch(one.text)]


SNIPPETS = snippets()


class Newcomer:
    """Who works in a folder of its own with the commands of this environment on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names_while_serving: set[str] = set()
        self._log = folder / "log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BANDITD_")}
        path = f"{Path(sys.executable).parent}:{inherited['PATH']}"
        # Any free port, where a command names none; and tables that are not folded.
        self.environment = {**inherited, "PATH": path, "BANDITD_LISTEN": "127.0.0.1:0", "COLUMNS": "200"}
        (folder / "experiments.yaml").write_text(the("experiments:\n"))

    def tried(self, command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
        )

    def run(self, command: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.tried(command)
        assert done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def python(self, program: str) -> str:
        """Standard output of a program that must succeed."""
        (self.folder / "program.py").write_text(program)
        return self.run("python program.py")

    @contextmanager
    def running(self, command: str, stop: signal.Signals = signal.SIGTERM) -> Iterator[None]:
        """A command that goes on until it gets the signal; it must then succeed."""
        with self._log.open("wb") as output:
            process = self._process = subprocess.Popen(
                shlex.split(command, comments=True),
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        try:
            yield
            self._runs_on()
        finally:
            process.send_signal(stop)
            try:
                ended = process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        assert ended == 0, f"{command}\nended with {ended}:\n{self._log.read_text()}"

    def _runs_on(self) -> None:
        ended = self._process.poll()
        assert ended is None, (
            f"{self._process.args!r}\nended by itself, with {ended}:\n{self._log.read_text()}"
        )

    @contextmanager
    def serving(self, command: str) -> Iterator[str]:
        """A running server; the address to call."""
        with self.running(command):
            yield self.told("serving")

    def told(self, event: str) -> str:
        """The address in the running command's log line of that event, once it is there."""

        def address() -> str:
            self._runs_on()
            lines = [line for line in self._log.read_text().splitlines() if line.startswith("{")]
            entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
            return next((entry["address"] for entry in entries if entry["event"] == event), "")

        return until(address, f"the log line {event!r}")

    def learned(self, data: str, joined: int) -> str:
        """The id of the newest snapshot of a data folder, once it holds that many joined events."""
        store = SnapshotStore(self.folder / data)

        def newest() -> str:
            names = store.names("spring-email")
            return names[0] if names and store.manifest("spring-email", names[0]).joined >= joined else ""

        return until(newest, f"learning {joined} events")


RUN: list[str] = []
"""How each snippet begins that a test here runs."""


def runs(beginning: str) -> pytest.MarkDecorator:
    """Says that a test runs the snippet that begins so; the fixture `snippet` is the text of it."""
    RUN.append(beginning)
    return pytest.mark.parametrize("snippet", [beginning], ids=["README"], indirect=True)


def the(beginning: str) -> str:
    """The text of the one snippet that begins so."""
    found = [snippet.text for snippet in SNIPPETS if snippet.text.startswith(beginning)]
    assert len(found) == 1, (
        f"{len(found)} snippets of README.md begin with {beginning!r}, not one: in {HERE}, write how the "
        "snippet that is meant begins now, and no other"
    )
    return found[0]


def swap(text: str, *changes: tuple[str, str]) -> str:
    """The text with each old part, which must stand in it exactly once, replaced by the new one."""
    for old, new in changes:
        assert text.count(old) == 1, (
            f"README.md's snippet holds {old!r} {text.count(old)} times, not once, and {HERE} replaces it by "
            f"{new!r}: make that replacement fit what the snippet says now\n{text}"
        )
        text = text.replace(old, new)
    return text


def commands(block: str, count: int) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown below it."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        taken = 1
        # A command goes on after a backslash, and while a quotation is open.
        while lines[taken - 1].endswith("\\\n") or "".join(lines[:taken]).count("'") % 2:
            taken += 1
        found.append(("".join(lines[:taken]).strip(), "".join(lines[taken:]).rstrip()))
    assert len(found) == count, (
        f"README.md's block has {len(found)} commands, and {HERE} runs {count}: let its test run what the "
        f"block says now\n{block}"
    )
    return found


def serve_command() -> str:
    """How the README starts a server, on a free port."""
    _, (serve, _) = commands(the("$ banditd check experiments.yaml"), 2)
    return swap(serve, (ADDRESS, "127.0.0.1:0"))


def client_program(address: str) -> str:
    """The README's client. The machine may be slow, and a choice that came too late would be a fallback."""
    return swap(
        the("from bandit.client import"), (ADDRESS, address), ("timeout_s=0.1", f"timeout_s={TIMEOUT_S}")
    )


ROUNDS = 400
UNREWARDED = 40


def play(address: str) -> None:
    """Decisions for different people. Some get no reward, and mens_email gets the most."""
    with BanditClient(address, timeout_s=TIMEOUT_S, channels=4) as client:
        for start in range(0, ROUNDS, 100):
            rounds = range(start, start + 100)
            calls = [
                ChooseCall(
                    "spring-email",
                    {"recency": 1 + index % 12, "channel": ("Web", "Phone")[index % 2]},
                    subject_id=f"u{index}",
                    consents=["marketing"],
                )
                for index in rounds
            ]
            choices = client.choose_batch(calls)
            worth = {"no_email": 5, "mens_email": 2, "womens_email": 3}
            rewards = [
                RewardCall(choice.decision_id, float(index % worth[choice.variant_id] == 0))  # type: ignore[union-attr]
                for index, choice in zip(rounds, choices, strict=True)
                if index % (ROUNDS // UNREWARDED)
            ]
            assert set(client.reward_batch(rewards)) == {RewardStatus.RECORDED}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that was started as the README says."""
    with Newcomer(tmp_path_factory.mktemp("live")).serving(serve_command()) as address:
        yield address


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """A folder in which the README's server ran, its client called, others too, and all was learned."""
    newcomer = Newcomer(tmp_path_factory.mktemp("played"))
    with newcomer.serving(serve_command() + " --metrics-listen 127.0.0.1:0") as address:
        newcomer.python(client_program(address))
        play(address)
        newcomer.learned("data", ROUNDS - UNREWARDED + 1)
        newcomer.names_while_serving = {path.name for path in (newcomer.folder / "data").rglob("*")}
    return newcomer


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


@pytest.fixture
def snippet(request: pytest.FixtureRequest) -> str:
    return the(request.param)


@pytest.mark.parametrize("one", SNIPPETS, ids=lambda one: f"line-{one.line}")
def test_a_snippet_is_run_or_listed_with_a_reason(one: Snippet) -> None:
    found = [beginning for beginning in (*RUN, *NOT_RUN) if one.text.startswith(beginning)]
    assert len(found) == 1, (
        f"README.md, line {one.line}: {found or 'nothing'} in {HERE} stands for this snippet, and one must. "
        f"Write a test that runs it (@runs), or add how it begins to NOT_RUN, with the reason\n{one.text}"
    )


def test_what_is_not_run_still_stands_in_the_readme() -> None:
    for beginning in NOT_RUN:
        found = any(one.text.startswith(beginning) for one in SNIPPETS)
        assert found, f"nothing in README.md begins with {beginning!r} any more: take it out of NOT_RUN"


def test_files_that_the_readme_names_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    named = re.findall(r"\b(?:scripts|tests)/[\w./-]*\w", README)
    assert linked
    assert named
    assert [path for path in {*linked, *named} if not (ROOT / path).exists()] == []


def test_commands_that_the_readme_names_are_there(newcomer: Newcomer) -> None:
    for name in {one.text for one in prose() if NAME.fullmatch(one.text)}:
        assert f"Usage: {name} " in newcomer.run(f"{name} --help")


# For backend developers


@runs("experiments:\n")
def test_the_experiment_file_is_in_order(snippet: str, newcomer: Newcomer) -> None:
    (newcomer.folder / "experiments.yaml").write_text(snippet)
    assert json.loads(newcomer.run("banditd check experiments.yaml --json"))["ok"] is True


@runs("banditd check FILE")
def test_check_says_where_a_file_is_wrong(snippet: str, newcomer: Newcomer) -> None:
    (newcomer.folder / "experiments.yaml").write_text(
        swap(the("experiments:\n"), ("range: [1, 12]", "rnge: 1"))
    )
    done = newcomer.tried(swap(snippet, ("FILE", "experiments.yaml")))
    assert done.returncode == 1
    assert re.match(r"experiments\.yaml:\d+: .*rnge", done.stdout + done.stderr)


@runs("$ banditd check experiments.yaml")
def test_the_first_commands_check_and_serve(snippet: str, newcomer: Newcomer, live: str) -> None:
    (check, output), (_, nothing) = commands(snippet, 2)
    assert newcomer.run(check).strip() == output
    assert nothing == ""
    with grpc.insecure_channel(live) as channel:
        grpc.channel_ready_future(channel).result(TIMEOUT_S)


CHOSEN = re.compile(
    r"(no_email None|mens_email \{'template': 'mens-spring'\}|womens_email \{'template': 'womens-spring'\})"
    r" (UNTRAINED|LEARNED)"
)


@runs("from bandit.client import")
def test_the_client_chooses_and_rewards(snippet: str, newcomer: Newcomer, live: str) -> None:
    program = swap(
        client_program(live), ("    client.reward(", "    print(client.reward("), (", 1.0)", ", 1.0))")
    )
    chosen, rewarded = newcomer.python(program).splitlines()
    assert CHOSEN.fullmatch(chosen)
    assert rewarded == "RECORDED"


def test_the_client_for_asyncio_has_the_same_methods(newcomer: Newcomer, live: str) -> None:
    assert "`bandit.client.aio` has the same methods for asyncio" in " ".join(README.split())
    imported, body = client_program(live).split("\n\n", 1)
    body = swap(
        body,
        ("with BanditClient", "async with BanditClient"),
        ("client.choose(", "await client.choose("),
        ("    client.reward(", "    print(await client.reward("),
        (", 1.0)", ", 1.0))"),
    )
    program = (
        swap(imported, ("bandit.client", "bandit.client.aio")) + "\nimport asyncio\n\nasync def main():\n"
    )
    program += "".join(f"    {line}\n" for line in body.splitlines()) + "\nasyncio.run(main())\n"
    chosen, rewarded = newcomer.python(program).splitlines()
    assert CHOSEN.fullmatch(chosen)
    assert rewarded == "RECORDED"


@runs("client.reward(choice.decision_id")
def test_a_metric_is_measured_beside_the_reward(snippet: str, newcomer: Newcomer, live: str) -> None:
    said = newcomer.python(f"{client_program(live)}    print({snippet})\n")
    assert said.splitlines()[-1] == "RECORDED"


@runs("reward: {…")
def test_the_production_reward_is_in_order(snippet: str, newcomer: Newcomer) -> None:
    check_with(newcomer, reward=swap(snippet, ("…", "metric: visit, range: [0, 1]")))


@runs("rollout: {stage: ramp")
def test_the_production_rollout_is_in_order(snippet: str, newcomer: Newcomer) -> None:
    check_with(newcomer, rollout=snippet)


@runs("guardrail: {")
def test_the_guardrail_is_in_order(snippet: str, newcomer: Newcomer) -> None:
    check_with(newcomer, metrics=f"metrics: {{complaint: {{range: [0, 1], {snippet}}}}}")


def check_with(newcomer: Newcomer, **fragments: str) -> None:
    """Checks the experiment file with keys of its experiment replaced by what fragments of YAML say."""
    file = yaml.safe_load(the("experiments:\n"))
    for key, fragment in fragments.items():
        file["experiments"][0][key] = yaml.safe_load(fragment)[key]
    (newcomer.folder / "experiments.yaml").write_text(yaml.safe_dump(file))
    checked = json.loads(newcomer.run("banditd check experiments.yaml --json"))
    assert (checked["ok"], checked.get("warnings", [])) == (True, [])


# In other languages


@runs("$ grpcurl")
def test_the_call_of_grpcurl_is_answered(snippet: str, newcomer: Newcomer, live: str) -> None:
    """Its JSON and its method, without grpcurl, too."""
    [(command, _)] = commands(snippet, 1)
    command = swap(command, (ADDRESS, live))
    words = shlex.split(command)
    assert words[-1] == "bandit.v1.BanditService/Choose"
    request = json_format.Parse(words[words.index("-d") + 1], pb.ChooseRequest())
    with grpc.insecure_channel(live) as channel:
        reply = BanditServiceStub(channel).Choose(request, timeout=TIMEOUT_S)
    assert reply.variant_id in {"no_email", "mens_email", "womens_email"}
    if shutil.which("grpcurl"):
        assert "variantId" in json.loads(newcomer.run(command))


@runs("grpc_health_probe")
def test_the_probe_finds_the_log_healthy(snippet: str, newcomer: Newcomer, live: str) -> None:
    command = swap(snippet, (ADDRESS, live))
    service = command.partition("-service=")[2]
    with grpc.insecure_channel(live) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S
        )
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    if shutil.which("grpc_health_probe"):
        newcomer.run(command)


@runs("protoc -I protos --go_out")
def test_a_client_for_go_is_generated(snippet: str, newcomer: Newcomer) -> None:
    needs("protoc", "protoc-gen-go", "protoc-gen-go-grpc")
    [package] = re.findall(r"where `M=(\S+)` names your package", README)
    (newcomer.folder / "protos").symlink_to(ROOT / "protos")
    newcomer.run(f"M={package}; {snippet}")
    assert list(newcomer.folder.rglob("*.go"))


@runs("mkdir -p gen && protoc")
def test_a_client_for_java_is_generated(snippet: str, newcomer: Newcomer) -> None:
    needs("protoc", "protoc-gen-grpc-java")
    (newcomer.folder / "protos").symlink_to(ROOT / "protos")
    newcomer.run(snippet)
    assert list(newcomer.folder.rglob("*.java"))


def needs(*tools: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


# For data scientists


@runs("from bandit import LocalBandit")
def test_the_local_bandit_has_learned_when_reward_returns(snippet: str, newcomer: Newcomer) -> None:
    again = swap(
        re.findall(r"^decision = .*$", snippet, re.MULTILINE)[0],
        ("decision = ", "print("),
        ("])", "]).source.name)"),
    )
    assert newcomer.python(snippet + again).strip() == "LEARNED"


def shape(output: str) -> tuple[list[list[str]], set[str]]:
    """What is the same for every log: the title, the head and the first cells of a table, and what is said of
    the log, less the figures."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in output.splitlines()]
    title, head, _ = rows[:3]
    first = [row[0] for row in rows[3:] if len(row) > 1]
    said = {re.sub(r"\d[\d,]*", "N", row[0]) for row in rows if re.match(r"(counted|live run): ", row[0])}
    return [title, head, first], said


@runs("$ banditd evaluate demo-data/")
def test_policies_are_judged_as_shown(snippet: str, played: Newcomer) -> None:
    [demo_data] = set(re.findall(r"demo-data/[\d-]+", snippet))
    for command, shown in commands(snippet, 2):
        assert shape(played.run(swap(command, (demo_data, "data")))) == shape(shown)


@runs("banditd evaluate --metric complaint")
def test_a_metric_is_judged_once_its_windows_have_ended(snippet: str, played: Newcomer) -> None:
    done = played.tried(f"{snippet} data --policy uniform")
    assert done.returncode == 1
    assert "have not ended" in done.stderr


@runs("policies: [")
def test_the_grid_is_one(snippet: str) -> None:
    grid = yaml.safe_load(snippet)
    assert set(grid["options"]) <= set(grid["policies"])


@runs("banditd sweep LOG")
def test_the_grid_is_swept(snippet: str, played: Newcomer) -> None:
    (played.folder / "grid.yaml").write_text(the("policies: ["))
    said = played.run(swap(snippet, ("LOG", "data")))
    # As the README says: nine cells, and the winner of nine is not sold as the winner of one.
    assert "the intervals of all 9 cells hold together" in said
    assert "failed" not in said


@runs("banditd report LOG")
def test_the_report_is_written(snippet: str, played: Newcomer) -> None:
    said = played.run(swap(snippet, ("LOG", "data")))
    assert "wrote report.html" in said
    page = (played.folder / "report.html").read_text()
    assert "Web" in page
    assert "Phone" in page


@runs("from bandit.replay import evaluate_frame")
def test_a_frame_is_judged(snippet: str, newcomer: Newcomer) -> None:
    frame = "{'click': [0, 1] * 200, 'pscore': [0.5] * 400, 'pi': [0.4, 0.6] * 200}"
    said = newcomer.python(
        f"import pandas\n\nframe = pandas.DataFrame({frame})\n{snippet}\nprint(judgement.headline)"
    )
    assert "0.6" in said


FORMATS = "jsonl|dsjson|parquet|vw"


def exported(played: Newcomer, form: str) -> Path:
    """The log as the README exports it; once for all tests."""
    output = played.folder / f"log.{form}"
    command = swap(the("banditd log export"), ("DIR", "data"), (FORMATS, form), ("[", ""), ("]", ""))
    if not output.exists():
        played.run(swap(command, ("PATH", output.name)))
    return output


@runs("banditd log export")
def test_the_log_is_exported(snippet: str, played: Newcomer) -> None:
    assert FORMATS in snippet
    for form in FORMATS.split("|"):
        assert exported(played, form).exists()
    assert len(exported(played, "dsjson").read_text().splitlines()) == ROUNDS - UNREWARDED + 1


@runs("banditd log import FILE_OR_FOLDER")
@pytest.mark.parametrize("form", ["dsjson", "parquet"])
def test_an_export_is_imported(snippet: str, form: str, played: Newcomer, newcomer: Newcomer) -> None:
    log = str(exported(played, form))
    said = newcomer.run(swap(snippet, ("FILE_OR_FOLDER", shlex.quote(log)), ("NEW_DIR", "new")))
    assert f"{ROUNDS - UNREWARDED + 1} lines read" in said


@runs("banditd learn --data-dir NEW_DIR")
def test_an_imported_log_is_learned_and_verified(snippet: str, played: Newcomer, newcomer: Newcomer) -> None:
    log = str(exported(played, "jsonl"))
    imported = the("banditd log import FILE_OR_FOLDER")
    newcomer.run(swap(imported, ("FILE_OR_FOLDER", shlex.quote(log)), ("NEW_DIR", "new")))
    with newcomer.running(swap(snippet, ("NEW_DIR", "new")), signal.SIGINT):
        newcomer.learned("new", ROUNDS - UNREWARDED + 1)
    assert " equal" in newcomer.run("banditd verify --data-dir new")


@runs("$ banditd learn --from old.dsjson")
def test_a_warm_start_answers_learned_at_once(snippet: str, played: Newcomer, newcomer: Newcomer) -> None:
    shutil.copy(exported(played, "dsjson"), newcomer.folder / "old.dsjson")
    (learn, _), (serve, _) = commands(snippet, 2)
    newcomer.run(learn)
    with newcomer.serving(serve) as address, BanditClient(address, timeout_s=TIMEOUT_S) as client:
        assert client.choose("spring-email", {"recency": 3}, subject_id="u1").source is Source.LEARNED


@runs("banditd learn --from old.dsjson")
def test_the_warm_start_is_named_as_it_is_run(snippet: str) -> None:
    assert the("$ banditd learn --from old.dsjson").startswith(f"$ {snippet} ")


# Changing one's mind, and running it


@runs("    policy: {preset: squarecb, snapshot:")
def test_a_snapshot_is_pinned(snippet: str, played: Newcomer, newcomer: Newcomer) -> None:
    shutil.copytree(played.folder / "data", newcomer.folder / "data")
    pinned = SnapshotStore(newcomer.folder / "data").names("spring-email")[-1]
    [(old, _)] = [
        (line, line) for line in the("experiments:\n").splitlines() if line.startswith("    policy:")
    ]
    [named] = re.findall(r"snapshot: (\S+)\}", snippet)
    file = swap(the("experiments:\n"), (old, swap(snippet.rstrip(), (named, pinned))))
    (newcomer.folder / "experiments.yaml").write_text(file)
    with newcomer.serving(serve_command()):
        listed = json.loads(newcomer.run("banditd experiment list --data-dir data --json"))["experiments"][0]
    assert listed["pinned"] == {"snapshot_id": pinned, "problem": "", "ok": True}


@runs("data/                ")
def test_the_data_folder_looks_as_drawn(snippet: str, played: Newcomer) -> None:
    drawn = set(re.findall(r"[\w.]+\.(?:db-wal|db|key|json|vw|npy|lock)\b", snippet))
    drawn |= set(re.findall(r"(?<![\w-])([a-z][\w-]*)/", snippet)) - {"data"}
    assert {"events.db", "subject.key", "snapshots", "manifest.json", "writer.lock"} <= drawn
    assert drawn - played.names_while_serving == set()


@runs("banditd verify --data-dir data")
def test_the_models_are_what_the_log_gives(snippet: str, played: Newcomer) -> None:
    assert " equal" in played.run(snippet)


@runs('$ sqlite3 data/events.db ".backup copy.db"')
def test_a_copy_is_made_by_sqlite(snippet: str, played: Newcomer) -> None:
    needs("sqlite3")
    for command, _ in commands(snippet, 2):
        played.run(command)
    assert (played.folder / "copy.db").stat().st_size
    assert (played.folder / "copy.key").read_bytes() == (played.folder / "data/subject.key").read_bytes()


@runs("sqlite3.connect(")
def test_a_copy_is_made_by_python(snippet: str, newcomer: Newcomer, played: Newcomer) -> None:
    copied(newcomer, played)
    assert (newcomer.folder / "copy.db").stat().st_size


def copied(newcomer: Newcomer, played: Newcomer) -> None:
    """The data folder, and the copies that a backup makes, by Python, which is always there."""
    shutil.copytree(played.folder / "data", newcomer.folder / "data")
    newcomer.python(f"import sqlite3\n\n{the('sqlite3.connect(')}\n")
    newcomer.run(commands(the('$ sqlite3 data/events.db ".backup copy.db"'), 2)[1][0])


@runs("$ mkdir -m 700 restored")
def test_a_copy_is_restored(snippet: str, newcomer: Newcomer, played: Newcomer) -> None:
    copied(newcomer, played)
    (make, _), (serve, _), (verify, _) = commands(snippet, 3)
    newcomer.run(make)
    with newcomer.serving(serve):
        newcomer.learned("restored", ROUNDS - UNREWARDED + 1)
        assert " equal" in newcomer.run(verify)


@runs("[Service]")
def test_the_unit_starts_a_server_with_its_page(snippet: str, newcomer: Newcomer) -> None:
    unit = swap(
        snippet,
        ("/var/lib/banditd", "data"),
        ("/etc/banditd/experiments.yaml", "experiments.yaml"),
        ("127.0.0.1:9464", "127.0.0.1:0"),
        ("/opt/banditd/.venv/bin/banditd", str(Path(sys.executable).with_name("banditd"))),
    )
    # A key that comes twice, such as Environment, is one of systemd's lists.
    configparser.ConfigParser(strict=False).read_string(unit)
    for pair in re.findall(r"BANDITD_\w+=\S+", unit):
        name, value = pair.split("=")
        newcomer.environment[name] = value
    [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    with (
        newcomer.serving(command),
        urllib.request.urlopen(f"http://{newcomer.told('page up')}/metrics") as page,
    ):
        assert "banditd_log_up 1.0" in page.read().decode()
    if shutil.which("systemd-analyze"):
        (newcomer.folder / "banditd.service").write_text(unit)
        done = newcomer.tried("systemd-analyze verify ./banditd.service")
        assert (done.returncode, "banditd.service:" in done.stderr) == (0, False), done.stderr


def test_alerts_ask_for_what_is_measured() -> None:
    # The page shows only what was counted already, so the metrics themselves are asked; what labels they have
    # is told by no public name.
    metrics = [
        one for one in vars(Metrics(lambda experiment: frozenset())).values() if hasattr(one, "describe")
    ]
    labels = {}
    for metric in metrics:
        [family] = metric.describe()
        labels[family.name + "_total" * (family.type == "counter")] = set(metric._labelnames)
    words = {*errors.Reason, *(status.name for status in records.RewardStatus)}
    asked = [one for one in prose() if "banditd_" in one.text]
    assert len([one for one in asked if "(banditd_" in one.text]) >= 5
    for one in asked:
        expression = one.text.replace(r"\|", "|")
        assert expression.count("(") == expression.count(")"), expression
        for name, matchers in re.findall(r"(banditd_\w+)(?:\{([^}]*)\})?", expression):
            assert name in labels, f"README.md, line {one.line}: no metric is named {name}"
            for label, values in re.findall(r'(\w+)(?:=~?"([^"]*)")?', matchers):
                assert label in labels[name], f"README.md, line {one.line}: {name} has no label {label}"
                assert set(filter(None, values.split("|"))) <= words
        for grouped in re.findall(r"by \((\w+)\)", expression):
            assert all(grouped in labels[name] for name in re.findall(r"banditd_\w+", expression))
