//! The difference of two workspaces as a patch that `git apply` takes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt};
use globset::GlobSet;
use serde::{Deserialize, Serialize};
use similar::{Algorithm, TextDiff};
use utoipa::ToSchema;

use crate::files::{Kind, Limits, Unlocked, open_file, walk_unlocked};

/// Larger files are named, not shown.
const MAX_TEXT_BYTES: u64 = 4 << 20;
/// Bound on the whole patch.
const MAX_PATCH_BYTES: usize = 32 << 20;
/// A file of many changes is not compared line by line for ever: what is left is shown as replaced.
const FILE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

/// What differs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// Unified, with git's headers.
    pub patch: String,
    /// Paths that differ, sorted.
    pub files: Vec<String>,
    /// Some differing files are only listed in `files`: the patch would be too large.
    pub truncated: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Side {
    /// As git writes it: 100644, 100755 or 120000.
    mode: &'static str,
    size: u64,
    link: bool,
}

/// Compares two trees, leaving out what `exclude` matches.
///
/// # Errors
/// What the file system says; `FileTooLarge` past the bounds.
pub fn diff(from: &Dir, to: &Dir, exclude: &GlobSet, limits: Limits) -> io::Result<Diff> {
    let (old_tree, new_tree) = (Unlocked::new(from), Unlocked::new(to));
    let (old, new) = (list(&old_tree, exclude, limits)?, list(&new_tree, exclude, limits)?);
    let paths: BTreeSet<&PathBuf> = old.keys().chain(new.keys()).collect();
    let mut result = Diff { patch: String::new(), files: Vec::new(), truncated: false };
    for path in paths {
        let sides = (old.get(path), new.get(path));
        let contents = (content(from, path, sides.0)?, content(to, path, sides.1)?);
        let same_mode = sides.0.map(|side| side.mode) == sides.1.map(|side| side.mode);
        if same_mode && contents.0 == contents.1 && !differs_unread(from, to, path, sides)? {
            continue;
        }
        result.files.push(path.to_string_lossy().into_owned());
        if result.patch.len() > MAX_PATCH_BYTES {
            result.truncated = true;
        } else {
            append(&mut result.patch, path, sides, (contents.0.as_deref(), contents.1.as_deref()));
        }
    }
    Ok(result)
}

fn list(tree: &Unlocked<'_>, exclude: &GlobSet, limits: Limits) -> io::Result<BTreeMap<PathBuf, Side>> {
    let mut sides = BTreeMap::new();
    walk_unlocked(tree, limits, |entry| {
        if exclude.is_match(&entry.path) {
            return Ok(true);
        }
        let executable = entry.meta.mode() & 0o100 != 0;
        let mode = match entry.kind {
            Kind::Symlink => "120000",
            Kind::File if executable => "100755",
            Kind::File => "100644",
            Kind::Directory | Kind::Other => return Ok(true),
        };
        sides.insert(entry.path.clone(), Side { mode, size: entry.meta.len(), link: entry.kind == Kind::Symlink });
        Ok(true)
    })?;
    Ok(sides)
}

/// A link's target or a file's bytes; none when absent or too large to show.
fn content(root: &Dir, path: &Path, side: Option<&Side>) -> io::Result<Option<Vec<u8>>> {
    match side {
        None => Ok(None),
        Some(side) if side.link => Ok(Some(root.read_link_contents(path)?.into_os_string().into_encoded_bytes())),
        Some(side) if side.size > MAX_TEXT_BYTES => Ok(None),
        Some(_) => {
            let mut bytes = Vec::new();
            match open(root, path) {
                Ok(file) => file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes)?,
                // Another user's: no more to us than its name, as to a command.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
                Err(error) => return Err(error),
            };
            Ok(Some(bytes))
        }
    }
}

fn open(root: &Dir, path: &Path) -> io::Result<cap_std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    open_file(root, path, &options)
}

/// Do two files that were too large to hold differ?
fn differs_unread(from: &Dir, to: &Dir, path: &Path, sides: (Option<&Side>, Option<&Side>)) -> io::Result<bool> {
    let (Some(old), Some(new)) = sides else { return Ok(true) };
    if old.size <= MAX_TEXT_BYTES || old.link {
        return Ok(false);
    }
    if old.size != new.size {
        return Ok(true);
    }
    let (mut one, mut other) = (open(from, path)?, open(to, path)?);
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(false);
        }
        if other.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(true);
        }
    }
}

fn append(
    patch: &mut String,
    path: &Path,
    sides: (Option<&Side>, Option<&Side>),
    contents: (Option<&[u8]>, Option<&[u8]>),
) {
    let (a, b) = (quoted("a", path), quoted("b", path));
    patch.push_str(&format!("diff --git {a} {b}\n"));
    match sides {
        (None, Some(new)) => patch.push_str(&format!("new file mode {}\n", new.mode)),
        (Some(old), None) => patch.push_str(&format!("deleted file mode {}\n", old.mode)),
        (Some(old), Some(new)) if old.mode != new.mode => {
            patch.push_str(&format!("old mode {}\nnew mode {}\n", old.mode, new.mode));
        }
        _ => {}
    }
    let text = |side: Option<&Side>, bytes: Option<&[u8]>| match (side, bytes) {
        (None, _) => Some(String::new()),
        (Some(_), Some(bytes)) if !bytes.contains(&0) => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    };
    let (old_name, new_name) = (name_or_null(sides.0, &a), name_or_null(sides.1, &b));
    match (text(sides.0, contents.0), text(sides.1, contents.1)) {
        (Some(old), Some(new)) => {
            if old == new {
                return; // only the mode, or an empty file
            }
            let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(FILE_DEADLINE).diff_lines(&old, &new);
            patch.push_str(&diff.unified_diff().context_radius(3).header(&old_name, &new_name).to_string());
        }
        _ => patch.push_str(&format!("Binary files {old_name} and {new_name} differ\n")),
    }
}

fn name_or_null(side: Option<&Side>, name: &str) -> String {
    if side.is_some() { name.to_owned() } else { "/dev/null".to_owned() }
}

/// As git quotes: names with control characters, quotes or backslashes in C style.
fn quoted(prefix: &str, path: &Path) -> String {
    let name = format!("{prefix}/{}", path.to_string_lossy());
    if !name.chars().any(|char| char.is_control() || char == '"' || char == '\\') {
        return name;
    }
    let mut quoted = String::from('"');
    for char in name.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            char if char.is_control() => quoted.push_str(&format!("\\{:03o}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
