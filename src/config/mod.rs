//! What a run means: validated settings, without a trace of how they were typed.

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

/// Deaths without progress that are tolerated for each worker, and in which period.
const RESTARTS_PER_WORKER: u32 = 3;
const RESTART_PERIOD: Duration = Duration::from_secs(60);

/// How much more often a task may be there when its worker dies of a cause that may lie outside.
/// Whoever kills a fifth of all deliveries at random quarantines one innocent in 10^10 by it.
const UNEXPLAINED_PER_DELIVERY: u32 = 5;

/// The main job.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Where URLs come from, in this order.
    pub sources: Vec<Source>,
    /// How lists are read, and files named.
    pub lists: Arc<ListOptions>,
    /// Where files go.
    pub output: PathBuf,
    /// Files that no run has made are replaced, and files that earlier runs named otherwise are
    /// downloaded again.
    pub force: bool,
    /// Nothing keeps other runs from the output folder.
    pub no_lock: bool,
    /// Numbers for the core.
    pub limits: Limits,
    /// What worker processes may use.
    pub worker_limits: WorkerLimits,
    /// Most bytes of bodies in a second, over all workers.
    pub limit_rate: Option<NonZeroU64>,
    /// Whether what is stored is safe from the loss of power.
    pub fsync: bool,
    /// Whether files get the time that the server says.
    pub remote_time: bool,
    /// The program to run on each file.
    pub exec: Option<Exec>,
    /// How workers talk to servers.
    pub http: HttpOptions,
    /// What there is for hosts to log in with, which workers are told when they need it.
    pub logins: Logins,
    /// Where the cookies go that there are in the end.
    pub cookie_jar: Option<PathBuf>,
    /// What the user is to know before the run.
    pub notes: Vec<String>,
    /// Option, value and where that comes from, of each that is not the default.
    pub origins: Vec<[String; 3]>,
    /// The config files that were read, and those that are not there; a line each.
    pub config_files: Vec<String>,
    /// Whose rules in robots.txt are obeyed, if any are: our product token.
    pub robots: Option<String>,
    /// What answers in place of the network.
    pub network: Network,
    /// Where workers live.
    pub pool: PoolKind,
    /// What drives their downloads.
    pub engine: Engine,
    /// Processor time to spend on each file.
    pub cpu_per_task: Duration,
    /// Where to write where the time of each task went.
    pub timeline: Option<PathBuf>,
    /// Faults to bring about.
    pub inject: Option<inject::Spec>,
    /// What the first worker tries, as one that was taken over: for `coordinator isolation` alone, no
    /// option of a run says it.
    pub attempt: Option<&'static Attempt>,
    /// URLs that earlier runs quarantined are taken up again.
    pub retry_quarantined: bool,
    /// Files that earlier runs stored are checked, unless that was done less long ago than this.
    pub refresh: Option<Duration>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Who is told when records are written; no option of a run says it.
    pub recorded: Option<Recorded>,
    /// The share of a larger list that the run works on, for those who watch it.
    pub share: Option<Share>,
    /// Who says which targets of that list may still be put in place.
    pub fence: Option<Fence>,
    /// Errors only.
    pub quiet: bool,
    /// How much to log.
    pub verbose: u8,
    /// How progress is told.
    pub progress: Progress,
    /// When output is coloured.
    pub color: Color,
    /// Where the run can be watched, if it can be.
    pub listen: Option<Address>,
    /// The file with the token that stands in front of every path there.
    pub listen_token: Option<PathBuf>,
}

/// Who is told that the run log has grown.
#[derive(Clone)]
pub struct Recorded(Arc<dyn Fn() + Send + Sync>);

impl Recorded {
    /// Calls `tell` after each time that records were written. It must not wait.
    pub fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Records were written.
    pub fn tell(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorded")
    }
}

/// Where workers live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Each in a process of its own.
    Processes,
    /// On threads of this process.
    Local,
}

/// Why settings that are each well-formed make no sense together.
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
    /// Names of servers, and such as leave them no place.
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
    /// Ports that nothing would keep a worker to.
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
    /// A fault that cannot be had in a mode.
    #[error(
        "--mode {mode} cannot be combined with --inject {fault}: that fault needs workers in processes of \
         their own (--mode processes)"
    )]
    ModeFault {
        mode: &'static str,
        /// The fault.
        fault: &'static str,
    },
    /// More at once than a worker can be told of.
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
    /// Makes sense of what was typed.
    ///
    /// # Errors
    ///
    /// When settings contradict each other, or a file that they name cannot be read.
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

/// Where workers live, how many there are, and how many downloads each has in flight.
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
        // In this process there is one worker, with as many downloads in flight as the mode says.
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

/// How lists are read.
///
/// # Errors
///
/// When settings contradict each other.
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

/// A thread has no limits of its own: what was asked for in so many words cannot be had there.
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
        // A host never has more connections than that, of which each download may take several.
        per_group: per_host(&args.http).map(|cap| (cap / u32::from(split(&args.http))).max(1)),
        // What is held ahead would be begun whenever its worker likes: also while commands wait for
        // others to end.
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
            // So many commands at once as there are downloads.
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

/// The product token that servers see: that of the user agent, which a header may replace.
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
        // What is not text names no proxy.
        environment: &|name| std::env::var(name).ok(),
    })?;
    let trust = match args.cacert {
        // Absolute, and readable now: a worker must not be the one who finds out.
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
