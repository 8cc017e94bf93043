"""Streams and consumer groups, the same on RedDB and on Redis."""

import threading

import pytest
import redis


def fill(client: redis.Redis, key: str, count: int) -> list[str]:
    return [client.xadd(key, {"n": number}, id=f"{number}-0") for number in range(1, count + 1)]


def entries(reply: object) -> list[tuple[str, dict[str, str]]]:
    """Entries of the only stream in a reply of XREAD or XREADGROUP, in either protocol."""
    if isinstance(reply, dict):
        (streams,) = reply.values()
        return [tuple(entry) for entry in streams[0]]
    assert isinstance(reply, list)
    return [tuple(entry) for entry in reply[0][1]]


def test_explicit_ids_only_grow(client: redis.Redis) -> None:
    assert client.xadd("s", {"a": "1"}, id="5-0") == "5-0"
    assert client.xadd("s", {"a": "1"}, id="5-*") == "5-1"
    assert client.xadd("s", {"a": "1"}, id="6") == "6-0"
    for taken in ("5-0", "6-0", "0-1"):
        with pytest.raises(redis.ResponseError, match="equal or smaller than the target stream top item"):
            client.xadd("s", {"a": "1"}, id=taken)
    with pytest.raises(redis.ResponseError, match="must be greater than 0-0"):
        client.xadd("s", {"a": "1"}, id="0-0")
    with pytest.raises(redis.ResponseError, match="Invalid stream ID"):
        client.xadd("s", {"a": "1"}, id="x")
    assert client.xadd("none", {"a": "1"}, nomkstream=True) is None
    assert client.exists("none") == 0


def test_ranges(client: redis.Redis) -> None:
    ids = fill(client, "s", 5)
    assert [entry_id for entry_id, _ in client.xrange("s")] == ids
    assert [entry_id for entry_id, _ in client.xrevrange("s", count=2)] == ids[:-3:-1]
    assert client.xrange("s", "(2-0", "4") == [("3-0", {"n": "3"}), ("4-0", {"n": "4"})]
    assert client.xrange("s", "4", "2") == []
    assert client.xlen("s") == 5


def test_trimming_and_deleting(client: redis.Redis) -> None:
    fill(client, "s", 10)
    assert client.xtrim("s", maxlen=8, approximate=False) == 2
    assert client.xtrim("s", minid="5-0", approximate=False) == 2
    assert client.xdel("s", "6-0", "6-0", "99-0") == 1
    client.xadd("s", {"n": "11"}, id="11-0", maxlen=3, approximate=False)
    assert [entry_id for entry_id, _ in client.xrange("s")] == ["9-0", "10-0", "11-0"]
    info = client.xinfo_stream("s")
    assert (info["length"], info["last-generated-id"], info["entries-added"]) == (3, "11-0", 11)
    assert (info["max-deleted-entry-id"], info["first-entry"][0]) == ("6-0", "9-0")


def test_an_emptied_stream_keeps_its_last_id(client: redis.Redis) -> None:
    fill(client, "s", 2)
    client.xtrim("s", maxlen=0, approximate=False)
    assert client.exists("s") == 1
    with pytest.raises(redis.ResponseError, match="equal or smaller"):
        client.xadd("s", {"a": "1"}, id="2-0")


def test_read_after_an_id(client: redis.Redis) -> None:
    fill(client, "s", 4)
    assert [entry_id for entry_id, _ in entries(client.xread({"s": "2-0"}))] == ["3-0", "4-0"]
    assert [entry_id for entry_id, _ in entries(client.xread({"s": "0"}, count=1))] == ["1-0"]
    assert not client.xread({"s": "$", "none": "0"})
    assert not client.xread({"s": "$"}, block=10)


def test_a_blocked_read_wakes_on_append(client: redis.Redis, other: redis.Redis) -> None:
    fill(client, "s", 1)
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(client.xread({"s": "1-0"}, block=20_000)))
    reader.start()
    other.xadd("s", {"n": "2"}, id="2-0")
    reader.join(timeout=20)
    assert entries(got[0]) == [("2-0", {"n": "2"})]


def test_group_delivers_each_entry_once(client: redis.Redis) -> None:
    fill(client, "s", 4)
    client.xgroup_create("s", "g", id="0")
    first = entries(client.xreadgroup("g", "one", {"s": ">"}, count=3))
    second = entries(client.xreadgroup("g", "two", {"s": ">"}))
    assert [entry_id for entry_id, _ in first + second] == ["1-0", "2-0", "3-0", "4-0"]
    assert not client.xreadgroup("g", "one", {"s": ">"})
    pending = client.xpending("s", "g")
    assert (pending["pending"], pending["min"], pending["max"]) == (4, "1-0", "4-0")
    assert pending["consumers"] == [{"name": "one", "pending": 3}, {"name": "two", "pending": 1}]
    assert client.xack("s", "g", "1-0", "1-0", "9-0") == 1
    history = entries(client.xreadgroup("g", "one", {"s": "0"}))
    assert [entry_id for entry_id, _ in history] == ["2-0", "3-0"]


