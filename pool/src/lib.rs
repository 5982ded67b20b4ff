//! A pool of worker processes that loses no task when any of them dies.
//!
//! What there is so far is its core, [`dispatch`]: the state machine that decides which worker gets
//! which task, what is tried again, who is ended, and whose fault a death is.
//!
//! This crate knows nothing of what the tasks are.

pub mod dispatch;
