//! The capabilities of a worker (capabilities(7)): it needs none, whichever user runs it.
//!
//! Capabilities belong to a thread and are inherited by what it starts. This module must not know
//! what a worker does with its files.

use std::ffi::OsStr;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What a worker keeps if it cannot reach a path otherwise.
const TO_REACH_FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

/// Drops all capabilities. Returns whether one was kept: the right to override permissions, if one
/// of `paths` cannot be reached without it, which happens to root in folders of other users.
pub(super) fn drop_capabilities(paths: &[(&OsStr, Access)]) -> Result<bool> {
    let had = capabilities(None)?;
    if had.permitted.is_empty() && had.inheritable.is_empty() {
        return Ok(false);
    }
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all() {
            supported(remove_capability_from_bounding_set(capability))?;
        }
    }
    supported(clear_ambient_capability_set())?;
    // Dropped temporarily, to test the access without them.
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            ..had
        },
    )?;
    let is_denied =
        |path, access| accessat(CWD, path, access, AtFlags::EACCESS) == Err(Errno::ACCESS);
    let kept = match paths.iter().any(|(path, access)| is_denied(*path, *access)) {
        true => had.effective & TO_REACH_FILES,
        false => none,
    };
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: none,
        },
    )?;
    Ok(!kept.is_empty())
}

/// Ignores what the kernel does not know: a newer capability, or ambient ones before Linux 4.3, do
/// not have to be dropped.
fn supported(result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::INVAL) => Ok(()),
        result => result,
    }
}
