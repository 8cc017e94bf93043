//! When blobs go. A blob with an end has a small file of its own, `blob-expiries/<sha256>`, that holds the end in Unix
//! milliseconds; a blob without one is kept for ever.

use std::collections::{BTreeSet, HashMap};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::blobs::BlobId;

/// The ends of all blobs that have one. Each change is durable when it returns.
pub struct Expiries {
    directory: PathBuf,
    /// Where a new file is written before it gets its name.
    temporary: PathBuf,
    by_id: HashMap<BlobId, u64>,
    by_time: BTreeSet<(u64, BlobId)>,
}

impl Expiries {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or holds what this module did not write.
    pub fn open(directory: PathBuf, incoming: &Path) -> Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let (mut by_id, mut by_time) = (HashMap::new(), BTreeSet::new());
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(BlobId::parse);
            let at_ms = std::fs::read_to_string(entry.path())?.parse::<u64>().ok();
            let (Some(id), Some(at_ms)) = (id, at_ms) else {
                let problem = format!("{} is not a blob's expiry", entry.path().display());
                return Err(Error::new(ErrorKind::InvalidData, problem));
            };
            by_time.insert((at_ms, id.clone()));
            by_id.insert(id, at_ms);
        }
        Ok(Self { directory, temporary: incoming.join("expiry"), by_id, by_time })
    }

    /// Unix time in milliseconds; `None`: no end.
    #[must_use]
    pub fn get(&self, id: &BlobId) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Blobs whose end has come.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Vec<BlobId> {
        self.by_time.iter().take_while(|(at, _)| *at <= now_ms).map(|(_, id)| id.clone()).collect()
    }

    /// Sets the end of a blob, or removes it.
    ///
    /// # Errors
    /// When the disk fails: the end is as before.
    pub async fn set(&mut self, id: &BlobId, at_ms: Option<u64>) -> Result<()> {
        let before = self.get(id);
        if before == at_ms {
            return Ok(());
        }
        let path = self.directory.join(id.as_str());
        match at_ms {
            Some(at_ms) => {
                let mut file = File::create(&self.temporary).await?;
                file.write_all(at_ms.to_string().as_bytes()).await?;
                file.sync_all().await?;
                fs::rename(&self.temporary, &path).await?;
            }
            None => fs::remove_file(&path).await?,
        }
        File::open(&self.directory).await?.sync_all().await?;
        if let Some(before) = before {
            self.by_time.remove(&(before, id.clone()));
            self.by_id.remove(id);
        }
        if let Some(at_ms) = at_ms {
            self.by_time.insert((at_ms, id.clone()));
            self.by_id.insert(id.clone(), at_ms);
        }
        Ok(())
    }
}
