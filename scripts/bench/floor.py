"""The floor: an empty handler on grpc.aio and uvloop that answers constant bytes; and how to serve others."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop
from load import SERVICE, Target, child

SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.so_reuseport", 1),
    ("grpc.http2.bdp_probe", 0),
)
"""Those of the service, but for its unlimited streams, which 32 calls in flight do not need."""

Handler = Callable[[bytes, object], Coroutine[Any, Any, bytes]]


@contextmanager
def process(run: Callable[..., None], *arguments: object) -> Iterator[Target]:
    """A server in a process of its own. `run` gets a pipe for its port, and `arguments`; it calls `serve`."""
    with child(run, *arguments) as (pipe, pid):
        yield Target(f"127.0.0.1:{pipe.recv()}", pid)


def serve(pipe: Connection, handlers: Mapping[str, Handler]) -> None:
    """Serves methods of bytes on grpc.aio and uvloop until the process is ended; tells its port first."""

    async def forever() -> None:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        methods = {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pipe.send(port)
        await server.wait_for_termination()

    uvloop.run(forever())


def run_floor(pipe: Connection, sizes: Mapping[str, int]) -> None:
    """The floor: each method answers so many zeros. For `process`."""
    serve(pipe, {name: _constant(bytes(size)) for name, size in sizes.items()})


def _constant(reply: bytes) -> Handler:
    async def answer(body: bytes, rpc: object) -> bytes:
        return reply

    return answer
