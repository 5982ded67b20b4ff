//! Options of `coordinator worker`: how a coordinator starts its workers.

use std::path::PathBuf;

use clap::Args;

use lab::inject::StartFault;

use crate::isolation::attempt::{Attempt, named};

/// Options of `coordinator worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Slot in the pool, to show it in the process list
    #[arg(long)]
    pub slot: u16,

    /// Epoch of the slot, to show it in the process list
    #[arg(long)]
    pub epoch: u32,

    /// Path of the socket to connect to
    #[arg(long)]
    pub socket: PathBuf,

    /// Process id of the coordinator
    #[arg(long)]
    pub parent: u32,

    /// Its own folder
    #[arg(long)]
    pub folder: PathBuf,

    /// The fault to cause before it connects
    #[arg(long)]
    pub inject: Option<StartFault>,

    /// What it tries before it works, as a compromised worker
    #[arg(long, value_parser = named)]
    pub attempt: Option<&'static Attempt>,

    /// Log to standard error
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
