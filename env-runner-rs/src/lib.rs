//! The environment runner: hostile commands in sandboxed workspaces, over HTTP or one at a time.
//!
//! Read it in this order:
//!
//! - [`serve`] and [`oneshot`]: the two ways to run, from settings to the end; [`config`] holds the settings.
//! - [`http`]: one file per route. [`exec`] turns a request into a plan and a verdict into a reply; [`binding`] is what
//!   a warm runner is told before its first one.
//! - [`sandbox`]: how a command is started, confined, watched and killed.
//! - [`files`]: a workspace's files, archives and search, safe against links and races.
//! - [`snapshot`]: forks, resets and diffs of workspaces. [`held`]: workspaces uploaded once, forked for every command.
//!   [`scratch`]: empty ones, for commands that bring nothing.
//! - [`error`]: the one error type; [`telemetry`], [`metrics`], [`pressure`]: logs, counts and load; [`install`]: for pods.
//!
//! What is deliberately absent: user, mount and PID namespaces of our own. A restricted pod grants none of
//! them, nor a cgroup, so nothing here may rest on them; every reply names the rungs that held.

pub mod binding;
pub mod config;
pub mod error;
pub mod exec;
pub mod files;
pub mod held;
pub mod http;
pub mod install;
pub mod metrics;
pub mod oneshot;
pub mod pressure;
pub mod sandbox;
pub mod scratch;
pub mod serve;
pub mod snapshot;
pub mod telemetry;
mod tmp;
