//! Raises the limit on file descriptors for a pool of processes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of the coordinator per worker: a socket in each direction, its page, its standard
/// error, and the other end of that while it is started.
const PER_WORKER: u64 = 5;

/// Other descriptors: standard streams, run log, lock, lists, origin, those of the ear, a reserve.
const OTHERS: u64 = 32;

/// The system does not allow the coordinator enough descriptors.
#[derive(Debug, thiserror::Error)]
#[error(
    "{workers} workers need about {needed} file descriptors, and the limit is {limit}; \
     raise it (ulimit -n {needed}) or use fewer workers (--workers {possible})"
)]
pub struct DescriptorError {
    workers: u16,
    needed: u64,
    limit: u64,
    possible: u64,
}

/// Raises the soft limit on descriptors if `workers` need it.
///
/// # Errors
///
/// Fails if the hard limit is too low.
pub fn make_room(workers: u16) -> Result<(), DescriptorError> {
    let needed = OTHERS + PER_WORKER * u64::from(workers);
    let limits = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(limits.current) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limits.maximum,
    };
    if enough(limits.maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let limit = limits.maximum.or(limits.current).unwrap_or(u64::MAX);
    Err(DescriptorError {
        workers,
        needed,
        limit,
        possible: (limit.saturating_sub(OTHERS) / PER_WORKER).max(1),
    })
}
