"""Strings, expiry, scanning and transactions, the same on RedDB and on Redis."""

import time

import pytest
import redis


def test_set_and_its_conditions(client: redis.Redis) -> None:
    assert client.set("k", "1") is True
    assert client.set("k", "2", nx=True) is None
    assert client.set("absent", "1", xx=True) is None
    assert client.set("k", "3", xx=True, get=True) == "1"
    assert client.get("k") == "3"
    assert client.get("absent") is None
    assert client.setnx("k", "4") is False
    assert client.getdel("k") == "3"
    assert client.exists("k", "k", "absent") == 0


def test_many_keys_at_once(client: redis.Redis) -> None:
    assert client.mset({"a": "1", "b": "2"})
    assert client.mget("a", "nope", "b") == ["1", None, "2"]
    assert client.delete("a", "b", "nope") == 2
    assert client.dbsize() == 0


def test_binary_values_survive(client: redis.Redis) -> None:
    value = bytes(range(256)).decode("latin-1") + "\r\n$5\r\n"
    client.set("bin", value)
    assert client.get("bin") == value


def test_counters(client: redis.Redis) -> None:
    assert client.incr("n") == 1
    assert client.incrby("n", 41) == 42
    assert client.decr("n") == 41
    client.set("n", 2**63 - 1)
    with pytest.raises(redis.ResponseError, match="increment or decrement would overflow"):
        client.incr("n")
    client.set("n", " 1")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incr("n")


def test_expiry_is_set_kept_and_cleared(client: redis.Redis) -> None:
    client.set("k", "1", ex=100)
    assert 98 <= client.ttl("k") <= 100
    client.set("k", "2", keepttl=True)
    assert client.ttl("k") > 0
    client.incr("k")
    assert client.ttl("k") > 0
    assert client.persist("k") is True
    assert client.persist("k") is False
    assert client.ttl("k") == -1
    assert client.ttl("absent") == -2
    assert client.expire("absent", 5) is False
    assert client.pexpire("k", 50_000, nx=True) is True
    assert client.pexpire("k", 60_000, nx=True) is False
    assert client.expire("k", -1) is True
    assert client.exists("k") == 0


def test_a_key_expires(client: redis.Redis) -> None:
    client.set("k", "1", px=30)
    deadline = time.monotonic() + 5
    while client.get("k") is not None:
        assert time.monotonic() < deadline
    assert client.type("k") == "none"


@pytest.mark.parametrize("options", [("EX", "0"), ("PX", "-5"), ("EX", "9223372036854775807")])
def test_impossible_expiry_is_refused(client: redis.Redis, options: tuple[str, str]) -> None:
    with pytest.raises(redis.ResponseError, match="invalid expire time in 'set' command"):
        client.execute_command("SET", "k", "v", *options)


def test_scan_sees_every_key_once_there(client: redis.Redis) -> None:
    keys = {f"scan:{number}" for number in range(500)}
    client.mset(dict.fromkeys(keys, "v"))
    client.set("other", "v")
    assert set(client.scan_iter(match="scan:*", count=37)) == keys
    assert set(client.keys("scan:1[0-2]")) == {"scan:10", "scan:11", "scan:12"}
    assert set(client.scan_iter(_type="stream")) == set()


def test_wrong_kind_is_named(client: redis.Redis) -> None:
    client.set("s", "v")
    client.xadd("x", {"f": "v"})
    for call in (lambda: client.xadd("s", {"f": "v"}), lambda: client.get("x"), lambda: client.incr("x")):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            call()
    assert (client.type("s"), client.type("x")) == ("string", "stream")
    assert client.set("x", "now a string") is True
    assert client.mget("x") == ["now a string"]


def test_errors_of_form(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'get' command"):
        client.execute_command("GET")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        client.execute_command("NOSUCH", "x")
    with pytest.raises(redis.ResponseError, match="syntax error"):
        client.execute_command("SET", "k", "v", "NX", "XX")


def test_transaction_is_queued_and_run(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", "1").incr("a").xadd("log", {"f": "v"}, id="5-0").get("missing")
        assert pipe.execute() == [True, 2, "5-0", None]


def test_transaction_with_a_bad_command_runs_nothing(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", "1")
        pipe.execute_command("GET")
        with pytest.raises(redis.ResponseError):
            pipe.execute()
    assert client.get("a") is None


def test_transaction_goes_on_after_a_failing_command(client: redis.Redis) -> None:
    client.set("text", "x")
    with client.pipeline(transaction=True) as pipe:
        pipe.incr("text")
        pipe.set("after", "1")
        results = pipe.execute(raise_on_error=False)
    assert isinstance(results[0], redis.ResponseError)
    assert client.get("after") == "1"


def test_exec_and_discard_need_multi(client: redis.Redis) -> None:
    with client.client() as session:
        for command in ("EXEC", "DISCARD"):
            with pytest.raises(redis.ResponseError, match=f"{command} without MULTI"):
                session.execute_command(command)


def test_pipeline_keeps_order(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"p{number}", number).get(f"p{number}")
        assert pipe.execute()[1::2] == [str(number) for number in range(2000)]
