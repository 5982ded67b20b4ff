//! What a session runs its tasks with.

use super::Activity;
use crate::job::Job;

/// What came of a task.
pub type Outcome<J> = Result<Box<<J as Job>::Output>, Box<<J as Job>::Failure>>;

/// Does one task at a time. Each slot has its own.
pub trait Engine<J: Job> {
    /// Does the task, and says in `activity` how it goes.
    ///
    /// # Errors
    ///
    /// The nack.
    fn run(&mut self, task: &J::Task, activity: &Activity<J::Progress>) -> Outcome<J>;
}

/// As [`Engine`], for an event loop: a task waits without holding up its thread.
pub trait EventEngine<J: Job>: Send {
    /// Does the task, and says in `activity` how it goes. Dropped halfway, it gives the task up and
    /// leaves nothing behind.
    ///
    /// # Errors
    ///
    /// The nack.
    fn run(
        &mut self,
        task: &J::Task,
        activity: &Activity<J::Progress>,
    ) -> impl Future<Output = Outcome<J>> + Send;
}
