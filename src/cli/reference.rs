//! Options of `coordinator help`, `coordinator completions` and `coordinator man`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::Shell;

/// Options of `coordinator completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Options of `coordinator man`.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub struct ManArgs {
    /// Write a page for each command into DIR, which is created if it is missing [default: the page
    /// of coordinator alone, to standard output]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Options of `coordinator help`.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command, or one of all, lists, exec, http, retries, workers, crashes, comparison, values, examples,
    /// files, environment, exit-status, signals
    #[arg(value_name = "TOPIC")]
    pub topic: Option<String>,
}

const COMPLETIONS: &str = "\
Examples:
  coordinator completions bash > ~/.local/share/bash-completion/completions/coordinator
      for bash
  coordinator completions zsh > ~/.zfunc/_coordinator
      for zsh, if ~/.zfunc is in $fpath
  coordinator completions fish > ~/.config/fish/completions/coordinator.fish
      for fish";

const MAN: &str = "\
Examples:
  coordinator man | man -l -
      read the page
  coordinator man --dir ~/.local/share/man/man1
      install them all";
