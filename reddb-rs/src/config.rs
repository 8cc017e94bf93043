//! Settings of `reddb serve`: flags, or the environment where a flag is absent.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// After the group commit's fsync: survives a power cut.
    Fsync,
    /// After the group commit's write: survives a crash of the process, not of the machine.
    None,
}

/// Settings of `reddb serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeConfig {
    /// Directory that holds the databases and blobs; made if absent.
    #[arg(long, env = "REDDB_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address of the HTTP interface.
    #[arg(long, env = "REDDB_HTTP_LISTEN", default_value = "0.0.0.0:8082")]
    pub http_listen: SocketAddr,
    /// Address of the RESP interface.
    #[arg(long, env = "REDDB_RESP_LISTEN", default_value = "0.0.0.0:6380")]
    pub resp_listen: SocketAddr,
    /// File that holds the master token.
    #[arg(long, env = "REDDB_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// When a write is acknowledged.
    #[arg(long, env = "REDDB_DURABILITY", value_enum, default_value = "fsync")]
    pub durability: Durability,
    /// Memory for cached keys and values, in bytes. Values beyond it are read from the tables again.
    #[arg(long, env = "REDDB_CACHE_BYTES", default_value_t = 256 << 20)]
    pub cache_bytes: usize,
    #[command(flatten)]
    pub limits: Limits,
}

/// What a client may ask for. Whoever exceeds a limit is told so, or cut where the protocol leaves no other way.
#[derive(Args, Clone, Copy, Debug)]
pub struct Limits {
    /// RESP connections at once.
    #[arg(long, env = "REDDB_MAX_CONNECTIONS", default_value_t = 4096)]
    pub max_connections: usize,
    /// Bytes of one value, or of one stream field.
    #[arg(long, env = "REDDB_MAX_VALUE_BYTES", default_value_t = 16 << 20)]
    pub max_value_bytes: usize,
    /// Bytes of a key, or of the name of a consumer or consumer group.
    #[arg(long, env = "REDDB_MAX_KEY_BYTES", default_value_t = 4096)]
    pub max_key_bytes: usize,
    /// Arguments of one command.
    #[arg(long, env = "REDDB_MAX_ARGUMENTS", default_value_t = 65_536)]
    pub max_arguments: usize,
    /// Commands queued between MULTI and EXEC. Room for two for each task of the orchestrator's largest commit: 11,023 tasks.
    #[arg(long, env = "REDDB_MAX_TRANSACTION_COMMANDS", default_value_t = 32_768)]
    pub max_transaction_commands: usize,
    /// Keys that one connection may watch for its next transaction.
    #[arg(long, env = "REDDB_MAX_WATCHED_KEYS", default_value_t = 1024)]
    pub max_watched_keys: usize,
    /// Bytes that one client may have in an unfinished command or transaction.
    #[arg(long, env = "REDDB_MAX_INPUT_BYTES", default_value_t = 64 << 20)]
    pub max_input_bytes: usize,
    /// Bytes of replies that one client may leave unread before it is cut.
    #[arg(long, env = "REDDB_MAX_OUTPUT_BYTES", default_value_t = 128 << 20)]
    pub max_output_bytes: usize,
    /// Bytes of writes after which a group commit is made although more clients are ready.
    #[arg(long, env = "REDDB_MAX_COMMIT_BYTES", default_value_t = 256 << 20)]
    pub max_commit_bytes: usize,
    /// HTTP connections at once; further ones wait.
    #[arg(long, env = "REDDB_MAX_HTTP_CONNECTIONS", default_value_t = 1024)]
    pub max_http_connections: usize,
    /// Bytes of one blob.
    #[arg(long, env = "REDDB_MAX_BLOB_BYTES", default_value_t = 2 << 30)]
    pub max_blob_bytes: u64,
    /// Bytes that blobs leave free on the disk; uploads that would leave less are refused.
    #[arg(long, env = "REDDB_MIN_FREE_BYTES", default_value_t = 256 << 20)]
    pub min_free_bytes: u64,
}

impl ServeConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn validate(&self) -> Result<(), String> {
        let limits = &self.limits;
        let positive = [
            ("--max-connections", limits.max_connections),
            ("--max-value-bytes", limits.max_value_bytes),
            ("--max-key-bytes", limits.max_key_bytes),
            ("--max-arguments", limits.max_arguments),
            ("--max-output-bytes", limits.max_output_bytes),
            ("--max-http-connections", limits.max_http_connections),
            ("--max-commit-bytes", limits.max_commit_bytes),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be at least 1"));
        }
        if limits.max_input_bytes < limits.max_value_bytes {
            return Err("--max-input-bytes must not be below --max-value-bytes: the largest value has to fit".into());
        }
        // A journal row is cut after so many bytes, between two writes: with the last of them it has to fit SQLite's 10^9.
        if limits.max_input_bytes > 256 << 20 {
            return Err("--max-input-bytes must be at most 256 MiB".into());
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_value_bytes: 16 << 20,
            max_key_bytes: 4096,
            max_arguments: 65_536,
            max_transaction_commands: 32_768,
            max_watched_keys: 1024,
            max_input_bytes: 64 << 20,
            max_output_bytes: 128 << 20,
            max_commit_bytes: 256 << 20,
            max_http_connections: 1024,
            max_blob_bytes: 2 << 30,
            min_free_bytes: 256 << 20,
        }
    }
}
