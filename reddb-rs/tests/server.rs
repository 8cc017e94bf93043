//! The real binary: tokens, limits, HTTP, blocking over HTTP, graceful stop.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;

use common::{Server, TOKEN};
use reddb::auth::Master;
use reddb::resp::value::RespValue;
use sha2::{Digest, Sha256};

fn error_of(value: RespValue) -> String {
    match value {
        RespValue::Error(text) => text,
        other => panic!("an error was expected, not {other:?}"),
    }
}

#[test]
fn strangers_may_only_introduce_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut stranger = server.stranger();
    assert_eq!(stranger.call(&["PING"]), RespValue::Simple("PONG".into()));
    for command in [&["GET", "k"][..], &["SET", "k", "v"], &["INFO"], &["NOSUCH"], &["MULTI"]] {
        assert!(error_of(stranger.call(command)).starts_with("NOAUTH"), "{command:?}");
    }
    assert!(error_of(stranger.call(&["AUTH", "wrong"])).starts_with("WRONGPASS"));
    assert_eq!(stranger.call(&["AUTH", "default", TOKEN]), RespValue::Simple("OK".into()));
    assert_eq!(stranger.call(&["SET", "k", "v"]), RespValue::Simple("OK".into()));
    assert_eq!(server.http("GET", "/v1/kv/k", "wrong", b"").unwrap().0, 401);
}

#[test]
fn a_scoped_token_stays_under_its_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let token = Master::new(TOKEN.as_bytes()).scoped(b"mine/");
    server.client().call(&["MSET", "mine/a", "1", "yours/a", "1"]);
    let mut scoped = server.stranger();
    scoped.call(&["AUTH", &token]);
    assert_eq!(scoped.call(&["GET", "mine/a"]), RespValue::Bulk(b"1".to_vec()));
    for command in [
        &["GET", "yours/a"][..],
        &["MSET", "mine/b", "1", "yours/b", "1"],
        &["WATCH", "mine/a", "yours/a"],
        &["XREADGROUP", "GROUP", "STREAMS", "c", "STREAMS", "yours/s", ">"],
        &["XGROUP", "CREATE", "yours/s", "g", "$", "MKSTREAM"],
        &["INFO"],
        &["DBSIZE"],
    ] {
        assert!(error_of(scoped.call(command)).starts_with("NOPERM"), "{command:?}");
    }
    assert_eq!(scoped.call(&["KEYS", "*"]), RespValue::Array(vec![RespValue::Bulk(b"mine/a".to_vec())]));
    assert_eq!(server.http("PUT", "/v1/kv/mine%2Fc", &token, b"x").unwrap().0, 204);
    assert_eq!(server.http("PUT", "/v1/kv/yours%2Fc", &token, b"x").unwrap().0, 403);
}

#[test]
fn malformed_input_is_answered_and_cut() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for bad in ["*1\r\n+PING\r\n", "*1\r\n$-5\r\n", "*abc\r\n", "*1000000000\r\n", "*1\r\n$4000000000\r\n"] {
        let mut client = server.client();
        client.stream.write_all(bad.as_bytes()).unwrap();
        assert!(error_of(client.receive().unwrap()).starts_with("ERR Protocol error"), "{bad:?}");
        assert_eq!(client.receive(), None, "{bad:?}");
    }
    let long_key = "k".repeat(5000);
    assert!(error_of(server.client().call(&["SET", &long_key, "v"])).contains("at most 4096 bytes"));
}

