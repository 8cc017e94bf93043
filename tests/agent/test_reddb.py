"""The event log and blobs on the real RedDB: durable, fenced, patient."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar, cast

import pytest
import redis
from dspy_agent.clients.reddb import BlobClient, StreamLog
from dspy_agent.clients.reddb_http import RedDbHttp
from dspy_agent.core.events import Event
from dspy_agent.core.journal import Journal
from dspy_agent.errors import LogFenced, StoreRefused, StoreUnreachable, UsageError

from tests.agent.services import TOKEN, RedDb, reddb

pytestmark = pytest.mark.timeout(60)
KEY = "session/n/s/u/events"


@pytest.fixture
def store(reddb_binary: Path, tmp_path: Path) -> Iterator[RedDb]:
    service = reddb(reddb_binary, tmp_path)
    service.start()
    yield service
    service.kill()


def event(seq: int, word: str = "x") -> Event:
    return Event(seq, "tool_call", "2026-01-01T00:00:00.000Z", 0.0, {"word": word})


def test_events_come_back_in_order(store: RedDb) -> None:
    log = StreamLog(store.resp_url, TOKEN, KEY)
    for seq in range(1, 6):
        log.append(event(seq))
    assert [found.seq for found in log.read(2, 2)] == [3, 4]
    assert Journal(log).seq == 5
    with RedDbHttp(store.url, TOKEN) as http:
        assert [found.seq for found in http.events(KEY, 3, 10)] == [4, 5]
    log.close()


def test_a_second_writer_is_fenced_off_but_a_repeated_append_is_not(store: RedDb) -> None:
    log = StreamLog(store.resp_url, TOKEN, KEY)
    log.append(event(1))
    log.append(event(1))
    with pytest.raises(LogFenced):
        log.append(event(1, "other"))
    assert len(log.read(0, 10)) == 1
    log.close()


def test_a_stream_ends_a_retention_after_its_last_event(store: RedDb) -> None:
    log = StreamLog(store.resp_url, TOKEN, KEY, retention=timedelta(days=2))
    raw = redis.Redis.from_url(store.resp_url, password=TOKEN)
    log.append(event(1))
    raw.expire(KEY, 60)
    log.append(event(2))
    assert 2 * 86_400 - 60 <= cast(int, raw.ttl(KEY)) <= 2 * 86_400
    raw.close()
    log.close()


def test_a_blob_goes_when_its_retention_is_over(store: RedDb) -> None:
    blobs = BlobClient(store.url, TOKEN, retry_seconds=0.2, retention=timedelta(seconds=1))
    digest = blobs.put(b"x")
    while _there(blobs, digest):  # until this module's timeout
        time.sleep(0.1)
    blobs.close()


def _there(blobs: BlobClient, digest: str) -> bool:
    try:
        return blobs.get(digest) == b"x"
    except StoreRefused:
        return False


def test_an_append_waits_through_a_kill_and_a_restart(store: RedDb) -> None:
    log = StreamLog(store.resp_url, TOKEN, KEY, retry_seconds=30)
    log.append(event(1))
    store.kill()
    appended = threading.Thread(target=log.append, args=(event(2),))
    appended.start()
    store.start()
    appended.join()
    assert [found.seq for found in log.read(0, 10)] == [1, 2]
    log.close()


def test_a_store_that_stays_away_is_unreachable(store: RedDb) -> None:
    log = StreamLog(store.resp_url, TOKEN, KEY, retry_seconds=0.2)
    blobs = BlobClient(store.url, TOKEN, retry_seconds=0.2)
    store.kill()
    with pytest.raises(StoreUnreachable, match="look at the reddb pod"):
        log.append(event(1))
    with pytest.raises(StoreUnreachable):
        blobs.put(b"x")
    log.close()
    blobs.close()
    store.start()


def test_a_wrong_token_is_refused_at_once(store: RedDb) -> None:
    log = StreamLog(store.resp_url, "wrong", KEY, retry_seconds=30)
    with pytest.raises(StoreRefused):
        log.append(event(1))
    log.close()


class _Troubled(BaseHTTPRequestHandler):
    """Answers as RedDB does, after two answers of a store in trouble; a large blob it refuses for good."""

    statuses: ClassVar[list[int]] = []

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(413 if len(content) > 10 else self.statuses.pop(0))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Silent."""


def test_a_store_in_trouble_is_asked_again() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Troubled)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    blobs = BlobClient(f"http://127.0.0.1:{server.server_address[1]}", TOKEN, retry_seconds=30)
    impatient = BlobClient(f"http://127.0.0.1:{server.server_address[1]}", TOKEN, retry_seconds=0)
    try:
        _Troubled.statuses = [500, 503, 201]
        assert blobs.put(b"content") == hashlib.sha256(b"content").hexdigest()
        _Troubled.statuses = [500]
        with pytest.raises(StoreUnreachable, match="500"):
            impatient.put(b"content")
        with pytest.raises(StoreRefused):
            blobs.put(b"more than it takes")
    finally:
        blobs.close()
        impatient.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_blobs_are_found_by_their_hash(store: RedDb) -> None:
    blobs = BlobClient(store.url, TOKEN)
    digest = blobs.put(b"content")
    assert digest == hashlib.sha256(b"content").hexdigest()
    assert blobs.get(digest) == b"content"
    with pytest.raises(StoreRefused):
        blobs.get("0" * 64)
    blobs.close()
    with RedDbHttp(store.url, TOKEN) as http:
        assert http.blob(digest) == b"content"
        with pytest.raises(UsageError):
            http.blob("0" * 64)
