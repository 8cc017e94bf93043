//! Parts of the runner that die, hang or fail: nothing may stay behind, and nobody may wait for ever.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use common::{Runner, alive, command, home_for, users, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Starts a command that outlives everything, calls `meddle` with its supervisor, returns the request's reply.
fn meddled(runner: &Runner, mark: &str, timeout_ms: u64, meddle: impl Fn(Pid)) -> common::Reply {
    let script = format!("setsid sh -c 'sleep 600; : {mark}' & sleep 600; : {mark}");
    let request = json!({"argv": ["sh", "-c", script], "timeout_ms": timeout_ms});
    thread::scope(|scope| {
        let reply = scope.spawn(|| runner.post("/v1/exec", &request));
        wait_until("the command starts", || alive(mark));
        let [supervisor] = runner.supervisors()[..] else { panic!("one command, one supervisor") };
        meddle(Pid::from_raw(supervisor));
        reply.join().unwrap()
    })
}

/// As a process of the same user may.
fn limit_open_files(user: Option<u32>, pid: Pid) {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg("--nofile=0").arg("--pid").arg(pid.to_string());
    if let Some(id) = user {
        prlimit.uid(id).gid(id);
    }
    assert!(prlimit.status().unwrap().success());
}

#[test]
fn without_its_zygote_the_runner_ends_so_that_it_is_started_anew() {
    for user in users() {
        let mut runner = Runner::start(user, &[]);
        kill(Pid::from_raw(runner.zygote()), Signal::SIGKILL).unwrap();
        assert_eq!(runner.wait().code(), Some(125));
    }
}

#[test]
fn a_supervisor_that_fails_leaves_nothing_behind() {
    for user in users() {
        let runner = Runner::start(user, &[]);
        let mark = format!("failing-{}", runner.pid());
        // Without descriptors it can neither wait nor look for what to kill.
        let reply = meddled(&runner, &mark, 600_000, |pid| limit_open_files(user, pid));
        assert_eq!((reply.status, reply.code().as_str()), (500, "Internal"));
        wait_until("the tree dies", || !alive(&mark));
        assert_eq!(runner.shell("true")["reason"], "Completed");
    }
}

#[test]
fn a_supervisor_that_hangs_is_killed_with_its_tree_and_gives_its_place_back() {
    for user in users() {
        let runner = Runner::start(user, &["--max-concurrent", "1"]);
        let mark = format!("hanging-{}", runner.pid());
        let reply = meddled(&runner, &mark, 1500, |pid| kill(pid, Signal::SIGSTOP).unwrap());
        assert_eq!((reply.status, reply.code().as_str()), (500, "Internal"));
        wait_until("the tree dies", || !alive(&mark));
        assert_eq!(runner.shell("true")["reason"], "Completed");
    }
}

#[test]
fn descriptors_that_the_runner_was_started_with_do_not_reach_commands() {
    for user in users() {
        let home = home_for(user);
        let secret = fs::File::open("/etc").unwrap();
        let result = home.path().join("other/result");
        let mut runner = command(home.path(), user);
        runner.args(["run", "--request", &json!({"argv": ["sh", "-c", "ls /proc/self/fd"]}).to_string()]);
        runner.arg("--workspace").arg(home.path().join("workspace")).arg("--result-file").arg(&result);
        let open = secret.as_raw_fd();
        // SAFETY: dup2 may be called between fork and exec.
        unsafe {
            runner.pre_exec(move || match libc::dup2(open, 77) {
                77 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        assert!(runner.output().unwrap().status.success());
        let written: Value = serde_json::from_str(&fs::read_to_string(&result).unwrap()).unwrap();
        // The fourth is the one that `ls` reads the directory by.
        assert_eq!(written["stdout_tail"], "0\n1\n2\n3\n", "{written}");
    }
}
