//! What tests of the built program share: runs, servers, the process table, the run log.
//!
//! Tests wait for something observable, with [`wait`] only, and never sleep.
#![allow(dead_code, reason = "each test crate uses a part of it")]
#![allow(unused_imports, reason = "each test crate uses a part of it")]

pub mod browser;
pub mod log;
pub mod process;
pub mod ranges;
pub mod run;
pub mod server;
pub mod terminal;

use std::time::{Duration, Instant};

pub use log::{Log, Record};
pub use process::Process;
pub use run::{Ended, Job, Run};
pub use server::{Answer, Server};

/// Time limit of a wait. Only a failure reaches it, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two calls of `look`.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Calls `look` until it returns something, and returns that.
///
/// # Panics
///
/// Panics after a minute; `seen` describes the state for the message.
pub fn wait<T>(
    what: &str,
    mut look: impl FnMut() -> Option<T>,
    seen: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited in vain for {what}; {}",
            seen()
        );
        // The only pause in the tests: files and other processes send no events when they change.
        // The result depends on the condition, never on the length of the pause.
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `holds` returns true.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool, seen: impl FnOnce() -> String) {
    wait(what, || holds().then_some(()), seen);
}

/// Returns the SHA-256 of `bytes`, as the run log writes it.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Returns the SHA-256 of what the built-in origin sends for `url`, as the run log writes it.
pub fn simulated_sha256(spec: &str, url: &str) -> String {
    let spec = spec.parse().expect("the test's spec is right");
    let url = url::Url::parse(url).expect("the test's URL is right");
    let identity = lab::origin::body::identity(&url);
    data_encoding::HEXLOWER.encode(&lab::origin::body::sha256(&spec, &identity))
}

/// Returns a nice value above this process's, which any user may set.
pub fn nicer() -> i32 {
    let own = rustix::process::getpriority_process(None).expect("it has one");
    (own + 7).min(19)
}

/// Returns whether this process is root. Prints a message if not.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test} is skipped: it takes root");
    }
    root
}
