//! The `reddb` binary.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reddb::auth::Master;
use reddb::config::ServeConfig;
use reddb::{http, logging, service};

// musl's allocator is several times slower than the commands themselves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Durable keys, streams and blobs over SQLite, by RESP and HTTP.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until SIGTERM.
    Serve(Box<ServeConfig>),
    /// Print a token that opens the keys under one prefix.
    Token {
        /// What every key must begin with.
        #[arg(long)]
        prefix: String,
        /// File that holds the master token.
        #[arg(long, env = "REDDB_TOKEN_FILE")]
        token_file: PathBuf,
    },
    /// Print the OpenAPI document.
    Openapi,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Serve(config) => {
            logging::init();
            service::serve(&config).map_err(|error| error.to_string())
        }
        Verb::Token { prefix, token_file } => {
            Master::read(&token_file).map(|master| println!("{}", master.scoped(prefix.as_bytes())))
        }
        Verb::Openapi => http::openapi::yaml().map(|yaml| print!("{yaml}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("reddb: {message}");
            ExitCode::FAILURE
        }
    }
}
