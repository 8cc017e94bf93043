//! The file system rung: reads where allowed, writes in the workspace, signals only within.

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::rung;
use super::wire::Spec;

/// The newest ABI that the crate knows; older kernels get what they have.
const NEWEST: ABI = ABI::V9;
/// First ABI that keeps signals and abstract sockets within the domain.
const SCOPED: ABI = ABI::V6;

/// Device files that ordinary programs open for writing. The rest of /dev stays closed: for root it holds raw disks.
const DEVICES: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];

/// Restricts the calling process; returns the rungs that hold, none when the kernel has no Landlock.
pub fn restrict(spec: &Spec) -> Vec<String> {
    match try_restrict(spec) {
        Ok(status) => describe(&status),
        Err(_) => Vec::new(), // a rung that failed is not claimed; `require` decides whether that matters
    }
}

fn try_restrict(spec: &Spec) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let write: BitFlags<AccessFs> = AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(SCOPED))?;
    if !spec.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI::V4))?;
    }
    ruleset
        .create()?
        .add_rules(path_beneath_rules(&spec.readable, read))?
        .add_rules(path_beneath_rules(DEVICES, write))?
        .add_rules(path_beneath_rules(std::iter::once(&spec.workspace).chain(&spec.writable), write))?
        .restrict_self()
}

fn describe(status: &RestrictionStatus) -> Vec<String> {
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return Vec::new();
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Vec::new();
    }
    let mut rungs = vec![format!("{}:abi{}", rung::LANDLOCK, effective_abi as i32)];
    if effective_abi >= SCOPED {
        rungs.push(rung::SIGNAL_SCOPE.to_owned());
    }
    rungs
}
