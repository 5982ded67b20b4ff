//! c
pub mod origin;
