//! The validated settings of a run, independent of how they were typed.

mod exec;
mod login;
mod network;
mod proxy;
mod sources;

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lab::inject;
use protocol::robots::product_token;
use protocol::{Engine, Family, HttpOptions, LoginOptions, Sandbox, Trust, WorkerLimits};

use crate::cli::limits::{LimitArgs, SandboxName};
use crate::cli::list::{FormatName, ListArgs};
use crate::cli::mode::{DispatchName, EngineName, Mode};
use crate::cli::run::{HttpArgs, RunArgs};
use crate::dispatch::{Intensity, Limits, Policy, RetryDelay};
use crate::exec::Exec;
use crate::fence::Fence;
use crate::input::naming::{Naming, TemplateError};
use crate::input::{Column, Format, ListOptions, Source, Suggestions};
use crate::isolation::attempt::Attempt;
use crate::login::Logins;
use crate::terminal::{Color, Progress};
use crate::watch::{Address, Share};
pub use exec::ExecError;
use login::Login;
pub use login::LoginError;
pub use network::Network;
use network::network;
use proxy::Given;
pub use proxy::ProxyError;
pub use sources::SourcesError;
use sources::{Sources, sources};

/// Shortest time before the first retry, unless the user sets one.
const RETRY_BASE: Duration = Duration::from_secs(1);

/// Deaths without progress that are tolerated for each worker, and the period in which they count.
const RESTARTS_PER_WORKER: u32 = 3;
const RESTART_PERIOD: Duration = Duration::from_secs(60);

/// Number of deaths with a possible external cause that count as one other death. If a fifth of all
/// deliveries are killed at random, one harmless task in 10^10 is quarantined.
const UNEXPLAINED_PER_DELIVERY: u32 = 5;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Where URLs come from, in this order.
    pub sources: Vec<Source>,
    /// How lists are read, and files named.
    pub lists: Arc<ListOptions>,
    /// The output folder.
    pub output: PathBuf,
    /// Whether to replace files that no run has made, and to download files again that earlier runs
    /// named differently.
    pub force: bool,
    /// Whether to leave the output folder unlocked.
    pub no_lock: bool,
    /// Limits for the core.
    pub limits: Limits,
    /// Limits for worker processes.
    pub worker_limits: WorkerLimits,
    /// Most bytes of bodies in a second, over all workers.
    pub limit_rate: Option<NonZeroU64>,
    /// Whether stored files survive the loss of power.
    pub fsync: bool,
    /// Whether files get the modification time that the server reports.
    pub remote_time: bool,
    /// The program to run on each file.
    pub exec: Option<Exec>,
    /// How workers connect to servers and send requests.
    pub http: HttpOptions,
    /// Login data for hosts. Workers receive it when they need it.
    pub logins: Logins,
    /// The file for the cookies that exist at the end.
    pub cookie_jar: Option<PathBuf>,
    /// Notes to show the user before the run.
    pub notes: Vec<String>,
    /// Option, value and source of each value that is not the default.
    pub origins: Vec<[String; 3]>,
    /// The config files that were read, and those that do not exist; one line each.
    pub config_files: Vec<String>,
    /// The product token whose rules in robots.txt are obeyed, if any are.
    pub robots: Option<String>,
    /// The network, or the origin that replaces it.
    pub network: Network,
    /// Where workers run.
    pub pool: PoolKind,
    /// The engine of the workers.
    pub engine: Engine,
    /// Processor time to spend on each file.
    pub cpu_per_task: Duration,
    /// The file for the timeline of each task.
    pub timeline: Option<PathBuf>,
    /// Faults to inject.
    pub inject: Option<inject::Spec>,
    /// What the first worker attempts, as if it were compromised. Only `coordinator isolation` sets
    /// it; a run has no option for it.
    pub attempt: Option<&'static Attempt>,
    /// Whether to retry URLs that earlier runs quarantined.
    pub retry_quarantined: bool,
    /// Age of the last check from which files of earlier runs are checked again.
    pub refresh: Option<Duration>,
    /// Whether to only report what would be done.
    pub dry_run: bool,
    /// Called when records are written. A run has no option for it.
    pub recorded: Option<Recorded>,
    /// The share of a larger list that the run works on, for display.
    pub share: Option<Share>,
    /// Decides which targets of that list may still be placed.
    pub fence: Option<Fence>,
    /// Whether to print errors only.
    pub quiet: bool,
    /// Level of detail of the log, from 0.
    pub verbose: u8,
    /// How progress is reported.
    pub progress: Progress,
    /// When output is coloured.
    pub color: Color,
    /// The address at which the run can be watched, if any.
    pub listen: Option<Address>,
    /// The file with the token that begins every path there.
    pub listen_token: Option<PathBuf>,
}

