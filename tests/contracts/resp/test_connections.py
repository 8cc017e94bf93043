"""What connections do beside commands, the same on RedDB and on Redis."""

import socket
from collections.abc import Callable

import redis

Connect = Callable[[], socket.socket]
CONNECTIONS = 200


def read_to_end(connected: socket.socket) -> bytes:
    received = bytearray()
    while chunk := connected.recv(1 << 16):
        received += chunk
    return bytes(received)


def test_a_deep_pipeline_of_large_replies_is_answered_whole(connect: Connect, other: redis.Redis) -> None:
    value = b"v" * 100_000
    other.set("large", value)
    reply = b"$100000\r\n" + value + b"\r\n"
    with connect() as connected:
        connected.sendall(b"GET large\r\n" * 40)
        with connected.makefile("rb") as replies:
            assert replies.read(40 * len(reply)) == reply * 40


def test_a_pipeline_beyond_what_sockets_hold_is_answered_whole(connect: Connect, other: redis.Redis) -> None:
    """Both sides' buffers fill up: the server has to stop reading, and to go on once the client reads."""
    value = b"v" * 1_000_000
    other.set("large", value)
    reply = b"$1000000\r\n" + value + b"\r\n"
    with connect() as connected:
        connected.sendall(b"GET large\r\n" * 64)
        with connected.makefile("rb") as replies:
            for _ in range(64):
                assert replies.read(len(reply)) == reply


def test_a_client_that_ends_its_side_gets_its_replies_and_the_end(connect: Connect) -> None:
    """The last command and the end arrive together as often as not: many connections make it sure."""
    for _ in range(CONNECTIONS):
        with connect() as connected:
            connected.sendall(b"PING\r\n")
            connected.shutdown(socket.SHUT_WR)
            assert read_to_end(connected) == b"+PONG\r\n"


def test_a_reader_that_has_gone_is_given_nothing(connect: Connect, other: redis.Redis) -> None:
    other.delete("s")
    other.xgroup_create("s", "g", id="$", mkstream=True)
    with connect() as gone:
        gone.sendall(b"XREADGROUP GROUP g gone BLOCK 0 STREAMS s >\r\n")
        gone.shutdown(socket.SHUT_WR)
        assert read_to_end(gone) == b""
    other.xadd("s", {"n": "1"})
    assert other.xpending("s", "g")["pending"] == 0
