//! The output of a run for people: progress, lines about failures, and a summary.
//!
//! Progress and lines go to standard error, the summary to standard output.

mod bars;
mod console;
mod feed;
mod pace;
mod screen;
mod summary;
mod text;

pub use bars::LogLines;
pub use console::{Console, Manner};
pub use feed::{Feed, FeedTarget, end as end_of_run};
pub use summary::{Close, print as print_summary, print_plan, print_settings};
pub use text::{Activity, RunningLine, WorkerLine, status_lines};