#[test]
fn http_speaks_the_same_store() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut client = server.client();
    assert_eq!(server.http("PUT", "/v1/kv/a%2Fb?ttl_seconds=100", TOKEN, b"value").unwrap().0, 204);
    assert_eq!(client.call(&["GET", "a/b"]), RespValue::Bulk(b"value".to_vec()));
    assert_eq!(server.http("GET", "/v1/kv/a%2Fb", TOKEN, b""), Some((200, b"value".to_vec())));
    assert_eq!(server.http("GET", "/v1/kv/none", TOKEN, b"").unwrap().0, 404);

    let body = br#"{"fields":{"event":"x"},"id":"1-0"}"#;
    assert_eq!(server.http("POST", "/v1/streams/s", TOKEN, body).unwrap(), (201, br#"{"id":"1-0"}"#.to_vec()));
    assert_eq!(server.http("POST", "/v1/streams/s", TOKEN, body).unwrap().0, 409);
    let read = server.http("GET", "/v1/streams/s?after=0&block_ms=1", TOKEN, b"").unwrap();
    assert_eq!(read, (200, br#"{"entries":[{"id":"1-0","fields":{"event":"x"}}]}"#.to_vec()));
    assert_eq!(server.http("PUT", "/v1/streams/s/groups/g", TOKEN, b"{}").unwrap().0, 201);
    assert_eq!(server.http("PUT", "/v1/streams/s/groups/g", TOKEN, b"{}").unwrap().0, 409);
    let group_read = server.http("POST", "/v1/streams/s/groups/g/read", TOKEN, br#"{"consumer":"c"}"#).unwrap();
    assert_eq!(group_read, read);
    let acknowledged = server.http("POST", "/v1/streams/s/groups/g/ack", TOKEN, br#"{"ids":["1-0"]}"#).unwrap();
    assert_eq!(acknowledged, (200, br#"{"acknowledged":1}"#.to_vec()));
    let metrics = server.http("GET", "/metrics", "", b"").unwrap();
    assert!(String::from_utf8(metrics.1).unwrap().contains("dspy_reddb_commands_total{command=\"xadd\"} 2"));
}

#[test]
fn a_waiting_http_read_ends_with_the_append() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.http("GET", "/v1/streams/s?block_ms=20000", TOKEN, b""));
        server.client().call(&["XADD", "s", "1-0", "f", "v"]);
        let (status, body) = waiting.join().unwrap().unwrap();
        assert_eq!((status, body), (200, br#"{"entries":[{"id":"1-0","fields":{"f":"v"}}]}"#.to_vec()));
    });
}

#[test]
fn blobs_are_what_they_hash_to() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let content = b"content".repeat(100_000);
    let path = format!("/v1/blobs/{}", hex::encode(Sha256::digest(&content)));
    assert_eq!(server.http("GET", &path, TOKEN, b"").unwrap().0, 404);
    assert_eq!(server.http("PUT", &path, TOKEN, b"other").unwrap().0, 422);
    assert_eq!(server.http("GET", &path, TOKEN, b"").unwrap().0, 404);
    assert_eq!(server.http("PUT", &path, TOKEN, &content).unwrap().0, 201);
    assert_eq!(server.http("POST", "/v1/blobs", TOKEN, &content).unwrap().0, 201);
    assert_eq!(server.http("GET", &path, TOKEN, b""), Some((200, content)));
    let scoped = Master::new(TOKEN.as_bytes()).scoped(b"a");
    assert_eq!(server.http("HEAD", &path, &scoped, b"").unwrap().0, 200);
    assert_eq!(server.http("DELETE", &path, &scoped, b"").unwrap().0, 403);
    assert_eq!(server.http("DELETE", &path, TOKEN, b"").unwrap().0, 204);
    for bad in ["..%2F..%2Fdata.db", "ABC", &"g".repeat(64)] {
        assert_eq!(server.http("GET", &format!("/v1/blobs/{bad}"), TOKEN, b"").unwrap().0, 400, "{bad}");
    }
}

#[test]
fn a_graceful_stop_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let mut client = server.client();
    client.call(&["SET", "k", "v"]);
    client.call(&["SET", "soon", "v", "PX", "1"]);
    client.call(&["XADD", "s", "7-0", "f", "v"]);
    assert!(server.stop());
    let server = Server::start(directory.path());
    let mut client = server.client();
    assert_eq!(
        client.call(&["MGET", "k", "soon"]),
        RespValue::Array(vec![RespValue::Bulk(b"v".to_vec()), RespValue::Null])
    );
    assert!(error_of(client.call(&["XADD", "s", "7-0", "f", "v"])).contains("equal or smaller"));
}

#[test]
fn counters_at_their_limit_stay_there_and_the_store_restarts() {
    const LARGEST: &str = "9223372036854775807";
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let mut client = server.client();
    client.call(&["XADD", "s", "1-0", "f", "v"]);
    client.call(&["XADD", "s", "2-0", "f", "v"]);
    client.call(&["XGROUP", "CREATE", "s", "g", "0", "ENTRIESREAD", LARGEST]);
    client.call(&["XREADGROUP", "GROUP", "g", "a", "STREAMS", "s", ">"]);
    client.call(&["XCLAIM", "s", "g", "a", "0", "1-0", "RETRYCOUNT", LARGEST]);
    client.call(&["XCLAIM", "s", "g", "b", "0", "1-0"]);
    client.call(&["XAUTOCLAIM", "s", "g", "c", "0", "0"]);
    client.call(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", "0"]);
    // A graceful stop folds all of it.
    assert!(server.stop());
    let server = Server::start(directory.path());
    let mut client = server.client();
    let row = client.call(&["XPENDING", "s", "g", "-", "+", "1"]).into_array().swap_remove(0).into_array();
    assert_eq!(row[3], RespValue::Integer(i64::MAX));
}
