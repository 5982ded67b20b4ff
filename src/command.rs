//! The commands: from the command line to the exit code.

#[cfg(feature = "fleet")]
mod fleet;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lab::inject::StartFault;
use lab::origin;
use tracing::level_filters::LevelFilter;

use crate::cli::chaos::ChaosArgs;
use crate::cli::exec::HandedArgs;
use crate::cli::isolation::IsolationArgs;
use crate::cli::origin::OriginArgs;
use crate::cli::reference::{CompletionsArgs, HelpArgs, ManArgs};
use crate::cli::results::ResultsArgs;
use crate::cli::run::RunArgs;
use crate::cli::shootout::ShootoutArgs;
use crate::cli::worker::WorkerArgs;
use crate::cli::{Cli, Command};
use crate::config::RunConfig;
use crate::config_file::{self, Refused};
use crate::isolation::attempt::Attempt;
use crate::isolation::{self, ground};
use crate::manual::ManualError;
use crate::terminal::Color;
use crate::{chaos, exec, hints, manual, results, run, shootout};

/// Exit code: the command line is correct, but the run cannot start.
const SET_UP: u8 = 3;
/// Exit code: the command line is wrong. Same as clap's.
const USAGE: u8 = 2;

/// The names of the commands for users.
const COMMANDS: &[&str] = &[
    "results",
    "shootout",
    "chaos",
    "isolation",
    #[cfg(feature = "fleet")]
    "fleet",
    "origin",
    "completions",
    "man",
    "help",
];

/// Runs the command on the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match config_file::parse(std::env::args_os()) {
        Ok(cli) => run(cli),
        Err(Refused::File(error)) => fail(SET_UP, &error),
        Err(Refused::Typed(error)) => {
            let first = std::env::args_os().nth(1);
            let first = first.as_ref().and_then(|first| first.to_str());
            match hints::of_error(&error, first, COMMANDS) {
                Some(hint) => fail(USAGE, &hint),
                None => error.exit(),
            }
        }
    }
}

/// Runs a parsed command.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    // A file that exceeds RLIMIT_FSIZE raises SIGXFSZ, which kills the process by default. With any
    // handler installed, the write fails with EFBIG instead, like any other error.
    let over_limit = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, over_limit) {
        return fail(SET_UP, &format!("cannot handle SIGXFSZ: {error}"));
    }
    match cli.command {
        None if cli.help_all => told(manual::print(&manual::whole_help())),
        None => download(cli.run, None),
        Some(Command::Origin(args)) => serve(args),
        Some(Command::Shootout(args)) => compare(*args),
        Some(Command::Chaos(args)) => wreck(&args),
        Some(Command::Isolation(args)) => attack(&args),
        Some(Command::Attacked(args)) => download(args.run, Some(args.attempt)),
        Some(Command::Results(args)) => report(args),
        #[cfg(feature = "fleet")]
        Some(Command::Fleet(args)) => fleet::command(args.command),
        Some(Command::Help(args)) => explain(&args),
        Some(Command::Completions(args)) => complete(&args),
        Some(Command::Man(args)) => document(&args),
        Some(Command::Worker(args)) => work(&args),
        Some(Command::BareCalls(args)) => match shootout::bare::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(SET_UP, &error),
        },
        Some(Command::Runner(args)) => run_commands(args),
    }
}

fn download(args: RunArgs, attempt: Option<&'static Attempt>) -> ExitCode {
    if let Some(hint) = mistyped(&args) {
        return fail(USAGE, &hint);
    }
    log_to(run::LogLines::default, args.verbose, args.color);
    let config = match RunConfig::new(args) {
        Ok(config) => RunConfig { attempt, ..config },
        Err(error) => return fail(USAGE, &error),
    };
    let done = if config.dry_run {
        run::dry_run(&config)
    } else {
        run::execute(config)
    };
    match done {
        Ok(outcome) => outcome.code().into(),
        Err(error) => fail(SET_UP, &error),
    }
}

/// Returns a hint if the first argument is neither a URL nor a file, but resembles a command.
fn mistyped(args: &RunArgs) -> Option<String> {
    let path = args.urls.first()?;
    let word = path.to_str()?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !word.chars().all(is_word) || path.exists() {
        return None;
    }
    let meant = hints::of_word(word, COMMANDS)?;
    Some(format!(
        "there is no command and no list named {word}; did you mean {meant}"
    ))
}

fn serve(args: OriginArgs) -> ExitCode {
    log_to_stderr(args.verbose);
    let options = origin::Options {
        http: args.http,
        https: Some(args.https),
        spec: args.simulate,
        ca_out: None,
        journal: args.journal,
        until: if args.until_stdin_closes {
            origin::Until::Closed(Box::new(io::stdin()))
        } else {
            origin::Until::Signal
        },
    };
    match origin::serve(options, io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(SET_UP, &error),
    }
}

