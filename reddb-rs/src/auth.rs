//! Tokens. The master token opens everything; a scoped token opens the keys under one prefix.
//!
//! A scoped token is `rdb1.<base64url(prefix)>.<hex HMAC-SHA256(master, "rdb1." + base64url(prefix))>`: the server keeps
//! no list, and whoever holds the master token can issue one.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const MIN_TOKEN_BYTES: usize = 16;
const VERSION: &str = "rdb1";

/// What an authenticated client may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// Keys that begin with these bytes, and blobs.
    Prefix(Vec<u8>),
}

impl Scope {
    #[must_use]
    pub fn allows(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

/// The master token.
#[derive(Clone)]
pub struct Master(Vec<u8>);

impl Master {
    /// Reads the token from a file; blanks around it do not count.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read(path).map_err(|error| format!("--token-file: cannot read {}: {error}", path.display()))?;
        let token = text.trim_ascii();
        if token.len() < MIN_TOKEN_BYTES {
            return Err(format!(
                "--token-file: the token in {} must be at least {MIN_TOKEN_BYTES} bytes long",
                path.display()
            ));
        }
        Ok(Self(token.to_vec()))
    }

    #[must_use]
    pub fn new(token: &[u8]) -> Self {
        Self(token.to_vec())
    }

    /// Issues the token that opens the keys under `prefix`.
    #[must_use]
    pub fn scoped(&self, prefix: &[u8]) -> String {
        let body = format!("{VERSION}.{}", URL_SAFE_NO_PAD.encode(prefix));
        let signature = hex::encode(self.sign(&body));
        format!("{body}.{signature}")
    }

    /// What `token` opens, or `None` if it is not ours. Takes the same time however much of it is right.
    #[must_use]
    pub fn scope(&self, token: &[u8]) -> Option<Scope> {
        if bool::from(Sha256::digest(token).ct_eq(&Sha256::digest(&self.0))) {
            return Some(Scope::All);
        }
        let (body, signature) = std::str::from_utf8(token).ok()?.rsplit_once('.')?;
        let prefix = body.strip_prefix(VERSION)?.strip_prefix('.')?;
        let signature = hex::decode(signature).ok()?;
        if !bool::from(signature[..].ct_eq(&self.sign(body))) {
            return None;
        }
        URL_SAFE_NO_PAD.decode(prefix).ok().map(Scope::Prefix)
    }

    fn sign(&self, body: &str) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(body.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scoped_token_opens_its_prefix_only() {
        let master = Master::new(b"0123456789abcdef");
        let token = master.scoped(b"session/a/");
        let scope = master.scope(token.as_bytes()).unwrap();
        assert!(scope.allows(b"session/a/events"));
        assert!(!scope.allows(b"session/b/events"));
        assert_eq!(master.scope(b"0123456789abcdef"), Some(Scope::All));
    }

    #[test]
    fn a_changed_token_is_refused() {
        let master = Master::new(b"0123456789abcdef");
        let token = master.scoped(b"a");
        let other_prefix = token.replace("rdb1.YQ.", "rdb1.Yg.");
        let other_master = Master::new(b"0123456789abcdeg").scoped(b"a");
        for forged in [&token[..token.len() - 1], &other_prefix, &other_master, "", "rdb1..", "rdb1.YQ.", "0123"] {
            assert_eq!(master.scope(forged.as_bytes()), None, "{forged}");
        }
    }

    #[test]
    fn the_format_is_the_documented_one() {
        // From Python: hmac.new(b"0123456789abcdef", b"rdb1.YS8", "sha256").hexdigest()
        let expected = "rdb1.YS8.02d23f032d8b4cc71d2910a3417597154b64d9aa3affce4deaaca8d6e02fc7e4";
        assert_eq!(Master::new(b"0123456789abcdef").scoped(b"a/"), expected);
    }
}
