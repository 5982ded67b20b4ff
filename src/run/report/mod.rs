//! What a person sees of a run: progress while it goes on, lines for what goes wrong, a summary.
//!
//! Progress and lines go to standard error, the summary to standard output.

mod bars;
mod console;
mod summary;
mod text;

pub use console::{Console, Verbosity};
pub use summary::{Close, print as print_summary, print_plan};
pub use text::{RunningLine, WorkerLine, status_lines};
