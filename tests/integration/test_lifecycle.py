"""The life of a real server: how it starts, is refused, drains, recovers, and loses and regains its disk."""

import fcntl
import json
import os
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bandit.client import BanditClient, BanditError
from bandit.v1 import bandit_pb2 as pb
from bandit.v1.bandit_pb2_grpc import BanditServiceStub
from pages import experiments_of
from waiting import until

CALL_SECONDS_MAX = 10.0
WAIT_SECONDS_MAX = 40.0
BACK_SECONDS_MAX = 5.0
"""The contract: a dead child is back, and the children of a dead supervisor are gone, within this time."""

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return state_of(pid) not in ("", "Z")


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children_of(pid: int) -> list[int]:
    """Every child process of it, zombies too."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Host:
    """A folder with an experiments file, and the commands that run on it."""

    def __init__(self, folder: Path, transport: str = "grpcio") -> None:
        self.transport = transport
        self.data_dir = folder / "data"
        self.experiments = folder / "experiments.yaml"
        self.experiments.write_text(experiments_of("front-page"))
        self.output = folder / "output"
        self.started: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Starts a command of ours in a session of its own."""
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bandit", *arguments],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def serve(self, *flags: str, listen: str = "127.0.0.1:0") -> "subprocess.Popen[bytes]":
        """Starts a server, ready or not."""
        paths = ("--data-dir", str(self.data_dir), "--experiments", str(self.experiments))
        return self.run("serve", "--listen", listen, "--transport", self.transport, *paths, *flags)

    def ready(self, *flags: str, listen: str = "127.0.0.1:0") -> "subprocess.Popen[bytes]":
        """Starts a server and waits until it serves."""
        before = self.output.read_text() if self.output.exists() else ""
        process = self.serve(*flags, listen=listen)

        def serving() -> bool:
            output = self.output.read_text()[len(before) :]
            assert process.poll() is None, output
            # One worker may be far ahead of the other.
            started = output.count('"child": "worker-')
            return started > 0 and output.count('"event": "serving"') == started

        until(serving)
        until(lambda: self.processes()["supervisor"] == process.pid and self.state()["log"]["ok"])
        return process

    def state(self) -> dict[str, dict[str, Any]]:
        """What stands in status.json; nothing before the first start."""
        try:
            state: dict[str, dict[str, Any]] = json.loads((self.data_dir / "status.json").read_text())
            return state
        except FileNotFoundError:
            return {}

    def lines(self) -> list[dict[str, Any]]:
        """What the log of every server so far says."""
        # A long line may be read before the end of it is written.
        whole, _, _ = self.output.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def processes(self) -> dict[str, Any]:
        return self.state()["processes"]

    def pid(self, name: str) -> int:
        return int(self.processes()[name])

    @property
    def address(self) -> str:
        return str(self.processes()["address"])

    def client(self) -> BanditClient:
        return BanditClient(self.address, timeout_s=CALL_SECONDS_MAX)

    def health(self) -> int:
        with grpc.insecure_channel(self.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS_MAX, wait_for_ready=True
            )
        return int(answer.status)

    def logged(self, kind: str) -> list[str]:
        """The decision ids of all rows of a kind."""
        with closing(sqlite3.connect(self.data_dir / "events.db")) as connection:
            rows = connection.execute("SELECT decision_id FROM events WHERE kind = ?", (kind,))
            return [decision_id for (decision_id,) in rows]

    def alter(self, kind: str) -> None:
        """Makes the first record of a kind one that can't be read; no server runs."""
        with closing(sqlite3.connect(self.data_dir / "events.db")) as connection:
            first = "SELECT min(seq) FROM events WHERE kind = ?"
            connection.execute(f"UPDATE events SET record = x'00ff' WHERE seq = ({first})", (kind,))  # noqa: S608
            connection.commit()


both_transports = pytest.mark.parametrize("transport", ["grpcio", "native"])


@pytest.fixture
def host(tmp_path: Path, transport: str) -> Iterator[Host]:
    one = Host(tmp_path, transport)
    yield one
    for process in one.started:
        if process.poll() is None:
            process.kill()
            process.wait()


def ended(process: "subprocess.Popen[bytes]") -> int:
    return process.wait(WAIT_SECONDS_MAX)


