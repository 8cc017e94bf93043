//! Whatever an archive holds, nothing outside the workspace changes.

use std::fs;

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::{Bounds, replace};
use crate::files::open_root;

const BOUNDS: Bounds = Bounds { max_bytes: 1 << 16, max_entries: 64 };

/// Headers with names as they come: `Builder` itself would refuse most of them.
fn archive(entries: &[(u8, String, String)]) -> Vec<u8> {
    let kinds = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link, EntryType::Fifo];
    let mut builder = Builder::new(Vec::new());
    for (kind, name, target) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kinds[usize::from(*kind) % kinds.len()]);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }
    builder.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_sequence_of_entries_reaches_outside(entries in prop::collection::vec(
        (0_u8..5, "(/|\\.\\./|[ab]/){0,3}[ab.]{1,2}", "(/|\\.\\./|[ab]/){0,3}[ab.]{1,2}"), 0..12)) {
        let home = tempfile::tempdir().unwrap();
        for name in ["workspace", "a", "b"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        let root = home.path().join("workspace");
        let unpacked = replace(&open_root(&root).unwrap(), archive(&entries).as_slice(), BOUNDS);
        let count = |path: &std::path::Path| fs::read_dir(path).unwrap().count();
        prop_assert_eq!(count(home.path()), 3);
        prop_assert_eq!(count(&home.path().join("a")) + count(&home.path().join("b")), 0);
        if unpacked.is_err() {
            prop_assert_eq!(count(&root), 0);
        }
        let real = root.canonicalize().unwrap();
        for entry in walkdir(&root) {
            if let Ok(target) = entry.canonicalize() {
                prop_assert!(target.starts_with(&real), "{:?} leads to {:?}", entry, target);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_leave_anything(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let home = tempfile::tempdir().unwrap();
        let _refused = replace(&open_root(home.path()).unwrap(), bytes.as_slice(), BOUNDS);
        prop_assert!(walkdir(home.path()).iter().all(|path| !path.to_string_lossy().contains(".dspy-unpack")));
    }
}

fn walkdir(root: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}