fn compare(args: ShootoutArgs) -> ExitCode {
    log_to_stderr(args.verbose);
    let plan = match shootout::Plan::new(args) {
        Ok(plan) => plan,
        Err(error) => return fail(USAGE, &error),
    };
    match shootout::execute(plan) {
        Ok(ending) => ending.code().into(),
        Err(error) => fail(SET_UP, &error),
    }
}

fn wreck(args: &ChaosArgs) -> ExitCode {
    log_to_stderr(args.verbose);
    #[cfg(feature = "fleet")]
    if let Some(members) = args.fleet {
        return match chaos::FleetPlan::new(args, members) {
            Ok(plan) => wrecked(chaos::execute_fleet(&plan)),
            Err(error) => fail(USAGE, &error),
        };
    }
    let ending = if args.compare_modes {
        chaos::Comparison::new(args).map(|comparison| comparison.execute())
    } else {
        chaos::Plan::new(args).map(|plan| chaos::execute(&plan))
    };
    match ending {
        Ok(ending) => wrecked(ending),
        Err(error) => fail(USAGE, &error),
    }
}

fn wrecked(ending: Result<chaos::Ending, chaos::ChaosError>) -> ExitCode {
    match ending {
        Ok(ending) => ending.code().into(),
        Err(error) => fail(SET_UP, &error),
    }
}

fn attack(args: &IsolationArgs) -> ExitCode {
    log_to_stderr(args.verbose);
    let plan = match isolation::Plan::new(args) {
        Ok(plan) => plan,
        Err(error) => return fail(USAGE, &error),
    };
    match isolation::execute(&plan) {
        Ok(ending) => ending.code().into(),
        Err(error) => fail(SET_UP, &error),
    }
}

fn report(args: ResultsArgs) -> ExitCode {
    let plan = match results::Plan::new(args) {
        Ok(plan) => plan,
        Err(error) => return fail(USAGE, &error),
    };
    match results::execute(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(SET_UP, &error),
    }
}

fn explain(args: &HelpArgs) -> ExitCode {
    match manual::help_on(args.topic.as_deref()) {
        Ok(text) => told(manual::print(&text)),
        Err(error) => fail(USAGE, &error),
    }
}

fn complete(args: &CompletionsArgs) -> ExitCode {
    told(manual::completions(args.shell, &mut io::stdout().lock()))
}

fn document(args: &ManArgs) -> ExitCode {
    told(match &args.dir {
        Some(folder) => manual::pages(folder),
        None => manual::page(&mut io::stdout().lock()),
    })
}

fn told(written: Result<(), ManualError>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe. This is not an error.
        Err(ManualError::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => fail(SET_UP, &error),
    }
}

fn work(args: &WorkerArgs) -> ExitCode {
    log_to_stderr(args.verbose);
    let entered = std::env::set_current_dir(&args.folder);
    let worked = match args.inject {
        _ if let Err(error) = entered => {
            Err(format!("cannot work in {}: {error}", args.folder.display()))
        }
        None => {
            let first = |setup: &_, inbox: &mut _, outbox: &_| {
                if let Some(attempt) = args.attempt {
                    ground::play_in_process(attempt, &args.folder, setup, inbox, outbox);
                }
            };
            worker::process::run(&args.socket, args.parent, first)
                .map_err(|error| error.to_string())
        }
        Some(StartFault::NoConnect) => {
            worker::process::never_connect(args.parent).map_err(|error| error.to_string())
        }
        Some(fault @ StartFault::NoStart) => Err(format!("does not start (--inject {fault})")),
    };
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("worker {}.{}: {error}", args.slot, args.epoch)),
    }
}

/// Runs the commands of `--exec` for the coordinator.
fn run_commands(args: HandedArgs) -> ExitCode {
    log_to_stderr(0);
    match exec::run_commands(args.handed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exec::EXIT_UNUSABLE, &format!("runner: {error}")),
    }
}

fn fail(code: u8, error: &dyn Display) -> ExitCode {
    // If standard error cannot be written, nothing else can report it.
    let _ = writeln!(io::stderr(), "coordinator: {error}");
    code.into()
}

fn log_to_stderr(verbose: u8) {
    log_to(io::stderr, verbose, Color::Auto);
}

fn log_to<W: io::Write>(writer: impl Fn() -> W + Send + Sync + 'static, verbose: u8, color: Color) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_ansi(color.is_on(io::stderr().is_terminal()))
        .with_target(false)
        .init();
}
