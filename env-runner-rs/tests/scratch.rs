//! Scratch workspaces: what one command leaves, no other one finds.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::thread;

use common::{Runner, as_every_user, wait_until};
use serde_json::{Value, json};

fn shell(script: &str) -> Value {
    json!({"argv": ["sh", "-c", script], "workspace": "scratch", "timeout_ms": 30_000})
}

/// How many scratch workspaces there are on disk, whole or in part.
fn on_disk(runner: &Runner) -> usize {
    let names = fs::read_dir(runner.path("forks")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("s-")).count()
}

#[test]
fn what_a_command_leaves_the_next_one_does_not_find() {
    as_every_user(|runner| {
        fs::write(runner.path("workspace/shared"), "x").unwrap();
        let leaves = "ls -A; echo hostile > sitecustomize.py; mkdir -p d/e; echo x > d/e/f; chmod 0 d/e d; pwd";
        let first = runner.exec(&shell(leaves))["stdout"].as_str().unwrap().trim().to_owned();
        assert!(first.contains("/forks/s-") && !first.contains('\n'), "it began empty: {first}");
        let second = runner.exec(&shell(&format!("ls -A; cat '{first}/sitecustomize.py' || echo none")));
        assert_eq!(second["stdout"], "none\n", "{second}");
        assert_eq!(runner.shell("ls -A")["stdout"], "shared\n", "the main workspace is another one");
        wait_until("all that was left is removed", || on_disk(runner) == 0);
    });
}

#[test]
fn commands_at_the_same_time_cannot_reach_each_others() {
    as_every_user(|runner| {
        thread::scope(|scope| {
            let waits = "echo secret > f; for i in $(seq 600); do [ -e done ] && break; sleep 0.05; done; cat f";
            let first = scope.spawn(|| runner.exec(&shell(waits)));
            let mut place = None;
            wait_until("the first command has begun", || {
                let entries = fs::read_dir(runner.path("forks")).unwrap().map(|entry| entry.unwrap().path());
                place = entries.into_iter().find(|path| path.join("f").exists());
                place.is_some()
            });
            let place = place.unwrap();
            let other =
                format!("cat '{0}/f'; echo changed > '{0}/f'; touch '{0}/done'; ls '{0}' '{0}/..'", place.display());
            let second = runner.exec(&shell(&other));
            assert_eq!((&second["stdout"], &second["reason"]), (&json!(""), &json!("NonZeroExit")), "{second}");
            fs::write(place.join("done"), "").unwrap();
            assert_eq!(first.join().unwrap()["stdout"], "secret\n");
        });
        wait_until("both are removed", || on_disk(runner) == 0);
    });
}

#[test]
fn it_goes_however_its_command_ends_and_with_a_runner_that_was_killed() {
    let mut runner = Runner::start(None, &[]);
    let endings =
        [(json!(["sh", "-c", "touch f; kill -9 $$"]), 200), (json!(["no-such-program"]), 422), (json!([""]), 400)];
    for (argv, status) in endings {
        let reply = runner.post("/v1/exec", &json!({"argv": argv, "workspace": "scratch"}));
        assert_eq!(reply.status, status, "{argv}");
    }
    let late = json!({"argv": ["sh", "-c", "touch f; sleep 60"], "workspace": "scratch", "timeout_ms": 300});
    assert_eq!(runner.exec(&late)["reason"], "TimedOut");
    wait_until("all are removed", || on_disk(&runner) == 0);
    fs::create_dir_all(runner.path("forks/s-left/by/a/crash")).unwrap();
    runner.start_again(&[]);
    assert_eq!(on_disk(&runner), 0);
}

#[test]
fn it_is_a_commands_alone_and_no_workspace_of_other_routes() {
    let runner = Runner::start(None, &[]);
    for (method, route, body) in [
        ("GET", "/v1/files?workspace=scratch", ""),
        ("PUT", "/v1/files/f?workspace=scratch", "x"),
        ("POST", "/v1/forks", r#"{"from": "scratch"}"#),
    ] {
        assert_eq!(runner.call(method, route, body.as_bytes()).code(), "WorkspaceNotFound", "{method} {route}");
    }
}
