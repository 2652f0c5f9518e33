"""What speaks HTTP/2 beneath the servicers: grpcio's C core, or a Rust one. Only this module knows both.

Nothing is imported until it is asked for: the supervisor, which forks, must not have gRPC in it.
"""

import os
import tempfile
from typing import TYPE_CHECKING, Final

from bandit.core import limits
from bandit.serving import address
from bandit.settings import Transport

if TYPE_CHECKING:
    import grpc

REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
"""Replies may be larger than requests: a batch's distributions and payloads."""

STREAMS_MAX: Final = 2**31 - 1
"""Calls on one connection: as many as HTTP/2 has, since the gate counts calls, and tells who is refused."""

PENDING_CALLS_MAX: Final = 10_000
"""So many calls may wait for the event loop to take them. By itself grpcio cancels some at random from 1,000
on, which the gate would let in, or tell that the server is overloaded."""

TEMPORARY_PATH_BYTES_MAX: Final = 70
"""What is left of a socket's 107 bytes by the names that native puts behind it."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES),
    ("grpc.max_send_message_length", REPLY_BYTES_MAX),
    ("grpc.max_concurrent_streams", STREAMS_MAX),
    ("grpc.so_reuseport", 1),
    # From here on native knows none of them.
    ("grpc.server.max_pending_requests", PENDING_CALLS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS_MAX),
    # Its pings measure wide networks; beside the application they only cost.
    ("grpc.http2.bdp_probe", 0),
)


class Unfit(ValueError):
    """The transport can't serve there. The message says why and what would be right."""


def check(transport: Transport, listen: str) -> None:
    """Refuses what a transport can't do. Raises Unfit, or BadAddress."""
    if transport is not Transport.NATIVE:
        return
    # It takes the whole of a message into memory before its size can be judged: not for strangers.
    if not address.is_local(listen):
        raise Unfit(
            f"native serves loopback and Unix sockets only, and {listen} is neither; choose another "
            "--listen, or --transport grpcio"
        )
    if not _has_place_for_its_socket():
        raise Unfit(
            "native needs a temporary folder for a socket of its own, one that can be written and with a "
            f"path of at most {TEMPORARY_PATH_BYTES_MAX} bytes; set TMPDIR, or choose --transport grpcio"
        )
    try:
        import pygrpc_native  # noqa: F401
    except ImportError as error:
        raise Unfit(
            "native needs the extra `fast`: pip install 'banditd[fast]', or choose --transport grpcio "
            f"({error})"
        ) from error


def _has_place_for_its_socket() -> bool:
    """Whether grpcio can serve behind native what that leaves to it (reflection): over a temporary socket."""
    try:
        return len(os.fsencode(tempfile.gettempdir())) <= TEMPORARY_PATH_BYTES_MAX
    except FileNotFoundError:
        return False


def new_server(transport: Transport) -> "grpc.aio.Server":
    """A server of the running event loop, without handlers or a port yet; `check` has passed."""
    if transport is Transport.NATIVE:
        import pygrpc_native.aio

        return pygrpc_native.aio.server(options=_OPTIONS)
    import grpc

    return grpc.aio.server(options=_OPTIONS)