/// A callback for when the run log has grown.
#[derive(Clone)]
pub struct Recorded(Arc<dyn Fn() + Send + Sync>);

impl Recorded {
    /// Calls `tell` after each write of records. `tell` must not block.
    pub fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Reports that records were written.
    pub fn tell(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorded")
    }
}

/// Where workers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Each worker is a process.
    Processes,
    /// Workers are threads of this process.
    Local,
}

/// Why settings that are valid on their own cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to download, or no place for it.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// Neither a scheme for names nor a template.
    #[error("cannot name files by '{text}' (--naming): {problem}")]
    Naming {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        problem: TemplateError,
    },
    /// Names chosen by servers, with a naming scheme that has no room for them.
    #[error(
        "--remote-header-name cannot be combined with --naming hash or a template; use flat or tree, or \
         leave one of them out"
    )]
    TwoNames,
    /// A column for a format that has none.
    #[error("--url-column has no meaning with --input-format {0}")]
    UrlColumn(&'static str),
    /// A certificate file that cannot be read.
    #[error("cannot read the certificates in {path} (--cacert): {error}")]
    CaCert {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    /// An announcement that cannot be used.
    #[error("cannot use the origin announced in {path} (--simulate-via): {problem}")]
    Announcement {
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Ports, but no sandbox that would enforce them.
    #[error(
        "--connect-ports cannot be combined with --sandbox off: the sandbox keeps workers to them"
    )]
    PortsWithoutSandbox,
    /// A mode that cannot be combined with another option.
    #[error("--mode {mode} cannot be combined with {option}; that is for --mode processes")]
    ModeOption {
        mode: &'static str,
        /// The other option.
        option: &'static str,
    },
    /// A fault that a mode cannot have.
    #[error(
        "--mode {mode} cannot be combined with --inject {fault}: that fault needs workers in processes of \
         their own (--mode processes)"
    )]
    ModeFault {
        mode: &'static str,
        /// The fault.
        fault: &'static str,
    },
    /// More downloads at once than the protocol can express.
    #[error(
        "--workers {workers} times --concurrency {concurrency} is more than {} at once",
        u16::MAX
    )]
    TooManyAtOnce {
        /// Workers.
        workers: u16,
        /// Downloads in flight in each.
        concurrency: u16,
    },
    /// A program that cannot be run on files.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A login that cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// `--block-private` with `--simulate`, or another option that is about the real network.
    #[error("{0} has no meaning with --simulate: nothing leaves the machine")]
    RealNetworkSimulated(&'static str),
    /// `--cacert` with `--simulate`.
    #[error("--cacert has no meaning with --simulate: the built-in origin's own CA is trusted")]
    CaCertSimulated,
}

