//! A list that another part of this program writes while it is read.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::UrlKey;

/// Lines that are read at once. The writer cannot take them back any more.
const TOGETHER: usize = 32;

/// The end that is read: a source of JSONL. It can be opened once.
#[derive(Clone)]
pub struct Fed(Arc<Shared>);

/// The end that is written. The list ends when it is dropped.
#[derive(Debug)]
pub struct FedWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is a line, or the list has ended.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<(UrlKey, String)>,
    ended: bool,
    opened: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole in itself, so a panic elsewhere does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fed {
    /// Both ends.
    #[must_use]
    pub fn new() -> (FedWriter, Self) {
        let shared = Arc::new(Shared::default());
        (FedWriter(Arc::clone(&shared)), Self(shared))
    }

    /// What there is to read; nothing the second time.
    pub(super) fn open(&self) -> FedReader {
        let was_open = std::mem::replace(&mut self.0.lock().opened, true);
        FedReader {
            shared: (!was_open).then(|| Arc::clone(&self.0)),
            piece: Vec::new(),
            at: 0,
        }
    }
}

impl FedWriter {
    /// Appends a line, which ends with a newline.
    pub fn push(&self, key: UrlKey, line: String) {
        self.0.lock().lines.push_back((key, line));
        self.0.changed.notify_one();
    }

    /// Takes back the lines of these targets, as far as they are not read; returns their keys.
    pub fn take_back(&self, is_wanted: impl Fn(&UrlKey) -> bool) -> Vec<UrlKey> {
        let mut taken = Vec::new();
        self.0.lock().lines.retain(|(key, _)| {
            let is_taken = is_wanted(key);
            if is_taken {
                taken.push(*key);
            }
            !is_taken
        });
        taken
    }
}

impl Drop for FedWriter {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl fmt::Debug for Fed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fed")
    }
}

/// The same list.
impl PartialEq for Fed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fed {}

/// What was written, some lines at a time.
pub(super) struct FedReader {
    shared: Option<Arc<Shared>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for FedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let Some(shared) = &self.shared else {
                return Ok(0);
            };
            let waits = |state: &mut State| state.lines.is_empty() && !state.ended;
            let state = shared.changed.wait_while(shared.lock(), waits);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            let most = state.lines.len().min(TOGETHER);
            self.piece.clear();
            self.at = 0;
            for (_, line) in state.lines.drain(..most) {
                self.piece.extend_from_slice(line.as_bytes());
            }
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> UrlKey {
        UrlKey::of_task(&format!("http://h/{number}"), None, None)
    }

    #[test]
    fn what_is_not_read_can_be_taken_back() {
        let (writer, list) = Fed::new();
        let mut reader = list.open();
        for number in 0..100 {
            writer.push(key(number), format!("{number}\n"));
        }
        let mut some = [0; 4096];
        let length = reader.read(&mut some).expect("it is in memory");
        assert_eq!(some[..length].iter().filter(|b| **b == b'\n').count(), 32);
        let gone: Vec<_> = (0..90).map(key).collect();
        let taken = writer.take_back(|key| gone.contains(key));
        assert_eq!(taken, gone[32..]);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("it is in memory");
        assert_eq!(rest.lines().count(), 10);
        assert!(rest.starts_with("90\n") && rest.ends_with("99\n"), "{rest}");
        let mut again = String::new();
        list.open().read_to_string(&mut again).expect("nothing");
        assert_eq!(again, "");
    }
}
