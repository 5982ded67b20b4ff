//! Engines, which run the tasks of a session.

use super::Activity;
use crate::job::Job;

/// The result of a task.
pub type Outcome<J> = Result<Box<<J as Job>::Output>, Box<<J as Job>::Failure>>;

/// Runs one task at a time. Each slot has its own engine.
pub trait Engine<J: Job> {
    /// Runs the task, and records its progress in `activity`.
    ///
    /// # Errors
    ///
    /// Returns the failure to be reported as a nack.
    fn run(&mut self, task: &J::Task, activity: &Activity<J::Progress>) -> Outcome<J>;
}

/// Like [`Engine`], for an event loop: a task that waits does not block its thread.
pub trait EventEngine<J: Job>: Send {
    /// Runs the task, and records its progress in `activity`. Dropping the future cancels the task
    /// and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Returns the failure to be reported as a nack.
    fn run(
        &mut self,
        task: &J::Task,
        activity: &Activity<J::Progress>,
    ) -> impl Future<Output = Outcome<J>> + Send;
}
