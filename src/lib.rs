//! A master/worker, multi-process bulk downloader that loses nothing when any process is killed.
//!
//! This is the library behind the `coordinator` program: the map of the house. What the program
//! does and promises is in README.md, how it works and why in ARCHITECTURE.md.
//!
//! ```text
//!   main --> command --> config --> run ------> dispatch      the core: decides, and does nothing
//!              |                     |
//!              cli                   +--------> pool --> worker (crate)      makes and reaches workers
//!                                    |            \        /
//!                                    +--> input    protocol (crate)          what they say
//! ```
//!
//! - [`dispatch`] is where to begin: a pure state machine that owns every decision.
//! - [`run`] is the shell around it: one thread that hears what happens and does what is decided.
//! - [`pool`] makes workers, [`input`] reads lists of URLs, [`lab::origin`] simulates the network.
//! - [`placement`] puts the bodies that workers have finished in place, and [`exec`] runs the program
//!   of `--exec` on them.
//! - [`watch`] answers those who watch a run over HTTP.
//! - [`chaos`] lets everything go wrong at once, and says what became of the list.
//! - [`isolation`] has a worker try what it must not do, and says what came of it.
//! - [`fleet`] lets several machines work on one list.
//! - [`lab::inject`] plans faults on request, for people who test their set-up.
//! - [`results`] tells a person what runs have recorded.
//! - [`cli`] is what was typed, [`config_file`] what files add to it, [`config`] what it means,
//!   [`command`] who gets it; [`manual`] writes
//!   help, completions and manual pages from it, and [`hints`] knows what was meant instead.
//!
//! What several of them use: [`ledger`], a map of more keys than fit into memory;
//! [`folder`], folders that others may have prepared; [`page`], what all pages of HTML share;
//! [`format`](mod@format), quantities for people; [`terminal`], what a terminal shows; [`verdict`], which
//! is printed as JSON or text;
//! [`whole_file`], files that are written whole or not
//! at all; [`reap`], which asks the kernel what a child used; [`process_memory`], what it tells of a
//! process's memory.
//!
//! Imports run one way, and a test reads the sources to keep it so.

pub mod chaos;
pub mod cli;
pub mod command;
pub mod config;
pub mod config_file;
pub mod dispatch;
pub mod exec;
pub mod fleet;
pub mod folder;
pub mod format;
pub mod hints;
pub mod input;
pub mod isolation;
pub mod ledger;
pub mod login;
pub mod manual;
pub mod page;
pub mod placement;
pub mod pool;
pub mod process_memory;
pub mod reap;
pub mod results;
pub mod run;
pub mod shootout;
pub mod terminal;
pub mod verdict;
pub mod watch;
pub mod whole_file;
