"""Unary gRPC calls over plain TCP: no more of HTTP/2 (RFC 9113) and HPACK (RFC 7541) than they take.

grpcio's client takes about as much CPU a call as an empty server on grpcio does, so wherever a server is
faster, a load from it measures the client. This one takes a quarter of that.

It decodes no headers and keeps no reply. A call has succeeded if a message came and then trailers, since
servers answer an error with trailers alone. (gRPC lets them send a message before it; none here does.)
"""

import select
import socket
import struct
import time
from typing import Final

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 2, 3, 4, 5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_BYTES, FRAME_BYTES_MAX = 65_535, 16_384
"""What holds on both sides until one says otherwise."""

CREDIT_BYTES = (1 << 31) - 1
"""What the server may send: as much as there can be, so that it never waits for us."""

RECEIVED_BYTES_MAX = 256 * 1024
CONNECT_SECONDS_MAX = 30.0

_HEAD: Final = struct.Struct(">HBBBI")
"""A frame's: the length's upper 16 bits and lower 8, type, flags, stream."""

_SETTING: Final = struct.Struct(">HI")
_NUMBER: Final = struct.Struct(">I")


def message(body: bytes) -> memoryview:
    """It as `Connection.start` sends it: uncompressed, behind its length."""
    return memoryview(b"\0" + _NUMBER.pack(len(body)) + body)


def _head(length: int, kind: int, flags: int, stream: int) -> bytes:
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _head(len(payload), kind, flags, stream) + payload


def _text(text: str) -> bytes:
    encoded = text.encode("ascii")
    if len(encoded) >= 127:
        raise ValueError(f"longer than one byte can tell: {text!r}")
    return bytes((len(encoded),)) + encoded


def _header_block(authority: str, path: str) -> bytes:
    """A call's headers. Nothing is put into the server's table, so the same bytes do for every stream."""
    # The numbers are of names, and of two whole headers, in HPACK's static table (RFC 7541, appendix A).
    post, http = b"\x83", b"\x86"
    named = b"\x04" + _text(path) + b"\x01" + _text(authority)
    grpc = b"\x0f\x10" + _text("application/grpc") + b"\0" + _text("te") + _text("trailers")
    return post + http + named + grpc + b"\x0f\x2b" + _text("banditd-bench")


