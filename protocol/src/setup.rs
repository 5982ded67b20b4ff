//! What a worker needs to know before its first task.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::robots::ObeyRobots;
use crate::{Credentials, Faults, LoginHosts};

/// Configuration of a worker. Sent once to each worker, before its first task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The only folder that the worker writes to, with its bodies. It is on the file system of the
    /// output folder, so that the coordinator can put a whole body in place by a rename.
    pub partial: OsString,
    /// Number of downloads that run at once, at least 1.
    pub concurrency: u16,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Engine of the downloads.
    pub engine: Engine,
    /// Whether each exchange contains its [`Span`](crate::Span)s. If not, no clock is read.
    pub spans: bool,
    /// Processor time to spend on each body, between its last byte and its place on disk. It
    /// represents other work that a program does with a download. Zero for none.
    pub cpu_per_task: Duration,
    /// Boot of the machine for which partial bodies are valid (see
    /// [`PartialNote`](crate::PartialNote)). Without it, none is resumed.
    pub boot: Option<String>,
    /// Limits of the worker.
    pub limits: WorkerLimits,
    /// Limit on the rate at which bodies are read. A worker process finds the memory that it shares
    /// with the others for this at standard output.
    pub limit_rate: Option<LimitRate>,
    /// Whether a body must survive a loss of power, not only of processes, when it is reported.
    pub fsync: bool,
    /// Options for connections to servers.
    pub http: HttpOptions,
    /// How robots.txt is obeyed, if it is.
    pub robots: Option<ObeyRobots>,
    /// Faults to cause, if there are any.
    pub faults: Option<Faults>,
}

/// Limits of a worker process. Sessions inside the coordinator's process ignore them, because they
/// would apply to the coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Maximum private writable memory, in bytes (`RLIMIT_DATA` in setrlimit(2)).
    pub memory: Option<u64>,
    /// Nice value, -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// Whether the worker enters a sandbox.
    pub sandbox: Sandbox,
    /// TCP ports that the worker may connect to, in addition to that of name servers. Empty for all
    /// ports. This requires a sandbox, and is always enforced.
    pub connect_ports: Vec<u16>,
}

/// Whether a worker confines itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// The worker does not confine itself.
    #[default]
    Off,
    /// The worker confines itself as far as the kernel supports it.
    BestEffort,
    /// The worker confines itself completely, or does not run.
    On,
}

/// Limit on the rate at which all workers of a run together read bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRate {
    /// Bytes per second, as received from the network: before decoding, without heads.
    pub bytes_per_second: NonZeroU64,
    /// Number of downloads that may share the rate, over all workers. The more there are, the
    /// smaller the pieces in which each receives its part. It need not be exact.
    pub sharers: u32,
}

/// Engines that run the downloads of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// A thread for each running download.
    #[default]
    Blocking,
    /// One thread with an event loop for all running downloads.
    Async,
}

impl Engine {
    /// Returns the name used in options and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Async => "async",
        }
    }
}

/// Options for connections to servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpOptions {
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// Further request headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Time limit for name resolution, TCP connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// Maximum time without a byte from the server.
    pub stall_timeout: Duration,
    /// Minimum average rate of a body over each `stall_timeout`, in bytes per second.
    pub speed_limit: Option<u64>,
    /// Time limit for an attempt at a task, including redirects.
    pub max_time: Option<Duration>,
    /// Maximum number of redirects followed for a task.
    pub max_redirects: u32,
    /// Maximum size of a body that is stored, in bytes.
    pub max_filesize: Option<u64>,
    /// Maximum number of connections for one file; 1 for no parts.
    pub split: u16,
    /// Addresses to use instead of a lookup.
    pub resolve: Vec<ResolveOverride>,
    /// Which certificates are trusted.
    pub trust: Trust,
    /// Whether certificates are not checked.
    pub insecure: bool,
    /// Whether coded bodies are requested, and stored decoded.
    pub compressed: bool,
    /// Whether every failure counts as transient.
    pub retry_all_errors: bool,
    /// The only family of addresses to look up names for.
    pub family: Option<Family>,
    /// Whether connections to addresses outside the public internet are refused.
    pub block_private: bool,
    /// Proxies for connections.
    pub proxies: Proxies,
    /// How to log in.
    pub login: LoginOptions,
    /// If set, every connection goes to the built-in origin, whatever the URL, without a proxy.
    pub simulated: Option<Simulated>,
}

/// How to log in: what the user specified for the whole run, and the hosts with further login data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginOptions {
    /// Credentials for the host of every task.
    pub credentials: Option<Credentials>,
    /// A token for the host of every task (RFC 6750).
    pub bearer: Option<Bearer>,
    /// Whether passwords are used only for Digest (RFC 7616), and never sent.
    pub digest_only: bool,
    /// Hosts for which the coordinator may have a [`Login`](crate::Login).
    pub hosts: LoginHosts,
    /// Whether cookies that servers set are reported.
    pub report_cookies: bool,
    /// Certificates and private key in PEM, sent to the host of every task if it requests them.
    pub identity: Option<Identity>,
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer(pub String);

/// Hides the token from logs.
impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Certificates of a client, and the private key of the first, in PEM.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The certificates, with the client's own first.
    pub certificates: String,
    /// The private key of the first certificate.
    pub key: String,
}

impl Identity {
    /// Returns the length of all texts, in bytes.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        self.certificates.len() + self.key.len()
    }
}

/// Hides the key from logs.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The proxies for connections to URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// Proxy for http URLs.
    pub http: Option<Proxy>,
    /// Proxy for https URLs.
    pub https: Option<Proxy>,
    /// Hosts that are reached without a proxy.
    pub exempt: Vec<Exemption>,
}

/// A proxy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Protocol of the proxy.
    pub scheme: ProxyScheme,
    /// Host of the proxy, in lower case; an IPv6 address without brackets.
    pub host: String,
    /// Port of the proxy.
    pub port: u16,
    /// User name and password, decoded.
    pub credentials: Option<(String, String)>,
}

/// Hides credentials from logs.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Protocols of proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyScheme {
    /// HTTP: requests for http URLs (RFC 9112 section 3.2.2), `CONNECT` for https URLs (RFC 9110
    /// section 9.3.6).
    Http,
    /// The same over TLS.
    Https,
    /// SOCKS 5 (RFC 1928) with an address.
    Socks5,
    /// SOCKS 5 with the host's name.
    Socks5h,
}

/// Hosts that are reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exemption {
    /// Every host.
    All,
    /// This host and all hosts below it, in lower case, on this port or on all.
    Domain(String, Option<u16>),
    /// Addresses that begin with this number of bits of this address.
    Network(IpAddr, u8),
}

/// One `--resolve HOST:PORT:ADDR`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveOverride {
    /// Host, in lower case.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Address to connect to instead of a lookup.
    pub addr: IpAddr,
}

/// Certificates that are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// The root certificates of Mozilla's programme, which are compiled in.
    WebRoots,
    /// The certificates that the operating system trusts.
    System,
    /// The PEM bundle in this file, and no other certificate.
    File(OsString),
    /// This PEM text, and no other certificate (the built-in origin's CA).
    Pem(String),
}

/// Addresses of the built-in origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    /// Address for http URLs.
    pub http: SocketAddr,
    /// Address for https URLs.
    pub https: SocketAddr,
}
