//! Removing trees that hostile commands made: any depth, any mode, in constant memory.

use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, Permissions, PermissionsExt};

/// Removes `name` in `parent`, a directory with all below it; absent is fine.
///
/// Subdirectories are moved up beside it before they are emptied, so depth costs neither stack nor
/// descriptors.
///
/// # Errors
/// What the file system says; the rest stays under names that begin with `name`.
pub fn remove_tree(parent: &Dir, name: &Path) -> io::Result<()> {
    let mut pending = vec![name.to_owned()];
    let mut moved = 0_u64;
    while let Some(path) = pending.pop() {
        let directory = match parent.open_dir_nofollow(&path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                parent.set_permissions(&path, Permissions::from_mode(0o700))?;
                parent.open_dir_nofollow(&path)?
            }
            Err(error) => return Err(error),
        };
        empty(&directory, parent, name, &mut moved, &mut pending)?;
        parent.remove_dir(&path)?;
    }
    Ok(())
}

/// Removes everything in `root` but the names in `keep`.
///
/// # Errors
/// What the file system says.
pub fn clear(root: &Dir, keep: &[&Path]) -> io::Result<()> {
    for entry in root.entries()? {
        let name = PathBuf::from(entry?.file_name());
        if keep.contains(&name.as_path()) {
            continue;
        }
        match root.remove_file(&name) {
            Ok(()) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => remove_tree(root, &name)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn empty(directory: &Dir, parent: &Dir, name: &Path, moved: &mut u64, pending: &mut Vec<PathBuf>) -> io::Result<()> {
    let writable = Permissions::from_mode(0o700);
    directory.set_permissions(".", writable.clone())?;
    for entry in directory.entries()? {
        let entry = entry?;
        let inner = PathBuf::from(entry.file_name());
        if !entry.file_type()?.is_dir() {
            directory.remove_file(&inner)?;
            continue;
        }
        if directory.remove_dir(&inner).is_ok() {
            continue;
        }
        // Moving a directory rewrites its `..`, for which it must be writable itself.
        directory.set_permissions(&inner, writable.clone())?;
        *moved += 1;
        let target = PathBuf::from(format!("{}.{moved}", name.display()));
        directory.rename(&inner, parent, &target)?;
        pending.push(target);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::{clear, remove_tree};
    use crate::files::open_root;

    #[test]
    fn deep_and_locked_trees_go_and_link_targets_stay() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        let root = open_root(home.path()).unwrap();
        root.create_dir("tree").unwrap();
        symlink(&outside, home.path().join("tree/link")).unwrap();
        let mut deepest = root.open_dir("tree").unwrap();
        for _ in 0..3000 {
            deepest.create_dir("d").unwrap();
            deepest = deepest.open_dir("d").unwrap();
        }
        fs::create_dir(home.path().join("tree/locked")).unwrap();
        fs::write(home.path().join("tree/locked/file"), "x").unwrap();
        fs::set_permissions(home.path().join("tree/locked"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&root, Path::new("tree")).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(outside).unwrap(), "kept");
    }

    #[test]
    fn clear_keeps_what_it_is_told_to() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir_all(home.path().join(name).join("inner")).unwrap();
        }
        fs::write(home.path().join("c"), "x").unwrap();
        clear(&open_root(home.path()).unwrap(), &[Path::new("b")]).unwrap();
        assert!(home.path().join("b/inner").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
