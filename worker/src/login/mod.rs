//! Credentials that this worker may use: the logins it received, and the challenges of servers.
//!
//! Must not decide which request carries which login: the transfer does.

mod digest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{Credentials, Login, LoginHosts, LoginOptions};
use url::Url;

pub(crate) use digest::{Challenge, schemes};

/// Largest number of challenges that are kept.
const MAX_SPACES: usize = 1024;

/// An origin and a user name there.
type Space = (String, Vec<u8>);

/// A user name and its password, as bytes, because a URL may contain any bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl From<&Credentials> for Pair {
    fn from(Credentials { user, password }: &Credentials) -> Self {
        Self {
            user: user.clone().into_bytes(),
            password: password.clone().into_bytes(),
        }
    }
}

/// Keeps credentials out of logs.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Logins and challenges, shared by all slots of a worker.
#[derive(Debug, Default)]
pub struct Logins {
    hosts: LoginHosts,
    held: Mutex<HashMap<String, Arc<Login>>>,
    /// The last challenge of each origin to each user, and how often it was answered.
    spaces: Mutex<HashMap<Space, (Challenge, u32)>>,
}

impl Logins {
    /// Creates an empty set, with the hosts for which the coordinator may have logins.
    #[must_use]
    pub fn new(options: &LoginOptions) -> Self {
        Self {
            hosts: options.hosts.clone(),
            ..Self::default()
        }
    }

    /// Adds logins from the coordinator.
    pub fn learn(&self, logins: Vec<Login>) {
        let mut held = lock(&self.held);
        for login in logins {
            held.insert(login.host.clone(), Arc::new(login));
        }
    }

    /// Returns the login of `host`, if it was received.
    pub(crate) fn of(&self, host: &str) -> Option<Arc<Login>> {
        lock(&self.held).get(host).cloned()
    }

    /// Returns whether the coordinator may have a login for `host` that was not received yet.
    pub(crate) fn lacks(&self, host: &str, is_home: bool) -> bool {
        self.hosts.may_know(host, is_home) && !lock(&self.held).contains_key(host)
    }

    /// Stores the challenge of the origin of `url` to `user`.
    pub(crate) fn challenge(&self, url: &Url, user: &[u8], challenge: Challenge) {
        let mut spaces = lock(&self.spaces);
        if spaces.len() >= MAX_SPACES {
            spaces.clear();
        }
        spaces.insert(space(url, user), (challenge, 0));
    }

    /// Returns `Authorization` for a GET of `url`, if its origin has sent a digest challenge.
    pub(crate) fn answer(&self, url: &Url, pair: &Pair) -> Option<String> {
        let mut spaces = lock(&self.spaces);
        let (challenge, count) = spaces.get_mut(&space(url, &pair.user))?;
        *count = count.saturating_add(1);
        Some(challenge.answer(pair, url, *count))
    }
}

fn space(url: &Url, user: &[u8]) -> Space {
    (url.origin().ascii_serialization(), user.to_owned())
}

/// Locks `mutex`. No update here is left incomplete, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
