//! How much memory the processes of a run take now.

use super::state::Memory;
use pool::process_memory::in_status;

/// That of this process, and of all these together. What has ended in the meantime counts nothing.
pub(super) fn of(workers: &[u32]) -> Memory {
    let resident = |process: &str| in_status(process, "VmRSS:");
    let workers = workers.iter().filter_map(|pid| resident(&pid.to_string()));
    Memory {
        coordinator_bytes: resident("self"),
        workers_bytes: Some(workers.sum()),
    }
}
