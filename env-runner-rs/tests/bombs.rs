//! Fork bombs against the one-shot runner. Each is bounded three times over, so that a runner that fails
//! here cannot take the machine along: by its own generations, by the kernel, by its timeout.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{alive, command, home_for, users, wait_until};
use serde_json::{Value, json};

/// Twelve generations: 4096 processes that never rest, were nobody to stop them.
const PLAIN: &str = "import os\nfor _ in range(12):\n try: os.fork()\n except OSError: pass\nwhile True: pass";
/// The same, each in a session of its own.
const SCATTERED: &str =
    "import os\nfor _ in range(12):\n try:\n  if os.fork()==0: os.setsid()\n except OSError: pass\nwhile True: pass";
const LIMIT: &str = "100";
/// Beyond what the runner has to hold, below what hurts.
const BOUND: &str = "3000";
const DEADLINE: Duration = Duration::from_secs(10);

/// A pids cgroup around a test, where this machine lets us make one.
struct Fence(Option<PathBuf>);

impl Fence {
    fn new(name: &str) -> Self {
        let path = Path::new("/sys/fs/cgroup/pids").join(format!("env-runner-test-{name}-{}", std::process::id()));
        let made = fs::create_dir(&path).is_ok() && fs::write(path.join("pids.max"), BOUND).is_ok();
        Self(made.then_some(path))
    }

    /// `inner`, started behind the fence and, where the user is not root, below a limit for the user.
    fn around(&self, inner: &Command, user: Option<u32>, wrapper: &[&str]) -> Command {
        let mut outer = Command::new("sh");
        outer.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        let procs = self.0.as_ref().map_or(PathBuf::from("/dev/null"), |path| path.join("cgroup.procs"));
        outer.args(["-c", "echo 0 > \"$1\" && shift && exec \"$@\"", "sh"]).arg(procs).args(wrapper);
        if let Some(id) = user.map(|id| id.to_string()) {
            outer.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "prlimit"]);
            outer.arg(format!("--nproc={BOUND}"));
        }
        outer.arg(inner.get_program()).args(inner.get_args());
        outer
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The runner's own processes may still be on their way out.
            wait_until("the fence is empty", || fs::remove_dir(path).is_ok());
        }
    }
}

/// Sets the bomb off and checks that it ends, named, with nothing left; returns the result file.
fn defuse(name: &str, user: Option<u32>, script: &str, wrapper: &[&str]) -> Value {
    let home = home_for(user);
    let fence = Fence::new(name);
    let mark = format!("{name}-{}", std::process::id());
    let result = home.path().join("other/result");
    let request = json!({"argv": ["python3", "-c", script, mark], "timeout_ms": 8000});
    let mut runner = command(home.path(), None);
    runner.args(["run", "--max-processes", LIMIT, "--request", &request.to_string()]);
    runner.arg("--workspace").arg(home.path().join("workspace")).arg("--result-file").arg(&result);
    let started = Instant::now();
    let status = fence.around(&runner, user, wrapper).status().unwrap();
    let written: Value = serde_json::from_str(&fs::read_to_string(&result).unwrap()).unwrap();
    assert_eq!((&written["reason"], status.code()), (&json!("ProcessLimit"), Some(137)), "{written}");
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    // The zygote bears the same command line and follows the runner by itself; a bomb would stay.
    wait_until("nothing is left", || !alive(&mark));
    written
}

fn rungs(result: &Value) -> Vec<&str> {
    result["isolation"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[test]
fn a_bomb_is_put_out_and_the_kernels_bound_is_named_only_where_it_holds() {
    for user in users() {
        let result = defuse("plain", user, PLAIN, &[]);
        let exempt = user.is_none() && nix::unistd::getuid().is_root();
        assert_eq!(rungs(&result).contains(&"rlimit_nproc"), !exempt, "{result}");
        let can_make_cgroups = exempt && Fence::new("probe").0.is_some();
        assert_eq!(rungs(&result).contains(&"pids_cgroup"), can_make_cgroups, "{result}");
    }
}

#[test]
fn a_bomb_that_scatters_over_sessions_is_put_out() {
    for user in users() {
        defuse("scattered", user, SCATTERED, &[]);
    }
}

#[test]
fn the_first_process_of_a_pid_namespace_puts_a_bomb_out() {
    let namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let may = Command::new(namespace[0]).args(&namespace[1..]).arg("true").output().is_ok_and(|it| it.status.success());
    for user in users() {
        defuse("namespace", user, SCATTERED, if may { &namespace } else { &[] });
    }
}
