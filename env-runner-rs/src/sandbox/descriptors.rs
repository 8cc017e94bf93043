//! Descriptors that somebody left open must not reach a command: they would be a way past every rung.

use std::fs;
use std::io;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::BorrowedFd;

const FIRST: libc::c_uint = 3;

/// Has `exec` close everything but the standard streams.
///
/// # Errors
/// Where neither the kernel's call (Linux 5.11) nor /proc can be used.
pub fn close_on_exec() -> io::Result<()> {
    // SAFETY: marks descriptors, closes none now.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 { Ok(()) } else { one_by_one() }
}

fn one_by_one() -> io::Result<()> {
    let open = fs::read_dir("/proc/self/fd")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for number in open.collect::<Vec<i32>>().into_iter().filter(|number| *number >= FIRST.cast_signed()) {
        // SAFETY: only its flag is changed; the one that listed the directory is closed by now, which is no error.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _closed = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
    Ok(())
}
