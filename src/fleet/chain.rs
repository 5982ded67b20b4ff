//! The chain of a partition: what its owners have appended, each message only if nothing else was
//! appended since the owner looked.
//!
//! ```text
//!   begin A   outcomes A   outcomes A   begin B   outcomes B  ...
//!             floor, since              ^ from here on nothing of A's is taken
//! ```
//!
//! A message holds outcomes together with how far the partition is done, so that one write commits
//! both. A line counts if it is the first of its task. Here is what an owner keeps of the chain; pure.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::frame::{FrameHead, MessageError, VERSION, parts};
use super::lease::Session;

/// Owners in a row that may begin and end without an outcome, before the targets of the partition are
/// tried one at a time.
const FRUITLESS: u32 = 2;

/// Owners that may end while they try a target alone, before it is given up.
const TRIALS: u32 = 8;

/// Frames of a partition that are taken on at once: the next is there when one ends.
pub const FRAMES: usize = 2;

/// Bytes of outcomes that are published at once; a line of its own may be longer.
pub const BATCH: usize = 256 * 1024;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An owner begins: its epoch is the sequence number of this message.
    Begin,
    /// Outcomes follow the head, a line each.
    Outcomes,
    /// An owner leaves in good order and has had nothing to do.
    End,
}

/// A target that an owner tries alone, because others may have ended of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number in the partition.
    pub task: u64,
    /// Which trial of it this is, from 1.
    pub count: u32,
}

/// How far a partition is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The sequence number of a frame: in it and in all before it, every target has its outcome.
    pub frame: u64,
    /// How many targets that are.
    pub tasks: u64,
}

/// The head of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the messages.
    pub v: u32,
    /// What it is.
    pub kind: Kind,
    /// Who wrote it.
    pub machine: String,
    /// Which stay of that member.
    pub session: Session,
    /// Under which `begin`; 0 in a `begin`.
    pub epoch: u64,
    /// How far the partition is done with this message.
    pub floor: Floor,
    /// All outcomes of targets behind the floor are in messages from this sequence number on.
    pub since: u64,
    /// In a `begin`: owners in a row before it that have ended without an outcome.
    #[serde(default)]
    pub fruitless: u32,
    /// The target that is tried alone from this message on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Targets of the partition that were given up.
    #[serde(default)]
    pub dead: u64,
}

/// The outcome of one task.
#[derive(Clone, Debug, Deserialize)]
pub struct Line<'a> {
    /// The number of the target in the partition.
    pub task: u64,
    /// The line of the run log of the member that did it; nothing if the member could not read the
    /// target.
    #[serde(borrow)]
    pub record: Option<&'a serde_json::value::RawValue>,
    /// Why it could not.
    pub problem: Option<String>,
    /// It was given up: member after member ended while it had it.
    #[serde(default)]
    pub dead: bool,
}

/// Reads a message: its head, and its lines.
///
/// # Errors
///
/// It is none.
pub fn read(message: &[u8]) -> Result<(Head, &[u8]), MessageError> {
    parts(message)
}

/// The outcomes in a message.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Result<Line<'_>, MessageError>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| Ok(serde_json::from_slice(line)?))
}

/// The line of an outcome that is recorded.
#[must_use]
pub fn recorded(task: u64, record: &str) -> String {
    format!("{{\"task\":{task},\"record\":{}}}", record.trim_end())
}

/// The line of a target that the member could not read.
#[must_use]
pub fn unreadable(task: u64, problem: &str) -> String {
    let problem = serde_json::Value::from(problem);
    format!("{{\"task\":{task},\"record\":null,\"problem\":{problem}}}")
}

/// The line of a target that is given up.
fn dead(task: u64) -> String {
    let members = FRUITLESS + TRIALS;
    format!(
        "{{\"task\":{task},\"record\":null,\"dead\":true,\"problem\":\"{members} members in a row ended \
         while they had it\"}}"
    )
}

/// What was read of a chain by who is about to begin.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// How far it is done.
    pub floor: Floor,
    /// The sequence number of its last message; 0 if it is empty.
    pub tail: u64,
    /// The tasks behind the floor that have an outcome, and where.
    pub done: BTreeMap<u64, u64>,
    /// Owners in a row, up to the end, that have ended without an outcome.
    pub fruitless: u32,
    /// What the last owner tried alone.
    pub trial: Option<Trial>,
    /// Targets that were given up.
    pub dead: u64,
}

impl Replay {
    /// Takes a message of the chain, from `since` of the last one on.
    ///
    /// # Errors
    ///
    /// It is not one.
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
    /// How many of its targets have no outcome in the chain.
    left: u64,
}

