//! The page of a worker process: it records which task each slot runs.
//!
//! The page is memory that outlives the worker. After the worker has died, the coordinator reads
//! there which tasks were running. A worker therefore does not have to report the start of a task
//! before it works on it, and can collect reports.
//!
//! Each slot has a word: the number of its task, or 0, which is no task's number. The word is set
//! before anything is done for the task, and cleared when its outcome is among the reports to be
//! sent. A compromised worker can write anything, so the coordinator has to check the words.
//!
//! The page is the standard input of a worker, which has no other input. Output does not reach it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::TaskId;

use crate::memory::{self, WORD};

/// The words of all slots, mapped in a worker.
#[derive(Clone, Copy, Debug)]
pub struct Page(&'static [AtomicU64]);

/// The word of one slot. Without a page, writing to it has no effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word(Option<&'static AtomicU64>);

/// Creates the memory for the page of a worker with `slots` slots.
///
/// # Errors
///
/// Fails if a system call fails.
pub fn memory(slots: u16) -> io::Result<File> {
    memory::shared_memory(c"page", slots.into()).map(File::from)
}

/// Returns the tasks that the `page` of a dead worker names. The page is read and not mapped, so
/// that no worker can change memory of the coordinator.
///
/// # Errors
///
/// Fails if the page cannot be read.
pub fn read(page: &File) -> io::Result<Vec<TaskId>> {
    // The size was sealed when the page was created.
    let size = usize::try_from(page.metadata()?.len()).unwrap_or(0);
    let mut bytes = vec![0; size];
    page.read_exact_at(&mut bytes, 0)?;
    let (words, _) = bytes.as_chunks::<WORD>();
    Ok(words
        .iter()
        .map(|word| TaskId(u64::from_ne_bytes(*word)))
        .filter(|task| task.0 != 0)
        .collect())
}

impl Page {
    /// Maps the page that was created for a worker with `slots` slots.
    ///
    /// # Errors
    ///
    /// Fails if `memory` is not such a page or cannot be mapped.
    pub fn map(memory: impl AsFd, slots: u16) -> io::Result<Self> {
        memory::map(memory, slots.into()).map(Self)
    }

    /// Returns the word of slot `number`.
    #[must_use]
    pub fn word(self, number: usize) -> Word {
        Word(self.0.get(number))
    }
}

impl Word {
    /// The word of a worker without a page.
    pub(crate) const NONE: Self = Self(None);

    /// Records that the slot starts `task`.
    pub fn set(self, task: TaskId) {
        self.store(task.0);
    }

    /// Records that the outcome of the task is among the reports to be sent.
    pub fn clear(self) {
        self.store(0);
    }

    fn store(self, number: u64) {
        if let Some(word) = self.0 {
            // The order relative to the work before and after it must be kept.
            word.store(number, Ordering::SeqCst);
        }
    }
}
