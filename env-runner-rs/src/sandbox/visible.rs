//! Which trees a command may read: everything but the hidden ones.
//!
//! Landlock only grants, so hiding `/a/b` means granting the siblings of `/a` and of `/a/b`. The list is
//! rebuilt when one of the directories read for it changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A directory with more entries than this next to a hidden path is granted only so far.
const MAX_SIBLINGS: usize = 4096;
/// Never granted as trees: the few device files that are safe are granted one by one.
const NEVER: &str = "/dev";

type Stamp = (PathBuf, u64, i64, i64);

/// Computes and caches the readable trees.
#[derive(Debug)]
pub struct Visible {
    hidden: Vec<PathBuf>,
    cache: Mutex<Option<(Vec<Stamp>, Vec<PathBuf>)>>,
}

impl Visible {
    /// `hidden` paths are resolved now; one that does not exist is taken as it is written.
    pub fn except(hidden: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut hidden: Vec<PathBuf> = hidden.into_iter().map(|path| path.canonicalize().unwrap_or(path)).collect();
        hidden.push(PathBuf::from(NEVER));
        Self { hidden, cache: Mutex::new(None) }
    }

    /// The trees that may be granted for reading.
    ///
    /// # Errors
    /// When the root directory cannot be listed.
    pub fn trees(&self) -> io::Result<Vec<PathBuf>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamps, trees)) = cache.as_ref()
            && stamps.iter().all(|old| stamp(&old.0).is_ok_and(|new| new == *old))
        {
            return Ok(trees.clone());
        }
        let (mut stamps, mut trees) = (Vec::new(), Vec::new());
        self.expand(Path::new("/"), &mut stamps, &mut trees)?;
        *cache = Some((stamps, trees.clone()));
        Ok(trees)
    }

    fn expand(&self, directory: &Path, stamps: &mut Vec<Stamp>, trees: &mut Vec<PathBuf>) -> io::Result<()> {
        stamps.push(stamp(directory)?);
        for entry in fs::read_dir(directory)?.take(MAX_SIBLINGS).flatten() {
            let path = entry.path();
            // A link beside a hidden directory could point into it.
            let Ok(real) = path.canonicalize() else { continue };
            if self.hidden.iter().any(|hidden| real.starts_with(hidden)) {
                continue;
            }
            let leads_to_hidden = self.hidden.iter().any(|hidden| hidden.starts_with(&real));
            if !leads_to_hidden {
                trees.push(real);
            } else if real == path {
                // What cannot be listed holds nothing that we could grant.
                let _unlistable = self.expand(&path, stamps, trees);
            }
        }
        Ok(())
    }
}

fn stamp(directory: &Path) -> io::Result<Stamp> {
    let meta = fs::metadata(directory)?;
    Ok((directory.to_owned(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::Visible;

    #[test]
    fn siblings_of_a_hidden_path_stay_visible_and_links_into_it_do_not() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().canonicalize().unwrap();
        for name in ["secret", "open"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        symlink(base.join("secret"), base.join("alias")).unwrap();
        let visible = Visible::except([base.join("secret")]);
        let trees = visible.trees().unwrap();
        assert!(trees.contains(&base.join("open")));
        assert!(!trees.iter().any(|tree| base.join("secret").starts_with(tree)));
        fs::create_dir(base.join("later")).unwrap();
        assert!(visible.trees().unwrap().contains(&base.join("later")));
    }
}
