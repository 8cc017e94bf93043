//! Reading, writing and deleting single files.

use std::io::{self, Read, Write};
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

use super::RelPath;
use crate::error::{Error, Result};

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
/// `FileNotFound` (also for what is no regular file, or a link out of the workspace), `TooLarge`.
pub fn read(root: &Dir, path: &RelPath, max_bytes: usize) -> Result<Vec<u8>> {
    // Without O_NONBLOCK a pipe that a command planted would hold this thread for ever.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = root.open_with(path.as_path(), &options).map_err(|error| absent(path, error))?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(Error::FileNotFound(path.as_path().display().to_string()));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        return Err(Error::TooLarge(format!("the file is larger than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// Replaces a file in one step, making its directories; an existing file's mode is kept.
///
/// # Errors
/// `BadRequest` when the path cannot hold a file.
pub fn write(root: &Dir, path: &RelPath, bytes: &[u8]) -> Result<()> {
    let refuse = |error: io::Error| unwritable(path, error);
    root.create_dir_all(path.parent()).map_err(refuse)?;
    // Through a link the file that it names is replaced, not the link.
    let target = root.canonicalize(path.as_path()).unwrap_or_else(|_| path.as_path().to_owned());
    let mode = match root.symlink_metadata(&target) {
        Ok(meta) if meta.is_file() => meta.permissions().mode() & 0o777,
        Ok(meta) if meta.is_symlink() => 0o644,
        Ok(_) => return Err(Error::BadRequest(format!("`{}` is no regular file", path.as_path().display()))),
        Err(_) => 0o644,
    };
    let directory = target.parent().unwrap_or(Path::new(""));
    let temporary = directory.join(format!(".dspy-put-{}", crate::install::random_hex(8)?));
    let written = (|| {
        let mut file = root.open_with(&temporary, OpenOptions::new().write(true).create_new(true))?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        root.rename(&temporary, root, &target)
    })();
    written.map_err(|error| {
        // It may never have been made; the write's own error is the one to tell.
        let _absent = root.remove_file(&temporary);
        refuse(error)
    })
}

/// Deletes a file, a link or a directory with all below it.
///
/// # Errors
/// `FileNotFound`.
pub fn delete(root: &Dir, path: &RelPath) -> Result<()> {
    let meta = root.symlink_metadata(path.as_path()).map_err(|error| absent(path, error))?;
    if !meta.is_dir() {
        return root.remove_file(path.as_path()).map_err(|error| absent(path, error));
    }
    let parent = if path.parent().as_os_str().is_empty() { root.try_clone()? } else { root.open_dir(path.parent())? };
    let name = path.as_path().file_name().unwrap_or_default();
    Ok(super::remove_tree(&parent, Path::new(name))?)
}

/// Leaving the workspace reads as absence: there is nothing to see there.
fn absent(path: &RelPath, error: io::Error) -> Error {
    let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    let leads_nowhere = matches!(
        error.raw_os_error(),
        Some(libc::EXDEV | libc::ELOOP | libc::ENOTDIR | libc::ENXIO | libc::EISDIR | libc::EPERM)
    );
    if gone || leads_nowhere {
        Error::FileNotFound(path.as_path().display().to_string())
    } else {
        Error::Internal(error)
    }
}

fn unwritable(path: &RelPath, error: io::Error) -> Error {
    match absent(path, error) {
        Error::Internal(cause)
            if matches!(cause.raw_os_error(), Some(libc::EEXIST | libc::ENAMETOOLONG | libc::EINVAL)) =>
        {
            Error::BadRequest(format!("`{}` cannot be written: {cause}", path.as_path().display()))
        }
        Error::FileNotFound(name) => {
            Error::BadRequest(format!("`{name}` cannot be written: a part of it is no directory of this workspace"))
        }
        other => other,
    }
}
