//! Commands that take too much or do not end: each must end, truthfully, with nothing left behind.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Runner, TOKEN, alive, as_every_user, wait_until};
use serde_json::json;

/// A word that only this test's processes have on their command line.
fn mark(name: &str, runner: &Runner) -> String {
    format!("{name}-{}", runner.pid())
}

#[test]
fn a_timeout_kills_the_whole_tree() {
    as_every_user(|runner| {
        let mark = mark("timeout", runner);
        let script = format!("sh -c 'sleep 600; : {mark}' & setsid sh -c 'sleep 600; : {mark}' & sleep 600; : {mark}");
        let reply = runner.exec(&json!({"argv": ["sh", "-c", script], "timeout_ms": 300}));
        assert_eq!((&reply["reason"], &reply["exit_code"]), (&json!("TimedOut"), &json!(null)), "{reply}");
        assert!(!alive(&mark));
    });
}

#[test]
fn daemons_do_not_survive_their_command() {
    as_every_user(|runner| {
        let mark = mark("daemon", runner);
        let reply = runner.shell(&format!(
            "setsid sh -c '(sh -c \"sleep 600; : {mark}\" </dev/null >/dev/null 2>&1 &) &' & \
             python3 -c 'import os,time\nif os.fork()==0:\n os.setsid()\n if os.fork()==0: time.sleep(600)' {mark}; echo done"
        ));
        assert_eq!((&reply["reason"], &reply["stdout"]), (&json!("Completed"), &json!("done\n")), "{reply}");
        assert!(!alive(&mark));
    });
}

#[test]
fn a_fork_bomb_is_stopped_and_named() {
    as_every_user(|runner| {
        let mark = mark("bomb", runner);
        // Doubles nine times and leaves its group each time: 512 processes, were it let.
        let script =
            "import os,time\nfor _ in range(9):\n if os.fork()==0: os.setsid()\n time.sleep(0.02)\ntime.sleep(60)";
        let reply = runner.exec(&json!({"argv": ["python3", "-c", script, mark], "limits": {"processes": 30}}));
        assert_eq!(reply["reason"], "ProcessLimit", "{reply}");
        assert!(reply["message"].as_str().unwrap().contains("limits.processes"));
        assert!(!alive(&mark));
    });
}

#[test]
fn a_memory_hog_is_stopped_and_named() {
    as_every_user(|runner| {
        let script = "import time\nhog=[]\nfor _ in range(40):\n hog.append(bytearray(4<<20)); time.sleep(0.02)";
        let reply = runner.exec(&json!({"argv": ["python3", "-c", script], "limits": {"memory_bytes": 64 << 20}}));
        assert_eq!(reply["reason"], "OOMKilled", "{reply}");
        assert!(reply["usage"]["max_rss_bytes"].as_u64().unwrap() > 32 << 20);
    });
}

#[test]
fn memory_that_is_no_process_s_own_counts_too() {
    as_every_user(|runner| {
        for script in [
            "hog=os.memfd_create('hog')\nfor _ in range(75): os.write(hog,bytes(4<<20)); time.sleep(0.01)",
            "hogs=[]\nfor _ in range(75): hogs.append(mmap.mmap(-1,4<<20)); hogs[-1].write(bytes(4<<20)); time.sleep(0.01)",
        ] {
            let script = format!("import mmap,os,time\n{script}");
            let reply = runner.exec(&json!({"argv": ["python3", "-c", script], "limits": {"memory_bytes": 64 << 20}}));
            assert_eq!(reply["reason"], "OOMKilled", "{reply}");
        }
    });
}

