//! The main job through the built program: real processes, real sockets, real files.
//!
//! Each test starts the program, waits for something observable, and never sleeps.
#![allow(clippy::unwrap_used, reason = "tests")]

mod architecture;
mod config;
mod crashes;
mod descriptors;
mod disk;
mod dry_run;
mod editions;
mod exec;
mod failing_disk;
mod failures;
mod first_words;
mod folder;
mod fsync;
mod hosts;
mod inject;
mod input;
mod limit_rate;
mod limits;
mod lists;
mod live;
mod login;
mod main_job;
mod manners;
mod modes;
mod naming;
mod network;
mod nginx;
mod origin;
mod placing;
mod prepared;
mod reference;
mod refresh;
mod results;
mod resume;
mod resumed;
mod robots;
mod signals;
mod split;
mod suggested;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod watched;
