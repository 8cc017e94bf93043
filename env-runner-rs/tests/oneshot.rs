//! `env-runner run`: exit codes, the result file, signals.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use common::{command, home_for, users};
use serde_json::{Value, json};

fn run(user: Option<u32>, request: &Value) -> (Output, Value) {
    let home = home_for(user);
    let result = home.path().join("other/result");
    let output = command(home.path(), user)
        .args(["run", "--request", &request.to_string(), "--result-limit-bytes", "4096"])
        .arg("--workspace")
        .arg(home.path().join("workspace"))
        .arg("--result-file")
        .arg(&result)
        .output()
        .unwrap();
    let text = fs::read_to_string(&result).unwrap();
    assert!(text.len() <= 4096, "{} bytes", text.len());
    (output, serde_json::from_str(&text).unwrap())
}

#[test]
fn output_passes_through_and_the_exit_code_is_the_commands() {
    for user in users() {
        let (output, result) = run(user, &json!({"argv": ["sh", "-c", "echo out; echo err >&2; exit 7"]}));
        assert_eq!(
            (output.status.code(), output.stdout.as_slice(), output.stderr.as_slice()),
            (Some(7), &b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!((&result["exit_code"], &result["reason"]), (&json!(7), &json!("NonZeroExit")));
        assert_eq!((&result["stdout_tail"], &result["stderr_tail"]), (&json!("out\n"), &json!("err\n")));
        assert!(result["isolation"].as_array().unwrap().contains(&json!("no_network")));
    }
}

#[test]
fn each_end_has_its_code() {
    for user in users() {
        let cases = [
            (json!({"argv": ["true"]}), 0, "Completed"),
            (json!({"argv": ["sh", "-c", "kill -9 $$"]}), 137, "Signaled"),
            (json!({"argv": ["sleep", "60"], "timeout_ms": 200}), 124, "TimedOut"),
        ];
        for (request, code, reason) in cases {
            let (output, result) = run(user, &request);
            assert_eq!((output.status.code(), &result["reason"]), (Some(code), &json!(reason)), "{request}");
        }
        for (request, code) in [
            (json!({"argv": ["absent"]}), "CannotStart"),
            (json!({"argv": []}), "BadRequest"),
            (json!(1), "BadRequest"),
        ] {
            let (output, result) = run(user, &request);
            assert_eq!((output.status.code(), &result["error"]["code"]), (Some(125), &json!(code)), "{request}");
        }
    }
}

#[test]
fn the_result_always_fits() {
    for script in
        ["yes | head -c 100000", "head -c 100000 /dev/zero", "printf '\"%.0s' $(seq 9000) >&2; yes é | head -c 9000"]
    {
        let (output, result) = run(None, &json!({"argv": ["sh", "-c", script]}));
        assert_eq!(output.status.code(), Some(0));
        assert!(result["stdout_bytes"].as_u64().unwrap() >= 9000);
        assert!(!result["stdout_tail"].as_str().unwrap().is_empty());
    }
}

#[test]
fn being_told_to_stop_cancels_the_command() {
    for user in users() {
        let home = home_for(user);
        let result = home.path().join("other/result");
        let mut child = command(home.path(), user)
            .args(["run", "--request", &json!({"argv": ["sh", "-c", "echo up; sleep 600"]}).to_string()])
            .arg("--workspace")
            .arg(home.path().join("workspace"))
            .arg("--result-file")
            .arg(&result)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(137));
        let written: Value = serde_json::from_str(&fs::read_to_string(&result).unwrap()).unwrap();
        assert_eq!(written["reason"], "Cancelled");
    }
}
