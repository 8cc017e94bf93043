//! Limits on what one client may cost the server by RESP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};

use common::{Client, Server, TOKEN, wire};
use reddb::resp::value::RespValue;

fn ok() -> RespValue {
    RespValue::Simple("OK".into())
}

/// The largest resident set that the process ever had.
fn peak_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The connection ends without a byte of the reply.
fn assert_is_cut(mut client: Client, command: &[&str]) {
    client.stream.write_all(&wire(command)).unwrap();
    let received = client.stream.read(&mut [0; 1]);
    assert!(matches!(received, Ok(0)), "{}: {received:?}", command[0]);
}

#[test]
fn a_reply_beyond_the_limit_is_not_built() {
    const LIMIT: u64 = 8 << 20;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--max-output-bytes", &LIMIT.to_string()]);
    let value = "v".repeat(1 << 20);
    server.client().call(&["SET", "k", &value]);
    server.client().call(&["XADD", "s", "1-0", "f", &value]);
    for id in 2..=16 {
        server.client().call(&["XADD", "s", &format!("{id}-0"), "f", &value]);
    }
    let before = peak_bytes(&server);
    let many: Vec<&str> = std::iter::once("MGET").chain(std::iter::repeat_n("k", 400)).collect();
    assert_is_cut(server.client(), &many);
    assert_is_cut(server.client(), &["XRANGE", "s", "-", "+"]);
    let mut transaction = server.client();
    transaction.call(&["MULTI"]);
    for _ in 0..400 {
        transaction.call(&["GET", "k"]);
    }
    transaction.call(&["SET", "after", "1"]);
    assert_is_cut(transaction, &["EXEC"]);
    // A transaction is all or nothing, whatever becomes of its replies.
    assert_eq!(server.client().call(&["GET", "after"]), RespValue::Bulk(b"1".to_vec()));
    // A buffer that grows by doubling, a copy or two: far below the 400 MB that were asked for.
    assert!(peak_bytes(&server) - before < 8 * LIMIT, "{} bytes more", peak_bytes(&server) - before);

    let (status, body) = server.http("GET", "/v1/streams/s", TOKEN, b"").unwrap();
    assert_eq!(status, 400);
    assert!(String::from_utf8(body).unwrap().contains("\"ReplyTooLarge\""));
    assert_eq!(server.http("GET", "/v1/streams/s?count=2", TOKEN, b"").unwrap().0, 200);
}

#[test]
fn a_full_batch_is_committed_before_the_next_command() {
    const WRITES: usize = 100;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--max-commit-bytes", "1"]);
    let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut clients {
        client.stream.write_all(&wire(&["SET", "k", "v"]).repeat(WRITES)).unwrap();
    }
    std::thread::scope(|scope| {
        for number in 0..4 {
            let server = &server;
            scope.spawn(move || {
                assert_eq!(server.http("PUT", &format!("/v1/kv/h{number}"), TOKEN, b"v").unwrap().0, 204);
            });
        }
    });
    for client in &mut clients {
        for _ in 0..WRITES {
            assert_eq!(client.receive(), Some(ok()));
        }
    }
    let commits = server.metric("dspy_reddb_commit_batch_size_count");
    assert_eq!(commits, (4 * WRITES + 4).to_string());
    assert_eq!(server.metric("dspy_reddb_commit_batch_size_bucket{le=\"1\"}"), commits);
}

#[test]
fn names_of_groups_and_consumers_are_as_long_as_keys_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut client = server.client();
    let long = "n".repeat(5000);
    client.call(&["XADD", "s", "1-0", "f", "v"]);
    client.call(&["XGROUP", "CREATE", "s", "g", "0"]);
    for command in [
        &["XGROUP", "CREATE", "s", &long, "0"][..],
        &["XGROUP", "CREATECONSUMER", "s", "g", &long],
        &["XREADGROUP", "GROUP", "g", &long, "STREAMS", "s", ">"],
        &["XCLAIM", "s", "g", &long, "0", "1-0"],
        &["XAUTOCLAIM", "s", "g", &long, "0", "0"],
    ] {
        let RespValue::Error(text) = client.call(command) else { panic!("{} was not refused", command[0]) };
        assert!(text.contains("at most 4096 bytes"), "{text}");
    }
}

#[test]
fn a_group_read_takes_no_more_than_a_batch_has_room_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--max-commit-bytes", "2048"]);
    let mut client = server.client();
    for id in 1..=100 {
        client.call(&["XADD", "s", &format!("{id}-0"), "f", "v"]);
    }
    client.call(&["XGROUP", "CREATE", "s", "g", "0"]);
    let mut delivered = 0;
    while let RespValue::Array(streams) = client.call(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"]) {
        let entries = streams.into_iter().next().unwrap().into_array().swap_remove(1).into_array();
        assert!((1..60).contains(&entries.len()), "{} at once", entries.len());
        delivered += entries.len();
    }
    assert_eq!(delivered, 100);
}

#[test]
fn a_pipeline_longer_than_the_input_limit_is_answered_whole() {
    const COMMANDS: usize = 50_000;
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--max-input-bytes", "100000", "--max-value-bytes", "1000"];
    let server = Server::start_with(directory.path(), &flags);
    let mut client = server.client();
    let mut writer = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&wire(&["PING"]).repeat(COMMANDS)).unwrap());
        for number in 0..COMMANDS {
            assert_eq!(client.receive(), Some(RespValue::Simple("PONG".into())), "{number}");
        }
    });
}
