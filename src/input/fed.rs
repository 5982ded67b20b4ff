//! A list that another part of this program writes while it is being read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::UrlKey;

/// Lines read at once. The writer cannot take them back, and a new group waits for them.
const TOGETHER: usize = 16;

/// The reading end: a source of JSONL. It can be opened once.
#[derive(Clone)]
pub struct Fed(Arc<Shared>);

/// The writing end. Dropping it ends the list.
#[derive(Debug)]
pub struct FedWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is a line, or the list has ended.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<u16, Group>,
    /// Groups that have lines, in the order of their turns: the least recently read group is first.
    turns: BTreeSet<(u64, u16)>,
    /// Number of lines read so far.
    read: u64,
    ended: bool,
    opened: bool,
}

#[derive(Debug, Default)]
struct Group {
    /// When the group was last read, as the number of lines read before.
    read: u64,
    lines: VecDeque<(UrlKey, String)>,
}

impl State {
    fn next(&mut self) -> Option<String> {
        let (_, number) = self.turns.pop_first()?;
        let group = self.groups.get_mut(&number)?;
        let (_, line) = group.lines.pop_front()?;
        self.read += 1;
        group.read = self.read;
        if !group.lines.is_empty() {
            self.turns.insert((group.read, number));
        }
        Some(line)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves a consistent state, so a panic elsewhere does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fed {
    /// Creates both ends.
    #[must_use]
    pub fn new() -> (FedWriter, Self) {
        let shared = Arc::new(Shared::default());
        (FedWriter(Arc::clone(&shared)), Self(shared))
    }

    /// Returns the reader. The second time, it is empty.
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
    /// Appends a line, which ends with a newline, to a group. Groups take turns; a new one is next.
    pub fn push(&self, group: u16, key: UrlKey, line: String) {
        let mut state = self.0.lock();
        let state = &mut *state;
        let lines = state.groups.entry(group).or_default();
        if lines.lines.is_empty() {
            state.turns.insert((lines.read, group));
        }
        lines.lines.push_back((key, line));
        self.0.changed.notify_one();
    }

    /// Removes the lines of a group that are not read yet, and returns their keys.
    pub fn take_back(&self, group: u16) -> Vec<UrlKey> {
        let mut state = self.0.lock();
        let Some(taken) = state.groups.remove(&group) else {
            return Vec::new();
        };
        state.turns.remove(&(taken.read, group));
        taken.lines.into_iter().map(|(key, _)| key).collect()
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

/// Two values are equal if they belong to the same list.
impl PartialEq for Fed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fed {}

/// Reads the written lines, several at a time.
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
            let waits = |state: &mut State| state.turns.is_empty() && !state.ended;
            let state = shared.changed.wait_while(shared.lock(), waits);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            self.piece.clear();
            self.at = 0;
            for line in std::iter::from_fn(|| state.next()).take(TOGETHER) {
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

    /// Returns the next piece, as lines.
    fn piece(reader: &mut FedReader) -> Vec<String> {
        let mut some = [0; 4096];
        let length = reader.read(&mut some).expect("it is in memory");
        let text = std::str::from_utf8(&some[..length]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_not_read_can_be_taken_back() {
        let (writer, list) = Fed::new();
        let mut reader = list.open();
        for number in 0..90 {
            writer.push(7, key(number), format!("{number}\n"));
        }
        for number in 90..100 {
            writer.push(8, key(number), format!("{number}\n"));
        }
        let read = piece(&mut reader);
        assert_eq!(read.len(), TOGETHER);
        let gone: Vec<_> = (TOGETHER as u8 / 2..90).map(key).collect();
        assert_eq!(writer.take_back(7), gone);
        assert_eq!(writer.take_back(7), []);
        writer.push(7, key(100), "100\n".to_owned());
        drop(writer);
        assert_eq!(piece(&mut reader), ["100", "98", "99"]);
        let mut again = String::new();
        list.open().read_to_string(&mut again).expect("nothing");
        assert_eq!(again, "");
    }

    #[test]
    fn groups_take_turns_and_a_new_one_is_next() {
        let (writer, list) = Fed::new();
        let mut reader = list.open();
        for number in 0..TOGETHER as u8 {
            for group in [3, 5] {
                writer.push(group, key(number), format!("{group}\n"));
            }
        }
        assert_eq!(piece(&mut reader), ["3", "5"].repeat(TOGETHER / 2));
        writer.push(9, key(99), "9\n".to_owned());
        let read = piece(&mut reader);
        assert_eq!(read[..3], ["9", "3", "5"]);
        assert_eq!(piece(&mut reader).len(), 1);
        // A group that had no line for some time does not wait longer for its turn.
        writer.push(9, key(98), "9\n".to_owned());
        writer.push(3, key(98), "3\n".to_owned());
        assert_eq!(piece(&mut reader), ["9", "3"]);
    }
}
