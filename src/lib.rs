//! A master/worker, multi-process bulk downloader that loses nothing when any process is killed.
//!
//! This is the library behind the `coordinator` program. README.md says what the program does and
//! promises, and ARCHITECTURE.md how it works.
//!
//! ```text
//!   main --> command --> config --> run ------> dispatch      the core: makes all decisions
//!              |                     |
//!              cli                   +-----> workers --> pool (crate)        starts and reaches workers
//!                                    |            \        /
//!                                    +--> input    protocol (crate)          their messages
//! ```
//!
//! - Begin with [`dispatch`], a pure state machine that makes every decision.
//! - [`run`] is the shell around it: one thread that receives events and carries out decisions.
//! - [`workers`] says how the crate [`pool`] starts workers, [`input`] reads lists of URLs,
//!   [`lab::origin`] simulates the network.
//! - [`placement`] puts the bodies that workers have finished in place, and [`exec`] runs the program
//!   of `--exec` on them.
//! - [`watch`] shows a run over HTTP.
//! - [`chaos`] causes every kind of fault during a run, and checks the result.
//! - [`isolation`] makes a worker try what it must not do, and checks the effect.
//! - [`fleet`] downloads one list with several machines.
//! - [`lab::inject`] plans faults on request, for people who test their set-up.
//! - [`results`] shows what runs have recorded.
//! - [`cli`] has the clap types, [`config_file`] adds options from files, [`config`] validates them, and
//!   [`command`] runs the command. [`manual`] writes help, completions and manual pages, and
//!   [`hints`] explains options of other programs.
//!
//! Shared by several of them: [`disk_map`], a map of more keys than fit into memory;
//! [`fence`], which targets of a fleet may be put in place now;
//! [`folder`], folders that others may have prepared; [`page`], the parts that all HTML pages share;
//! [`format`](mod@format), quantities for people; [`terminal`], colours and widths; [`verdict`], printed
//! as JSON or text;
//! [`whole_file`], files that are written whole or not at all.
//!
//! Imports run one way, and a test checks that.

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
