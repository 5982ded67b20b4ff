//! What this worker may log in with: what it was told of hosts, and the challenges that they made.
//!
//! It must not decide which request carries what: that is the transfer's.

mod digest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{Credentials, Login, LoginHosts, LoginOptions};
use url::Url;

pub(crate) use digest::{Challenge, schemes};

/// Most challenges that are remembered.
const MAX_SPACES: usize = 1024;

/// An origin, and the user who is known there.
type Space = (String, Vec<u8>);

/// A user name and its password, as bytes: a URL may hold any.
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

/// Credentials are not for logs.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// See the module. Shared by all slots of a worker.
#[derive(Debug, Default)]
pub struct Logins {
    hosts: LoginHosts,
    held: Mutex<HashMap<String, Arc<Login>>>,
    /// The last challenge of each origin to each user, and how often it was answered.
    spaces: Mutex<HashMap<Space, (Challenge, u32)>>,
}

impl Logins {
    /// Nothing is known but for whom there may be something.
    #[must_use]
    pub fn new(options: &LoginOptions) -> Self {
        Self {
            hosts: options.hosts.clone(),
            ..Self::default()
        }
    }

    /// Takes in what the coordinator says.
    pub fn learn(&self, logins: Vec<Login>) {
        let mut held = lock(&self.held);
        for login in logins {
            held.insert(login.host.clone(), Arc::new(login));
        }
    }

    /// What is known for `host`.
    pub(crate) fn of(&self, host: &str) -> Option<Arc<Login>> {
        lock(&self.held).get(host).cloned()
    }

    /// Whether the coordinator may have something for `host` and has not said what.
    pub(crate) fn lacks(&self, host: &str, is_home: bool) -> bool {
        self.hosts.may_know(host, is_home) && !lock(&self.held).contains_key(host)
    }

    /// Remembers the challenge of the origin of `url` to `user`.
    pub(crate) fn challenge(&self, url: &Url, user: &[u8], challenge: Challenge) {
        let mut spaces = lock(&self.spaces);
        if spaces.len() >= MAX_SPACES {
            spaces.clear();
        }
        spaces.insert(space(url, user), (challenge, 0));
    }

    /// `Authorization` of a GET of `url`, if its origin is known to want a digest.
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

/// Nothing in here is left half done, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
