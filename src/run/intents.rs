//! Intents: files that may be in place without a record, whose names do not contain the URL's key.
//!
//! Such a name does not tell which URL the file belongs to. So the run writes an intent before it
//! assigns a task whose place is free. A file that a kill leaves without a record belongs to the
//! task if there is an intent, and the task is done again. Otherwise it belongs to the user. An
//! intent ends with the record of its task. This module must not look at the files.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use data_encoding::BASE32_DNSSEC;
use protocol::TaskId;

use super::resume::Index;
use crate::disk_map::DiskMapError;
use crate::folder::{Folder, OwnFolder, Replace};
use crate::input::{Target, UrlKey};

/// The file with the intents, beside the run log.
pub(super) const FILE: &str = "intents";

/// The new file that replaces it.
const NEW: &str = "intents.new";

/// Maximum number of bytes to read: many times the size that a run leaves.
const MOST: u64 = 32 * 1024 * 1024;

/// Number of lines beyond those in force above which the file is rewritten.
const STALE: usize = 8192;

/// The keys of a place and of the URL whose file goes there.
type Intent = [u8; 2 * UrlKey::BYTES];

/// The intents of earlier runs that no record has ended.
#[derive(Clone, Debug, Default)]
pub struct Standing(HashSet<Intent>);

/// The intents of a run, and their file.
#[derive(Debug)]
pub struct Intents {
    folder: Folder,
    /// `None` before the first intent of a run that found none.
    file: Option<File>,
    /// Whether intents must survive a loss of power.
    durable: bool,
    /// Intents that outlive their task: a file may be in place without a record.
    standing: HashSet<Intent>,
    /// Intents of tasks that are assigned.
    open: HashMap<TaskId, Intent>,
    /// Tasks whose records are not written yet.
    recorded: Vec<TaskId>,
    /// Lines for the next write: of intents that ended without a file.
    ended: String,
    /// Number of lines in the file.
    lines: usize,
}

/// The intents cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write the names that are about to be used to {}: {source}; check that file, and run the same \
     command again",
    .path.display()
)]
pub struct IntentError {
    path: PathBuf,
    source: io::Error,
}

fn intent(target: &Target) -> Intent {
    let mut intent = [0; 2 * UrlKey::BYTES];
    let (place, url) = intent.split_at_mut(UrlKey::BYTES);
    place.copy_from_slice(UrlKey::of(target.place()).as_bytes());
    url.copy_from_slice(UrlKey::of(&target.url).as_bytes());
    intent
}

impl Standing {
    /// Reads the intents that earlier runs left in `file`, if it exists. Drops those with a record.
    ///
    /// # Errors
    ///
    /// Fails if the index cannot be read.
    pub fn read(file: Option<File>, index: &Index) -> Result<Self, DiskMapError> {
        let mut text = Vec::new();
        if let Some(file) = file {
            // Intents that cannot be read are ignored. Their files then count as the user's.
            let _ = file.take(MOST).read_to_end(&mut text);
        }
        let mut standing = HashSet::new();
        for line in text.split(|&byte| byte == b'\n') {
            let Some((sign, key)) = line.split_first() else {
                continue;
            };
            let key = BASE32_DNSSEC.decode(key).ok();
            let Some(intent) = key.and_then(|key| Intent::try_from(key).ok()) else {
                continue;
            };
            match sign {
                b'+' => standing.insert(intent),
                b'-' => standing.remove(&intent),
                _ => false,
            };
        }
        let mut kept = HashSet::new();
        for intent in standing {
            let (place, url) = intent.split_at(UrlKey::BYTES);
            let owner = match place.try_into() {
                Ok(place) => index.owner(place)?,
                Err(_) => None,
            };
            if owner.is_none_or(|owner| owner != *url) {
                kept.insert(intent);
            }
        }
        Ok(Self(kept))
    }

    /// Returns whether a file without a record in the target's place belongs to the target.
    #[must_use]
    pub fn has(&self, target: &Target) -> bool {
        !self.0.is_empty() && self.0.contains(&intent(target))
    }
}

