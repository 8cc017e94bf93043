//! Settings from flags and environment; a flag wins. Checked at start, naming the setting.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum};
use nix::unistd::{SysconfVar, sysconf};

use crate::sandbox::{memory_limit_bytes, rung, wire::Limits};

const REQUIRED: [&str; 4] = [rung::NO_NEW_PRIVS, rung::LANDLOCK, rung::SECCOMP, rung::NO_NETWORK];

/// May commands that ask for it use the network?
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    None,
    Allow,
}

/// May commands connect to Unix sockets?
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnixSockets {
    /// Only where no local daemon could be reached that way.
    Auto,
    Allow,
    Deny,
}

/// What bounds commands; shared by `serve` and `run`.
#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// Whether commands may have the network when they ask for it.
    #[arg(long, env = "RUNNER_NETWORK", value_enum, default_value = "none")]
    pub network: Network,
    /// Whether commands may connect to Unix sockets.
    #[arg(long, env = "RUNNER_UNIX_SOCKETS", value_enum, default_value = "auto")]
    pub unix_sockets: UnixSockets,
    /// A path that commands may not read; may be given again.
    #[arg(long, env = "RUNNER_HIDE", value_delimiter = ':')]
    pub hide: Vec<PathBuf>,
    /// A path outside the workspace that commands may change, for example a cache; may be given again.
    /// For /tmp, /dev/shm and /dev/pts see --shared-tmp.
    #[arg(long, env = "RUNNER_WRITABLE", value_delimiter = ':')]
    pub writable: Vec<PathBuf>,
    /// Whether commands may write to /tmp, /dev/shm and /dev/pts where these belong to this container: where the runner
    /// is its first process and they are mounts of their own, no hidden path or workspace in them. All commands share
    /// them then, and what is left there stays. Elsewhere they are others' too and stay closed whatever this says;
    /// every command has a private $TMPDIR anyway, which goes with it. False is for runners that many users share.
    #[arg(long, env = "RUNNER_SHARED_TMP", action = ArgAction::Set, default_value_t = true)]
    pub shared_tmp: bool,
    /// Rungs of isolation without which no command starts. By default commands need Landlock (Linux 5.13), which
    /// keeps the token and other users' files from them; add signal_scope to ask for Linux 6.12.
    #[arg(long, env = "RUNNER_REQUIRE", value_delimiter = ',', default_values_t = REQUIRED.map(str::to_owned))]
    pub require: Vec<String>,
    /// Use no newer version of Landlock than this, as an older kernel would; for tests. 0 uses none.
    #[arg(long, env = "RUNNER_MAX_LANDLOCK_ABI", hide = true, default_value_t = i32::MAX)]
    pub max_landlock_abi: i32,
    /// Longest time that a command may be given, in milliseconds.
    #[arg(long, env = "RUNNER_MAX_TIMEOUT_MS", default_value_t = 24 * 3_600_000)]
    pub max_timeout_ms: u64,
    /// Most memory that a command's tree may be given, in bytes. Default: 9/10 of the cgroup's limit or the machine's memory.
    #[arg(long, env = "RUNNER_MAX_MEMORY_BYTES")]
    pub max_memory_bytes: Option<u64>,
    /// Most processes and threads that a command's tree may be given.
    #[arg(long, env = "RUNNER_MAX_PROCESSES", default_value_t = 512)]
    pub max_processes: u64,
    /// Most processes and threads of the commands' user id on the whole node, other pods' counted, before a command
    /// may fork no more; root is exempt. Default: 1024 for each of the node's processors, at least 4096.
    #[arg(long, env = "RUNNER_MAX_USER_PROCESSES")]
    pub max_user_processes: Option<u64>,
    /// Largest file that a command may write, in bytes.
    #[arg(long, env = "RUNNER_MAX_FILE_BYTES", default_value_t = 8 << 30)]
    pub max_file_bytes: u64,
    /// Most files that one process of a command may hold open.
    #[arg(long, env = "RUNNER_MAX_OPEN_FILES", default_value_t = 8192)]
    pub max_open_files: u64,
}

impl SandboxArgs {
    /// The limits of a command that asks for none; no command may ask for more.
    pub fn limits(&self) -> Limits {
        let available = || memory_limit_bytes().unwrap_or(u64::MAX).min(machine_memory_bytes()) / 10 * 9;
        Limits {
            memory_bytes: self.max_memory_bytes.unwrap_or_else(available),
            processes: self.max_processes,
            user_processes: self.max_user_processes.unwrap_or_else(default_user_processes),
            file_bytes: self.max_file_bytes,
            cpu_seconds: None,
            open_files: self.max_open_files,
        }
    }
}

/// What a node carries without trouble grows with it, and so do the pods that share a user id there.
fn default_user_processes() -> u64 {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().and_then(|count| u64::try_from(count).ok());
    online.unwrap_or(1).saturating_mul(1024).max(4096)
}

