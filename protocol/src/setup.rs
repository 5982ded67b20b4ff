//! What a worker needs to know before its first task.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::robots::ObeyRobots;
use crate::{Credentials, Faults, LoginHosts};

/// How to work: sent once to each worker, before its first task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The only folder that the worker writes to: where its bodies are. It is on the file system of
    /// the output folder, so that the coordinator can put a whole body in place by a rename.
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
    /// The boot of the machine that partial bodies are good for (see
    /// [`PartialNote`](crate::PartialNote)); without it none is resumed.
    pub boot: Option<String>,
    /// What the worker may use.
    pub limits: WorkerLimits,
    /// How fast bodies may be read, if there is a limit. A worker process finds the memory that it
    /// shares with the others for this at standard output.
    pub limit_rate: Option<LimitRate>,
    /// Whether a body is to be safe from the loss of power, and not only from the death of
    /// processes, before it is reported.
    pub fsync: bool,
    /// How to talk to servers.
    pub http: HttpOptions,
    /// How robots.txt is obeyed, if it is.
    pub robots: Option<ObeyRobots>,
    /// What is to go wrong, if anything is.
    pub faults: Option<Faults>,
}

/// What a worker process may use. Sessions inside the coordinator's process keep no limits: they
/// would be the coordinator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Most private writable memory, in bytes (`RLIMIT_DATA` in setrlimit(2)).
    pub memory: Option<u64>,
    /// Nice value, -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// How much of a sandbox it has to be in.
    pub sandbox: Sandbox,
    /// TCP ports that it may connect to, beside that of name servers; any, if there is none. That
    /// takes a sandbox, and is never left out.
    pub connect_ports: Vec<u16>,
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

/// How fast all workers of a run together may read bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRate {
    /// Bytes per second, as they come over the network: before decoding, without heads.
    pub bytes_per_second: NonZeroU64,
    /// Downloads that may share it, over all workers; the more there are, the smaller are the
    /// pieces in which each gets its part. No need to be exact.
    pub sharers: u32,
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
    /// Fewest bytes a second that a body may bring, on average over each `stall_timeout`.
    pub speed_limit: Option<u64>,
    /// Limit for one attempt at a task as a whole, redirects included.
    pub max_time: Option<Duration>,
    /// Most redirects followed for one task.
    pub max_redirects: u32,
    /// Largest body stored.
    pub max_filesize: Option<u64>,
    /// Most connections for one file; 1 for no parts.
    pub split: u16,
    /// Addresses to use in place of a lookup.
    pub resolve: Vec<ResolveOverride>,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// No certificate is checked.
    pub insecure: bool,
    /// Coded bodies are asked for, and stored decoded.
    pub compressed: bool,
    /// Every failure counts as one that may pass.
    pub retry_all_errors: bool,
    /// The only family of addresses that names are looked up for.
    pub family: Option<Family>,
    /// No connection to an address that is not of the public internet.
    pub block_private: bool,
    /// What connections go through.
    pub proxies: Proxies,
    /// How to log in.
    pub login: LoginOptions,
    /// If set, every connection goes to the built-in origin, whatever the URL says, and through no
    /// proxy.
    pub simulated: Option<Simulated>,
}

/// How to log in: what the user gave for the whole run, and for whom there is more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginOptions {
    /// For the host of every task.
    pub credentials: Option<Credentials>,
    /// A token for the host of every task (RFC 6750).
    pub bearer: Option<Bearer>,
    /// Passwords are proven by Digest only (RFC 7616), and never sent.
    pub digest_only: bool,
    /// For whom the coordinator may have a [`Login`](crate::Login).
    pub hosts: LoginHosts,
    /// Cookies that servers set are reported.
    pub report_cookies: bool,
    /// Certificates and private key in PEM, to be shown to the host of every task that asks for
    /// them.
    pub identity: Option<Identity>,
}

/// A token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer(pub String);

/// Tokens are not for logs.
impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A client's certificates and the private key of the first, in PEM.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The certificates, the client's own first.
    pub certificates: String,
    /// The private key of the first of them.
    pub key: String,
}

impl Identity {
    /// How much text it holds, in bytes.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        self.certificates.len() + self.key.len()
    }
}

/// Keys are not for logs.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which proxy a URL's connection goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// For http URLs.
    pub http: Option<Proxy>,
    /// For https URLs.
    pub https: Option<Proxy>,
    /// Hosts that are reached without one.
    pub exempt: Vec<Exemption>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// What it speaks.
    pub scheme: ProxyScheme,
    /// Its host, in lower case; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User name and password, decoded.
    pub credentials: Option<(String, String)>,
}

/// Credentials are not for logs.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyScheme {
    /// HTTP: requests for http URLs (RFC 9112 section 3.2.2), `CONNECT` for https URLs (RFC 9110
    /// section 9.3.6).
    Http,
    /// The same over TLS.
    Https,
    /// SOCKS 5 (RFC 1928), told an address.
    Socks5,
    /// SOCKS 5, told the host's name.
    Socks5h,
}

/// A host, or several, that no proxy is used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exemption {
    /// Every host.
    All,
    /// This host and all below it, in lower case, on this port or on any.
    Domain(String, Option<u16>),
    /// The addresses that begin with these bits.
    Network(IpAddr, u8),
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
    /// What the operating system trusts.
    System,
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
