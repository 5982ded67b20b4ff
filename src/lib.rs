//! c
pub mod dispatch;
