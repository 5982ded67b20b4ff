//! A master/worker, multi-process bulk downloader that loses nothing when any process is killed.
//!
//! This is the library behind the `coordinator` program. README.md describes what the program does
//! and guarantees, and ARCHITECTURE.md describes how it works.
//!
//! ```text
//!   main --> command --> config --> run ------> dispatch      the core: makes all decisions
//!              |                     |
//!              cli                   +-----> workers --> pool (crate)        starts and reaches workers
//!                                    |            \        /
//!                                    +--> input    protocol (crate)          their messages
//! ```
//!
//! - Start reading at [`dispatch`], a pure state machine that makes every decision.
//! - [`run`] is the shell around it: one thread that receives events and carries out decisions.
//! - [`workers`] says how the crate [`pool`] starts workers, [`input`] reads lists of URLs,
//!   [`lab::origin`] simulates the network.
//! - [`placement`] puts the bodies that workers have finished in place, and [`exec`] runs the program
//!   of `--exec` on them.
//! - [`watch`] shows a run over HTTP.
//! - [`chaos`] injects every kind of fault into a run, and checks the result.
//! - [`isolation`] makes a worker attempt what its sandbox must prevent, and checks the effect.
//! - [`fleet`] downloads one list with several machines.
//! - [`lab::inject`] plans faults that the user requests to test a set-up.
//! - [`results`] shows what runs have recorded.
//! - [`cli`] has the clap types, [`config_file`] adds options from files, [`config`] validates
//!   them, and [`command`] runs the command. [`manual`] writes help, completions and manual pages,
//!   and [`hints`] explains options of other programs.
//!
//! Several modules share these: [`disk_map`], a map of more keys than fit into memory; [`fence`],
//! the targets of a fleet that this member may place; [`folder`], folders that other users may have
//! prepared; [`page`], the parts that all HTML pages share; [`format`](mod@format), quantities for
//! people; [`terminal`], colours and widths; [`verdict`], results as JSON or text; [`whole_file`],
//! files that are written whole or not at all.
//!
//! Imports run in one direction, and a test checks that.

pub mod chaos;
pub mod cli;
pub mod command;
pub mod config;
pub mod config_file;
pub mod disk_map;
pub mod dispatch;
pub mod exec;
pub mod fence;
pub mod fleet;
pub mod folder;
pub mod format;
pub mod hints;
pub mod input;
pub mod isolation;
pub mod login;
pub mod manual;
pub mod page;
pub mod placement;
pub mod results;
pub mod run;
pub mod shootout;
pub mod terminal;
pub mod verdict;
pub mod watch;
pub mod whole_file;
pub mod workers;