fn machine_memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion)] // the kernel's word differs between architectures
    u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit))
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to listen: `address:port` or `unix:/path`.
    #[arg(long, env = "RUNNER_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: String,
    /// File that holds the bearer token.
    #[arg(long, env = "RUNNER_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// The main workspace.
    #[arg(long, env = "RUNNER_WORKSPACE", default_value = "/workspace")]
    pub workspace: PathBuf,
    /// Where forks, snapshots and temporary directories of commands live.
    #[arg(long, env = "RUNNER_FORKS_DIR", default_value = "/forks")]
    pub forks_dir: PathBuf,
    /// Commands at one time; more are answered 429. Default: twice the processors.
    #[arg(long, env = "RUNNER_MAX_CONCURRENT")]
    pub max_concurrent: Option<usize>,
    /// Forks at one time.
    #[arg(long, env = "RUNNER_MAX_FORKS", default_value_t = 256)]
    pub max_forks: usize,
    /// Most bytes that are copied for one fork; holes and blocks that the file system shares are not.
    #[arg(long, env = "RUNNER_MAX_FORK_BYTES", default_value_t = 4 << 30)]
    pub max_fork_bytes: u64,
    /// Largest content of an archive, unpacked, in bytes.
    #[arg(long, env = "RUNNER_MAX_ARCHIVE_BYTES", default_value_t = 2 << 30)]
    pub max_archive_bytes: u64,
    /// Most entries of an archive or of a workspace.
    #[arg(long, env = "RUNNER_MAX_ENTRIES", default_value_t = 500_000)]
    pub max_entries: usize,
    /// Largest file that the files route takes or gives, in bytes.
    #[arg(long, env = "RUNNER_MAX_TRANSFER_BYTES", default_value_t = 64 << 20)]
    pub max_transfer_bytes: usize,
    /// Workspaces held by the SHA-256 of their archive, at one time; the least recently used are let go for others.
    #[arg(long, env = "RUNNER_MAX_WORKSPACES", default_value_t = 64)]
    pub max_workspaces: usize,
    /// Largest workspace that is held, unpacked, in bytes on disk.
    #[arg(long, env = "RUNNER_MAX_WORKSPACE_BYTES", default_value_t = 1 << 30)]
    pub max_workspace_bytes: u64,
    /// All workspaces that are held, with their forks, in bytes on disk as they were uploaded. Forks count only where
    /// the file system cannot share their blocks.
    #[arg(long, env = "RUNNER_MAX_WORKSPACES_TOTAL_BYTES", default_value_t = 2 << 30)]
    pub max_workspaces_total_bytes: u64,
    /// Forks of each held workspace that are kept ready for the next commands. Default: as many as commands may run.
    #[arg(long, env = "RUNNER_SPARE_FORKS")]
    pub spare_forks: Option<usize>,
    /// How long commands may go on once the runner is told to stop, in seconds; then they are killed.
    #[arg(long, env = "RUNNER_STOP_GRACE_SECONDS", default_value_t = 5)]
    pub stop_grace_seconds: u64,
    /// Write the bound TCP port here once listening.
    #[arg(long, env = "RUNNER_PORT_FILE")]
    pub port_file: Option<PathBuf>,
    /// Start no command before `PUT /v1/environment` tells the environment and the network permission of all commands.
    #[arg(long, env = "RUNNER_BINDABLE")]
    pub bindable: bool,
    /// Stop when the process that started this one ends.
    #[arg(long, env = "RUNNER_EXIT_WITH_PARENT")]
    pub exit_with_parent: bool,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

impl ServeArgs {
    /// Commands at one time.
    pub fn concurrency(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.max_concurrent.unwrap_or(2 * processors).max(1)
    }

    /// Reads the token and checks that the directories do not lie in each other.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn validate(&mut self) -> Result<String, String> {
        if self.bindable && self.sandbox.network == Network::Allow {
            return Err("--network (RUNNER_NETWORK) must be none with --bindable, which has it told later".to_owned());
        }
        self.workspace = existing(&self.workspace, "--workspace (RUNNER_WORKSPACE)")?;
        self.forks_dir = existing(&self.forks_dir, "--forks-dir (RUNNER_FORKS_DIR)")?;
        if self.forks_dir.starts_with(&self.workspace) || self.workspace.starts_with(&self.forks_dir) {
            return Err("--forks-dir and --workspace must not lie in each other".to_owned());
        }
        let token_file = self.token_file.canonicalize().map_err(|error| {
            format!("--token-file (RUNNER_TOKEN_FILE): {} cannot be read: {error}", self.token_file.display())
        })?;
        if token_file.starts_with(&self.workspace) {
            return Err("--token-file must lie outside the workspace, where no command can read it".to_owned());
        }
        self.token_file = token_file;
        let token = std::fs::read_to_string(&self.token_file)
            .map_err(|error| format!("--token-file (RUNNER_TOKEN_FILE): {error}"))?;
        let token = token.trim();
        if token.len() < 16 {
            return Err("--token-file (RUNNER_TOKEN_FILE) must hold a token of at least 16 characters".to_owned());
        }
        Ok(token.to_owned())
    }

    /// What commands may not read: the token, all forks (their own is granted again) and `--hide`.
    pub fn hidden(&self) -> Vec<PathBuf> {
        let directory = self.token_file.parent().unwrap_or(Path::new("/"));
        // A token beside the workspace cannot take the directory of both away.
        let alone = directory != Path::new("/") && !self.workspace.starts_with(directory);
        let token = if alone { directory.to_owned() } else { self.token_file.clone() };
        let mut hidden = vec![token, self.forks_dir.clone()];
        hidden.extend(self.sandbox.hide.iter().cloned());
        hidden
    }
}

fn existing(path: &Path, setting: &str) -> Result<PathBuf, String> {
    std::fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .map_err(|error| format!("{setting}: {} cannot be used: {error}", path.display()))
}
