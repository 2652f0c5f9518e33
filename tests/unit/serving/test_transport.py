"""Which transport may serve where, and that each is brought in only when it is asked for."""

import json
import subprocess
import sys

import pytest

from bandit.serving.address import BadAddress, is_local
from bandit.serving.transport import Unfit, check
from bandit.settings import Transport

LOCAL = ["127.0.0.1:0", "127.8.0.1:50051", "localhost:0", "[::1]:0", "unix:/run/s", "unix:s"]
OPEN = ["0.0.0.0:0", "[::]:50051", "192.0.2.7:1", "[fe80::1]:1"]


@pytest.mark.parametrize("listen", LOCAL)
def test_loopback_and_unix_sockets_are_local(listen: str) -> None:
    assert is_local(listen)
    check(Transport.NATIVE, listen)


@pytest.mark.parametrize("listen", OPEN)
def test_grpcio_serves_everywhere_and_native_is_refused_where_others_can_reach_it(listen: str) -> None:
    check(Transport.GRPCIO, listen)
    with pytest.raises(Unfit, match="loopback and Unix sockets only") as refused:
        check(Transport.NATIVE, listen)
    assert listen in str(refused.value)
    assert "--transport grpcio" in str(refused.value)


def test_what_is_no_address_is_told_as_such() -> None:
    with pytest.raises(BadAddress, match="write HOST:PORT"):
        check(Transport.NATIVE, "nowhere")


def test_without_its_package_native_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)
    check(Transport.GRPCIO, "127.0.0.1:0")
    with pytest.raises(Unfit, match=r"pip install 'banditd\[fast\]', or choose --transport grpcio"):
        check(Transport.NATIVE, "127.0.0.1:0")


@pytest.mark.parametrize("folder", ["/" + "x" * 70, None])
def test_without_a_place_for_its_socket_native_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: str | None
) -> None:
    def found() -> str:
        if folder is None:
            raise FileNotFoundError
        return folder

    monkeypatch.setattr("tempfile.gettempdir", found)
    check(Transport.GRPCIO, "127.0.0.1:0")
    with pytest.raises(Unfit, match="set TMPDIR, or choose --transport grpcio"):
        check(Transport.NATIVE, "127.0.0.1:0")


@pytest.mark.parametrize(
    ("transport", "checked", "made"),
    [("grpcio", set(), {"grpc"}), ("native", {"pygrpc_native"}, {"grpc", "pygrpc_native"})],
)
def test_a_supervisor_has_no_grpc_and_a_worker_what_it_serves_with(
    transport: str, checked: set[str], made: set[str]
) -> None:
    code = f"""
import asyncio, json, sys
from bandit.serving import transport

def known():
    return sorted({{"grpc", "pygrpc_native"}} & set(sys.modules))

async def serve():
    server = transport.new_server(chosen)
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(None)

chosen = transport.Transport("{transport}")
transport.check(chosen, "127.0.0.1:0")
before = known()
asyncio.run(serve())
print(json.dumps([before, known()]))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [set(names) for names in json.loads(ran.stdout)] == [checked, made]
