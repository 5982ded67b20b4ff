//! What a worker needs to know before its first task.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Faults;

/// How to work: sent once to each worker, before its first task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The output folder, absolute.
    pub output: OsString,
    /// Where partial bodies are written; on the same file system as `output`, so that a rename
    /// puts a whole file in place.
    pub partial: OsString,
    /// Downloads in flight at once, at least 1.
    pub concurrency: u16,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// What drives the downloads.
    pub engine: Engine,
    /// Whether each exchange is to come with its [`Span`](crate::Span)s. Without it no clock is
    /// read for them.
    pub spans: bool,
    /// Processor time to spend on each body, between its last byte and its place on disk: work
    /// that stands for whatever else a program does with a download. Zero for none.
    pub cpu_per_task: Duration,
    /// What the worker may use.
    pub limits: WorkerLimits,
    /// Whether a file is to be safe from the loss of power, and not only from the death of
    /// processes, before it is acknowledged.
    pub fsync: bool,
    /// How to talk to servers.
    pub http: HttpOptions,
    /// What is to go wrong, if anything is.
    pub faults: Option<Faults>,
}

/// What a worker process may use. Sessions inside the coordinator's process keep no limits: they
/// would be the coordinator's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Most private writable memory, in bytes (`RLIMIT_DATA` in setrlimit(2)).
    pub memory: Option<u64>,
    /// Nice value, -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// How much of a sandbox it has to be in.
    pub sandbox: Sandbox,
}

/// Whether a worker confines itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// It does not.
    #[default]
    Off,
    /// As far as the kernel can.
    BestEffort,
    /// Completely, or it does not work at all.
    On,
}

/// What drives the downloads of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// A thread for each download in flight.
    #[default]
    Blocking,
    /// One thread with an event loop, for all downloads in flight.
    Async,
}

impl Engine {
    /// The name in options and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Async => "async",
        }
    }
}

/// How to talk to servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpOptions {
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// Further request headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Limit for name resolution, TCP connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// Longest time without a byte from the server.
    pub stall_timeout: Duration,
    /// Limit for one attempt at a task as a whole, redirects included.
    pub max_time: Option<Duration>,
    /// Most redirects followed for one task.
    pub max_redirects: u32,
    /// Largest body stored.
    pub max_filesize: Option<u64>,
    /// Addresses to use in place of a lookup.
    pub resolve: Vec<ResolveOverride>,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// If set, every connection goes to the built-in origin, whatever the URL says.
    pub simulated: Option<Simulated>,
}

/// One `--resolve HOST:PORT:ADDR`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveOverride {
    /// Host, in lower case.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The address to connect to in place of a lookup.
    pub addr: IpAddr,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// The root certificates of Mozilla's programme, compiled in.
    WebRoots,
    /// The PEM bundle in this file, and nothing else.
    File(OsString),
    /// This PEM text, and nothing else (the built-in origin's CA).
    Pem(String),
}

/// Where the built-in origin listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    /// For http URLs.
    pub http: SocketAddr,
    /// For https URLs.
    pub https: SocketAddr,
}
