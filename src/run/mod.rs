//! The shell around the core: what a run keeps on disk, and what an earlier run left there.

pub mod log;
pub mod resume;
