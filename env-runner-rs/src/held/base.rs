//! A held workspace on disk: `w-*/tree` is its content, `w-*/held.json` says whose.
//!
//! While it is unpacked it is `u-*`, which the next start clears away; the rename makes it whole at once. What a
//! crash of the machine may have torn is told by the kernel's boot id, so nothing waits for the disk.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Verified};
use crate::error::{Error, Result};
use crate::files::archive::{Bounds, unpack};
use crate::files::{Kind, Limits, open_root, remove_tree};
use crate::install::random_hex;
use crate::snapshot::Manifest;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const PREFIX: &str = "w-";
const TREE: &str = "tree";
const LABEL: &str = "held.json";
const BLOCK: u64 = 4096;
/// Of an archive, beside the content: headers, padding, and what follows the end.
const SLACK_BYTES: u64 = 1 << 20;
const HEADER_BYTES: u64 = 2048;

/// A workspace as it was uploaded; no command ever sees it.
#[derive(Debug)]
pub struct Base {
    pub digest: Digest,
    /// In the home directory.
    pub name: PathBuf,
    pub manifest: Manifest,
    /// On disk, in whole blocks.
    pub bytes: u64,
    /// Do forks share its blocks?
    pub shared: AtomicBool,
}

impl Base {
    pub fn tree(&self, home: &Path) -> PathBuf {
        home.join(&self.name).join(TREE)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Label {
    sha256: String,
    boot_id: String,
}

/// Unpacks an archive under a passing name.
///
/// # Errors
/// `DigestMismatch` before all that unpacking has to say of bytes that are not the archive's.
pub fn receive(home: &Path, digest: Digest, body: impl Read, bounds: Bounds, limits: Limits) -> Result<Base> {
    let name = PathBuf::from(format!("u-{}", random_hex(16)?));
    let received = unpack_verified(&home.join(&name), digest, body, bounds, limits);
    match received {
        Ok((manifest, bytes)) => Ok(Base { digest, name, manifest, bytes, shared: AtomicBool::new(false) }),
        Err(error) => {
            drop_tree(home, &name);
            Err(error)
        }
    }
}

/// Gives an unpacked workspace its lasting name; on an error nothing of it is left.
///
/// # Errors
/// What the file system says.
pub fn settle(home: &Path, base: Base) -> io::Result<Base> {
    let lasting = PathBuf::from(base.name.to_string_lossy().replacen("u-", PREFIX, 1));
    match fs::rename(home.join(&base.name), home.join(&lasting)) {
        Ok(()) => Ok(Base { name: lasting, ..base }),
        Err(error) => {
            drop_tree(home, &base.name);
            Err(error)
        }
    }
}

/// The whole workspaces in `home`, with when they were last known to be used, oldest first.
pub fn found(home: &Path, limits: Limits, max_bytes: u64) -> Vec<(Base, u64)> {
    let Ok(entries) = fs::read_dir(home) else { return Vec::new() };
    let names = entries.flatten().map(|entry| PathBuf::from(entry.file_name()));
    let ours = names.filter(|name| name.to_string_lossy().starts_with(PREFIX));
    let mut bases: Vec<(Base, u64)> = ours.filter_map(|name| load(home, name, limits, max_bytes)).collect();
    bases.sort_by_key(|(_, used_at)| *used_at);
    bases
}

/// None for what is not of this boot, not ours or too large; the caller clears it away.
fn load(home: &Path, name: PathBuf, limits: Limits, max_bytes: u64) -> Option<(Base, u64)> {
    let label = home.join(&name).join(LABEL);
    let modified = fs::metadata(&label).ok()?.modified().ok()?;
    let used_at = modified.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let label: Label = serde_json::from_str(&fs::read_to_string(label).ok()?).ok()?;
    if label.boot_id != boot_id().ok()? {
        return None;
    }
    let digest = Digest::parse(&label.sha256)?;
    let manifest = Manifest::read(&open_root(&home.join(&name).join(TREE)).ok()?, limits).ok()?;
    let bytes = bytes_on_disk(&manifest);
    (bytes <= max_bytes).then_some((Base { digest, name, manifest, bytes, shared: AtomicBool::new(false) }, used_at))
}

fn unpack_verified(
    place: &Path,
    digest: Digest,
    body: impl Read,
    bounds: Bounds,
    limits: Limits,
) -> Result<(Manifest, u64)> {
    fs::create_dir(place)?;
    fs::create_dir(place.join(TREE))?;
    let root = open_root(&place.join(TREE))?;
    let mut body = Verified::new(body);
    let unpacked = match unpack(&root, &mut body, bounds) {
        Err(error @ (Error::ArchiveTooLarge(_) | Error::Internal(_))) => return Err(error),
        unpacked => unpacked,
    };
    let overhead = (bounds.max_entries as u64).saturating_mul(HEADER_BYTES).saturating_add(SLACK_BYTES);
    let actual = body
        .finish(bounds.max_bytes.saturating_add(overhead))
        .map_err(|cause| Error::ArchiveInvalid(format!("The archive broke off before its end: {cause}.")))?;
    let actual = actual.ok_or_else(|| Error::ArchiveTooLarge("Too much follows the archive's end.".to_owned()))?;
    if actual != digest {
        return Err(Error::DigestMismatch { actual });
    }
    unpacked?;
    let manifest = Manifest::read(&root, limits)?;
    let bytes = bytes_on_disk(&manifest);
    if bytes > bounds.max_bytes {
        return Err(Error::ArchiveTooLarge(format!(
            "The archive takes {bytes} bytes on disk; the runner holds workspaces of at most {}.",
            bounds.max_bytes
        )));
    }
    let label = Label { sha256: digest.to_string(), boot_id: boot_id()? };
    fs::write(place.join(LABEL), serde_json::to_vec(&label).map_err(Error::internal)?)?;
    Ok((manifest, bytes))
}

fn bytes_on_disk(manifest: &Manifest) -> u64 {
    manifest.0.values().fold(BLOCK, |sum, stamp| {
        let size = if stamp.kind == Kind::File { stamp.size.div_ceil(BLOCK).max(1) * BLOCK } else { BLOCK };
        sum.saturating_add(size)
    })
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

fn drop_tree(home: &Path, name: &Path) {
    if let Err(cause) = open_root(home).and_then(|home| remove_tree(&home, name)) {
        tracing::warn!(%cause, "half a workspace could not be removed");
    }
}
