//! The time of each phase of a task, as recorded.

use std::time::Duration;

use protocol::Timing;
use serde::{Deserialize, Serialize};

use super::form::Millis;

/// The time of each phase, in milliseconds. A phase that did not happen is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTiming {
    /// From ready until a worker started it.
    pub queue: Millis,
    /// Resolving the host name.
    pub resolve: Millis,
    /// TCP connection.
    pub connect: Millis,
    /// TLS handshake.
    pub tls: Millis,
    /// From the request until the response head was read.
    pub first_byte: Millis,
    /// From the response head until the last byte.
    pub body: Millis,
    /// Hashing, writing, renaming.
    pub store: Millis,
    /// The program of `--exec`. Logs of earlier versions lack the key.
    #[serde(default)]
    pub exec: Millis,
}

impl RecordedTiming {
    /// Returns the time in microseconds from its start by a worker until the file was final.
    #[must_use]
    pub fn took(&self) -> u64 {
        let phases = self.phases().map(|(_, millis)| millis.as_micros());
        phases.into_iter().fold(0, u64::saturating_add)
    }

    /// Returns the phases of that time in order, with the names of the keys.
    #[must_use]
    pub const fn phases(&self) -> [(&'static str, Millis); 7] {
        let Self {
            queue: _,
            resolve,
            connect,
            tls,
            first_byte,
            body,
            store,
            exec,
        } = *self;
        [
            ("resolve", resolve),
            ("connect", connect),
            ("tls", tls),
            ("first_byte", first_byte),
            ("body", body),
            ("store", store),
            ("exec", exec),
        ]
    }

    pub(super) fn new(queue: Duration, timing: &Timing) -> Self {
        Self {
            queue: queue.into(),
            resolve: timing.resolve.into(),
            connect: timing.connect.into(),
            tls: timing.tls.into(),
            first_byte: timing.first_byte.into(),
            body: timing.body.into(),
            store: timing.store.into(),
            exec: timing.exec.into(),
        }
    }
}
