//! No reply unless durable, where the disk fails: a limit on the size of its files stands for the full disk. SQLite sees a
//! failing write in both cases, and this one needs neither root nor a file system of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;

use common::{Client, Server, wire};
use reddb::resp::value::RespValue;

/// Keys of the table that the fold changes, each on a page of its own.
const KEYS: usize = 2000;

fn key(number: usize) -> String {
    format!("key:{number:06}")
}

fn value(client: &mut Client, key: &str) -> Vec<u8> {
    client.call(&["GET", key]).into_bytes()
}

#[test]
fn a_commit_that_fails_is_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_with_file_limit(directory.path(), 1024);
    let mut client = server.client();
    let payload = "v".repeat(10_000);
    let mut acknowledged = 0;
    while client.try_call(&["SET", &key(acknowledged), &payload]) == Some(RespValue::Simple("OK".into())) {
        acknowledged += 1;
        assert!(acknowledged < 1000, "10 MB fit into files of 1 MiB");
    }
    assert!(acknowledged > 0);
    assert!(!server.wait(), "a store that cannot write ends, and says so");

    let server = Server::start(directory.path());
    let mut client = server.client();
    for number in 0..acknowledged {
        assert_eq!(value(&mut client, &key(number)).len(), payload.len(), "{number} of {acknowledged}");
    }
    assert_eq!(client.call(&["EXISTS", &key(acknowledged + 1)]), RespValue::Integer(0));
}

#[test]
fn a_fold_that_fails_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let mut client = server.client();
    let page = "v".repeat(3000);
    for number in 0..KEYS {
        client.call(&["SET", &key(number), &page]);
    }
    assert!(server.stop());

    // The journal gets a few kilobytes, but the fold writes a page for every key that they change.
    let mut server = Server::start_with_file_limit(directory.path(), 1024);
    let mut client = server.client();
    let writes: Vec<u8> = (0..KEYS).flat_map(|number| wire(&["SET", &key(number), "new"])).collect();
    client.stream.write_all(&writes).unwrap();
    for number in 0..KEYS {
        assert_eq!(client.receive(), Some(RespValue::Simple("OK".into())), "{number}");
    }
    assert!(!server.wait(), "a store that cannot fold ends, and says so");

    let server = Server::start(directory.path());
    let mut client = server.client();
    for number in 0..KEYS {
        assert_eq!(value(&mut client, &key(number)), b"new");
    }
}
