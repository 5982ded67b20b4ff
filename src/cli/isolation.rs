//! Options of `coordinator isolation`, and of the runs that it starts.

use clap::Args;

use super::limits::SandboxName;
use super::run::RunArgs;
use crate::isolation::attempt::{Attempt, named};

/// Options of `coordinator isolation`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct IsolationArgs {
    /// Try only these: families (files, link) or attempts (kill-coordinator), as the table names them
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// The sandbox of the workers that are judged, as in a run; with off there is nothing to compare
    /// with, and most of it is open
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
    /// What the first worker tries
    #[arg(long, value_parser = named)]
    pub attempt: &'static Attempt,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

const AFTER_HELP: &str = "\
Cells:
  HELD            it had no effect; without the sandbox, or in a thread, it had
  HELD (link)     it had no effect: the coordinator holds it, whatever the sandbox is
  OPEN            it had an effect
  open by design  it had an effect, which no worker is kept from
  unproven        it had no effect, but neither had it without the sandbox
  no effect       it had none, where nothing was to hold it
  not played      it would end the run, or there is nothing to attack

Exit codes:
  0    nothing is open that is to be held, in the column `processes`
  1    something is
  2    the command line is wrong
  3    the set-up is: nothing was started
  130  interrupted (SIGINT), 143 terminated (SIGTERM)";
