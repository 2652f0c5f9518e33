"""Where a server listens: HOST:PORT or unix:/path, reserved by the supervisor, bound by the workers."""

import errno
import ipaddress
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any, Final

RETRY_SECONDS: Final = 6.0
"""The workers of a server that was killed end within 5 s; until then they hold its port."""

_RETRY_EVERY_SECONDS: Final = 0.05


class BadAddress(ValueError):
    """The address can't be used. The message says why and what would be right."""


class Malformed(BadAddress):
    """It is no address at all."""


def check(address: str) -> None:
    """Whether it is written as an address of either kind. Raises Malformed."""
    if not is_unix(address):
        try:
            host_port(address)
        except Malformed as error:
            raise Malformed(f"{error}, or unix:/path") from None
    elif address == "unix:":
        raise Malformed("'unix:' names no socket; write unix:/path")


def host_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT; [HOST]:PORT for IPv6. Raises Malformed."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise Malformed(f"{address!r} is not an address; write HOST:PORT such as 127.0.0.1:50051")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_unix(address: str) -> bool:
    """Whether the address is a Unix socket."""
    return address.startswith("unix:")


def is_local(address: str) -> bool:
    """Whether this machine alone can reach it: a Unix socket, or loopback. Raises BadAddress."""
    return is_unix(address) or ipaddress.ip_address(_resolved(address)[3][0]).is_loopback


class Reserved:
    """An address that no other server has. Hold it for as long as workers may come and go."""

    def __init__(self, address: str) -> None:
        """Reserves; port 0 becomes a free one. Waits for a predecessor's workers. Raises BadAddress."""
        self._socket: socket.socket | None = None
        if is_unix(address):
            self.address = _unix(address)
        else:
            self.address = self._tcp(address)

    def _tcp(self, address: str) -> str:
        # Without SO_REUSEPORT another server on this port shows itself; with it the workers can share.
        with _bound(address, "--listen") as probe:
            family, kind, proto, where = probe.family, probe.type, probe.proto, probe.getsockname()
        # Bound but never listening: the kernel sends it no connections, yet the port stays ours.
        self._socket = socket.socket(family, kind, proto)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(where)
        return shown(self._socket)

    def close(self) -> None:
        """Gives the address up, and removes a socket file."""
        if self._socket is not None:
            self._socket.close()
        if is_unix(self.address):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)

    def forget(self) -> None:
        """Closes this process's copy, in a forked child."""
        if self._socket is not None:
            self._socket.close()


def listening(address: str, flag: str) -> socket.socket:
    """A socket that listens on HOST:PORT; who accepts from it may come and go. Raises BadAddress."""
    bound = _bound(address, flag)
    try:
        bound.listen()
    except OSError as error:
        bound.close()
        raise _unbound(address, flag, error) from None
    return bound


def shown(bound: socket.socket) -> str:
    """HOST:PORT of a socket."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(address: str, flag: str) -> socket.socket:
    family, kind, proto, where = _resolved(address)
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        bound = socket.socket(family, kind, proto)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(where)
            return bound
        except OSError as error:
            bound.close()
            if time.monotonic() >= deadline or error.errno != errno.EADDRINUSE:
                raise _unbound(address, flag, error) from None
            time.sleep(_RETRY_EVERY_SECONDS)


def _unbound(address: str, flag: str, error: OSError) -> BadAddress:
    cure = "stop what uses it, or choose" if error.errno == errno.EADDRINUSE else "choose"
    return BadAddress(f"{address} can't be bound: {error.strerror}; {cure} another {flag}")


def _resolved(address: str) -> tuple[int, int, int, tuple[Any, ...]]:
    """What a socket is made of and bound to, for HOST:PORT: family, type, protocol, address."""
    host, port = host_port(address)
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadAddress(
            f"{host!r} can't be resolved: {error.strerror}; use 127.0.0.1 or a local name"
        ) from None
    return family, kind, proto, where


def _unix(address: str) -> str:
    path = Path(address.removeprefix("unix:"))
    if not path.is_absolute():
        path = Path.cwd() / path
    if len(os.fsencode(path)) > 107:
        raise BadAddress(f"{path} is too long for a Unix socket (107 bytes); choose a shorter path")
    if not path.parent.is_dir():
        raise BadAddress(f"{path.parent} is not a folder; make it, or choose another path")
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return f"unix:{path}"
        if not stat.S_ISSOCK(mode):
            raise BadAddress(f"{path} exists and is not a socket; choose another path")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                # Nobody answers: left behind by a server that was killed.
                path.unlink(missing_ok=True)
                return f"unix:{path}"
        if time.monotonic() >= deadline:
            raise BadAddress(f"{path} is in use by a running server; stop it, or choose another path")
        time.sleep(_RETRY_EVERY_SECONDS)
