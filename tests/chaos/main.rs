//! `coordinator chaos` as a program: everything is killed, and nothing may be lost.
#![allow(clippy::unwrap_used, reason = "tests")]

mod modes;
#[path = "../support/mod.rs"]
mod support;
mod verdict;
