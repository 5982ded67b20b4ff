//! Numbers for hosts, for the core.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dispatch::HostId;

/// Assigns a number to each host of an unfinished task. It forgets a host with its last task, so
/// that a list of ten million hosts takes no more memory than a list of one.
#[derive(Debug, Default)]
pub struct Hosts {
    by_name: HashMap<Arc<str>, HostId>,
    by_id: HashMap<HostId, (Arc<str>, usize)>,
    next: u32,
}

impl Hosts {
    /// Returns the number of `host`, and counts one more task for it.
    pub fn enter(&mut self, host: &str) -> HostId {
        if let Some(&id) = self.by_name.get(host) {
            if let Some((_, tasks)) = self.by_id.get_mut(&id) {
                *tasks += 1;
            }
            return id;
        }
        // There are far more numbers than hosts that are known at once.
        while self.by_id.contains_key(&HostId(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let id = HostId(self.next);
        self.next = self.next.wrapping_add(1);
        let name: Arc<str> = host.into();
        self.by_name.insert(Arc::clone(&name), id);
        self.by_id.insert(id, (name, 1));
        id
    }

    /// Counts one task of host `id` as finished.
    pub fn leave(&mut self, id: HostId) {
        if let Some((name, tasks)) = self.by_id.get_mut(&id) {
            *tasks -= 1;
            if *tasks == 0 {
                self.by_name.remove(name);
                self.by_id.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_keeps_its_number_while_it_has_tasks_and_is_forgotten_then() {
        let mut hosts = Hosts::default();
        let a = hosts.enter("a.example");
        let b = hosts.enter("b.example");
        assert_ne!(a, b);
        assert_eq!(hosts.enter("a.example"), a);
        hosts.leave(a);
        assert_eq!(hosts.enter("a.example"), a);
        hosts.leave(a);
        hosts.leave(a);
        hosts.leave(b);
        assert_eq!((hosts.by_name.len(), hosts.by_id.len()), (0, 0));
    }
}
