//! The shootout through the built program: real contestants, real times, and a real browser that
//! opens the page.
#![allow(clippy::unwrap_used, reason = "tests")]

mod contestants;
mod held;
mod lead;
mod look;
mod markup;
mod page;
mod sample;
#[path = "../support/mod.rs"]
mod support;
mod table;
