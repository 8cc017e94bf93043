//! The HTTP interface of the real binary: errors, consumer groups, blobs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Server, TOKEN, eventually};
use reddb::auth::Master;
use reddb::resp::value::RespValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Status and JSON body.
fn ask(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
    ask_raw(server, method, path, &body)
}

fn ask_raw(server: &Server, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let (status, body) = server.http(method, path, TOKEN, body).unwrap();
    if body.is_empty() {
        return (status, Value::Null);
    }
    let text = String::from_utf8(body).unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {status} {text:?} is not JSON")))
}

#[test]
fn every_error_has_a_code_and_a_message() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--max-value-bytes", "1000"]);
    server.client().call(&["SET", "text", "v"]);
    for (method, path, body, status, code) in [
        ("POST", "/v1/streams/s", "{", 400, "BadRequest"),
        ("POST", "/v1/streams/s", r#"{"id":"1-0"}"#, 400, "BadRequest"),
        ("POST", "/v1/streams/s", r#"{"fields":{}}"#, 400, "BadRequest"),
        ("POST", "/v1/streams/s", r#"{"fields":{"f":"v"},"id":"x"}"#, 400, "BadRequest"),
        ("GET", "/v1/streams/s?count=many", "", 400, "BadRequest"),
        ("GET", "/v1/streams/%FF", "", 400, "BadRequest"),
        ("PUT", "/v1/kv/k?ttl_seconds=-1", "v", 400, "BadRequest"),
        ("PUT", "/v1/kv/k?ttl_seconds=0", "v", 400, "BadRequest"),
        ("PUT", "/v1/kv/k", &"v".repeat(1001), 413, "BodyTooLarge"),
        ("POST", "/v1/streams/s", &" ".repeat(1001), 413, "BodyTooLarge"),
        ("PATCH", "/v1/kv/k", "", 405, "MethodNotAllowed"),
        ("GET", "/v1/nothing", "", 404, "NoSuchRoute"),
        ("GET", "/v1/kv/none", "", 404, "KeyNotFound"),
        ("GET", "/v1/streams/text", "", 409, "WrongType"),
        ("DELETE", "/v1/streams/none/groups/g", "", 404, "GroupNotFound"),
        ("POST", "/v1/streams/none/groups/g/read", r#"{"consumer":"c"}"#, 404, "GroupNotFound"),
        ("POST", "/v1/streams/none/groups/g/claim", r#"{"consumer":"c","min_idle_ms":0}"#, 404, "GroupNotFound"),
    ] {
        let (found, body) = ask_raw(&server, method, path, body.as_bytes());
        assert_eq!((found, &body["error"]["code"]), (status, &json!(code)), "{method} {path}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().ends_with('.'), "{body}");
    }
}

#[test]
fn a_value_that_cannot_be_read_is_the_stores_fault() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    server.client().call(&["SET", "k", "v"]);
    assert!(server.stop());
    // Started anew, the store has the key in memory and its value in the tables; a fault there shows at the read.
    let server = Server::start(directory.path());
    let tables = rusqlite::Connection::open(directory.path().join("data/data.db")).unwrap();
    tables.execute("DELETE FROM keys", []).unwrap();
    let (status, body) = ask(&server, "GET", "/v1/kv/k", &Value::Null);
    assert_eq!((status, &body["error"]["code"]), (500, &json!("Internal")));
    // A value that cannot be read is not one that is not there.
    assert!(matches!(server.client().call(&["MGET", "k", "none"]), RespValue::Error(_)));
}

#[test]
fn a_dead_consumers_entries_are_claimed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let group = "/v1/streams/s/groups/g";
    for id in ["1-0", "2-0", "3-0"] {
        ask(&server, "POST", "/v1/streams/s", &json!({"fields": {"n": id}, "id": id}));
    }
    assert_eq!(ask(&server, "PUT", group, &json!({})).0, 201);
    ask(&server, "POST", &format!("{group}/read"), &json!({"consumer": "dead"}));
    server.client().call(&["XDEL", "s", "2-0"]);

    let history = ask(&server, "POST", &format!("{group}/read"), &json!({"consumer": "dead", "after": "1-0"}));
    let rest = json!([{"id": "2-0"}, {"id": "3-0", "fields": {"n": "3-0"}}]);
    assert_eq!(history, (200, json!({"entries": rest})));

    let claim = |min_idle_ms: u64, start: &str, count: u32| {
        let body = json!({"consumer": "live", "min_idle_ms": min_idle_ms, "start": start, "count": count});
        ask(&server, "POST", &format!("{group}/claim"), &body)
    };
    assert_eq!(claim(u64::MAX, "0-0", 10), (200, json!({"entries": [], "deleted": ["2-0"]})));
    // That claim found 2-0 deleted, so it is pending no more.
    let entry = |id: &str| json!([{"id": id, "fields": {"n": id}}]);
    assert_eq!(claim(0, "0-0", 1), (200, json!({"entries": entry("1-0"), "deleted": [], "next": "3-0"})));
    assert_eq!(claim(0, "3-0", 10), (200, json!({"entries": entry("3-0"), "deleted": []})));
    let owners = server.client().call(&["XPENDING", "s", "g", "-", "+", "10", "live"]);
    assert_eq!(owners.into_array().len(), 2);
}

#[test]
fn pairs_keep_order_and_repeated_names() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let pairs = json!([["b", "1"], ["a", "2"], ["b", "3"]]);
    assert_eq!(ask(&server, "POST", "/v1/streams/s", &json!({"fields": pairs, "id": "1-0"})).0, 201);
    let read = |path: &str| ask(&server, "GET", path, &Value::Null).1["entries"][0]["fields"].clone();
    assert_eq!(read("/v1/streams/s?pairs=true"), pairs);
    assert_eq!(read("/v1/streams/s"), json!({"a": "2", "b": "3"}));
}

fn blob_path(content: &[u8]) -> String {
    format!("/v1/blobs/{}", hex::encode(Sha256::digest(content)))
}

fn wait_until_gone(server: &Server, path: &str) {
    eventually(path, || server.http("HEAD", path, TOKEN, b"").unwrap().0 == 404);
}

#[test]
fn a_blob_goes_when_its_time_has_come_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let put = |server: &Server, content: &[u8], query: &str| {
        let (status, stored) = ask_raw(server, "PUT", &format!("{}{query}", blob_path(content)), content);
        assert_eq!(status, 201, "{stored}");
        stored["expires_ms"].clone()
    };
    for content in [&b"put off"[..], b"made to stay"] {
        assert!(put(&server, content, "?expires_seconds=2").is_u64());
    }
    let end = put(&server, b"short", "?expires_seconds=2");
    assert_eq!(put(&server, b"short", "?expires_seconds=0"), end, "the latest end counts");
    assert!(put(&server, b"put off", "?expires_seconds=1000").is_u64());
    assert!(put(&server, b"made to stay", "").is_null());
    let (status, stored) = ask_raw(&server, "POST", "/v1/blobs", b"from the start");
    assert_eq!((status, &stored["expires_ms"]), (201, &Value::Null));
    assert!(put(&server, b"from the start", "?expires_seconds=1").is_null(), "kept for ever by its first upload");
    wait_until_gone(&server, &blob_path(b"short"));
    // Ends outlive the process.
    assert!(put(&server, b"across a restart", "?expires_seconds=1").is_u64());
    server.kill();
    let server = Server::start(directory.path());
    wait_until_gone(&server, &blob_path(b"across a restart"));
    for kept in [&b"put off"[..], b"made to stay", b"from the start"] {
        assert_eq!(server.http("GET", &blob_path(kept), TOKEN, b"").unwrap(), (200, kept.to_vec()));
    }
    // Only what was put off still has an end; a blob goes a moment before its own does.
    let ends = || std::fs::read_dir(directory.path().join("data/blob-expiries")).unwrap().count();
    eventually("the end of the ends", || ends() == 1);
}

#[test]
fn uploads_leave_the_disk_some_room() {
    let directory = tempfile::tempdir().unwrap();
    // More than any disk has.
    let server = Server::start_with(directory.path(), &["--min-free-bytes", &(1_u64 << 60).to_string()]);
    let scoped = Master::new(TOKEN.as_bytes()).scoped(b"a");
    let (status, body) = server.http("POST", "/v1/blobs", &scoped, b"content").unwrap();
    assert_eq!(status, 507);
    assert!(String::from_utf8(body).unwrap().contains("\"DiskFull\""));
    assert_eq!(server.client().call(&["SET", "k", "v"]), RespValue::Simple("OK".into()), "writes go on");
    let left = std::fs::read_dir(directory.path().join("data/incoming")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn connections_are_bounded_and_idle_ones_cut() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--max-http-connections", "2"]);
    let idle: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.http_port)).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream
        })
        .collect();
    // It waits for a place, which the slow two lose.
    assert_eq!(server.http("GET", "/healthz", "", b"").unwrap().0, 200);
    for mut stream in idle {
        let mut rest = Vec::new();
        // Told or reset: either way it has ended.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn an_expired_stream_goes_with_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let mut client = server.client();
    for key in ["expired", "deleted"] {
        client.call(&["XADD", key, "1-0", "f", "v"]);
        client.call(&["XGROUP", "CREATE", key, "g", "0"]);
        client.call(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", key, ">"]);
    }
    // Folded, so that the rows are there to be removed.
    assert!(server.stop());
    let mut server = Server::start(directory.path());
    let mut client = server.client();
    assert_eq!(client.call(&["EXPIRE", "expired", "100"]), RespValue::Integer(1));
    client.call(&["XADD", "expired", "2-0", "f", "v"]);
    assert_eq!(client.call(&["TTL", "expired"]), RespValue::Integer(100), "an append keeps the end");
    assert_eq!(client.call(&["PEXPIRE", "expired", "1"]), RespValue::Integer(1));
    assert_eq!(server.http("DELETE", "/v1/kv/deleted", TOKEN, b"").unwrap().0, 204);
    eventually("the end of the stream", || client.call(&["EXISTS", "expired"]) == RespValue::Integer(0));
    assert!(server.stop());
    let tables = rusqlite::Connection::open(directory.path().join("data/data.db")).unwrap();
    for table in ["keys", "streams", "entries", "groups", "consumers", "pending"] {
        let rows: i64 = tables.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}