def test_noack_leaves_nothing_pending(client: redis.Redis) -> None:
    fill(client, "s", 2)
    client.xgroup_create("s", "g", id="0")
    assert len(entries(client.xreadgroup("g", "c", {"s": ">"}, noack=True))) == 2
    assert client.xpending("s", "g")["pending"] == 0
    assert client.xinfo_groups("s")[0]["last-delivered-id"] == "2-0"


def test_idle_entries_are_claimed(client: redis.Redis) -> None:
    fill(client, "s", 3)
    client.xgroup_create("s", "g", id="0")
    client.xreadgroup("g", "dead", {"s": ">"})
    assert client.xclaim("s", "g", "live", 3_600_000, ["1-0"]) == []
    assert client.xclaim("s", "g", "live", 0, ["1-0"], justid=True) == ["1-0"]
    client.xdel("s", "2-0")
    cursor, claimed, deleted = client.xautoclaim("s", "g", "live", min_idle_time=0, count=10)
    assert (cursor, [entry_id for entry_id, _ in claimed], deleted) == ("0-0", ["1-0", "3-0"], ["2-0"])
    rows = client.xpending_range("s", "g", "-", "+", 10, consumername="live")
    assert [(row["message_id"], row["times_delivered"]) for row in rows] == [("1-0", 2), ("3-0", 2)]
    assert client.xpending_range("s", "g", "-", "+", 10, idle=3_600_000) == []


@pytest.mark.parametrize("others", [0, 100])
def test_pending_of_one_consumer_among_others(client: redis.Redis, others: int) -> None:
    fill(client, "s", 9 + others)
    client.xgroup_create("s", "g", id="0")
    for consumer in ("a", "b", "a"):
        client.xreadgroup("g", consumer, {"s": ">"}, count=3)
    client.xreadgroup("g", "many", {"s": ">"}, count=100)
    client.xclaim("s", "g", "a", 0, ["2-0", "8-0"], idle=3_600_000)

    def ids(start: str, end: str, count: int, consumer: str, idle: int | None = None) -> list[str]:
        rows = client.xpending_range("s", "g", start, end, count, consumername=consumer, idle=idle)
        assert {row["consumer"] for row in rows} <= {consumer}
        return [row["message_id"] for row in rows]

    assert ids("-", "+", 10, "a") == ["1-0", "2-0", "3-0", "7-0", "8-0", "9-0"]
    assert ids("2-0", "(8-0", 10, "a", idle=0) == ["2-0", "3-0", "7-0"]
    assert ids("(2-0", "+", 2, "a") == ["3-0", "7-0"]
    assert ids("-", "+", 1, "a", idle=1_800_000) == ["2-0"]
    assert ids("(2-0", "+", 9, "a", idle=1_800_000) == ["8-0"]
    assert ids("-", "+", 10, "b") == ["4-0", "5-0", "6-0"]
    assert ids("9-0", "1-0", 10, "b") == ids("-", "+", 10, "nobody") == ids("-", "+", 0, "a") == []


def test_autoclaim_looks_at_ten_for_each_it_may_claim(client: redis.Redis) -> None:
    fill(client, "s", 25)
    client.xgroup_create("s", "g", id="0")
    client.xreadgroup("g", "c", {"s": ">"})
    client.xclaim("s", "g", "c", 0, ["11-0", "12-0", "14-0"], idle=3_600_000)
    client.xdel("s", "12-0", "13-0")

    def claim(start: str, count: int) -> tuple[str, list[str], list[str]]:
        cursor, claimed, deleted = client.xautoclaim("s", "g", "d", 1_800_000, start, count)
        return cursor, [entry_id for entry_id, _ in claimed], deleted

    assert claim("0", 1) == ("11-0", [], [])
    assert claim("11-0", 2) == ("13-0", ["11-0"], ["12-0"])
    assert claim("13-0", 2) == ("15-0", ["14-0"], ["13-0"])
    assert claim("15-0", 2) == ("0-0", [], [])


