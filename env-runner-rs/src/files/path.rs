//! Paths as clients and archives give them, checked.

use std::path::{Component, Path, PathBuf};

/// As long as the kernel takes.
const MAX_PATH_BYTES: usize = 4095;
const MAX_NAME_BYTES: usize = 255;

/// A relative path of ordinary names, at least one: no root, no `..`, no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(PathBuf);

impl RelPath {
    /// Checks `path`; `.` parts are dropped.
    ///
    /// # Errors
    /// A phrase that says what is wrong, to follow the path's name.
    pub fn parse(path: impl AsRef<Path>) -> Result<Self, &'static str> {
        let path = path.as_ref();
        let bytes = path.as_os_str().as_encoded_bytes();
        if bytes.len() > MAX_PATH_BYTES {
            return Err("is too long");
        }
        if bytes.contains(&0) {
            return Err("contains NUL");
        }
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) if name.len() > MAX_NAME_BYTES => return Err("has a name that is too long"),
                Component::Normal(name) => clean.push(name),
                Component::CurDir => {}
                Component::ParentDir => return Err("contains `..`"),
                Component::RootDir | Component::Prefix(_) => return Err("is absolute"),
            }
        }
        if clean.as_os_str().is_empty() { Err("is empty") } else { Ok(Self(clean)) }
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that holds it; empty for the root.
    pub fn parent(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new(""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Component, RelPath};

    #[test]
    fn what_leaves_the_tree_is_refused() {
        for bad in ["", ".", "/etc/passwd", "../x", "a/../b", "a\0b", "//", "./.."] {
            assert!(RelPath::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(RelPath::parse("./a//b/.").unwrap().as_path().to_str(), Some("a/b"));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_has_only_ordinary_names(text in "[a./\\\\\0-]{0,40}") {
            if let Ok(path) = RelPath::parse(&text) {
                prop_assert!(path.as_path().components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
