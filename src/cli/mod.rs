//! The clap types of the command line.
//!
//! [`crate::config`] decides what the options mean.

pub mod chaos;
pub mod exec;
pub mod file;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod isolation;
pub mod limits;
pub mod list;
pub mod login;
pub mod mode;
pub mod origin;
pub mod reference;
pub mod results;
pub mod run;
pub mod shootout;
mod value;
pub mod worker;

use clap::{Parser, Subcommand};

/// Download a list of URLs with worker processes, and lose nothing when one is killed
///
/// Downloads every URL of a list onto disk with N worker processes, and loses nothing when any of
/// them, or the coordinator itself, is killed. Run the same command again to finish a run that
/// was cut short.
#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    override_help = HELP,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// The command, if it is not a run.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Print every option
    #[arg(long)]
    pub help_all: bool,

    /// Options of a run.
    #[command(flatten)]
    pub run: run::RunArgs,
}

/// What to do instead of the main job.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the results of a run: counts, errors, the slowest downloads
    Results(results::ResultsArgs),
    /// Measure all ways of downloading, and other programs, on the same list
    Shootout(Box<shootout::ShootoutArgs>),
    /// Make workers, coordinator, server and disk fail during a run, and check that nothing was
    /// lost
    Chaos(Box<chaos::ChaosArgs>),
    /// Make a worker try everything that its sandbox must prevent, and check the effect
    Isolation(isolation::IsolationArgs),
    /// Download one list with several machines, over NATS JetStream
    #[cfg(feature = "fleet")]
    Fleet(fleet::FleetArgs),
    /// Run the built-in server alone, which answers every URL
    Origin(origin::OriginArgs),
    /// Print completions for a shell
    Completions(reference::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(reference::ManArgs),
    /// Explain a command, a group of options, or another topic
    Help(reference::HelpArgs),
    /// Run as a worker; only a coordinator starts one
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// Run a list with a worker that attacks the run; only `isolation` starts one
    #[command(hide = true)]
    Attacked(Box<isolation::AttackedArgs>),
    /// Make the bare system calls of a list of downloads; only `shootout` starts one
    #[command(hide = true)]
    BareCalls(shootout::BareArgs),
    /// Run commands; only a coordinator starts one
    #[command(hide = true)]
    Runner(exec::HandedArgs),
}

/// The output of `--help`: one screen. The rest is in `--help-all` and in the manual page.
const HELP: &str = "\
Download URLs with worker processes; lose nothing when one is killed

Usage: coordinator [OPTIONS] [URL|LIST]...
       coordinator COMMAND

Examples:
  coordinator https://example.com/x.pdf          # one file: downloads/x.pdf
  coordinator list.txt                           # every URL of a list
  produce-urls | coordinator --output books -    # a list from a program
  coordinator results                            # the outcome of the run
  coordinator results --failed | coordinator -   # try failed URLs again
To finish a run that was cut short, repeat its command.

Options:
  -o, --output-file PATH     Name of the file for one URL, else the folder
      --output DIR           Folder for files [default: downloads]
  -w, --workers N            Worker processes [default: 6]
  -c, --concurrency N        Downloads at once in each worker [default: 1]
      --parallel-max-host N  Downloads at once from one host [default: 6]
      --limit-rate SPEED     Bytes per second of all workers, for example 5M
      --retry N              Retries after a transient failure [default: 3]
  -m, --max-time TIME        Limit for one attempt, for example 90s
  -H, --header HEADER        A request header, 'Name: value'
      --robots               Obey robots.txt
      --refresh[=AGE]        Ask servers which stored files have changed
  -n, --dry-run              Print what would be downloaded
      --simulate             Answer every URL with a built-in server
  -q, --quiet                Print errors only
  -v, --verbose              Log to standard error
      --help-all             Every option, also --speed-limit, --host-delay,
                             --connect-timeout, --rate, --user, --netrc-file,
                             --cookie, --proxy, --insecure, --naming, --exec,
                             --force, --fsync, --listen, --config
  -V, --version              Version

Commands: results, shootout, chaos, isolation, origin, completions, man, help
  coordinator help TOPIC     A command, or lists, exec, http, login, retries,
                             workers, crashes, watching, comparison, values,
                             exit-status, signals";

const AFTER_HELP: &str = "\
Values:
  TIME   seconds (30, 0.5), or with units (90s, 2m 30s, 1h)
  SIZE   bytes (65536), or with units (64KiB, 10MB)
  SPEED  bytes per second (200000), or with K, M, G (of 1024) or units (500kB, 1.5MiB)
  RATE   per second (5, 5/s), minute (30/m) or hour (100/h)

Examples:
  coordinator https://example.com/x.pdf
      one file, as downloads/x.pdf
  coordinator https://example.com/x.pdf -o y.pdf
      one file, as y.pdf
  coordinator list.jsonl.gz https://example.com/x.pdf
      a list and a URL
  produce-urls | coordinator -
      a list from another program
  coordinator list.txt --parallel-max-host 2 --robots
      ask servers for less, and obey robots.txt
  coordinator results --failed --kind timeout | coordinator -
      try again what timed out
  coordinator --simulate
      a trial run: nothing leaves the machine

Files:
  urls.txt  the list, if the command line names none
  downloads, simulated  the output folder (simulated with --simulate), unless --output is given
  DIR/.coordinator/results.jsonl  in the output folder: the run log, one line for each URL
  DIR/.coordinator/deaths.jsonl  one line for each worker that died unexpectedly
  coordinator.toml  beside the first list: harmless options, unless --no-config
  ~/.config/coordinator/config.toml  your own options, unless --no-config
  ~/.netrc  user names and passwords by host, unless --no-netrc

Environment:
  http_proxy, https_proxy, all_proxy, no_proxy  proxies, unless --proxy or --noproxy is given
  SSL_CERT_FILE, SSL_CERT_DIR  the certificates of the system, for --ca-native
  XDG_CONFIG_HOME  the folder of coordinator/config.toml, instead of ~/.config
  NO_COLOR  no colours, unless --color is given
  TERM, LC_ALL, LC_CTYPE, LANG  what the terminal can show
  PATH  where to look for the program of --exec
  TMPDIR  the folder for temporary files

Exit status:
  0    every URL is stored
  1    some URLs failed, are quarantined, or could not be read
  2    the command line is wrong
  3    the input or the set-up is wrong: nothing was started
  4    the run gave up: restart intensity, disk full, --max-failures, --run-time
  130  interrupted (SIGINT), 143 terminated (SIGTERM); run the same command again to finish

Signals:
  SIGINT, SIGTERM   finish running downloads, start no new ones; a second one ends the run at once
  SIGUSR1           print on standard error what each worker is doing
  SIGTSTP           (Ctrl-Z) stop the run and its workers until SIGCONT; no task is blamed for it
  SIGTTIN, SIGTTOU  sent with kill: add a worker, remove a worker";