/// What the owner of a partition knows of it.
#[derive(Debug)]
pub struct Progress {
    epoch: u64,
    tail: u64,
    floor: Floor,
    /// The floor that the chain's last message names.
    told: Floor,
    open: VecDeque<Open>,
    /// Tasks behind the floor with an outcome in the chain, and where.
    done: BTreeMap<u64, u64>,
    /// Outcomes that are not in the chain.
    waiting: BTreeMap<u64, String>,
    /// The tasks of the message that is on its way, its floor and its trial.
    sent: Vec<u64>,
    on_its_way: Option<(Floor, Option<Trial>)>,
    /// Frames whose targets are still to be tried one at a time.
    careful: usize,
    /// What the last owner tried alone.
    earlier: Option<Trial>,
    /// What this one tries alone, and what the chain says of it.
    trial: Option<Trial>,
    told_trial: Option<Trial>,
    dead: u64,
    /// It leaves, and the chain is to say so.
    ends: bool,
}

impl Progress {
    /// Of an owner whose `begin` has this sequence number.
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

    /// Whether the targets of the frame that was taken on last are to be tried one at a time; to be asked
    /// once for each frame.
    pub fn takes_care(&mut self) -> bool {
        let care = self.careful > 0;
        self.careful = self.careful.saturating_sub(1);
        care
    }

    /// Is about to try this target alone: whether that may be. If not, it is given up.
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

    /// Whether the chain says what is tried alone, so that it can begin.
    #[must_use]
    pub fn is_trial_told(&self) -> bool {
        self.trial == self.told_trial
    }

    /// Nothing more is to be tried alone.
    pub fn end_trials(&mut self) {
        self.trial = None;
    }

    /// Whether the chain has an outcome of this target.
    #[must_use]
    pub fn is_done(&self, task: u64) -> bool {
        task < self.floor.tasks || self.done.contains_key(&task)
    }

    /// Whether this target has its outcome, in the chain or on its way there.
    #[must_use]
    pub fn has_outcome(&self, task: u64) -> bool {
        self.is_done(task) || self.waits(task)
    }

    /// The owner leaves in good order: an owner that had nothing to do is not one that failed.
    pub fn leave(&mut self) {
        self.ends = self.tail == self.epoch;
    }

    /// The sequence number of its `begin`.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The sequence number of the chain's last message.
    #[must_use]
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// How far it is done.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        self.floor
    }

    /// Frames that are taken on and not done.
    #[must_use]
    pub fn open_frames(&self) -> usize {
        self.open.len()
    }

    /// The sequence number of the last frame that was taken on.
    #[must_use]
    pub fn last_frame(&self) -> u64 {
        self.open
            .back()
            .map_or(self.floor.frame, |open| open.sequence)
    }

    /// Whether everything that was taken on has its outcome in the chain.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.on_its_way.is_none() && !self.is_due()
    }

    /// Takes a frame on, which follows the last one; says which of its tasks have no outcome.
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

    /// Takes the outcome of a task; says whether it is one that is wanted.
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

    /// Outcomes that wait, and their bytes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let bytes = self.waiting.values().map(String::len).sum();
        (self.waiting.len(), bytes)
    }

    /// The tasks whose outcomes wait.
    pub fn waiting_tasks(&self) -> impl Iterator<Item = u64> {
        self.waiting.keys().copied()
    }

    /// Whether the outcome of this task waits.
    #[must_use]
    pub fn waits(&self, task: u64) -> bool {
        self.waiting.contains_key(&task)
    }

    /// Whether the chain lacks something: outcomes, or that the partition is further done than it says.
    /// The latter is so where outcomes of an earlier owner complete a frame.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.waiting.is_empty()
            || self.floor != self.told
            || self.trial != self.told_trial
            || self.ends
    }

    /// The next message, if none is on its way and the chain lacks something.
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
        // The floor as it is with this message.
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
        // Also of frames that this owner has not taken on yet: an earlier one may have.
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
            // This message itself comes after the tail.
            since: since.unwrap_or(self.tail),
            fruitless: 0,
            trial: self.trial,
            dead: self.dead,
        };
        self.on_its_way = Some((floor, self.trial));
        // Numbers and text: it cannot fail.
        let mut message = serde_json::to_vec(&head).unwrap_or_default();
        message.push(b'\n');
        for task in &self.sent {
            message.extend_from_slice(self.waiting[task].as_bytes());
            message.push(b'\n');
        }
        Some(message)
    }

    /// The message that was on its way is in the chain.
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

    /// The outcomes that are not in the chain.
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

/// The `begin` of an owner that has read the chain.
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
    // Numbers and text: it cannot fail.
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
        /// Frames of any size, outcomes in any order, owners that are followed at any moment: each task
        /// has one outcome in the chain, and the floor is behind none that lacks it.
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
                        // Followed by another, perhaps with something on its way.
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

    /// One owner after the other, each of which ends when it has been given task 2.
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
        // Who begins next is not careful.
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
