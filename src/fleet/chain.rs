//! The chain of a partition: the messages of its owners. A message is appended only if nothing was
//! appended since its owner last read the chain.
//!
//! ```text
//!   begin A   outcomes A   outcomes A   begin B   outcomes B  ...
//!             floor, since              ^ from here on, messages of A are refused
//! ```
//!
//! A message holds outcomes and how far the partition is done, so that one write commits both. Only
//! the first line of a task counts. This module is pure: it holds what an owner knows of the chain.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::frame::{FrameHead, MessageError, VERSION, parts};
use super::lease::Session;

/// Number of consecutive owners without an outcome after which the targets of the partition are
/// tried one at a time.
const FRUITLESS: u32 = 2;

/// Number of owners that may end while they try a target alone, before the target is given up.
const TRIALS: u32 = 8;

/// Largest number of open frames of a partition: the next one is ready when one is done.
pub const FRAMES: usize = 2;

/// Bytes of outcomes in one message. A single line may be longer.
pub const BATCH: usize = 256 * 1024;

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An owner begins. Its epoch is the sequence number of this message.
    Begin,
    /// Outcomes follow the head, one per line.
    Outcomes,
    /// An owner without any work leaves in an orderly way.
    End,
}

/// A target that an owner tries alone, because it may have ended earlier owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number in the partition.
    pub task: u64,
    /// Number of this trial, from 1.
    pub count: u32,
}

/// How far a partition is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The sequence number of a frame. All targets up to the end of this frame have their outcome.
    pub frame: u64,
    /// The number of these targets.
    pub tasks: u64,
}

/// The head of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the messages.
    pub v: u32,
    /// Kind of the message.
    pub kind: Kind,
    /// Name of the member that wrote it.
    pub machine: String,
    /// Session of that member.
    pub session: Session,
    /// Sequence number of the owner's `begin`; 0 in a `begin`.
    pub epoch: u64,
    /// How far the partition is done, including this message.
    pub floor: Floor,
    /// Sequence number from which on the chain holds all outcomes of targets after the floor.
    pub since: u64,
    /// In a `begin`: number of consecutive earlier owners that ended without an outcome.
    #[serde(default)]
    pub fruitless: u32,
    /// The target that is tried alone from this message on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Number of targets of the partition that were given up.
    #[serde(default)]
    pub dead: u64,
}

/// The outcome of one task.
#[derive(Clone, Debug, Deserialize)]
pub struct Line<'a> {
    /// The number of the target in the partition.
    pub task: u64,
    /// The line of the member's run log; `None` if the member could not read the target, or if the
    /// target was given up.
    #[serde(borrow)]
    pub record: Option<&'a serde_json::value::RawValue>,
    /// The reason why there is no record.
    pub problem: Option<String>,
    /// Whether the target was given up because successive members ended while they had it.
    #[serde(default)]
    pub dead: bool,
}

/// Reads the head and the lines of a message.
///
/// # Errors
///
/// Fails if this is not a message of a chain.
pub fn read(message: &[u8]) -> Result<(Head, &[u8]), MessageError> {
    parts(message)
}

/// Reads the outcomes in a message.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Result<Line<'_>, MessageError>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| Ok(serde_json::from_slice(line)?))
}

/// Returns the line of an outcome with a record.
#[must_use]
pub fn recorded(task: u64, record: &str) -> String {
    format!("{{\"task\":{task},\"record\":{}}}", record.trim_end())
}

/// Returns the line of a target that the member could not read.
#[must_use]
pub fn unreadable(task: u64, problem: &str) -> String {
    let problem = serde_json::Value::from(problem);
    format!("{{\"task\":{task},\"record\":null,\"problem\":{problem}}}")
}

/// Returns the line of a target that is given up.
fn dead(task: u64) -> String {
    let members = FRUITLESS + TRIALS;
    format!(
        "{{\"task\":{task},\"record\":null,\"dead\":true,\"problem\":\"{members} members in a row ended \
         while they had it\"}}"
    )
}

