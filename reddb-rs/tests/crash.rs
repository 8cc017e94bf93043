//! Kills the real server under load, again and again: nothing acknowledged is lost, nothing is torn.
//!
//! `REDDB_CRASH_ROUNDS` sets the number of rounds (default 10).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::{Server, TOKEN};
use reddb::resp::value::RespValue;
use sha2::{Digest, Sha256};

const WRITERS: usize = 4;
/// Acknowledged writes of each round before the kill.
const WRITES_PER_ROUND: usize = 300;

/// The last step that a writer saw acknowledged.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    /// `pair:<n>:a` and `:b`, set in one transaction.
    pair: u64,
    /// Entries `1-0` up to this one.
    entries: u64,
    /// Entries acknowledged in the consumer group.
    group: u64,
    blobs: u64,
}

#[test]
fn nothing_acknowledged_is_lost_or_torn() {
    let rounds: usize = std::env::var("REDDB_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut writers = vec![Acknowledged::default(); WRITERS];
    for round in 0..rounds {
        let mut server = Server::start(directory.path());
        for (number, acknowledged) in writers.iter_mut().enumerate() {
            verify(&server, number, acknowledged);
        }
        writers = run_until_killed(&mut server, &writers, round);
    }
    let server = Server::start(directory.path());
    for (number, acknowledged) in writers.iter_mut().enumerate() {
        verify(&server, number, acknowledged);
    }
}

fn run_until_killed(server: &mut Server, writers: &[Acknowledged], round: usize) -> Vec<Acknowledged> {
    let (progress, made) = channel();
    let shared: &Server = server;
    let outcome = std::thread::scope(|scope| {
        let handles: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(number, from)| {
                let progress = progress.clone();
                scope.spawn(move || write_until_broken(shared, number, from.clone(), &progress))
            })
            .collect();
        // A different moment in every round, so that kills fall before, in and after commits and folds.
        for _ in 0..WRITES_PER_ROUND + round * 37 {
            made.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        kill(shared);
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    server.kill();
    outcome
}

fn kill(server: &Server) {
    let status = std::process::Command::new("kill").args(["-9", &server.pid().to_string()]).status();
    assert!(status.unwrap().success());
}

fn write_until_broken(server: &Server, number: usize, mut done: Acknowledged, progress: &Sender<()>) -> Acknowledged {
    let mut client = server.client();
    loop {
        if step(server, &mut client, number, &mut done).is_none() {
            return done;
        }
        // The receiver goes away at the kill; writing goes on until the connection breaks.
        let _ = progress.send(());
    }
}

/// One write of each kind; `None` as soon as the connection breaks.
fn step(server: &Server, client: &mut common::Client, number: usize, done: &mut Acknowledged) -> Option<()> {
    let next = (done.pair + 1).to_string();
    client.try_call(&["MULTI"])?;
    for half in ["a", "b"] {
        client.try_call(&["SET", &format!("pair:{number}:{half}"), &next])?;
    }
    client.try_call(&["EXEC"])?;
    done.pair += 1;

    let (stream, id) = (format!("log:{number}"), format!("{}-0", done.entries + 1));
    assert_eq!(client.try_call(&["XADD", &stream, &id, "payload", &payload(done.entries + 1)])?, bulk(&id));
    done.entries += 1;

    client.try_call(&["XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", &stream, ">"])?;
    let id = format!("{}-0", done.group + 1);
    assert_eq!(client.try_call(&["XACK", &stream, "g", &id])?, RespValue::Integer(1));
    done.group += 1;

    if done.entries.is_multiple_of(20) {
        let content = blob(number, done.blobs + 1);
        let (status, _) = server.http("PUT", &blob_path(&content), TOKEN, &content)?;
        assert_eq!(status, 201);
        done.blobs += 1;
    }
    Some(())
}

/// Checks what is stored, then takes over what was written but not acknowledged.
fn verify(server: &Server, number: usize, done: &mut Acknowledged) {
    let mut client = server.client();
    let mut read = |half: &str| match client.call(&["GET", &format!("pair:{number}:{half}")]) {
        RespValue::Bulk(value) => String::from_utf8(value).unwrap().parse::<u64>().unwrap(),
        _ => 0,
    };
    let (a, b) = (read("a"), read("b"));
    assert_eq!(a, b, "a transaction was torn");
    assert!(a == done.pair || a == done.pair + 1, "pair: {a} stored, {} acknowledged", done.pair);
    done.pair = a;

    let stream = format!("log:{number}");
    let entries = client.call(&["XRANGE", &stream, "-", "+"]).into_array();
    let stored = entries.len() as u64;
    assert!(stored == done.entries || stored == done.entries + 1, "{stored} entries, {done:?}");
    for (index, entry) in entries.into_iter().enumerate() {
        let step = index as u64 + 1;
        let fields = RespValue::Array(vec![bulk("payload"), bulk(&payload(step))]);
        assert_eq!(entry, RespValue::Array(vec![bulk(&format!("{step}-0")), fields]));
    }
    done.entries = stored;
    verify_group(&mut client, &stream, done);

    for step in 1..=done.blobs {
        let content = blob(number, step);
        assert_eq!(server.http("GET", &blob_path(&content), TOKEN, b""), Some((200, content)));
    }
}

/// At most the next entry is delivered and not acknowledged. Acknowledges it, so that the writer can go on.
fn verify_group(client: &mut common::Client, stream: &str, done: &mut Acknowledged) {
    client.call(&["XGROUP", "CREATE", stream, "g", "0", "MKSTREAM"]);
    let pending = client.call(&["XPENDING", stream, "g", "-", "+", "10"]).into_array();
    let ids: Vec<_> = pending.into_iter().map(|row| row.into_array().swap_remove(0)).collect();
    let next = bulk(&format!("{}-0", done.group + 1));
    assert!(ids.is_empty() || ids == [next], "{ids:?} pending after {done:?}");
    // Whether delivered before the kill or not yet, everything stored is acknowledged from here on.
    client.call(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", stream, ">"]);
    for step in done.group + 1..=done.entries {
        client.call(&["XACK", stream, "g", &format!("{step}-0")]);
    }
    done.group = done.entries;
}

#[test]
fn a_torn_journal_tail_costs_only_what_was_in_it() {
    const WRITES: u64 = 50;
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let mut client = server.client();
    for step in 1..=WRITES {
        client.call(&["XADD", "log", &format!("{step}-0"), "payload", &payload(step)]);
    }
    server.kill();
    let wal = directory.path().join("data/journal.db-wal");
    let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
    let length = file.metadata().unwrap().len();
    // Into the last page of the last commit, as a power cut in the middle of a write would leave it.
    file.set_len(length - 1000).unwrap();

    let server = Server::start(directory.path());
    let stored = server.client().call(&["XRANGE", "log", "-", "+"]).into_array().len() as u64;
    assert_eq!(stored, WRITES - 1);
}

fn bulk(text: &str) -> RespValue {
    RespValue::Bulk(text.as_bytes().to_vec())
}

fn payload(step: u64) -> String {
    hex::encode(Sha256::digest(step.to_be_bytes())).repeat(3)
}

fn blob(number: usize, step: u64) -> Vec<u8> {
    format!("{number} {step} ").into_bytes().repeat(10_000)
}

fn blob_path(content: &[u8]) -> String {
    format!("/v1/blobs/{}", hex::encode(Sha256::digest(content)))
}
