//! The kinds of work by which the README compares the program with others.
//!
//! This module must not start anything.

use std::time::Duration;

use lab::origin::{SizeRange, Spec};

use super::entrant::Entrant;
use crate::cli::shootout::Preset;

/// Number of downloads in flight for programs with one event loop. With fewer, they wait for the
/// server.
const EVENT_LOOPS: [(&str, u16); 3] = [("async", 32), ("curl", 32), ("aria2c", 16)];

impl Preset {
    /// A description of the work for a table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Small => "10,000 × 10 KB",
            Self::Tls => "10,000 × 10 KB over TLS",
            Self::Tiny => "200,000 × 1 KB",
            Self::Large => "4 × 256 MB",
            Self::Latency => "30 × 64 KiB at 100 ms",
        }
    }

    /// Number of files.
    pub(super) const fn files(self) -> usize {
        match self {
            Self::Small | Self::Tls => 10_000,
            Self::Tiny => 200_000,
            Self::Large => 4,
            Self::Latency => 30,
        }
    }

    /// Returns what the server simulates.
    pub(super) fn spec(self) -> Spec {
        let size = match self {
            Self::Small | Self::Tls => 10_000,
            Self::Tiny => 1_000,
            Self::Large => 256_000_000,
            Self::Latency => 64 << 10,
        };
        let latency = match self {
            Self::Latency => Duration::from_millis(100),
            Self::Small | Self::Tls | Self::Tiny | Self::Large => Duration::ZERO,
        };
        Spec {
            size: SizeRange::new(size, size),
            latency,
            ..Spec::default()
        }
    }

    /// Returns whether nginx can serve the files: it cannot delay a response.
    pub(super) fn suits_nginx(self) -> bool {
        self.spec().latency.is_zero()
    }

    /// Returns how many downloads at once `entrant` has, if others have `in_flight`.
    pub(super) fn in_flight(self, entrant: &Entrant, in_flight: u16) -> u16 {
        let is_small = matches!(self, Self::Small | Self::Tls | Self::Tiny);
        let own = EVENT_LOOPS.iter().find(|(name, _)| *name == entrant.name());
        own.filter(|_| is_small).map_or(in_flight, |(_, own)| *own)
    }

    /// Returns a list of the files' URLs, on a host that does not exist.
    pub(super) fn list(self) -> String {
        (0..self.files())
            .map(|n| format!("http://preset.example/{n:06}.bin\n"))
            .collect()
    }
}
