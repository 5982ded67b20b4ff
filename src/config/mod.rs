//! What a run means: validated settings, without a trace of how they were typed.

use std::path::PathBuf;
use std::time::Duration;

use protocol::{HttpOptions, Trust};

use crate::cli::run::{HttpArgs, RunArgs};
use crate::dispatch::{Intensity, Limits, RetryDelay};
use crate::input::Source;
use crate::origin::Spec;

/// Shortest time before the first retry, unless the user sets one.
const RETRY_BASE: Duration = Duration::from_secs(1);

/// Deaths without progress that are tolerated for each worker, and in which period.
const RESTARTS_PER_WORKER: u32 = 3;
const RESTART_PERIOD: Duration = Duration::from_secs(60);

/// The main job.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Where URLs come from, in this order.
    pub sources: Vec<Source>,
    /// Where files go.
    pub output: PathBuf,
    /// Numbers for the core.
    pub limits: Limits,
    /// How workers talk to servers.
    pub http: HttpOptions,
    /// The built-in origin answers in place of the network.
    pub simulate: Option<Spec>,
    /// URLs that earlier runs quarantined are taken up again.
    pub retry_quarantined: bool,
    /// Errors only.
    pub quiet: bool,
    /// How much to log.
    pub verbose: u8,
}

/// Why settings that are each well-formed make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Standard input is given more than once.
    #[error("standard input (-) is given {0} times as a list of URLs; give it once")]
    StdinTwice(usize),
    /// A certificate file that cannot be read.
    #[error("cannot read the certificates in {path} (--cacert): {error}")]
    CaCert {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
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
        let sources: Vec<_> = args
            .urls
            .iter()
            .cloned()
            .map(Source::from_argument)
            .collect();
        let stdins = sources
            .iter()
            .filter(|&source| *source == Source::Stdin)
            .count();
        if stdins > 1 {
            return Err(ConfigError::StdinTwice(stdins));
        }
        if args.http.cacert.is_some() && args.simulate.is_some() {
            return Err(ConfigError::CaCertSimulated);
        }
        let limits = limits(&args);
        Ok(Self {
            sources,
            output: args.output,
            limits,
            http: http_options(args.http)?,
            simulate: args.simulate,
            retry_quarantined: args.retry_quarantined,
            quiet: args.quiet,
            verbose: args.verbose,
        })
    }
}

fn limits(args: &RunArgs) -> Limits {
    let workers = args.workers.get();
    Limits {
        workers,
        concurrency: args.concurrency.get(),
        per_host: Some(args.http.parallel_max_host).filter(|&cap| cap > 0),
        retries: args.retry.retry,
        retry_delay: match args.retry.retry_delay {
            Some(delay) => RetryDelay::Fixed(delay),
            None => RetryDelay::Exponential(RETRY_BASE),
        },
        max_deliveries: args.crash.max_deliveries,
        restart_intensity: args.crash.restart_intensity.unwrap_or(Intensity {
            restarts: RESTARTS_PER_WORKER * u32::from(workers),
            period: RESTART_PERIOD,
        }),
        lease_timeout: args.crash.lease_timeout,
        start_timeout: args.crash.start_timeout,
        grace: args.crash.grace,
        seed: fastrand::u64(..),
        ..Limits::default()
    }
}

fn http_options(args: HttpArgs) -> Result<HttpOptions, ConfigError> {
    let trust = match args.cacert {
        // Absolute, and readable now: a worker must not be the one who finds out.
        Some(path) => match std::fs::File::open(&path).and_then(|_| path.canonicalize()) {
            Ok(absolute) => Trust::File(absolute.into_os_string()),
            Err(error) => return Err(ConfigError::CaCert { path, error }),
        },
        None => Trust::WebRoots,
    };
    Ok(HttpOptions {
        user_agent: args.user_agent,
        headers: args.header,
        connect_timeout: args.connect_timeout,
        stall_timeout: args.speed_time,
        max_time: args.max_time,
        max_redirects: args.max_redirs,
        max_filesize: args.max_filesize,
        resolve: args.resolve,
        trust,
        simulated: None,
    })
}