#[test]
fn endless_output_costs_bounded_memory() {
    as_every_user(|runner| {
        let reply = runner.exec(&json!({
            "argv": ["sh", "-c", "yes | head -c 300000000; echo end"], "output_limit_bytes": 1000, "timeout_ms": 30_000,
        }));
        assert_eq!((&reply["reason"], &reply["stdout_bytes"]), (&json!("Completed"), &json!(300_000_004)), "{reply}");
        assert_eq!(reply["stdout_truncated"], true);
        let text = reply["stdout"].as_str().unwrap();
        assert!(text.len() < 1100 && text.starts_with("y\ny\n") && text.ends_with("y\nend\n"), "{text}");
        let status = std::fs::read_to_string(format!("/proc/{}/status", runner.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kib < 64 << 10, "peak {peak_kib} KiB");
    });
}

#[test]
fn limits_of_one_process_are_named() {
    as_every_user(|runner| {
        let spin = runner.exec(&json!({"argv": ["sh", "-c", "while :; do :; done"], "limits": {"cpu_seconds": 1}}));
        assert_eq!((&spin["reason"], &spin["signal"]), (&json!("Signaled"), &json!(libc::SIGXCPU)), "{spin}");
        let file = runner.exec(&json!({"argv": ["head", "-c", "100000", "/dev/zero"], "limits": {"file_bytes": 10}}));
        assert_eq!(file["stdout_bytes"], 100_000, "a pipe is no file");
        let full = runner
            .exec(&json!({"argv": ["sh", "-c", "exec head -c 100000 /dev/zero > f"], "limits": {"file_bytes": 10}}));
        assert_eq!((&full["reason"], &full["signal"]), (&json!("Signaled"), &json!(libc::SIGXFSZ)), "{full}");
        assert!(full["message"].as_str().unwrap().contains("file_bytes"));
    });
}

#[test]
fn a_client_that_goes_away_takes_its_command_along() {
    as_every_user(|runner| {
        let mark = mark("cancel", runner);
        let body = json!({"argv": ["sh", "-c", format!("setsid sleep 600 & sleep 600; : {mark}")]}).to_string();
        let mut client = TcpStream::connect(runner.address()).unwrap();
        let head = format!(
            "POST /v1/exec HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).unwrap();
        wait_until("the command starts", || alive(&mark));
        drop(client);
        wait_until("the command dies", || !alive(&mark));
        let cancelled = "dspy_runner_exec_total{reason=\"Cancelled\"} 1";
        wait_until("the cancellation is counted", || {
            String::from_utf8_lossy(&runner.call("GET", "/metrics", b"").bytes).contains(cancelled)
        });
    });
}

#[test]
fn the_runners_death_takes_its_commands_along() {
    for user in common::users() {
        let runner = Runner::start(user, &[]);
        let mark = mark("orphan", &runner);
        let body = json!({"argv": ["sh", "-c", format!("sleep 600; : {mark}")]}).to_string();
        let mut client = TcpStream::connect(runner.address()).unwrap();
        let head = format!(
            "POST /v1/exec HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).unwrap();
        wait_until("the command starts", || alive(&mark));
        drop(runner); // SIGKILL
        wait_until("the command dies", || !alive(&mark));
    }
}

#[test]
fn more_than_the_bound_is_answered_429() {
    let runner = Runner::start(None, &["--max-concurrent", "1"]);
    let body = json!({"argv": ["sh", "-c", "echo up > up; sleep 600"]}).to_string();
    let mut client = TcpStream::connect(runner.address()).unwrap();
    let head = format!(
        "POST /v1/exec HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).unwrap();
    wait_until("the command starts", || runner.path("workspace/up").exists());
    for route in ["/v1/exec", "/v1/noop"] {
        let reply = runner.post(route, &json!({"argv": ["true"]}));
        assert_eq!((reply.status, reply.code().as_str()), (429, "TooManyRequests"));
    }
    let mut raw = TcpStream::connect(runner.address()).unwrap();
    raw.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    raw.write_all(format!("POST /v1/noop HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes()).unwrap();
    let mut text = String::new();
    raw.read_to_string(&mut text).unwrap();
    assert!(text.to_lowercase().contains("retry-after: 1"), "{text}");
    drop(client);
    wait_until("the place is free again", || runner.post("/v1/noop", &json!({})).status == 200);
}
