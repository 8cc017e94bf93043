//! Starts the real binary and speaks to it over HTTP. Every request has a timeout.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // each test file uses a part; a panic fails the test

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const UNPRIVILEGED: u32 = 1000;
const TIMEOUT: Duration = Duration::from_secs(60);

/// A runner with directories of its own, stopped and removed when dropped.
pub struct Runner {
    pub home: TempDir,
    user: Option<u32>,
    child: Child,
    base: String,
    agent: ureq::Agent,
}

/// A reply: status and body.
pub struct Reply {
    pub status: u16,
    pub bytes: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Runs `test` with a runner of this user and, for root, with one of an unprivileged user as well.
pub fn as_every_user(test: impl Fn(&Runner)) {
    for user in users() {
        test(&Runner::start(user, &[]));
    }
}

/// The identities that this machine lets us test.
pub fn users() -> Vec<Option<u32>> {
    if nix::unistd::geteuid().is_root() { vec![None, Some(UNPRIVILEGED)] } else { vec![None] }
}

/// A directory that `user` owns and all may enter.
pub fn home_for(user: Option<u32>) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["workspace", "forks", "token", "other"] {
        let path = home.path().join(name);
        fs::create_dir(&path).unwrap();
        if user.is_some() {
            chown(&path, user, user).unwrap();
        }
    }
    let token = home.path().join("token/token");
    fs::write(&token, TOKEN).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o440)).unwrap();
    if user.is_some() {
        chown(&token, user, user).unwrap();
    }
    // Where cargo builds, the unprivileged user may not even look.
    let binary = home.path().join("env-runner");
    // By another process: a descriptor open for writing here could be inherited by a runner that another
    // test starts just now, and the binary would be "busy".
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_env-runner")).arg(&binary).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o555)).unwrap();
    home
}

/// The binary in `home`, to be started as `user` with a small environment.
pub fn command(home: &Path, user: Option<u32>) -> Command {
    let mut command = Command::new(home.join("env-runner"));
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("RUNNER_SECRET", "hidden")
        .env("VISIBLE", "shown");
    if let Some(id) = user {
        command.uid(id).gid(id);
    }
    command
}

impl Runner {
    pub fn start(user: Option<u32>, flags: &[&str]) -> Self {
        let home = home_for(user);
        let (child, base) = serve(home.path(), user, flags);
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        Self { home, user, child, base, agent: config.into() }
    }

    /// Kills the runner as a crash would, and starts another one where it was.
    pub fn start_again(&mut self, flags: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.base) = serve(self.home.path(), self.user, flags);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process that forks one supervisor per command, itself forked by the runner.
    pub fn zygote(&self) -> i32 {
        children(self.pid().cast_signed())[0]
    }

    /// One for each command that runs now.
    pub fn supervisors(&self) -> Vec<i32> {
        children(self.zygote())
    }

    /// Waits for the runner to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the runner ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn call(&self, method: &str, route: &str, body: &[u8]) -> Reply {
        self.call_with(&format!("Bearer {TOKEN}"), method, route, body)
    }

    pub fn call_with(&self, authorization: &str, method: &str, route: &str, body: &[u8]) -> Reply {
        self.request(method, route, body, &[("authorization", authorization)])
    }

    /// As [`Self::call`], with further headers.
    pub fn send(&self, method: &str, route: &str, body: &[u8], headers: &[(&str, &str)]) -> Reply {
        let authorization = format!("Bearer {TOKEN}");
        self.request(method, route, body, &[&[("authorization", authorization.as_str())], headers].concat())
    }

    fn request(&self, method: &str, route: &str, body: &[u8], headers: &[(&str, &str)]) -> Reply {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{route}", self.base))
            .header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = self.agent.run(request.body(body.to_vec()).unwrap()).unwrap();
        let status = response.status().as_u16();
        let bytes = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        Reply { status, bytes }
    }

    pub fn post(&self, route: &str, body: &Value) -> Reply {
        self.call("POST", route, body.to_string().as_bytes())
    }

    /// Runs a command that must start.
    pub fn exec(&self, body: &Value) -> Value {
        let reply = self.post("/v1/exec", body);
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.bytes));
        reply.json()
    }

    pub fn shell(&self, script: &str) -> Value {
        self.exec(&json!({"argv": ["sh", "-c", script], "timeout_ms": 20_000}))
    }

    pub fn python(&self, script: &str) -> Value {
        self.exec(&json!({"argv": ["python3", "-c", script], "timeout_ms": 20_000}))
    }

    pub fn fork(&self, from: &str) -> String {
        let reply = self.post("/v1/forks", &json!({"from": from}));
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.bytes));
        reply.json()["id"].as_str().unwrap().to_owned()
    }
}

/// A runner that listens, and where.
fn serve(home: &Path, user: Option<u32>, flags: &[&str]) -> (Child, String) {
    let mut child = command(home, user)
        .args(["serve", "--listen", "127.0.0.1:0", "--max-processes", "200"])
        .arg("--token-file")
        .arg(home.join("token/token"))
        .arg("--workspace")
        .arg(home.join("workspace"))
        .arg("--forks-dir")
        .arg(home.join("forks"))
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let base = format!("http://{}", address(&mut child));
    (child, base)
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Waits for the log line that tells the bound address, then keeps reading so that the log never blocks.
fn address(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next().expect("the runner ended before it listened").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["msg"] == "listening" {
            std::thread::spawn(move || lines.for_each(drop));
            return event["address"].as_str().unwrap().to_owned();
        }
    }
}

/// Children of a process with one thread, or of a process's first one.
fn children(pid: i32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// Waits for a condition that some other process brings about.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Is any process alive whose command line holds `mark`?
pub fn alive(mark: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let state = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let zombie = state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        !zombie && String::from_utf8_lossy(&line).contains(mark)
    })
}
