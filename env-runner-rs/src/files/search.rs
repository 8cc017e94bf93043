//! Searching file contents by regular expression.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use globset::GlobMatcher;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Kind, Limits, open_file, walk};

/// Larger files are data, not source.
const MAX_FILE_BYTES: u64 = 4 << 20;
const MAX_LINE_CHARS: usize = 500;
/// A search that takes longer returns what it has, marked truncated.
const DEADLINE: Duration = Duration::from_secs(20);

/// What to look for.
#[derive(Debug)]
pub struct Query {
    pub pattern: Regex,
    /// Only files whose path matches.
    pub glob: Option<GlobMatcher>,
    /// Most matches.
    pub limit: usize,
}

/// One matching line.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Match {
    pub path: String,
    /// From 1.
    pub line: usize,
    /// The line, invalid UTF-8 replaced, at most 500 characters.
    pub text: String,
}

/// Matches in order of path, and whether there may be more.
///
/// # Errors
/// What the file system says.
pub fn search(root: &Dir, query: &Query, limits: Limits) -> io::Result<(Vec<Match>, bool)> {
    let deadline = Instant::now() + DEADLINE;
    let mut matches = Vec::new();
    let mut truncated = false;
    walk(root, limits, |entry| {
        let wanted = entry.kind == Kind::File
            && entry.meta.len() <= MAX_FILE_BYTES
            && !entry.path.starts_with(".git")
            && query.glob.as_ref().is_none_or(|glob| glob.is_match(&entry.path));
        if wanted && let Some(bytes) = text(root, &entry.path) {
            let path = entry.path.to_string_lossy();
            for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                if !query.pattern.is_match(line) {
                    continue;
                }
                if matches.len() == query.limit {
                    truncated = true;
                    return Ok(false);
                }
                let shown = String::from_utf8_lossy(line).chars().take(MAX_LINE_CHARS).collect();
                matches.push(Match { path: path.to_string(), line: index + 1, text: shown });
            }
        }
        truncated |= Instant::now() > deadline;
        Ok(!truncated)
    })?;
    Ok((matches, truncated))
}

/// The content of a readable text file; none for binary ones and for what changed its kind meanwhile.
fn text(root: &Dir, path: &std::path::Path) -> Option<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
    let file = open_file(root, path, &options).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    (!bytes[..bytes.len().min(8192)].contains(&0)).then_some(bytes)
}
