//! Checks of the machine: space on the disks, and the clock.

use super::{CheckNode, CheckState};
use crate::{config::Config, server::disk};

/// Checks the free space on each disk that the station writes to.
#[must_use]
pub fn disk(config: &Config) -> CheckNode {
    match disk::lack(config) {
        Some(lack) => CheckNode::new("Disk", CheckState::Wrong, lack)
            .with_remedy("`df -h` shows the disks; `audit archive --to DIR` and `run prune` free space of the state, `docker image prune` of the engine"),
        None => CheckNode::new("Disk", CheckState::Usable, "enough space for state, audit and spool"),
    }
}

/// Checks whether the kernel's clock is synchronised: dates of certificates, records and runs follow it.
#[must_use]
pub fn clock() -> CheckNode {
    let warned = |note: &str| {
        CheckNode::new("Clock", CheckState::Warned, note)
            .with_remedy("`timedatectl set-ntp true` (or chronyd) keeps it right; `timedatectl status` shows its state")
    };
    match is_synchronised() {
        Some(true) => CheckNode::new("Clock", CheckState::Usable, "synchronised"),
        Some(false) => warned("the clock is not synchronised: records and certificates may be dated wrongly"),
        None => warned("the kernel does not tell whether the clock is synchronised"),
    }
}

#[expect(unsafe_code, reason = "calls adjtimex(2), which only reads here")]
fn is_synchronised() -> Option<bool> {
    // SAFETY: a structure of integers; with no mode set the call changes nothing and fills it in.
    let state = unsafe {
        let mut about: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut about)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}