/// The part of a chain that a member has read before it begins.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// How far the partition is done.
    pub floor: Floor,
    /// The sequence number of its last message; 0 if it is empty.
    pub tail: u64,
    /// The tasks after the floor that have an outcome, with the sequence number of their message.
    pub done: BTreeMap<u64, u64>,
    /// Number of consecutive owners at the end that ended without an outcome.
    pub fruitless: u32,
    /// The target that the last owner tried alone.
    pub trial: Option<Trial>,
    /// Number of targets that were given up.
    pub dead: u64,
}

impl Replay {
    /// Adds a message. Messages must be added in order, from `since` of the last one on.
    ///
    /// # Errors
    ///
    /// Fails if this is not a message of a chain.
    pub fn add(&mut self, sequence: u64, message: &[u8]) -> Result<(), MessageError> {
        let (head, text) = read(message)?;
        self.fruitless = match head.kind {
            Kind::Begin => head.fruitless + 1,
            Kind::Outcomes if text.is_empty() && head.floor == self.floor => self.fruitless,
            Kind::Outcomes | Kind::End => 0,
        };
        self.trial = head.trial;
        self.dead = head.dead;
        self.floor = head.floor;
        self.tail = sequence;
        for line in lines(text) {
            self.done.entry(line?.task).or_insert(sequence);
        }
        let floor = self.floor.tasks;
        self.done.retain(|task, _| *task >= floor);
        Ok(())
    }
}

/// A frame that is not done.
#[derive(Debug)]
struct Open {
    sequence: u64,
    first: u64,
    count: u64,
    /// Number of its targets without an outcome in the chain.
    left: u64,
}

/// What the owner of a partition knows about it.
#[derive(Debug)]
pub struct Progress {
    epoch: u64,
    tail: u64,
    floor: Floor,
    /// The floor in the chain's last message.
    told: Floor,
    open: VecDeque<Open>,
    /// Tasks after the floor with an outcome in the chain, with the sequence number.
    done: BTreeMap<u64, u64>,
    /// Outcomes that are not in the chain.
    waiting: BTreeMap<u64, String>,
    /// The tasks of the message in flight, followed by its floor and its trial.
    sent: Vec<u64>,
    on_its_way: Option<(Floor, Option<Trial>)>,
    /// Number of frames whose targets must still be tried one at a time.
    careful: usize,
    /// The target that the last owner tried alone.
    earlier: Option<Trial>,
    /// The target that this owner tries alone, and the one that the chain names.
    trial: Option<Trial>,
    told_trial: Option<Trial>,
    dead: u64,
    /// Whether the owner leaves and must write an [`Kind::End`].
    ends: bool,
}

impl Progress {
    /// Creates the state of an owner whose `begin` has the sequence number `epoch`.
    #[must_use]
    pub fn begun(epoch: u64, replay: Replay) -> Self {
        let undone = |trial: &Trial| {
            trial.task >= replay.floor.tasks && !replay.done.contains_key(&trial.task)
        };
        let earlier = replay.trial.filter(undone);
        Self {
            epoch,
            tail: epoch,
            floor: replay.floor,
            told: replay.floor,
            open: VecDeque::new(),
            done: replay.done,
            waiting: BTreeMap::new(),
            sent: Vec::new(),
            on_its_way: None,
            careful: match replay.fruitless >= FRUITLESS || earlier.is_some() {
                true => FRAMES,
                false => 0,
            },
            earlier,
            trial: replay.trial,
            told_trial: replay.trial,
            dead: replay.dead,
            ends: false,
        }
    }

    /// Returns whether the targets of the last frame must be tried one at a time. Call it once for
    /// each frame.
    pub fn takes_care(&mut self) -> bool {
        let care = self.careful > 0;
        self.careful = self.careful.saturating_sub(1);
        care
    }

    /// Begins to try this target alone. Returns false if it is given up instead.
    pub fn begin_trial(&mut self, task: u64) -> bool {
        let earlier = self.earlier.filter(|trial| trial.task == task);
        let count = earlier.map_or(0, |trial| trial.count);
        if count >= TRIALS {
            self.dead += u64::from(self.outcome(task, dead(task)));
            return false;
        }
        self.trial = Some(Trial {
            task,
            count: count + 1,
        });
        true
    }

