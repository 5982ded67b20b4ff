//! The page of a worker process: which task each of its slots runs.
//!
//! It is memory that outlives the worker: when that is dead, the coordinator reads there what was
//! running. So a worker need not say that it takes a task up before it does anything for it, and what
//! it has to say can wait until there is more.
//!
//! A slot has a word: the number of the task, and 0 for none, which is no task's number. The word is
//! set before anything is done for the task, and cleared when its outcome is among the reports that
//! are to be sent. What a worker that was taken over writes there is for the coordinator to judge.
//!
//! The words are at standard input, where a worker has nothing to read. What a job prints does not
//! reach them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::TaskId;

use crate::memory::{self, WORD};

/// The words of all slots, as a worker sees them.
#[derive(Clone, Copy, Debug)]
pub struct Page(&'static [AtomicU64]);

/// The word of one slot. Without a page it is nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word(Option<&'static AtomicU64>);

/// Memory for the page of a worker with so many slots.
///
/// # Errors
///
/// If the system does not make it.
pub fn memory(slots: u16) -> io::Result<File> {
    memory::shared_memory(c"page", slots.into()).map(File::from)
}

/// The tasks that `page` names, of a worker that is dead. It is read and not mapped: no memory of the
/// coordinator is a worker's to change.
///
/// # Errors
///
/// If it cannot be read.
pub fn read(page: &File) -> io::Result<Vec<TaskId>> {
    // It has the size that it was made with, which is sealed.
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
    /// Maps the page that was made for a worker with so many slots.
    ///
    /// # Errors
    ///
    /// If `memory` is something else, or the system does not map it.
    pub fn map(memory: impl AsFd, slots: u16) -> io::Result<Self> {
        memory::map(memory, slots.into()).map(Self)
    }

    /// The word of slot `number`.
    #[must_use]
    pub fn word(self, number: usize) -> Word {
        Word(self.0.get(number))
    }
}

impl Word {
    /// Of a worker that has no page.
    pub(crate) const NONE: Self = Self(None);

    /// The slot takes up `task`.
    pub fn set(self, task: TaskId) {
        self.store(task.0);
    }

    /// The outcome of its task is among what is to be sent.
    pub fn clear(self) {
        self.store(0);
    }

    fn store(self, number: u64) {
        if let Some(word) = self.0 {
            // In its place between what comes before and what comes after.
            word.store(number, Ordering::SeqCst);
        }
    }
}
