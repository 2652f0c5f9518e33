"""The benches of serving: a ratio is of rounds that came together; a load is shared, and sent whole."""

import os
import select
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import waiting

BENCH = str(Path(__file__).parents[2] / "scripts" / "bench")

# Only for as long as it takes: other modules there have names that others have too.
sys.path.insert(0, BENCH)
import floor  # noqa: E402
import load  # noqa: E402
import ratios  # noqa: E402
import timed  # noqa: E402
import wire  # noqa: E402
import world  # noqa: E402

sys.path.remove(BENCH)


def one(rate, p50_ms=1.0):
    return load.Round(calls=100, rate=rate, p50_ms=p50_ms, p99_ms=5.0, cpu_us=10.0)


def test_a_ratio_is_of_the_rounds_of_one_rotation():
    rounds = {"floor": [one(100), one(200), one(400)], "service": [one(50), one(20), one(100)]}
    found = ratios.compared("Choose", rounds, "service", "floor", [ratios.rate("requests")])
    measured = found["measures"]["requests/s"]
    assert (measured["value"], measured["beside"]) == (50, 200)
    assert measured["ratio"] == [0.1, 0.25, 0.5]


def test_a_latency_that_is_later_is_told_in_microseconds():
    rounds = {"floor": [one(1, 1.0), one(1, 2.0)], "service": [one(1, 1.5), one(1, 2.25)]}
    found = ratios.compared("Choose", rounds, "service", "floor", [ratios.P50_MORE])
    assert found["measures"]["p50 us more"]["difference"] == [250, 375, 500]


def test_generators_share_bodies_channels_and_calls_in_flight():
    whole = load.Load("address", "Choose", [b"a", b"b", b"c"], 32, 1.0, True, 8)
    shares = [load._share(whole, index, 2) for index in range(2)]
    assert [share.bodies for share in shares] == [[b"a", b"c"], [b"b"]]
    assert [(share.in_flight, share.channels) for share in shares] == [(16, 4), (16, 4)]


def test_a_round_counts_the_items_of_all_generators():
    measured = load._round([load.Sent([0.003, 0.001], 2.0), load.Sent([0.002], 1.0)], items=100)
    assert (measured.calls, measured.rate, measured.p50_ms) == (3, 150, 2.0)


def test_a_round_in_which_nothing_was_sent_is_no_result():
    with pytest.raises(RuntimeError, match="nothing to send"):
        load._round([load.Sent([], 1.0)], items=1)


def test_what_is_timed_learns_from_each_of_its_choices():
    learned = []
    play = timed.timed(
        lambda context: context, lambda chosen, reward: learned.append((chosen, reward)), [1, 2], 7
    )
    assert len(learned) == timed.WARM_UP_CALLS
    assert play(0.0) >= 0
    assert len(learned) == timed.WARM_UP_CALLS + timed.CALLS_MIN
    assert {reward for _, reward in learned} == {0.0, 1.0}


@pytest.fixture
def served(monkeypatch):
    """A floor, and a generator. Both are processes, which import what this one could."""
    monkeypatch.syspath_prepend(BENCH)
    with (
        floor.process(floor.run_floor, {"Small": 4, "Large": 3_000_000}) as target,
        load.generators() as senders,
    ):
        yield target, senders


def play(served, method, bodies, in_flight, channels=1, *, again=False):
    target, senders = served
    return senders.play(
        load.Load(target.address, method, bodies, in_flight, 30.0, again, channels), target.pid
    )


def test_each_body_is_a_call_that_is_answered(served):
    assert play(served, "Small", [bytes(size) for size in range(100)], 8, 2).calls == 100


def test_messages_larger_than_every_window_go_through_both_ways(served):
    bodies = [bytes(3_000_000), b"", bytes(wire.FRAME_BYTES_MAX), bytes(wire.WINDOW_BYTES)] * 3
    assert play(served, "Large", bodies, 6).calls == 12


def test_a_round_in_which_a_call_fails_is_no_result(served):
    with pytest.raises(RuntimeError, match=r"Unknown: .*a call failed"):
        play(served, "Unknown", [b""], 1)


def test_a_server_that_dies_ends_the_round(served):
    target, _ = served
    idle_s = world.cpu_seconds(target.pid)
    with ThreadPoolExecutor() as pool:
        playing = pool.submit(play, served, "Small", [b""], 8, again=True)
        waiting.until(lambda: world.cpu_seconds(target.pid) > idle_s + 0.05, "a call")
        os.kill(target.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="Small: "):
            playing.result()


def test_no_more_is_sent_than_the_server_has_room_for():
    def frame(kind, stream, payload):
        return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + stream.to_bytes(4, "big") + payload

    def setting(name, value):
        return frame(wire.SETTINGS, 0, name.to_bytes(2, "big") + value.to_bytes(4, "big"))

    def window_update(stream, more):
        return frame(wire.WINDOW_UPDATE, stream, more.to_bytes(4, "big"))

    def data_until_acknowledged(kind):
        found = b""
        while True:
            head = peer.recv(9, socket.MSG_WAITALL)
            size = int.from_bytes(head[:3], "big")
            payload = peer.recv(size, socket.MSG_WAITALL) if size else b""
            if head[3] == wire.DATA:
                found += payload + (b"." if head[4] & wire.END_STREAM else b"")
            elif head[3] == kind and head[4] & wire.ACK:
                return found

    def data_after(frames):
        peer.sendall(frames + frame(wire.PING, 0, bytes(8)))
        poll.poll()
        connection.receive()
        connection.flush()
        return data_until_acknowledged(wire.PING)

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        select.epoll() as poll,
        ThreadPoolExecutor() as pool,
    ):
        address = f"127.0.0.1:{server.getsockname()[1]}"
        # It is connected when it has the server's settings.
        connecting = pool.submit(wire.Connection, address, "/Small", 2, poll)
        peer, _ = server.accept()
        with peer:
            peer.sendall(setting(wire.INITIAL_WINDOW_SIZE, 6))
            with closing(connecting.result()) as connection:
                assert peer.recv(len(wire.PREFACE), socket.MSG_WAITALL) == wire.PREFACE
                data_until_acknowledged(wire.SETTINGS)
                connection.start(wire.message(b"abcdefgh"))
                connection.flush()
                assert data_after(b"") == b"\0\0\0\0\x08a"
                assert data_after(window_update(0, 100)) == b""
                assert data_after(window_update(1, 2)) == b"bc"
                # A window that is made smaller is below zero, until that much is made up for.
                assert data_after(setting(wire.INITIAL_WINDOW_SIZE, 4)) == b""
                assert data_after(window_update(1, 3)) == b"d"
                assert data_after(setting(wire.INITIAL_WINDOW_SIZE, 100)) == b"efgh."
                peer.sendall(setting(wire.MAX_CONCURRENT_STREAMS, 1))
                poll.poll()
                with pytest.raises(RuntimeError, match="2 calls at once"):
                    connection.receive()
