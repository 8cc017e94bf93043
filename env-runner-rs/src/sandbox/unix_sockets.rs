//! Local daemons that a command could talk to: on a workstation one of them is often root's.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The flag in /proc/net/unix of a socket that accepts connections (`__SO_ACCEPTCON`).
const ACCEPTING: u32 = 0x0001_0000;

/// Sockets with a path outside `ours` that this user may connect to. Fails closed: a machine that does
/// not show its sockets is reported with the file that could not be read.
pub fn foreign_sockets(ours: &[&Path]) -> Vec<PathBuf> {
    const TABLE: &str = "/proc/net/unix";
    let Ok(table) = fs::read_to_string(TABLE) else {
        return vec![PathBuf::from(TABLE)];
    };
    table
        .lines()
        .skip(1)
        .filter_map(accepting_path)
        .filter(|path| !ours.iter().any(|own| path.starts_with(own)))
        .filter(|path| access(path, AccessFlags::W_OK).is_ok())
        .collect()
}

fn accepting_path(line: &str) -> Option<PathBuf> {
    let mut fields = line.split_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let path = fields.nth(3)?;
    (flags & ACCEPTING != 0 && path.starts_with('/')).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::foreign_sockets;

    #[test]
    fn a_daemon_socket_is_seen_unless_it_is_ours() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("daemon.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(foreign_sockets(&[Path::new("/workspace")]).contains(&path));
        assert!(!foreign_sockets(&[root.path()]).contains(&path));
    }
}