impl Intents {
    /// Starts with the intents of earlier runs.
    ///
    /// # Errors
    ///
    /// Fails if their file cannot be written, or cannot be removed if there are none.
    pub fn open(
        folder: &OwnFolder,
        standing: &Standing,
        durable: bool,
    ) -> Result<Self, IntentError> {
        let folder = folder.as_folder();
        let standing = standing.0.clone();
        let mut intents = Self {
            folder: folder.try_clone().map_err(|source| IntentError {
                path: folder.path().join(FILE),
                source,
            })?,
            file: None,
            durable,
            lines: 0,
            standing,
            open: HashMap::new(),
            recorded: Vec::new(),
            ended: String::new(),
        };
        intents.write()?;
        Ok(intents)
    }

    /// Writes intents for tasks. They may be assigned once this returns.
    ///
    /// # Errors
    ///
    /// Fails if the intents cannot be written.
    pub fn intend<'a>(
        &mut self,
        tasks: impl Iterator<Item = (TaskId, &'a Target)>,
    ) -> Result<(), IntentError> {
        let mut text = String::new();
        for (task, target) in tasks {
            if let std::collections::hash_map::Entry::Vacant(entry) = self.open.entry(task) {
                let intent = entry.insert(intent(target));
                text.push_str(&line('+', intent));
                self.lines += 1;
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let Some(file) = &mut self.file else {
            return self.write();
        };
        text.insert_str(0, &std::mem::take(&mut self.ended));
        let written = file.write_all(text.as_bytes());
        let synced = written.and_then(|()| match self.durable {
            true => file.sync_data(),
            false => Ok(()),
        });
        synced.map_err(|source| self.failed(source))
    }

    /// Writes an intent for a task whose place has changed. Returns whether a file without a record
    /// in the new place belongs to the task. The file may be put there once this returns.
    ///
    /// # Errors
    ///
    /// Fails if the intent cannot be written.
    pub fn turn(&mut self, task: TaskId, target: &Target) -> Result<bool, IntentError> {
        let intent = intent(target);
        let stands = self.standing.contains(&intent);
        if self.open.get(&task) != Some(&intent) {
            if let Some(old) = self.open.remove(&task) {
                self.ended.push_str(&line('-', &old));
                self.lines += 1;
            }
            self.intend(std::iter::once((task, target)))?;
        }
        Ok(stands)
    }

    /// Notes that the task will be recorded, with its file in place if `in_place`.
    pub fn settle(&mut self, task: TaskId, target: &Target, in_place: bool) {
        if in_place {
            self.recorded.push(task);
            if !self.standing.is_empty() {
                self.standing.remove(&intent(target));
            }
        } else if let Some(intent) = self.open.remove(&task) {
            self.ended.push_str(&line('-', &intent));
            self.lines += 1;
        }
    }

    /// Notes that all records so far are written.
    ///
    /// # Errors
    ///
    /// Fails if the file had to be rewritten and cannot be.
    pub fn flushed(&mut self) -> Result<(), IntentError> {
        for task in self.recorded.drain(..) {
            self.open.remove(&task);
        }
        if self.lines > STALE + 2 * (self.open.len() + self.standing.len()) {
            self.write()?;
        }
        Ok(())
    }

    /// Leaves what the next run has to know. All records must be written.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn close(mut self) -> Result<(), IntentError> {
        for task in self.recorded.drain(..) {
            self.open.remove(&task);
        }
        self.write()
    }

    /// Rewrites the file, or removes it if there are no intents.
    fn write(&mut self) -> Result<(), IntentError> {
        let all: HashSet<Intent> = self.open.values().chain(&self.standing).copied().collect();
        self.lines = all.len();
        self.ended.clear();
        let written = if all.is_empty() {
            remove(&self.folder).map(|()| None)
        } else {
            write_anew(&self.folder, &all, self.durable).map(Some)
        };
        self.file = written.map_err(|source| self.failed(source))?;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> IntentError {
        IntentError {
            path: self.folder.path().join(FILE),
            source,
        }
    }
}

fn line(sign: char, intent: &Intent) -> String {
    format!("{sign}{}\n", BASE32_DNSSEC.encode(intent))
}

/// Puts a file with these intents in place, in one step.
fn write_anew(folder: &Folder, intents: &HashSet<Intent>, durable: bool) -> io::Result<File> {
    let text: String = intents.iter().map(|intent| line('+', intent)).collect();
    let mut file = folder.renew(NEW)?;
    file.write_all(text.as_bytes())?;
    if durable {
        file.sync_data()?;
    }
    folder.rename(NEW, folder, FILE, Replace::Yes)?;
    Ok(file)
}

/// Removes the file, if it exists.
fn remove(folder: &Folder) -> io::Result<()> {
    match folder.remove_file(FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::input::Lines;

    fn target(out: &str) -> Target {
        let line = format!(r#"{{"url":"http://h/{out}","out":"{out}"}}"#);
        let reader = Box::new(Cursor::new(line.into_bytes()));
        let mut lines = Lines::new("list", reader, Arc::default());
        lines.next().expect("a line").entry.expect("a target")
    }

    fn own(folder: &Path) -> OwnFolder {
        OwnFolder::named(folder).expect("a folder")
    }

    fn standing(folder: &Path) -> Standing {
        let file = own(folder).read_private(FILE);
        Standing::read(file, &Index::empty(folder.to_owned())).expect("read")
    }

    #[test]
    fn an_intent_stands_until_its_task_is_recorded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let open = || Intents::open(&own(folder), &standing(folder), false).expect("a file");
        let has = |name| standing(folder).has(&target(name));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(target);
        let mut intents = open();
        let tasks = [(1, &a), (2, &b), (3, &c), (4, &d)];
        let tasks = || tasks.map(|(task, target)| (TaskId(task), target));
        intents.intend(tasks().into_iter()).expect("written");
        intents.intend(tasks().into_iter()).expect("nothing new");
        assert_eq!(intents.lines, 4);
        intents.settle(TaskId(1), &a, true);
        // A kill now could lose the record.
        assert!(has("a") && has("b") && has("c") && has("d"));
        intents.flushed().expect("nothing to do");
        intents.settle(TaskId(2), &b, false);
        intents.close().expect("written");
        assert!(!has("a") && !has("b") && has("c") && has("d"));
        // The next run does the tasks of standing intents again, and need not write new intents.
        let mut intents = open();
        intents.settle(TaskId(1), &c, true);
        intents.settle(TaskId(2), &d, false);
        intents.flushed().expect("nothing to do");
        intents.close().expect("written");
        assert!(!has("c") && has("d"));
        let mut intents = open();
        intents.settle(TaskId(1), &d, true);
        intents.close().expect("removed");
        assert!(!folder.join(FILE).exists());
    }

    #[test]
    fn a_task_that_failed_without_a_file_leaves_no_intent_also_after_a_kill() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let mut intents = Intents::open(&own(folder), &standing(folder), true).expect("a file");
        let [a, b] = ["a", "b"].map(target);
        intents
            .intend([(TaskId(1), &a)].into_iter())
            .expect("written");
        intents.settle(TaskId(1), &a, false);
        intents
            .intend([(TaskId(2), &b)].into_iter())
            .expect("written");
        let standing = standing(folder);
        assert!(!standing.has(&a) && standing.has(&b));
    }

    #[test]
    fn the_file_does_not_grow_with_the_run_and_torn_lines_count_for_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let mut intents = Intents::open(&own(folder), &standing(folder), false).expect("a file");
        let held = target("held");
        intents
            .intend([(TaskId(0), &held)].into_iter())
            .expect("written");
        for number in 1..=2 * STALE as u64 {
            let target = target(&number.to_string());
            intents
                .intend([(TaskId(number), &target)].into_iter())
                .expect("written");
            intents.settle(TaskId(number), &target, true);
            intents.flushed().expect("written");
        }
        let path = folder.join(FILE);
        let size = fs::metadata(&path).expect("it is there").len();
        assert!(size < 40 * (STALE as u64 + 10), "{size}");
        let mut text = fs::read_to_string(&path).expect("read");
        text.push_str("+short\n\0\n*\n+");
        fs::write(&path, text).expect("written");
        assert!(standing(folder).has(&held));
    }
}
