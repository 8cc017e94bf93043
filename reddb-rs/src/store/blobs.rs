//! Blobs: files named by the SHA-256 of their content, under `blobs/<first two digits>/`.
//!
//! A blob is written to a temporary file, hashed on the way, synced and renamed: under its name there is only ever the
//! whole content. The same content put twice is one file, kept for as long as the longer-lived of the two asks for.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use super::blob_expiry::Expiries;
use crate::config::Limits;
use crate::error::StoreError;

/// A SHA-256 in 64 lower-case hexadecimal digits: checked, so that it can be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(String);

impl BlobId {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a blob was not stored.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the content hashes to {actual}, not to the name in the request")]
    HashMismatch { actual: String },
    #[error("the blob is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the disk has too little room")]
    DiskFull,
    #[error("the upload broke off: {0}")]
    Upload(String),
    #[error("the disk failed: {0}")]
    Io(std::io::Error),
}

impl From<std::io::Error> for BlobError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull { Self::DiskFull } else { Self::Io(error) }
    }
}

/// A blob that was put.
pub struct StoredBlob {
    pub id: BlobId,
    pub bytes: u64,
    /// Unix time in milliseconds; `None`: kept for ever.
    pub expires_ms: Option<u64>,
}

/// The blobs of one data directory.
pub struct BlobStore {
    blobs: PathBuf,
    incoming: PathBuf,
    max_bytes: u64,
    min_free_bytes: u64,
    uploads: AtomicU64,
    /// Locked while a blob comes or goes, so that it cannot go just after its end was put off.
    expiries: Mutex<Expiries>,
}

impl BlobStore {
    /// Makes the directories, and removes what an earlier process left unfinished.
    ///
    /// # Errors
    /// When the directories cannot be made, cleared or read.
    pub fn open(data_dir: &Path, limits: &Limits) -> Result<Self, StoreError> {
        let (blobs, incoming) = (data_dir.join("blobs"), data_dir.join("incoming"));
        let prepare = || {
            if incoming.exists() {
                std::fs::remove_dir_all(&incoming)?;
            }
            std::fs::create_dir_all(&incoming)?;
            std::fs::create_dir_all(&blobs)?;
            Expiries::open(data_dir.join("blob-expiries"), &incoming)
        };
        let expiries = prepare().map_err(|source| StoreError::Io { path: data_dir.to_owned(), source })?;
        Ok(Self {
            blobs,
            incoming,
            max_bytes: limits.max_blob_bytes,
            min_free_bytes: limits.min_free_bytes,
            uploads: AtomicU64::new(0),
            expiries: Mutex::new(expiries),
        })
    }

    /// Stores the content of `upload`; durable when it returns. `expected`: the name that the content must hash to.
    /// `expires_ms`: Unix time in milliseconds when it may go, `None` never; the latest of all that were given counts.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is stored then.
    pub async fn put<E: std::fmt::Display>(
        &self,
        upload: impl Stream<Item = Result<Bytes, E>> + Unpin,
        expected: Option<&BlobId>,
        expires_ms: Option<u64>,
    ) -> Result<StoredBlob, BlobError> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let temporary = self.incoming.join(number.to_string());
        let stored = self.store(&temporary, upload, expected, expires_ms).await;
        if stored.is_err() {
            // It may not even have been created; the next start clears the directory in any case.
            let _ = fs::remove_file(&temporary).await;
        }
        stored
    }

    async fn store<E: std::fmt::Display>(
        &self,
        temporary: &Path,
        upload: impl Stream<Item = Result<Bytes, E>> + Unpin,
        expected: Option<&BlobId>,
        expires_ms: Option<u64>,
    ) -> Result<StoredBlob, BlobError> {
        let (id, bytes) = self.receive(temporary, upload).await?;
        if expected.is_some_and(|expected| *expected != id) {
            return Err(BlobError::HashMismatch { actual: id.0 });
        }
        let mut expiries = self.expiries.lock().await;
        let exists = fs::try_exists(self.path(&id)).await?;
        let expires_ms = match (exists, expiries.get(&id)) {
            (true, None) => None,
            (true, Some(before)) => expires_ms.map(|at| at.max(before)),
            // An end without a blob is what a crash left.
            (false, _) => expires_ms,
        };
        // The end comes first: a crash in between leaves an end without a blob, not a blob without its end.
        expiries.set(&id, expires_ms).await?;
        self.publish(temporary, &id).await?;
        Ok(StoredBlob { id, bytes, expires_ms })
    }

    /// Writes the upload to `temporary`, durably; returns its name and size in bytes.
    async fn receive<E: std::fmt::Display>(
        &self,
        temporary: &Path,
        mut upload: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(BlobId, u64), BlobError> {
        self.check_room()?;
        let mut file = File::create(temporary).await?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        while let Some(chunk) = upload.next().await {
            let chunk = chunk.map_err(|error| BlobError::Upload(error.to_string()))?;
            bytes += chunk.len() as u64;
            if bytes > self.max_bytes {
                return Err(BlobError::TooLarge(self.max_bytes));
            }
            self.check_room()?;
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        file.sync_all().await?;
        Ok((BlobId(hex::encode(hash.finalize())), bytes))
    }

    /// Blobs leave room for the journal: without any the whole store would have to stop.
    fn check_room(&self) -> Result<(), BlobError> {
        let disk = rustix::fs::statvfs(&self.incoming).map_err(std::io::Error::from)?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free_bytes < self.min_free_bytes { Err(BlobError::DiskFull) } else { Ok(()) }
    }

    /// Gives a finished file its name, durably: the rename, and the directories that now have a new entry.
    async fn publish(&self, temporary: &Path, id: &BlobId) -> std::io::Result<()> {
        let path = self.path(id);
        let directory = self.blobs.join(&id.0[..2]);
        fs::create_dir_all(&directory).await?;
        fs::rename(temporary, &path).await?;
        File::open(&directory).await?.sync_all().await?;
        File::open(&self.blobs).await?.sync_all().await
    }

    /// Opens a blob for reading; `None` if there is none. With its size in bytes.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn get(&self, id: &BlobId) -> std::io::Result<Option<(File, u64)>> {
        match File::open(self.path(id)).await {
            Ok(file) => {
                let bytes = file.metadata().await?.len();
                Ok(Some((file, bytes)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a blob; false if there was none.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn delete(&self, id: &BlobId) -> std::io::Result<bool> {
        let mut expiries = self.expiries.lock().await;
        self.remove(&mut expiries, id).await
    }

    /// Deletes the blobs whose end has come by `now_ms`.
    ///
    /// # Errors
    /// When the disk fails; what is left goes next time.
    pub async fn sweep(&self, now_ms: u64) -> std::io::Result<()> {
        let mut expiries = self.expiries.lock().await;
        for id in expiries.due(now_ms) {
            self.remove(&mut expiries, &id).await?;
        }
        Ok(())
    }

    /// The blob goes first: its end, if that is left by a crash, is found again.
    async fn remove(&self, expiries: &mut Expiries, id: &BlobId) -> std::io::Result<bool> {
        let existed = match fs::remove_file(self.path(id)).await {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        expiries.set(id, None).await?;
        Ok(existed)
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.blobs.join(&id.0[..2]).join(&id.0)
    }
}
