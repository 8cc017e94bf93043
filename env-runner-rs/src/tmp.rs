//! May commands write to /tmp? Many programs have that name built in.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

const TMP: &str = "/tmp";

/// /tmp where it belongs to this container alone and granting it would open nothing that is closed.
///
/// `closed`: hidden paths; `separate`: trees that commands get one by one.
pub fn of_this_container(closed: &[PathBuf], separate: &[&Path]) -> Option<PathBuf> {
    let tmp = Path::new(TMP);
    let mut kept_apart = closed.iter().map(PathBuf::as_path).chain(separate.iter().copied());
    // A plain host may mount /tmp too, but there we are not the first process.
    let ours = std::process::id() == 1 && is_mount(tmp);
    (ours && !kept_apart.any(|path| path.starts_with(tmp))).then(|| tmp.to_owned())
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
    fn a_hosts_tmp_stays_closed() {
        assert_eq!(of_this_container(&[], &[]), None);
    }
}
