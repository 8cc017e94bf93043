//! The graceful stop: commands in progress get as long as the setting says.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use common::{Runner, TOKEN, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// Begins a command that lasts until there is a file `done`, and tells the runner to stop once it runs. The status of
/// its reply, if there is one.
fn stop_during_a_command(runner: &Runner) -> JoinHandle<Option<u16>> {
    let script = "touch begun; while [ ! -e done ]; do sleep 0.05; done";
    let body = json!({"argv": ["sh", "-c", script], "timeout_ms": 60_000}).to_string();
    let url = format!("http://{}/v1/exec", runner.address());
    let asking = thread::spawn(move || {
        let request = ureq::post(url).header("authorization", format!("Bearer {TOKEN}"));
        let reply = request.header("content-type", "application/json").send(body);
        reply.ok().map(|reply| reply.status().as_u16())
    });
    wait_until("the command has begun", || runner.path("workspace/begun").exists());
    kill(Pid::from_raw(runner.pid().cast_signed()), Signal::SIGTERM).unwrap();
    let address = runner.address().to_owned();
    wait_until("nothing new is taken", || TcpStream::connect(&address).is_err());
    asking
}

#[test]
fn a_command_may_end_within_the_grace() {
    let mut runner = Runner::start(None, &["--stop-grace-seconds", "120"]);
    let asking = stop_during_a_command(&runner);
    fs::write(runner.path("workspace/done"), "").unwrap();
    assert_eq!(asking.join().unwrap(), Some(200));
    assert!(runner.wait().success());
}

#[test]
fn a_command_is_cut_off_after_it() {
    let mut runner = Runner::start(None, &["--stop-grace-seconds", "0"]);
    let asking = stop_during_a_command(&runner);
    assert!(runner.wait().success());
    assert_eq!(asking.join().unwrap(), None);
}
