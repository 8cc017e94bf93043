//! May commands write where all of them can? Many programs have these names built in.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

/// For files, for semaphores and shared memory (Python's multiprocessing), for terminals of their own.
const SHARED: [&str; 3] = ["/tmp", "/dev/shm", "/dev/pts"];

/// Those that belong to this container alone, where granting them opens nothing that is closed.
///
/// `closed`: hidden paths; `separate`: trees that commands get one by one.
pub fn of_this_container(closed: &[PathBuf], separate: &[&Path]) -> Vec<PathBuf> {
    // A plain host mounts these too, but there we are not the first process.
    if std::process::id() != 1 {
        return Vec::new();
    }
    let kept_apart: Vec<&Path> = closed.iter().map(PathBuf::as_path).chain(separate.iter().copied()).collect();
    let open = |place: &Path| is_mount(place) && !kept_apart.iter().any(|path| path.starts_with(place));
    SHARED.map(PathBuf::from).into_iter().filter(|place| open(place)).collect()
}

/// Is `path` the root of a mount? False on kernels that do not tell (before 5.8).
fn is_mount(path: &Path) -> bool {
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|meta| meta.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{is_mount, of_this_container};

    #[test]
    fn mounts_are_told_from_directories() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_mount(Path::new("/proc")));
        assert!(!is_mount(directory.path()));
    }

    #[test]
    fn what_a_host_shares_stays_closed() {
        assert!(of_this_container(&[], &[]).is_empty());
    }
}
