//! Options of `coordinator worker`: how a coordinator starts its workers.

use std::path::PathBuf;

use clap::Args;

use lab::inject::StartFault;

use crate::isolation::attempt::{Attempt, named};

/// Options of `coordinator worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Place in the pool; for people who look at the process list
    #[arg(long)]
    pub slot: u16,

    /// Which worker of that place; likewise
    #[arg(long)]
    pub epoch: u32,

    /// Path of the socket to connect to
    #[arg(long)]
    pub socket: PathBuf,

    /// Process id of the coordinator
    #[arg(long)]
    pub parent: u32,

    /// Folder to work in, its own
    #[arg(long)]
    pub folder: PathBuf,

    /// What is to go wrong before it connects
    #[arg(long)]
    pub inject: Option<StartFault>,

    /// What it tries before it works, as one that was taken over
    #[arg(long, value_parser = named)]
    pub attempt: Option<&'static Attempt>,

    /// Log to standard error
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
