//! The file system rung: reads where allowed, writes in the workspace, signals only within.

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::rung;
use super::wire::Spec;

/// The newest ABI that the crate knows; older kernels get what they have.
const NEWEST: ABI = ABI::V9;
/// First ABI that keeps signals and abstract sockets within the domain.
const SCOPED: ABI = ABI::V6;
/// First ABI that knows TCP ports.
const NETWORKED: ABI = ABI::V4;

/// Device files that ordinary programs open for writing. The rest of /dev stays closed: for root it holds raw disks.
const DEVICES: [&str; 7] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"];

/// Restricts the calling process; returns the rungs that hold, none when the kernel has no Landlock.
pub fn restrict(spec: &Spec) -> Vec<String> {
    let abi = abi(spec.max_landlock_abi);
    if abi == ABI::Unsupported {
        return Vec::new();
    }
    match try_restrict(spec, abi) {
        Ok(status) => describe(&status, abi),
        Err(_) => Vec::new(), // a rung that failed is not claimed; `require` decides whether that matters
    }
}

/// Restricts the calling process to signal only itself and its future descendants; true if the kernel does so.
pub fn scope_signals(max_abi: i32) -> bool {
    if abi(max_abi) < SCOPED {
        return false;
    }
    let scope = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .scope(Scope::Signal)?
            .create()?
            .restrict_self()
    };
    scope().is_ok_and(|status| status.ruleset == RulesetStatus::FullyEnforced)
}

fn abi(max: i32) -> ABI {
    ABI::from(max).min(NEWEST)
}

fn try_restrict(spec: &Spec, abi: ABI) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::from_read(abi);
    let write: BitFlags<AccessFs> = AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(abi))?;
    if abi >= SCOPED {
        ruleset = ruleset.scope(Scope::from_all(SCOPED))?;
    }
    if !spec.network && abi >= NETWORKED {
        ruleset = ruleset.handle_access(AccessNet::from_all(NETWORKED))?;
    }
    let mut ruleset = ruleset.create()?;
    for path in &spec.readable {
        ruleset = grant(ruleset, path, read)?;
    }
    for path in DEVICES
        .iter()
        .map(Path::new)
        .chain([spec.workspace.as_path()])
        .chain(spec.writable.iter().map(PathBuf::as_path))
    {
        ruleset = grant(ruleset, path, write)?;
    }
    ruleset.restrict_self()
}

/// Grants `access` below `path`; what does not exist needs no grant. There are dozens of these for every
/// command: opened by one system call each.
fn grant(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        // Best effort: for a plain file the crate leaves out what only directories have.
        Ok(handle) => ruleset.add_rule(PathBeneath::new(handle, access)),
        Err(_) => Ok(ruleset),
    }
}

fn describe(status: &RestrictionStatus, abi: ABI) -> Vec<String> {
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return Vec::new();
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Vec::new();
    }
    let effective_abi = effective_abi.min(abi);
    let mut rungs = vec![format!("{}:abi{}", rung::LANDLOCK, effective_abi as i32)];
    if effective_abi >= SCOPED {
        rungs.push(rung::SIGNAL_SCOPE.to_owned());
    }
    rungs
}
