//! Blobs: files named by the SHA-256 of their content, under `blobs/<first two digits>/`.
//!
//! A blob is written to a temporary file, hashed on the way, synced and renamed: under its name there is only ever the
//! whole content. The same content put twice is one file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use crate::error::StoreError;

/// A SHA-256 in 64 lower-case hexadecimal digits: checked, so that it can be part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    #[error("the upload broke off: {0}")]
    Upload(String),
    #[error("the disk failed: {0}")]
    Io(#[from] std::io::Error),
}

/// The blobs of one data directory.
pub struct BlobStore {
    blobs: PathBuf,
    incoming: PathBuf,
    max_bytes: u64,
    uploads: AtomicU64,
}

impl BlobStore {
    /// Makes the directories, and removes what an earlier process left unfinished.
    ///
    /// # Errors
    /// When the directories cannot be made or cleared.
    pub fn open(data_dir: &Path, max_bytes: u64) -> Result<Self, StoreError> {
        let (blobs, incoming) = (data_dir.join("blobs"), data_dir.join("incoming"));
        let prepare = || {
            if incoming.exists() {
                std::fs::remove_dir_all(&incoming)?;
            }
            std::fs::create_dir_all(&incoming)?;
            std::fs::create_dir_all(&blobs)
        };
        prepare().map_err(|source| StoreError::Io { path: data_dir.to_owned(), source })?;
        Ok(Self { blobs, incoming, max_bytes, uploads: AtomicU64::new(0) })
    }

    /// Stores the content of `upload`; durable when it returns. `expected`: the name that the content must hash to.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is stored then.
    pub async fn put<E: std::fmt::Display>(
        &self,
        upload: impl Stream<Item = Result<Bytes, E>> + Unpin,
        expected: Option<&BlobId>,
    ) -> Result<(BlobId, u64), BlobError> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let temporary = self.incoming.join(number.to_string());
        let stored = self.receive(&temporary, upload, expected).await;
        if stored.is_err() {
            // It may not even have been created; the next start clears the directory in any case.
            let _ = fs::remove_file(&temporary).await;
        }
        stored
    }

    async fn receive<E: std::fmt::Display>(
        &self,
        temporary: &Path,
        mut upload: impl Stream<Item = Result<Bytes, E>> + Unpin,
        expected: Option<&BlobId>,
    ) -> Result<(BlobId, u64), BlobError> {
        let mut file = File::create(temporary).await?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        while let Some(chunk) = upload.next().await {
            let chunk = chunk.map_err(|error| BlobError::Upload(error.to_string()))?;
            bytes += chunk.len() as u64;
            if bytes > self.max_bytes {
                return Err(BlobError::TooLarge(self.max_bytes));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        let id = BlobId(hex::encode(hash.finalize()));
        if expected.is_some_and(|expected| *expected != id) {
            return Err(BlobError::HashMismatch { actual: id.0 });
        }
        file.flush().await?;
        file.sync_all().await?;
        self.publish(temporary, &id).await?;
        Ok((id, bytes))
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
        match fs::remove_file(self.path(id)).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.blobs.join(&id.0[..2]).join(&id.0)
    }
}
