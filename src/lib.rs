//! c
pub mod cli;
pub mod command;
pub mod config;
pub mod dispatch;
pub mod input;
pub mod origin;
pub mod pool;
pub mod run;
pub mod shootout;
