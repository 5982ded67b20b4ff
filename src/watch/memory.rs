//! Memory used by the processes of a run.

use super::state::Memory;
use pool::process_memory::in_status;

/// Returns the memory of this process, and the total of all workers that still run.
pub(super) fn of(workers: &[u32]) -> Memory {
    let resident = |process: &str| in_status(process, "VmRSS:");
    let workers = workers.iter().filter_map(|pid| resident(&pid.to_string()));
    Memory {
        coordinator_bytes: resident("self"),
        workers_bytes: Some(workers.sum()),
    }
}
