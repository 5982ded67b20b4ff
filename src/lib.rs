//! c

pub mod input;
pub mod run;