    /// Returns whether the chain names the current trial, so that it can begin.
    #[must_use]
    pub fn is_trial_told(&self) -> bool {
        self.trial == self.told_trial
    }

    /// Ends the trials.
    pub fn end_trials(&mut self) {
        self.trial = None;
    }

    /// Returns whether this target has an outcome, in the chain or on the way to it.
    #[must_use]
    pub fn has_outcome(&self, task: u64) -> bool {
        task < self.floor.tasks || self.done.contains_key(&task) || self.waits(task)
    }

    /// Prepares to leave in an orderly way. An owner without work must not count as failed.
    pub fn leave(&mut self) {
        self.ends = self.tail == self.epoch;
    }

    /// Returns the sequence number of the owner's `begin`.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the sequence number of the chain's last message.
    #[must_use]
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// Returns how far the partition is done.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        self.floor
    }

    /// Returns the number of frames that are taken on and not done.
    #[must_use]
    pub fn open_frames(&self) -> usize {
        self.open.len()
    }

    /// Returns the sequence number of the last frame that was taken on.
    #[must_use]
    pub fn last_frame(&self) -> u64 {
        self.open
            .back()
            .map_or(self.floor.frame, |open| open.sequence)
    }

    /// Returns whether every target that was taken on has its outcome in the chain.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.on_its_way.is_none() && !self.is_due()
    }

    /// Takes on the next frame. Returns its tasks that have no outcome.
    pub fn open(&mut self, sequence: u64, head: &FrameHead) -> Vec<u64> {
        let tasks = head.first..head.next();
        let left: Vec<_> = tasks.filter(|task| !self.done.contains_key(task)).collect();
        self.open.push_back(Open {
            sequence,
            first: head.first,
            count: head.count,
            left: left.len() as u64,
        });
        self.settle();
        left
    }

    /// Adds the outcome of a task. Returns whether it is accepted.
    pub fn outcome(&mut self, task: u64, line: String) -> bool {
        let is_open = self
            .open
            .iter()
            .any(|open| (open.first..open.first + open.count).contains(&task));
        let is_wanted =
            is_open && !self.done.contains_key(&task) && !self.waiting.contains_key(&task);
        if is_wanted {
            self.waiting.insert(task, line);
        }
        is_wanted
    }

    /// Returns the number of waiting outcomes, and their size in bytes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let bytes = self.waiting.values().map(String::len).sum();
        (self.waiting.len(), bytes)
    }

    /// Returns the tasks whose outcomes wait.
    pub fn waiting_tasks(&self) -> impl Iterator<Item = u64> {
        self.waiting.keys().copied()
    }

    /// Returns whether the outcome of this task waits.
    #[must_use]
    pub fn waits(&self, task: u64) -> bool {
        self.waiting.contains_key(&task)
    }

    /// Returns whether a message is due, with outcomes, a higher floor, a trial or the end. The
    /// floor alone rises if outcomes of an earlier owner complete a frame.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.waiting.is_empty()
            || self.floor != self.told
            || self.trial != self.told_trial
            || self.ends
    }

    /// Returns the next message, if none is in flight and one is due.
    pub fn message(&mut self, machine: &str, session: Session) -> Option<Vec<u8>> {
        if self.on_its_way.is_some() || !self.is_due() {
            return None;
        }
        let mut bytes = 0;
        for (task, line) in &self.waiting {
            if bytes > 0 && bytes + line.len() > BATCH {
                break;
            }
            bytes += line.len() + 1;
            self.sent.push(*task);
        }
        // The floor after this message.
        let mut floor = self.floor;
        for open in &self.open {
            let tasks = open.first..open.first + open.count;
            let sent = self.sent.iter().filter(|task| tasks.contains(task)).count() as u64;
            if open.left != sent {
                break;
            }
            floor = Floor {
                frame: open.sequence,
                tasks: open.first + open.count,
            };
        }
        // Includes frames that only an earlier owner has taken on so far.
        let behind = self.done.range(floor.tasks..);
        let since = behind.map(|(_, sequence)| *sequence).min();
        let head = Head {
            v: VERSION,
            kind: match self.ends {
                true => Kind::End,
                false => Kind::Outcomes,
            },
            machine: machine.to_owned(),
            session,
            epoch: self.epoch,
            floor,
            // This message comes after the tail.
            since: since.unwrap_or(self.tail),
            fruitless: 0,
            trial: self.trial,
            dead: self.dead,
        };
        self.on_its_way = Some((floor, self.trial));
        // It holds only numbers and text, so this cannot fail.
        let mut message = serde_json::to_vec(&head).unwrap_or_default();
        message.push(b'\n');
        for task in &self.sent {
            message.extend_from_slice(self.waiting[task].as_bytes());
            message.push(b'\n');
        }
        Some(message)
    }

    /// Notes that the message in flight is in the chain.
    pub fn appended(&mut self, sequence: u64) {
        self.tail = sequence;
        if let Some((floor, trial)) = self.on_its_way.take() {
            self.told = floor;
            self.told_trial = trial;
        }
        self.ends = false;
        for task in std::mem::take(&mut self.sent) {
            self.waiting.remove(&task);
            self.done.insert(task, sequence);
            for open in &mut self.open {
                if (open.first..open.first + open.count).contains(&task) {
                    open.left -= 1;
                }
            }
        }
        self.settle();
    }

    /// Returns the outcomes that are not in the chain.
    pub fn unwritten(&self) -> impl Iterator<Item = &str> {
        self.waiting.values().map(String::as_str)
    }

    fn settle(&mut self) {
        while let Some(open) = self.open.pop_front_if(|open| open.left == 0) {
            self.floor = Floor {
                frame: open.sequence,
                tasks: open.first + open.count,
            };
        }
        let floor = self.floor.tasks;
        self.done.retain(|task, _| *task >= floor);
    }
}

