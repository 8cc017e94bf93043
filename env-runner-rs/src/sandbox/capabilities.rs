//! For runners started as root (the CLI on a plain host): commands keep only what files need.

use caps::{CapSet, Capability, CapsHashSet};

/// What an unprivileged-looking build as root expects to work.
const KEPT: [Capability; 6] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
];

/// Leaves at most [`KEPT`]; true when nothing else is held afterwards, read back from the kernel.
pub fn drop_dangerous() -> bool {
    let kept: CapsHashSet = KEPT.into_iter().collect();
    let Ok(permitted) = caps::read(None, CapSet::Permitted) else { return false };
    if permitted.is_empty() {
        return true; // nothing to drop, and no_new_privs keeps it so
    }
    for capability in caps::all() {
        if !kept.contains(&capability) {
            // Without CAP_SETPCAP, or twice, this fails; no_new_privs keeps the bounding set from mattering.
            let _refused = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    let remaining: CapsHashSet = permitted.intersection(&kept).copied().collect();
    let lowered = caps::clear(None, CapSet::Ambient)
        .and_then(|()| caps::clear(None, CapSet::Inheritable))
        .and_then(|()| caps::set(None, CapSet::Effective, &remaining))
        .and_then(|()| caps::set(None, CapSet::Permitted, &remaining));
    let holds = |set| caps::read(None, set).is_ok_and(|held| held.is_subset(&kept));
    lowered.is_ok() && holds(CapSet::Permitted) && holds(CapSet::Effective)
}
