//! The `env-runner` binary: picks the subcommand.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use env_runner::config::ServeArgs;
use env_runner::install::InstallArgs;
use env_runner::oneshot::RunArgs;

/// Runs commands in sandboxed workspaces.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP interface.
    Serve(Box<ServeArgs>),
    /// Run one command and write its result to a file.
    Run(Box<RunArgs>),
    /// Copy this binary and make a token.
    Install(InstallArgs),
    /// Print the OpenAPI description.
    Openapi,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("env-runner: {error}");
            ExitCode::from(125)
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Serve(args) => env_runner::serve::serve(*args)?,
        Command::Run(args) => return Ok(ExitCode::from(u8::try_from(env_runner::oneshot::run(&args)?)?)),
        Command::Install(args) => env_runner::install::install(&args)?,
        Command::Openapi => print!("{}", env_runner::http::openapi()?),
    }
    Ok(ExitCode::SUCCESS)
}