impl RunConfig {
    /// Validates the command line.
    ///
    /// # Errors
    ///
    /// Fails if settings contradict each other, or a file that they name cannot be read.
    pub fn new(args: RunArgs) -> Result<Self, ConfigError> {
        let network = network(&args)?;
        let Sources {
            sources,
            output,
            is_plain,
        } = sources(&args, &network)?;
        if args.http.cacert.is_some() && !matches!(network, Network::Real) {
            return Err(ConfigError::CaCertSimulated);
        }
        if !matches!(network, Network::Real) {
            let real = [
                (args.http.proxy.is_some(), "--proxy"),
                (args.http.ca_native, "--ca-native"),
                (args.http.block_private, "--block-private"),
                (args.login.user.is_some(), "--user"),
                (args.login.oauth2_bearer.is_some(), "--oauth2-bearer"),
                (args.login.netrc, "--netrc"),
                (args.login.netrc_file.is_some(), "--netrc-file"),
                (args.login.cookie.is_some(), "--cookie"),
                (args.login.cookie_jar.is_some(), "--cookie-jar"),
                (args.login.cert.is_some(), "--cert"),
                (
                    !args.file.hosts.is_empty(),
                    "a table [host] of the config file",
                ),
            ];
            if let Some((_, option)) = real.iter().find(|(given, _)| *given) {
                return Err(ConfigError::RealNetworkSimulated(option));
            }
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.filter(|_| matches!(network, Network::Real));
        let now = jiff::Timestamp::now().as_second();
        let Login {
            options,
            logins,
            note,
        } = login::login(&args.login, &args.file.hosts, home.map(PathBuf::from), now)?;
        let shape = Shape::new(&args)?;
        let limits = limits(&args, &shape);
        Ok(Self {
            sources,
            lists: Arc::new(list_options(args.list, is_plain)?),
            output,
            force: args.force,
            no_lock: args.no_lock,
            limits,
            worker_limits: worker_limits(&args.limits, shape.pool, args.mode.mode)?,
            limit_rate: args.http.limit_rate.and_then(NonZeroU64::new),
            fsync: args.fsync,
            remote_time: args.remote_time,
            exec: exec::exec(&args.each, std::env::var_os("PATH"))?,
            robots: args.http.robots.then(|| robots_token(&args.http)),
            http: HttpOptions {
                login: options,
                ..http_options(args.http, args.retry.retry_all_errors)?
            },
            logins,
            cookie_jar: args.login.cookie_jar,
            notes: note.into_iter().chain(args.file.note).collect(),
            origins: args.file.origins,
            config_files: args.file.files,
            network,
            pool: shape.pool,
            engine: shape.engine,
            cpu_per_task: args.mode.cpu_per_task,
            timeline: args.mode.timeline,
            inject: args.crash.inject,
            attempt: None,
            retry_quarantined: args.retry_quarantined,
            refresh: args.refresh,
            dry_run: args.dry_run,
            recorded: None,
            share: None,
            fence: None,
            quiet: args.quiet,
            verbose: args.verbose,
            progress: args.progress,
            color: args.color,
            listen: args.watch.listen,
            listen_token: args.watch.listen_token,
        })
    }
}

/// Where workers run, how many there are, and how many downloads each has in flight.
struct Shape {
    pool: PoolKind,
    engine: Engine,
    policy: Policy,
    workers: u16,
    concurrency: u16,
}

impl Shape {
    fn new(args: &RunArgs) -> Result<Self, ConfigError> {
        let workers = args.workers.get();
        let engine = match args.mode.engine {
            EngineName::Blocking => Engine::Blocking,
            EngineName::Async => Engine::Async,
        };
        let policy = match args.mode.dispatch {
            DispatchName::Shared => Policy::Shared,
            DispatchName::Chunked => Policy::Chunked,
        };
        let given = args.concurrency.map(NonZeroU16::get);
        let concurrency = given.unwrap_or(1);
        let of_processes = [
            ("--dispatch chunked", policy == Policy::Chunked),
            ("--worker-tasks", args.worker.worker_tasks.is_some()),
        ];
        // There is one worker in this process. The mode decides how many downloads it has.
        let local = |mode, engine, concurrency| {
            if let Some(&(option, _)) = of_processes.iter().find(|(_, given)| *given) {
                return Err(ConfigError::ModeOption { mode, option });
            }
            let injected = args.crash.inject.as_ref();
            if let Some(fault) = injected.and_then(inject::Spec::of_processes) {
                return Err(ConfigError::ModeFault { mode, fault });
            }
            Ok(Self {
                pool: PoolKind::Local,
                engine,
                policy,
                workers: 1,
                concurrency,
            })
        };
        match args.mode.mode {
            Mode::Processes => Ok(Self {
                pool: PoolKind::Processes,
                engine,
                policy,
                workers,
                concurrency,
            }),
            Mode::Threads => {
                let threads =
                    workers
                        .checked_mul(concurrency)
                        .ok_or(ConfigError::TooManyAtOnce {
                            workers,
                            concurrency,
                        })?;
                local("threads", Engine::Blocking, threads)
            }
            Mode::Async => local("async", Engine::Async, given.unwrap_or(workers)),
            Mode::Sequential => local("sequential", Engine::Blocking, 1),
        }
    }
}

/// Returns the options for reading lists.
///
/// # Errors
///
/// Fails if settings contradict each other.
pub fn list_options(args: ListArgs, is_plain: bool) -> Result<ListOptions, ConfigError> {
    let format = match args.input_format {
        FormatName::Auto => None,
        FormatName::Text => Some(Format::Text),
        FormatName::Jsonl => Some(Format::Jsonl),
        FormatName::Csv => Some(Format::Csv),
        FormatName::Tsv => Some(Format::Tsv),
    };
    let Ok(url_column) = args.url_column.as_deref().map(str::parse).transpose();
    match (format, &url_column) {
        (Some(Format::Text), Some(_)) => return Err(ConfigError::UrlColumn("text")),
        (Some(Format::Jsonl), Some(Column::Number(_))) => {
            return Err(ConfigError::UrlColumn("jsonl, unless it is a name"));
        }
        (_, _) => {}
    }
    let naming = match args.naming {
        Some(text) => text
            .parse()
            .map_err(|problem| ConfigError::Naming { text, problem })?,
        None => Naming::default(),
    };
    let suggestions = match (args.remote_header_name, &naming) {
        (false, _) => Suggestions::Ignored,
        (true, _) if is_plain => Suggestions::Plain,
        (true, Naming::Flat | Naming::Tree) => Suggestions::WithKey,
        (true, Naming::Hash | Naming::Template(_)) => return Err(ConfigError::TwoNames),
    };
    Ok(ListOptions {
        format,
        url_column,
        naming,
        suggestions,
    })
}

/// Returns the limits for workers. Threads cannot have limits, so setting one is an error.
fn worker_limits(
    args: &LimitArgs,
    pool: PoolKind,
    mode: Mode,
) -> Result<WorkerLimits, ConfigError> {
    let sandbox = match args.sandbox {
        SandboxName::On => Sandbox::On,
        SandboxName::Off => Sandbox::Off,
        SandboxName::BestEffort => Sandbox::BestEffort,
    };
    let limits = WorkerLimits {
        memory: args.worker_memory,
        nice: args.worker_nice,
        sandbox,
        connect_ports: args.connect_ports.clone(),
    };
    if !limits.connect_ports.is_empty() && sandbox == Sandbox::Off {
        return Err(ConfigError::PortsWithoutSandbox);
    }
    if pool == PoolKind::Processes {
        return Ok(limits);
    }
    let asked = [
        (sandbox == Sandbox::On).then_some("--sandbox on"),
        limits.memory.map(|_| "--worker-memory"),
        limits.nice.map(|_| "--worker-nice"),
        (!limits.connect_ports.is_empty()).then_some("--connect-ports"),
    ];
    match asked.into_iter().flatten().next() {
        Some(option) => Err(ConfigError::ModeOption {
            mode: mode.name(),
            option,
        }),
        None => Ok(WorkerLimits::default()),
    }
}

fn limits(args: &RunArgs, shape: &Shape) -> Limits {
    let workers = shape.workers;
    let spacing = args.http.rate.unwrap_or_default();
    let defaults = Limits::default();
    Limits {
        workers,
        policy: shape.policy,
        concurrency: shape.concurrency,
        // The limit counts connections, and each download may use several.
        per_group: per_host(&args.http).map(|cap| (cap / u32::from(split(&args.http))).max(1)),
        // A worker starts a prefetched task as soon as it can, even while commands wait.
        prefetch: if spacing > Duration::ZERO
            || args.http.host_delay > Duration::ZERO
            || args.each.exec.is_some()
        {
            0
        } else {
            defaults.prefetch
        },
        spacing,
        group_spacing: args.http.host_delay,
        retries: args.retry.retry,
        retry_max_time: args.retry.retry_max_time,
        max_failures: args.retry.max_failures,
        run_time: args.retry.run_time,
        retry_delay: match args.retry.retry_delay {
            Some(delay) => RetryDelay::Fixed(delay),
            None => RetryDelay::Exponential(RETRY_BASE),
        },
        max_deliveries: args.crash.max_deliveries,
        max_unexplained: args
            .crash
            .max_deliveries
            .saturating_mul(UNEXPLAINED_PER_DELIVERY),
        worker_tasks: args.worker.worker_tasks.and_then(NonZeroU32::new),
        restart_intensity: args.crash.restart_intensity.unwrap_or(Intensity {
            restarts: RESTARTS_PER_WORKER * u32::from(workers),
            period: RESTART_PERIOD,
        }),
        lease_timeout: args.crash.lease_timeout,
        start_timeout: args.crash.start_timeout,
        grace: args.crash.grace,
        placing: match &args.each.exec {
            // As many commands at once as downloads.
            Some(_) => usize::from(workers) * usize::from(shape.concurrency.max(1)),
            None => defaults.placing,
        },
        seed: fastrand::u64(..),
        ..defaults
    }
}

/// Most connections to one host, if there is a limit.
fn per_host(args: &HttpArgs) -> Option<u32> {
    Some(args.parallel_max_host).filter(|&cap| cap > 0)
}

/// Most connections of one download.
fn split(args: &HttpArgs) -> u16 {
    let most = per_host(args).and_then(|cap| u16::try_from(cap).ok());
    args.split.min(most.unwrap_or(u16::MAX))
}

/// Returns the product token that servers see, from the header or else the user agent.
fn robots_token(args: &HttpArgs) -> String {
    let mut headers = args.header.iter().rev();
    let header = headers.find(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
    let user_agent = header.map_or(&args.user_agent, |(_, value)| value);
    product_token(user_agent).to_owned()
}

fn http_options(args: HttpArgs, retry_all_errors: bool) -> Result<HttpOptions, ConfigError> {
    let split = split(&args);
    let proxies = proxy::proxies(&Given {
        proxy: args.proxy.as_deref(),
        noproxy: args.noproxy.as_deref(),
        // A value that is not UTF-8 names no proxy.
        environment: &|name| std::env::var(name).ok(),
    })?;
    let trust = match args.cacert {
        // Made absolute and checked here, so that no worker has to fail because of it.
        Some(path) => match std::fs::File::open(&path).and_then(|_| path.canonicalize()) {
            Ok(absolute) => Trust::File(absolute.into_os_string()),
            Err(error) => return Err(ConfigError::CaCert { path, error }),
        },
        None if args.ca_native => Trust::System,
        None => Trust::WebRoots,
    };
    Ok(HttpOptions {
        user_agent: args.user_agent,
        headers: args.header,
        connect_timeout: args.connect_timeout,
        stall_timeout: args.speed_time,
        speed_limit: args.speed_limit.filter(|&limit| limit > 0),
        max_time: args.max_time,
        max_redirects: args.max_redirs,
        max_filesize: args.max_filesize,
        split,
        resolve: args.resolve,
        trust,
        insecure: args.insecure,
        compressed: args.compressed,
        retry_all_errors,
        family: match (args.ipv4, args.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            (false, false) => None,
        },
        block_private: args.block_private,
        proxies,
        login: LoginOptions::default(),
        simulated: None,
    })
}
