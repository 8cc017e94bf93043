//! What a reset does not see: extended attributes and flags of directories, by which one command could leave
//! another a message, or slow it down. Files have new stamps after such a change, directories have none.

use std::io;
use std::path::Path;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use rustix::fs::{IFlags, Mode, OFlags, flistxattr, ioctl_getflags, openat};
use rustix::io::Errno;

use crate::files::Kind;
use crate::snapshot::Manifest;

/// Attributes that a command without capabilities cannot set.
const PRIVILEGED: [&[u8]; 2] = [b"security.", b"trusted."];
const MAX_NAMES_BYTES: usize = 4096;
/// The flags that the owner of a directory can set and that no volume hands down to all its files.
const SETTABLE: IFlags = IFlags::from_bits_retain(
    IFlags::DIRSYNC.bits()
        | IFlags::JOURNALING.bits()
        | IFlags::NOATIME.bits()
        | IFlags::NODUMP.bits()
        | IFlags::SYNC.bits()
        | IFlags::TOPDIR.bits(),
);

/// Do the root and all directories of a tree have no attributes and flags of a command's making?
///
/// # Errors
/// When one has, or it cannot be told.
pub fn ensure_untouched(root: &Dir, manifest: &Manifest) -> io::Result<()> {
    ensure_plain(root, Path::new("."))?;
    for (path, _) in manifest.0.iter().filter(|(_, stamp)| stamp.kind == Kind::Directory) {
        ensure_plain(&root.open_dir_nofollow(path)?, path)?;
    }
    Ok(())
}

fn ensure_plain(directory: &Dir, path: &Path) -> io::Result<()> {
    // The handle itself is for the path only.
    let directory = openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = [0; MAX_NAMES_BYTES];
    let length = match flistxattr(&directory, &mut names) {
        Err(Errno::NOTSUP) => 0,
        listed => listed?,
    };
    let ours = |name: &[u8]| !name.is_empty() && !PRIVILEGED.iter().any(|prefix| name.starts_with(prefix));
    if names[..length].split(|byte| *byte == 0).any(ours) {
        return Err(io::Error::other(format!("`{}` has extended attributes", path.display())));
    }
    match ioctl_getflags(&directory) {
        Err(Errno::NOTTY | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(()),
        Ok(flags) if flags.intersects(SETTABLE) => Err(io::Error::other(format!("`{}` has flags", path.display()))),
        other => Ok(other.map(|_| ())?),
    }
}