def test_reading_history_is_a_delivery(client: redis.Redis) -> None:
    fill(client, "s", 2)
    client.xgroup_create("s", "g", id="0")
    client.xreadgroup("g", "c", {"s": ">"})
    client.xdel("s", "2-0")
    client.xclaim("s", "g", "c", 0, ["1-0"], idle=3_600_000, retrycount=1)
    assert [entry_id for entry_id, _ in entries(client.xreadgroup("g", "c", {"s": "0"}))] == ["1-0", "2-0"]
    rows = client.xpending_range("s", "g", "-", "+", 10)
    # An entry that was deleted meanwhile is named, but not delivered again.
    assert [(row["message_id"], row["times_delivered"]) for row in rows] == [("1-0", 2), ("2-0", 1)]
    assert client.xautoclaim("s", "g", "thief", 1_800_000)[1] == []


def test_autoclaim_goes_on_from_its_cursor(client: redis.Redis) -> None:
    fill(client, "s", 5)
    client.xgroup_create("s", "g", id="0")
    client.xreadgroup("g", "dead", {"s": ">"})
    cursor, claimed, _ = client.xautoclaim("s", "g", "live", 0, count=2)
    assert (cursor, [entry_id for entry_id, _ in claimed]) == ("3-0", ["1-0", "2-0"])
    cursor, claimed, _ = client.xautoclaim("s", "g", "live", 0, start_id=cursor, count=10, justid=False)
    assert (cursor, len(claimed)) == ("0-0", 3)


def test_group_errors(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="requires the key to exist"):
        client.xgroup_create("s", "g")
    client.xgroup_create("s", "g", mkstream=True)
    with pytest.raises(redis.ResponseError, match="BUSYGROUP Consumer Group name already exists"):
        client.xgroup_create("s", "g")
    for call in (
        lambda: client.xreadgroup("none", "c", {"s": ">"}),
        lambda: client.xpending("s", "none"),
        lambda: client.xautoclaim("s", "none", "c", 0),
    ):
        with pytest.raises(redis.ResponseError, match="NOGROUP No such key"):
            call()
    with pytest.raises(redis.ResponseError, match="NOGROUP No such consumer group 'none' for key name 's'"):
        client.xgroup_setid("s", "none", "0")
    assert client.xack("s", "none", "1-0") == 0
    assert client.xgroup_destroy("s", "g") == 1
    assert client.xgroup_destroy("s", "g") == 0


def test_consumers_and_lag(client: redis.Redis) -> None:
    fill(client, "s", 4)
    client.xgroup_create("s", "g", id="0")
    assert client.xgroup_createconsumer("s", "g", "idle") == 1
    client.xreadgroup("g", "busy", {"s": ">"}, count=3)
    (group,) = client.xinfo_groups("s")
    assert (group["consumers"], group["pending"], group["entries-read"], group["lag"]) == (2, 3, 3, 1)
    consumers = {row["name"]: row["pending"] for row in client.xinfo_consumers("s", "g")}
    assert consumers == {"busy": 3, "idle": 0}
    assert client.xgroup_delconsumer("s", "g", "busy") == 3
    assert client.xpending("s", "g")["pending"] == 0
    assert client.xgroup_setid("s", "g", "1-0")
    assert [entry_id for entry_id, _ in entries(client.xreadgroup("g", "c", {"s": ">"}))] == [
        "2-0",
        "3-0",
        "4-0",
    ]


def test_a_blocked_group_read_gets_the_entry(client: redis.Redis, other: redis.Redis) -> None:
    client.xgroup_create("s", "g", id="$", mkstream=True)
    got: list[object] = []
    reader = threading.Thread(
        target=lambda: got.append(client.xreadgroup("g", "c", {"s": ">"}, block=20_000))
    )
    reader.start()
    other.xadd("s", {"n": "1"}, id="1-0")
    reader.join(timeout=20)
    assert entries(got[0]) == [("1-0", {"n": "1"})]
    assert other.xpending("s", "g")["pending"] == 1


def test_work_queue_as_go_redis_drives_it(client: redis.Redis) -> None:
    """Enqueue in a transaction, read, acknowledge and delete in a transaction, recover what a dead worker left."""
    client.xgroup_create("queue", "workers", id="0", mkstream=True)
    with client.pipeline(transaction=True) as pipe:
        pipe.set("task:1", "queued").xadd("queue", {"id": "1"}, id="1-0")
        pipe.set("task:2", "queued").xadd("queue", {"id": "2"}, id="2-0")
        pipe.execute()
    taken = entries(client.xreadgroup("workers", "a", {"queue": ">"}, count=2, block=1000))
    assert [fields["id"] for _, fields in taken] == ["1", "2"]
    with client.pipeline(transaction=True) as pipe:
        pipe.set("task:1", "done", ex=60).xack("queue", "workers", "1-0").xdel("queue", "1-0")
        assert pipe.execute() == [True, 1, 1]
    cursor, claimed, deleted = client.xautoclaim("queue", "workers", "b", 0)
    assert (cursor, claimed, deleted) == ("0-0", [("2-0", {"id": "2"})], [])
    assert client.xlen("queue") == 1