@contextmanager
def writers_held(data_dir: Path) -> Iterator[None]:
    """Holds up every writer of a log, so that calls stay in flight."""
    fd = os.open(data_dir / "writer.lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def waits_for_a_lock(pid: int) -> bool:
    locks = Path("/proc/locks").read_text().splitlines()
    return any("->" in lock and str(pid) in lock.split() for lock in locks)


def reason_of(client: BanditClient) -> str:
    try:
        client.choose("front-page", {})
    except BanditError as error:
        return error.reason or error.code.name
    return ""


# Starting and being refused.


def test_a_second_server_on_a_folder_is_refused(host: Host) -> None:
    first = host.ready()
    second = host.serve()
    assert ended(second) == 1
    assert f"A server already runs on {host.data_dir}" in host.output.read_text()
    assert first.poll() is None


def test_a_second_server_on_an_address_is_refused(host: Host, tmp_path: Path) -> None:
    host.ready()
    other = tmp_path / "other"
    other.mkdir()
    second = Host(other)
    assert ended(second.serve(listen=host.address)) == 1
    assert f"{host.address} can't be bound" in second.output.read_text()
    with host.client() as client:
        assert client.choose("front-page", {}).decision_id


def test_a_metrics_address_in_use_is_refused_before_anything_is_logged(host: Host) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert ended(host.serve("--metrics-listen", address)) == 1
    output = host.output.read_text()
    assert f"{address} can't be bound" in output
    assert "choose another --metrics-listen" in output
    assert not (host.data_dir / "events.db").exists()


def test_a_lost_subject_key_is_not_replaced(host: Host) -> None:
    process = host.ready()
    with host.client() as client:
        assert client.choose("front-page", {}, subject_id="u1").decision_id
    process.terminate()
    assert ended(process) == 0
    (host.data_dir / "subject.key").unlink()
    assert ended(host.serve()) == 1
    assert "Restore it from the backup" in host.output.read_text()
    assert not (host.data_dir / "subject.key").exists()


@pytest.mark.parametrize("command", ["serve", "learn"])
def test_a_log_whose_definitions_can_not_be_read_is_refused_in_words(host: Host, command: str) -> None:
    process = host.ready("--no-learner")
    process.terminate()
    assert ended(process) == 0
    host.alter("experiment")
    again = host.serve() if command == "serve" else host.run("learn", "--data-dir", str(host.data_dir))
    assert ended(again) == 1
    assert f"banditd {command}: " in host.output.read_text()
    assert "Traceback" not in host.output.read_text()


@both_transports
def test_a_unix_socket_is_its_owners_alone_and_one_left_behind_is_replaced(host: Host) -> None:
    path = host.data_dir.parent / "s"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    first = host.ready(listen=f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first.kill()
    first.wait()
    second = host.ready(listen=f"unix:{path}")
    with host.client() as client:
        assert client.choose("front-page", {}).decision_id
    second.terminate()
    assert ended(second) == 0
    assert not path.exists()


def test_a_broken_experiments_file_is_named_by_file_and_line(host: Host) -> None:
    host.experiments.write_text(experiments_of("front-page").replace("number", "numbr"))
    assert ended(host.serve()) == 1
    output = host.output.read_text()
    assert f"{host.experiments}:6: " in output
    assert "Traceback" not in output


def test_a_file_changed_while_the_server_starts_is_seen(host: Host) -> None:
    process = host.serve()
    until(lambda: (host.data_dir / "events.db").exists())
    host.experiments.write_text(experiments_of("front-page", "second-page"))
    until(lambda: process.poll() is not None or "second-page" in host.output.read_text())
    assert process.poll() is None


@both_transports
def test_a_client_with_several_channels_meets_all_workers(host: Host) -> None:
    host.ready("--workers", "2")
    port = int(host.address.rpartition(":")[2])

    def connections(name: str) -> int:
        found = psutil.Process(host.pid(name)).net_connections("tcp")
        return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in found)

    # The kernel deals connections out by chance: all 32 on one side is one run in two billion.
    with BanditClient(host.address, timeout_s=CALL_SECONDS_MAX, channels=32) as client:
        for _ in range(32):
            assert client.choose("front-page", {}).decision_id
        each = [connections("worker-0"), connections("worker-1")]
    assert all(each)
    assert sum(each) == 32


@pytest.mark.parametrize(
    ("flags", "environment", "told"),
    [
        (("--transport", "tls"), {}, ("'grpcio', 'native'",)),
        (("--transport", "native", "--listen", "0.0.0.0:0"), {}, ("loopback", "--transport grpcio")),
        (("--listen", "[::]:0"), {"BANDITD_TRANSPORT": "native"}, ("loopback", "--transport grpcio")),
        (("--transport", "native", "--listen", "nowhere"), {}, ("'nowhere' is not an address",)),
        (
            ("--listen", "127.0.0.1:99999"),
            {},
            ("--listen: '127.0.0.1:99999' is not an address", "unix:/path"),
        ),
        (("--metrics-listen", "nowhere"), {}, ("--metrics-listen: 'nowhere' is not an address",)),
        (("--listen", "unix:s", "--workers", "2"), {}, ("--workers: a Unix socket has one listener",)),
    ],
)
def test_what_can_not_serve_there_is_bad_usage_and_refused_before_anything_is_made(
    tmp_path: Path, flags: tuple[str, ...], environment: dict[str, str], told: tuple[str, ...]
) -> None:
    ran = refused_start(["-m", "bandit"], tmp_path, *flags, **environment)
    assert ran.returncode == 2
    assert ("unix:/path" in ran.stderr) <= ("--metrics-listen" not in flags)
    assert all(text in " ".join(ran.stderr.replace("│", " ").split()) for text in told)
    assert list(tmp_path.iterdir()) == []


def test_without_its_package_the_native_transport_is_refused_with_what_to_install(tmp_path: Path) -> None:
    without = "import sys; sys.modules['pygrpc_native'] = None; from bandit.cli.main import main; main()"
    ran = refused_start(["-c", without], tmp_path, "--transport", "native")
    assert ran.returncode == 2
    told = " ".join(ran.stderr.replace("│", " ").split())
    assert "pip install 'banditd[fast]', or choose --transport grpcio" in told
    assert list(tmp_path.iterdir()) == []


def refused_start(
    python: list[str], folder: Path, *flags: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    paths = ("--data-dir", str(folder / "data"), "--experiments", str(folder / "experiments.yaml"))
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, *python, "serve", *paths, *flags],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS_MAX,
        env={**os.environ, **plain, **environment},
    )


