"""WATCH and UNWATCH: what makes EXEC answer nil, the same on RedDB and on Redis."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

# Runs one command on the connection that watches.
Session = Callable[[str], Any]

SETUP = (
    ("SET", "k", "v", "PX", "100000"),
    ("XADD", "s", "1-0", "f", "v"),
    ("XADD", "s", "2-0", "f", "v"),
    ("XADD", "s", "3-0", "f", "v"),
    ("XGROUP", "CREATE", "s", "g", "0"),
    ("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "s", ">"),
)

CHANGES = (
    "SET k v",
    "SET k w XX GET",
    "SET k v KEEPTTL",
    "MSET j 1 k 2",
    "DEL k",
    "GETDEL k",
    "PEXPIRE k 5000",
    "EXPIRE k -1",
    "PERSIST k",
    "XADD s 9-0 f v",
    "XADD s NOMKSTREAM 9-0 f v",
    "XDEL s 1-0",
    "XTRIM s MAXLEN 1",
    "DEL s",
    "SET s x",
    "SET absent v",
    "SETNX absent v",
    "INCR absent",
    "XADD absent 1-0 f v",
    "XGROUP CREATE absent g 0 MKSTREAM",
)

# What a consumer group does is no change of the stream.
NO_CHANGES = (
    "GET k",
    "SET k w NX",
    "SETNX k 2",
    "SET j 1",
    "DEL absent",
    "PEXPIRE k 5000 NX",
    "PEXPIRE k 200000 LT",
    "XADD absent NOMKSTREAM 9-0 f v",
    "XDEL s 77-0",
    "XTRIM s MAXLEN 100",
    "XACK s g 1-0",
    "XCLAIM s g d 0 1-0",
    "XAUTOCLAIM s g d 0 0",
    "XREADGROUP GROUP g new COUNT 1 STREAMS s >",
    "XREADGROUP GROUP g c COUNT 1 STREAMS s 0",
    "XGROUP CREATE s h 0",
    "XGROUP SETID s g 0",
    "XGROUP DESTROY s g",
    "XGROUP CREATECONSUMER s g e",
    "XGROUP DELCONSUMER s g c",
)


@pytest.fixture
def session(client: redis.Redis) -> Iterator[Session]:
    """One connection, without what the library makes of replies: errors are returned as they are."""
    connection = client.connection_pool.get_connection()

    def run(command: str) -> Any:
        connection.send_command(*command.split())
        try:
            return connection.read_response()
        except redis.ResponseError as error:
            return str(error)

    yield run
    connection.disconnect()
    client.connection_pool.release(connection)


def transaction_runs(session: Session) -> bool:
    """Whether an EXEC runs now."""
    assert session("MULTI") == "OK"
    assert session("ECHO ran") == "QUEUED"
    replies = session("EXEC")
    assert replies in (None, ["ran"])
    return replies is not None


@pytest.mark.parametrize("command", CHANGES)
def test_a_change_of_a_watched_key_ends_the_transaction(
    session: Session, other: redis.Redis, command: str
) -> None:
    for setup in SETUP:
        other.execute_command(*setup)
    session("WATCH k s absent")
    other.execute_command(*command.split())
    assert not transaction_runs(session)
    assert transaction_runs(session)


@pytest.mark.parametrize("command", NO_CHANGES)
def test_what_changes_no_watched_key_lets_it_run(session: Session, other: redis.Redis, command: str) -> None:
    for setup in SETUP:
        other.execute_command(*setup)
    session("WATCH k s absent")
    other.execute_command(*command.split())
    assert transaction_runs(session)


def test_nothing_of_an_ended_transaction_is_run(session: Session, other: redis.Redis) -> None:
    session("WATCH k")
    other.set("k", "theirs")
    for command in ("MULTI", "SET k mine", "SET j mine"):
        session(command)
    assert session("EXEC") is None
    assert (other.get("k"), other.get("j")) == ("theirs", None)


def test_writes_of_the_watching_connection_count(session: Session) -> None:
    session("WATCH k")
    session("SET k mine")
    assert not transaction_runs(session)


def test_a_change_and_its_reversal_are_changes(session: Session, other: redis.Redis) -> None:
    session("WATCH k")
    other.set("k", "1")
    other.delete("k")
    assert not transaction_runs(session)


def test_a_change_between_multi_and_exec_counts(session: Session, other: redis.Redis) -> None:
    session("WATCH k")
    session("MULTI")
    session("ECHO ran")
    other.set("k", "1")
    assert session("EXEC") is None


def test_a_transaction_is_no_change_to_itself(session: Session) -> None:
    session("WATCH k")
    for command in ("MULTI", "SET k 1", "INCR k"):
        session(command)
    assert session("EXEC") == ["OK", 2]


def test_watching_again_forgives_nothing(session: Session, other: redis.Redis) -> None:
    session("WATCH k")
    other.set("k", "1")
    session("WATCH k k j")
    assert not transaction_runs(session)


@pytest.mark.parametrize("end", ["UNWATCH", "MULTI DISCARD", "MULTI EXEC"])
def test_the_end_of_a_watch(session: Session, other: redis.Redis, end: str) -> None:
    session("WATCH k")
    other.set("k", "1")
    for command in end.split():
        session(command)
    assert transaction_runs(session)
    other.set("k", "2")
    assert transaction_runs(session)


@pytest.mark.parametrize("command", ["EXEC", "DISCARD"])
def test_a_refused_end_keeps_the_watch(session: Session, other: redis.Redis, command: str) -> None:
    session("WATCH k")
    assert "without MULTI" in session(command)
    other.set("k", "1")
    assert not transaction_runs(session)


def watch_until_expiry(session: Session) -> None:
    """Watches `k`, which ends soon after, and returns while it is there."""
    for ms in (20, 200, 2000):
        session(f"SET k v PX {ms}")
        session("WATCH k")
        if session("EXISTS k"):
            return
        session("UNWATCH")
    pytest.fail("a key with 2 s to live was gone at once")


def until_expired(other: redis.Redis) -> None:
    deadline = time.monotonic() + 5
    while other.exists("k"):
        assert time.monotonic() < deadline


def test_expiry_after_the_watch_is_a_change(session: Session, other: redis.Redis) -> None:
    watch_until_expiry(session)
    until_expired(other)
    assert not transaction_runs(session)


def test_expiry_that_nobody_asked_about_is_a_change(session: Session) -> None:
    watch_until_expiry(session)
    time.sleep(int(session("PTTL k")) / 1000 + 0.002)
    assert not transaction_runs(session)


def test_a_key_that_had_expired_may_go_but_not_come_back(session: Session, other: redis.Redis) -> None:
    session("SET k v PX 5")
    until_expired(other)
    session("WATCH k")
    assert other.get("k") is None
    assert transaction_runs(session)
    session("WATCH k")
    other.set("k", "v")
    assert not transaction_runs(session)


def test_watch_inside_multi_is_refused_and_harms_nothing(session: Session) -> None:
    session("MULTI")
    assert "WATCH inside MULTI is not allowed" in session("WATCH k")
    assert session("UNWATCH") == "QUEUED"
    assert session("SET k 1") == "QUEUED"
    assert session("EXEC") == ["OK", "OK"]


def test_a_bad_command_is_named_before_a_changed_key(session: Session, other: redis.Redis) -> None:
    session("WATCH k")
    other.set("k", "1")
    session("MULTI")
    session("GET")
    assert "previous errors" in session("EXEC")
    assert transaction_runs(session)


def test_watch_needs_a_key(session: Session) -> None:
    assert "wrong number of arguments for 'watch' command" in session("WATCH")
    assert "wrong number of arguments for 'unwatch' command" in session("UNWATCH k")


def test_the_nil_of_exec_is_a_null_array(connect: Callable[[], socket.socket]) -> None:
    with connect() as watching, watching.makefile("rb") as replies:
        watching.sendall(b"WATCH k\r\nSET k 1\r\nMULTI\r\nGET k\r\nEXEC\r\nPING\r\n")
        expected = b"+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n+PONG\r\n"
        assert replies.read(len(expected)) == expected


def test_the_library_watches(client: redis.Redis, other: redis.Redis) -> None:
    with client.pipeline() as pipe:
        pipe.watch("k")
        assert pipe.get("k") is None
        other.set("k", "theirs")
        pipe.multi()
        pipe.set("k", "mine")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert client.get("k") == "theirs"
