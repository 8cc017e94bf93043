//! `env-runner install`: puts this binary and a token where a pod's other containers find them.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

/// Settings of `install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// Directory for the binary.
    #[arg(long)]
    pub dir: PathBuf,
    /// File for the token; one that exists is kept.
    #[arg(long)]
    pub token_file: PathBuf,
}

/// Copies the running binary (mode 0555) and writes a fresh token (0440) unless there is one.
///
/// # Errors
/// What the file system says.
pub fn install(args: &InstallArgs) -> io::Result<()> {
    fs::create_dir_all(&args.dir)?;
    let target = args.dir.join("env-runner");
    // A restarted init container finds the binary running: replaced by rename, it is not written to.
    let fresh = args.dir.join(format!(".env-runner-{}", std::process::id()));
    fs::copy(std::env::current_exe()?, &fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o555))?;
    fs::rename(&fresh, &target)?;
    write_token(&args.token_file)
}

fn write_token(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o440).open(path);
    match opened {
        Ok(mut file) => file.write_all(random_hex(32)?.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// `bytes` random bytes from the kernel, as hex.
///
/// # Errors
/// When the kernel has no randomness to give.
pub fn random_hex(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(io::Error::other)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{InstallArgs, install};

    #[test]
    fn installs_once_and_keeps_the_token() {
        let home = tempfile::tempdir().unwrap();
        let args = InstallArgs { dir: home.path().join("bin"), token_file: home.path().join("token/token") };
        install(&args).unwrap();
        let token = fs::read_to_string(&args.token_file).unwrap();
        assert_eq!(token.len(), 64);
        install(&args).unwrap();
        assert_eq!(fs::read_to_string(&args.token_file).unwrap(), token);
        assert_eq!(fs::metadata(args.dir.join("env-runner")).unwrap().permissions().mode() & 0o777, 0o555);
        assert_eq!(fs::metadata(&args.token_file).unwrap().permissions().mode() & 0o777, 0o440);
    }
}
