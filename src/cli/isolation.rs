//! Options of `coordinator isolation`, and of the runs that it starts.

use clap::Args;

use super::limits::SandboxName;
use super::run::RunArgs;
use crate::isolation::attempt::{Attempt, named};

/// Options of `coordinator isolation`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct IsolationArgs {
    /// Make only these attempts: families (files, link) or single attempts (kill-coordinator), as
    /// the table names them
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// The sandbox of the workers, as in a run; with off, the table shows what is open without one
    #[arg(long, value_enum, value_name = "WHEN", default_value = "best-effort")]
    pub sandbox: SandboxName,

    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,

    /// Show no progress
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to standard error; -vv and -vvv say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Options of `coordinator attacked`: a run, and what one of its workers tries.
#[derive(Debug, Args)]
pub struct AttackedArgs {
    /// What the first worker attempts
    #[arg(long, value_parser = named)]
    pub attempt: &'static Attempt,

    #[command(flatten)]
    pub run: RunArgs,
}

const AFTER_HELP: &str = "\
Cells:
  HELD            it had no effect, but had one without the sandbox or in a thread
  HELD (link)     it had no effect: the coordinator prevents it, with or without a sandbox
  OPEN            it had an effect
  open by design  it had an effect that the sandbox allows on purpose
  unproven        it had no effect, but had none without the sandbox either
  no effect       it had no effect in a column that is only for comparison
  not tried       it would end the run, or there is nothing to attack

Exit status:
  0    no attempt in the column `processes` is OPEN
  1    at least one is
  2    the command line is wrong
  3    the set-up is wrong: nothing was started
  130  interrupted (SIGINT), 143 terminated (SIGTERM)";