/// Returns the `begin` of an owner that has read the chain.
#[must_use]
pub fn begin(machine: &str, session: Session, replay: &Replay) -> Vec<u8> {
    let head = Head {
        v: VERSION,
        kind: Kind::Begin,
        machine: machine.to_owned(),
        session,
        epoch: 0,
        floor: replay.floor,
        since: replay.done.values().copied().min().unwrap_or(replay.tail),
        fruitless: replay.fruitless,
        trial: replay.trial,
        dead: replay.dead,
    };
    // It holds only numbers and text, so this cannot fail.
    serde_json::to_vec(&head).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u64, count: u64) -> FrameHead {
        FrameHead {
            v: VERSION,
            first,
            count,
            keys: String::new(),
        }
    }

    fn replay(chain: &[Vec<u8>]) -> Replay {
        let mut replay = Replay::default();
        if let Some(last) = chain.last() {
            let (head, _) = read(last).expect("a message");
            let from = head.since.max(1);
            for (sequence, message) in (1..).zip(chain) {
                if sequence >= from {
                    replay.add(sequence, message).expect("a message");
                }
            }
        }
        replay
    }

    proptest! {
        /// Frames have any size, outcomes any order, and owners are replaced at any moment. Each
        /// task has one outcome in the chain, and no task before the final floor lacks its outcome.
        #[test]
        fn owners_that_follow_each_other_give_each_task_one_outcome(
            sizes in prop::collection::vec(1_u64..6, 1..8),
            seed in any::<u64>(),
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let frames: Vec<_> = sizes.iter().scan(0, |first, count| {
                *first += count;
                Some(frame(*first - count, *count))
            }).collect();
            let total = sizes.iter().sum::<u64>();
            let mut chain: Vec<Vec<u8>> = Vec::new();
            let mut owners = 0;
            'owners: loop {
                owners += 1;
                prop_assert!(owners < 1000);
                let known = replay(&chain);
                chain.push(begin("m", Session(owners), &known));
                let mut progress = Progress::begun(chain.len() as u64, known);
                let mut todo = Vec::new();
                let mut sent = None;
                loop {
                    if rng.u8(..20) == 0 {
                        // Another owner follows, perhaps while a message is in flight.
                        continue 'owners;
                    }
                    if rng.bool() && progress.open_frames() < 3 {
                        let next = progress.last_frame();
                        if let Some(head) = frames.get(next as usize) {
                            todo.extend(progress.open(next + 1, head));
                        }
                    }
                    if !todo.is_empty() && rng.bool() {
                        let task = todo.swap_remove(rng.usize(..todo.len()));
                        let is_wanted = progress.outcome(task, recorded(task, "{}"));
                        prop_assert!(is_wanted);
                    }
                    if rng.bool() {
                        sent = sent.or_else(|| progress.message("m", Session(owners)));
                    } else if let Some(message) = sent.take() {
                        chain.push(message);
                        progress.appended(chain.len() as u64);
                    }
                    if progress.floor().tasks == total && progress.is_idle() {
                        break 'owners;
                    }
                }
            }
            let mut counts = vec![0; total as usize];
            for message in &chain {
                let (_, text) = read(message).expect("a message");
                for line in lines(text) {
                    counts[line.expect("a line").task as usize] += 1;
                }
            }
            prop_assert!(counts.iter().all(|count| *count == 1), "{:?}", counts);
            let (last, _) = read(chain.last().expect("messages")).expect("a message");
            prop_assert_eq!(last.floor.tasks, total);
        }
    }

    /// Every owner ends when it gets task 2.
    #[test]
    fn a_target_that_ends_owner_after_owner_is_given_up_and_no_other_is() {
        let mut chain: Vec<Vec<u8>> = Vec::new();
        let mut ended = 0;
        loop {
            let known = replay(&chain);
            chain.push(begin("m", Session(ended), &known));
            let mut progress = Progress::begun(chain.len() as u64, known);
            let todo = progress.open(1, &frame(0, 5));
            let alone = progress.takes_care();
            let mut append = |progress: &mut Progress| {
                if let Some(message) = progress.message("m", Session(ended)) {
                    chain.push(message);
                    progress.appended(chain.len() as u64);
                }
            };
            let mut has_ended = !alone && todo.contains(&2);
            for task in todo.into_iter().filter(|_| alone) {
                if !progress.begin_trial(task) {
                    continue;
                }
                append(&mut progress);
                assert!(progress.is_trial_told());
                has_ended = task == 2;
                if has_ended {
                    break;
                }
                progress.outcome(task, recorded(task, "{}"));
            }
            if !has_ended {
                progress.end_trials();
                append(&mut progress);
                assert_eq!(progress.floor().tasks, 5);
                assert_eq!(progress.dead, 1);
                break;
            }
            ended += 1;
            assert!(ended < 20, "it goes round for ever");
        }
        assert_eq!(ended, u64::from(FRUITLESS + TRIALS));
        let text: Vec<_> = chain
            .iter()
            .map(|message| read(message).expect("one").1)
            .collect();
        let all: Vec<_> = text
            .iter()
            .flat_map(|text| lines(text))
            .map(|line| line.expect("one"))
            .collect();
        let dead: Vec<_> = all
            .iter()
            .filter(|line| line.dead)
            .map(|line| line.task)
            .collect();
        assert_eq!((dead, all.len()), (vec![2], 5));
        // The next owner does not try targets alone.
        assert!(!Progress::begun(99, replay(&chain)).takes_care());
    }

    #[test]
    fn owners_that_had_nothing_to_do_and_left_are_none_that_failed() {
        let mut chain: Vec<Vec<u8>> = Vec::new();
        for session in 0..6 {
            let known = replay(&chain);
            chain.push(begin("m", Session(session), &known));
            let mut progress = Progress::begun(chain.len() as u64, known);
            assert!(!progress.takes_care());
            progress.leave();
            chain.push(progress.message("m", Session(session)).expect("it is due"));
            progress.appended(chain.len() as u64);
            assert!(progress.is_idle());
        }
    }
}