class Connection:
    """One connection, for calls of one method. Not for threads.

    `start` puts a call into line, `flush` sends what is there, `receive` tells which calls have ended; none
    of them waits. `receive` raises RuntimeError if a call fails, or the server ends a stream or the
    connection; OSError if that breaks.
    """

    def __init__(self, address: str, path: str, calls_max: int, poll: select.epoll) -> None:
        """Connects and waits for the server's settings. `poll` tells when there is something to receive.

        Raises RuntimeError if the server does not take `calls_max` calls at once; OSError if it isn't there.
        """
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), CONNECT_SECONDS_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = _header_block(address, path)
        self._calls_max = calls_max
        self._stream = 1
        self._began: dict[int, float] = {}
        self._replied: set[int] = set()
        self._stalled: dict[int, tuple[memoryview, int]] = {}
        """Of streams that have something left to send: that, and how much of it the server has room for."""
        self._window = self._stream_window = WINDOW_BYTES
        self._frame_bytes_max = FRAME_BYTES_MAX
        self._uncredited = 0
        self._settled = False
        self._came = self._unsent = b""
        settings = _SETTING.pack(ENABLE_PUSH, 0) + _SETTING.pack(INITIAL_WINDOW_SIZE, CREDIT_BYTES)
        self._out: list[bytes | memoryview] = [PREFACE, _frame(SETTINGS, 0, 0, settings)]
        self._credit(CREDIT_BYTES - WINDOW_BYTES)
        self._poll = poll
        poll.register(self._socket, select.EPOLLIN)
        self.flush()
        while not self._settled:
            self.receive()
        self._socket.setblocking(False)
        self.flush()

    def fileno(self) -> int:
        """What `poll` calls it."""
        return self._socket.fileno()

    def close(self) -> None:
        """Ends it, and what is under way."""
        self._socket.close()

    def start(self, message: memoryview) -> None:
        """A call, which goes out with the next `flush` as far as the server has room for it."""
        stream = self._stream
        self._stream += 2
        self._began[stream] = time.perf_counter()
        self._out.append(_frame(HEADERS, END_HEADERS, stream, self._headers))
        self._put(stream, message, self._stream_window)

    def flush(self) -> None:
        """Sends what is there. What the kernel does not take now waits until `poll` says that it does."""
        due = self._unsent + b"".join(self._out)
        self._out.clear()
        waited = bool(self._unsent)
        try:
            self._unsent = due[self._socket.send(due) :] if due else due
        except BlockingIOError:
            self._unsent = due
        if waited != bool(self._unsent):
            self._poll.modify(self._socket, select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0))

    def receive(self) -> list[float]:
        """The seconds from start to end of each call that has ended with what has come."""
        try:
            came = self._socket.recv(RECEIVED_BYTES_MAX)
        except BlockingIOError:
            return []
        now = time.perf_counter()
        if not came:
            raise RuntimeError("the server closed the connection")
        came = self._came + came
        ended = []
        at, size = 0, len(came)
        while size - at >= _HEAD.size:
            upper, lower, kind, flags, stream = _HEAD.unpack_from(came, at)
            start, stop = at + _HEAD.size, at + _HEAD.size + (upper << 8 | lower)
            if stop > size:
                break
            if kind == DATA:
                self._uncredited += stop - start
                if stop > start:
                    self._replied.add(stream)
            elif kind != HEADERS:
                self._take(kind, flags, stream, came[start:stop])
            if kind <= HEADERS and flags & END_STREAM:
                if kind == DATA or stream not in self._replied:
                    raise RuntimeError(f"a call failed, with headers {came[start:stop]!r}")
                self._replied.remove(stream)
                ended.append(now - self._began.pop(stream))
            at = stop
        self._came = came[at:]
        if self._uncredited > CREDIT_BYTES // 2:
            self._credit(self._uncredited)
            self._uncredited = 0
        return ended

    def _credit(self, size: int) -> None:
        self._out.append(_frame(WINDOW_UPDATE, 0, 0, _NUMBER.pack(size)))

    def _put(self, stream: int, rest: memoryview, window: int) -> None:
        """Puts into line as much of the stream as its window and the connection's permit."""
        while rest:
            size = min(len(rest), self._frame_bytes_max, window, self._window)
            # A window can be below zero: a server may make it smaller at any time.
            if size <= 0:
                self._stalled[stream] = (rest, window)
                return
            window -= size
            self._window -= size
            self._out.append(_head(size, DATA, END_STREAM if size == len(rest) else 0, stream))
            self._out.append(rest[:size])
            rest = rest[size:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame that is not part of a reply. Those of no meaning here are passed over, as the RFC wants."""
        if kind == WINDOW_UPDATE:
            (more,) = _NUMBER.unpack(payload)
            if not stream:
                self._window += more
            elif stream in self._stalled:
                rest, window = self._stalled[stream]
                self._stalled[stream] = (rest, window + more)
            self._resume()
        elif kind == PING and not flags & ACK:
            self._out.append(_frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._settle(dict(_SETTING.iter_unpack(payload)))
            self._resume()
            self._out.append(_frame(SETTINGS, ACK, 0))
        elif kind in (RST_STREAM, GOAWAY):
            name = "reset a stream" if kind == RST_STREAM else "goes away"
            raise RuntimeError(f"the server {name}: {payload!r}")

    def _settle(self, settings: dict[int, int]) -> None:
        self._settled = True
        self._frame_bytes_max = settings.get(MAX_FRAME_SIZE, self._frame_bytes_max)
        # Fewer calls than were asked for would be another measurement.
        if settings.get(MAX_CONCURRENT_STREAMS, self._calls_max) < self._calls_max:
            raise RuntimeError(f"the server does not take {self._calls_max} calls at once")
        more = settings.get(INITIAL_WINDOW_SIZE, self._stream_window) - self._stream_window
        self._stream_window += more
        self._stalled = {stream: (rest, window + more) for stream, (rest, window) in self._stalled.items()}

    def _resume(self) -> None:
        stalled, self._stalled = self._stalled, {}
        for stream, (rest, window) in stalled.items():
            self._put(stream, rest, window)
