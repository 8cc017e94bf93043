//! WATCH beside what tests/contracts/resp holds RedDB and Redis to: many clients at once, HTTP, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Client, Server, TOKEN, eventually};
use reddb::resp::value::RespValue;

const NIL: RespValue = RespValue::Null;

fn ok() -> RespValue {
    RespValue::Simple("OK".into())
}

/// Whether a transaction runs now.
fn transaction_runs(client: &mut Client) -> bool {
    client.call(&["MULTI"]);
    client.call(&["PING"]);
    match client.call(&["EXEC"]) {
        NIL => false,
        RespValue::Array(replies) if replies == [RespValue::Simple("PONG".into())] => true,
        other => panic!("{other:?}"),
    }
}

/// Counts `n` up by one, only if nobody did so meanwhile.
fn try_increment(client: &mut Client) -> bool {
    client.call(&["WATCH", "n"]);
    let RespValue::Bulk(text) = client.call(&["GET", "n"]) else { panic!("n is a string") };
    let next = std::str::from_utf8(&text).unwrap().parse::<usize>().unwrap() + 1;
    client.call(&["MULTI"]);
    client.call(&["SET", "n", &next.to_string()]);
    client.call(&["EXEC"]) != NIL
}

/// Writers that come together share a commit: what one of them has staged there ends the others' transactions.
#[test]
fn of_transactions_that_race_none_is_lost() {
    const CLIENTS: usize = 8;
    const INCREMENTS: usize = 50;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    server.client().call(&["SET", "n", "0"]);
    let refused: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = server.client();
                scope.spawn(move || {
                    let mut refused = 0;
                    for _ in 0..INCREMENTS {
                        while !try_increment(&mut client) {
                            refused += 1;
                        }
                    }
                    refused
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(server.client().call(&["GET", "n"]), RespValue::Bulk((CLIENTS * INCREMENTS).to_string().into_bytes()));
    assert!(refused > 0, "no two clients ever met");
}

#[test]
fn what_http_writes_is_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut client = server.client();
    let mut changed_by = |method: &str, path: &str, body: &[u8]| {
        client.call(&["WATCH", "k", "s"]);
        assert!(server.http(method, path, TOKEN, body).unwrap().0 < 300, "{method} {path}");
        !transaction_runs(&mut client)
    };
    assert!(changed_by("PUT", "/v1/kv/k", b"v"));
    assert!(!changed_by("GET", "/v1/kv/k", b""));
    assert!(!changed_by("PUT", "/v1/kv/other", b"v"));
    assert!(changed_by("DELETE", "/v1/kv/k", b""));
    assert!(changed_by("POST", "/v1/streams/s", br#"{"fields": {"f": "v"}}"#));
}

#[test]
fn a_connection_watches_so_many_keys_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--max-watched-keys", "3"]);
    let mut client = server.client();
    assert_eq!(client.call(&["WATCH", "a", "b"]), ok());
    for _ in 0..5 {
        assert_eq!(client.call(&["WATCH", "a", "b"]), ok());
    }
    let RespValue::Error(text) = client.call(&["WATCH", "c", "d"]) else { panic!("a fourth key was let in") };
    assert_eq!(text, "ERR a connection watches at most 3 keys");
    assert_eq!(client.call(&["WATCH", "c"]), ok());
    server.client().call(&["SET", "d", "refused, so not watched"]);
    assert!(transaction_runs(&mut client));
    assert_eq!(client.call(&["WATCH", "d", "e", "f"]), ok());
}

#[test]
fn a_watch_ends_with_its_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut stays = server.client();
    stays.call(&["WATCH", "a"]);
    let mut goes = server.client();
    goes.call(&["WATCH", "a", "b", "c"]);
    eventually("three watched keys", || server.metric("dspy_reddb_watched_keys") == "3");
    drop(goes);
    eventually("one watched key", || server.metric("dspy_reddb_watched_keys") == "1");
    assert!(transaction_runs(&mut stays));
}