@both_transports
def test_a_call_that_is_given_up_makes_room_for_another(host: Host) -> None:
    room = 2
    host.ready("--calls-in-flight-max", str(room), "--no-learner")
    request = pb.ChooseRequest(experiment_id="front-page")
    with grpc.insecure_channel(host.address) as channel, writers_held(host.data_dir):
        stub = BanditServiceStub(channel)

        def waits() -> bool:
            """Whether a call gets in, and then waits until its deadline passes."""
            code = stub.Choose.future(request, timeout=0.2).code()
            assert code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
            return code is grpc.StatusCode.DEADLINE_EXCEEDED

        calls = [stub.Choose.future(request, timeout=WAIT_SECONDS_MAX) for _ in range(room + 1)]
        until(lambda: any(call.done() for call in calls))
        assert [call.code() for call in calls if call.done()] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        for call in calls:
            call.cancel()
        # More than there is room for: those whose deadline passed made room too.
        for _ in range(room + 1):
            until(waits)
    with host.client() as client:
        assert client.choose("front-page", {}).decision_id


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@both_transports
def test_calls_in_flight_finish_and_later_ones_are_refused(host: Host, number: signal.Signals) -> None:
    in_flight, too_many = 50, 10
    process = host.ready("--calls-in-flight-max", str(in_flight), "--drain-seconds", "20")
    children = children_of(process.pid)
    # No retries: what a call is answered with is what the server said first.
    with host.client() as client, grpc.insecure_channel(host.address) as channel:
        known = [client.choose("front-page", {}).decision_id for _ in range(in_flight // 2)]
        stub = BanditServiceStub(channel)
        with writers_held(host.data_dir):
            rewards = {
                one: stub.Reward.future(pb.RewardRequest(decision_id=one, value=1), timeout=30)
                for one in known
            }
            chooses = [
                stub.Choose.future(pb.ChooseRequest(experiment_id="front-page"), timeout=30)
                for _ in range(in_flight // 2 + too_many)
            ]
            # Calls too many are refused only once the others were accepted.
            calls = [*rewards.values(), *chooses]
            until(lambda: sum(call.done() for call in calls) == too_many)
            # Not even a supervisor that waits for the log is held up.
            host.experiments.write_text(experiments_of("front-page", "second-page"))
            until(lambda: waits_for_a_lock(process.pid))
            # Ctrl-C and the end of a session reach the whole group.
            (os.kill if number is signal.SIGTERM else os.killpg)(process.pid, number)
            until(lambda: reason_of(client) == "DRAINING")
            assert host.health() == NOT_SERVING
        codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) == in_flight
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == too_many
    rewarded = [one for one, call in rewards.items() if call.code() is grpc.StatusCode.OK]
    chosen = [call.result().decision_id for call in chooses if call.code() is grpc.StatusCode.OK]
    assert ended(process) == 0
    assert not any(map(alive, children))
    assert sorted(host.logged("reward")) == sorted(rewarded)
    assert sorted(host.logged("decision")) == sorted(known + chosen)
    assert "Traceback" not in host.output.read_text()


@both_transports
def test_a_caller_without_a_call_under_way_is_told_too_that_the_server_drains(host: Host) -> None:
    process = host.ready()
    with host.client() as client:
        client.choose("front-page", {})
        process.terminate()
        # A caller that calls on hears it before the port closes, and no other error ends the wait.
        until(lambda: reason_of(client) != "")
        assert reason_of(client) == "DRAINING"
    assert ended(process) == 0


@both_transports
def test_calls_that_arrive_as_the_server_ends_are_told_that_it_is_unavailable(host: Host) -> None:
    process = host.ready()
    codes: list[grpc.StatusCode] = []

    def call_on(channel: grpc.Channel) -> None:
        stub = BanditServiceStub(channel)
        while process.poll() is None:
            call = stub.Choose.future(pb.ChooseRequest(experiment_id="front-page"), timeout=5)
            codes.append(call.code())

    # No retries: what a call is answered with is what the server said first.
    options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
    with ExitStack() as stack, ThreadPoolExecutor(16) as callers:
        channels = [stack.enter_context(grpc.insecure_channel(host.address, options)) for _ in range(16)]
        running = [callers.submit(call_on, channel) for channel in channels]
        until(lambda: len(codes) > 100)
        process.terminate()
        for one in running:
            one.result()
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert ended(process) == 0


def test_a_server_that_is_stopped_as_it_starts_leaves_nothing_running(host: Host) -> None:
    process = host.serve("--workers", "4")
    until(lambda: host.output.exists() and "child started" in host.output.read_text())
    children = children_of(process.pid)
    process.terminate()
    assert ended(process) == 0
    assert children
    assert not any(map(alive, children))
    assert "child killed" not in host.output.read_text()


@pytest.mark.parametrize("name", ["worker-0", "learner"])
def test_a_child_that_hangs_does_not_keep_the_server_from_stopping(host: Host, name: str) -> None:
    process = host.ready("--drain-seconds", "4")
    children, hanging = children_of(process.pid), host.pid(name)
    os.kill(hanging, signal.SIGSTOP)
    process.terminate()
    assert ended(process) == 0
    assert not any(map(alive, children))
    # It alone: a worker that hangs takes none of the learner's time.
    assert [line["child"] for line in host.lines() if line["event"].startswith("child killed")] == [name]


def test_the_counters_of_a_run_are_gone_after_a_stop_and_what_a_crash_left_after_the_next_start(
    host: Host,
) -> None:
    counters = host.data_dir / "metrics"
    first = host.ready("--metrics-listen", "127.0.0.1:0")
    assert list(counters.glob("*.db"))
    first.terminate()
    assert ended(first) == 0
    assert not counters.exists()
    for again in (("--metrics-listen", "127.0.0.1:0"), ()):
        crashed = host.ready("--metrics-listen", "127.0.0.1:0")
        children = children_of(crashed.pid)
        crashed.kill()
        crashed.wait()
        until(lambda children=children: not any(map(alive, children)))
        (counters / "counter_1.db").touch()
        process = host.ready(*again)
        assert not (counters / "counter_1.db").exists()
        assert counters.exists() == bool(again)
        process.terminate()
        assert ended(process) == 0
        assert not counters.exists()


# Recovery.


def test_a_learner_that_fails_says_of_what_and_every_line_of_the_log_is_json(host: Host) -> None:
    process = host.ready("--no-learner")
    with host.client() as client:
        client.reward(client.choose("front-page", {"recency": 1}).decision_id, 1.0)
    process.terminate()
    assert ended(process) == 0
    host.alter("decision")
    host.ready()
    until(lambda: "CorruptRecord: " in host.state()["learner"]["detail"])
    assert not host.state()["learner"]["ok"]
    until(lambda: host.output.read_text().count('"child failed"') >= 3)
    assert not host.state()["learner"]["ok"]
    failed = next(line for line in host.lines() if line["event"] == "child failed")
    assert failed["process"] == "learner"
    assert "CorruptRecord" in failed["exception"]
    with host.client() as client:
        assert client.choose("front-page", {"recency": 1}).decision_id


def test_dead_children_are_back_soon_and_the_supervisor_leaks_nothing(host: Host) -> None:
    process = host.ready("--workers", "2")
    until(lambda: "learner" in host.state())
    descriptors = Path(f"/proc/{process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for name in ("worker-0", "learner", "worker-1", "learner", "worker-0"):
        pid = host.pid(name)
        os.kill(pid, signal.SIGKILL)
        until(lambda name=name, pid=pid: host.pid(name) not in (0, pid), seconds_max=BACK_SECONDS_MAX)
    until(lambda: host.state()["processes"]["ok"] and len(list(descriptors.iterdir())) == before)
    assert all(map(alive, children_of(process.pid)))
    assert len(children_of(process.pid)) == 3


def test_serving_goes_on_without_the_learner(host: Host) -> None:
    host.ready()
    with host.client() as client:
        os.kill(host.pid("learner"), signal.SIGKILL)
        choice = client.choose("front-page", {"recency": 1})
        assert client.reward(choice.decision_id, 1.0) == "RECORDED"


@both_transports
def test_the_children_of_a_killed_supervisor_end_and_another_server_takes_over_at_once(host: Host) -> None:
    process = host.ready("--workers", "2")
    address, children = host.address, children_of(process.pid)
    process.kill()
    process.wait()
    host.ready("--workers", "2", listen=address)
    until(lambda: not any(map(alive, children)), seconds_max=BACK_SECONDS_MAX)
    assert host.address == address
    with host.client() as client:
        assert client.choose("front-page", {}).decision_id


def test_the_learner_can_run_alone_but_only_once(host: Host) -> None:
    host.ready("--no-learner")
    assert "learner" not in host.processes()
    first = host.run("learn", "--data-dir", str(host.data_dir))
    until(lambda: '"learning"' in host.output.read_text())
    second = host.run("learn", "--data-dir", str(host.data_dir))
    with host.client() as client:
        client.reward(client.choose("front-page", {"recency": 1}).decision_id, 1.0)
        until(lambda: client.choose("front-page", {"recency": 1}).source == "LEARNED")
    assert ended(second) == 1
    assert f"A learner already runs on {host.data_dir}" in host.output.read_text()
    first.send_signal(signal.SIGINT)
    assert ended(first) == 0


def test_each_of_many_experiments_learns_a_model_of_its_own(host: Host) -> None:
    ids = [f"page-{index}" for index in range(50)]
    host.experiments.write_text(experiments_of(*ids))
    host.ready()
    with host.client() as client:
        for one in ids:
            client.reward(client.choose(one, {"recency": 1}).decision_id, 1.0)
        snapshots = set()
        for one in ids:
            until(lambda one=one: client.choose(one, {"recency": 1}).source == "LEARNED")
            snapshots.add(client.choose(one, {"recency": 1}).snapshot_id)
    assert len(snapshots) == len(ids)


# A disk that takes no more.


@both_transports
def test_a_log_that_cannot_be_written_costs_no_page_its_content_and_comes_back_by_itself(host: Host) -> None:
    host.experiments.write_text(experiments_of("front-page", failing=["strict"]))
    process = host.ready("--workers", "2")
    children = children_of(process.pid)
    everyone = [process.pid, *children]
    _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    # Each client has a connection of its own, so between them they meet both workers.
    clients = [host.client() for _ in range(8)]
    acknowledged = [client.choose("front-page", {}).decision_id for client in clients]
    # Their own log lines go to a file too, and fail with the rest.
    for pid in everyone:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        for client, known in zip(clients, acknowledged, strict=True):
            choice = client.choose("front-page", {})
            assert (choice.source, choice.decision_id, choice.variant_id) == ("FALLBACK", "", "a")
            for call in (
                lambda client=client: client.choose("strict", {}),
                lambda c=client, d=known: c.reward(d, 1),
            ):
                with pytest.raises(BanditError) as refused:
                    call()
                assert refused.value.reason == "LOG_UNWRITABLE"
        until(lambda: all(host.health() == NOT_SERVING for _ in range(8)))
    finally:
        for pid in everyone:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
    until(lambda: all(host.health() == SERVING for _ in range(8)))
    until(lambda: all(component["ok"] for component in host.state().values()))
    for client in clients:
        acknowledged.append(client.choose("strict", {}).decision_id)
        assert client.reward(acknowledged[-1], 1) == "RECORDED"
    until(lambda: clients[0].choose("strict", {}).source == "LEARNED")
    for client in clients:
        client.close()
    assert set(acknowledged) <= set(host.logged("decision"))
    assert sorted(children_of(process.pid)) == sorted(children)
