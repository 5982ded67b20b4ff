//! The input of a run: reads the lists on a thread of its own, and sorts out what there is to do.
//!
//! It reads only when asked, a batch at a time, so that no more of a list is in memory than the
//! core wants. What earlier runs stored, or an earlier line names, never becomes a task.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use protocol::{Known, TaskId};

use super::claims::Place;
use super::inbox::Message;
use super::resume::IndexError;
use super::sieve::{Sieve, Sorted};
use crate::input::{Lines, Target, position};

/// Most items in a batch.
const BATCH: usize = 256;

/// Most lines looked at for a batch: a list of which most is stored already must not hold up a
/// drain.
const LINES_PER_BATCH: usize = 8192;

/// More of the input.
#[derive(Debug, Default)]
pub struct Batch {
    /// What there is to do or to tell, in the order of the input.
    pub items: Vec<Item>,
    /// Lines whose file earlier runs stored.
    pub stored_earlier: u64,
    /// Lines that earlier runs quarantined.
    pub quarantined_earlier: u64,
    /// How much of all lists is read, from 0 to 1; nothing if that cannot be known.
    pub fraction: Option<f64>,
    /// There is no more.
    pub ended: bool,
    /// The input cannot be read on, for no fault of its own: why.
    pub broken: Option<String>,
}

/// One line of the input that matters.
#[derive(Debug)]
pub enum Item {
    /// To be done; unless the file in place, if one is, is current.
    Task(TaskId, Target, Option<Box<Known>>),
    /// Names the same as an earlier line.
    Duplicate(TaskId, Target),
    /// Cannot be done: a message that names the line.
    Problem(String),
    /// The same, of a target of a fleet, which has an outcome like any other: why.
    Refused(TaskId, Target, String),
}

/// A list that is open.
#[derive(Debug)]
pub struct OpenList {
    /// Its lines.
    pub lines: Lines,
    /// Its size in bytes, if it is a plain file.
    pub size: Option<u64>,
}

/// What the intake goes by.
#[derive(Debug)]
pub struct Plan {
    /// The lists, in order.
    pub lists: Vec<OpenList>,
    /// What is to be done about each of their targets; it knows the lists by the same numbers.
    pub sieve: Sieve,
}

/// The run's end of the intake. Dropping it ends the intake.
#[derive(Debug)]
pub struct Intake {
    requests: Sender<()>,
    requested: bool,
}

impl Intake {
    /// Starts the intake; batches go to `inbox`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(plan: Plan, inbox: Sender<Message>) -> io::Result<Self> {
        let (requests, incoming) = channel();
        std::thread::Builder::new()
            .name("intake".to_owned())
            .spawn(move || Reader::new(plan).run(&incoming, &inbox))?;
        Ok(Self {
            requests,
            requested: false,
        })
    }

    /// Asks for a batch, unless one is on its way.
    pub fn request(&mut self) {
        if !self.requested {
            // It can only fail after the last batch, and then the core wants no more.
            self.requested = self.requests.send(()).is_ok();
        }
    }

    /// To be called for each batch that came.
    pub const fn received(&mut self) {
        self.requested = false;
    }
}

/// What the intake does, on whatever thread: reads the lists, and has every line sorted.
#[derive(Debug)]
pub struct Reader {
    plan: Plan,
    /// The number of the current list.
    list: u16,
    next_task: u64,
    /// Bytes of all lists, if they are all plain files; and of those that are done.
    size: Option<u64>,
    done: u64,
}

impl Reader {
    /// Before the first line.
    #[must_use]
    pub fn new(mut plan: Plan) -> Self {
        // Reversed, so that the current list is the last and can be popped.
        plan.lists.reverse();
        Self {
            size: plan.lists.iter().map(|list| list.size).sum(),
            plan,
            list: 0,
            next_task: 1,
            done: 0,
        }
    }

    fn run(mut self, requests: &Receiver<()>, inbox: &Sender<Message>) {
        while requests.recv().is_ok() {
            let batch = self.batch();
            let ended = batch.ended || batch.broken.is_some();
            if inbox.send(Message::Intake(batch)).is_err() || ended {
                return;
            }
        }
    }

    /// The next batch; to be asked for until it says that it is the last, or is broken. Waits only
    /// while there is nothing to tell.
    pub fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..LINES_PER_BATCH {
            let Some(list) = self.plan.lists.last_mut() else {
                batch.ended = true;
                break;
            };
            // What is there is not kept waiting for what may come.
            if list.size.is_none() && !batch.items.is_empty() && !list.lines.has_line() {
                break;
            }
            list.lines.count_from(self.next_task);
            let Some(line) = list.lines.next() else {
                self.done += list.size.unwrap_or_default();
                self.plan.lists.pop();
                self.list = self.list.saturating_add(1);
                continue;
            };
            if let Some(problem) = line.problem() {
                batch.items.push(Item::Problem(problem));
            }
            let place = Place {
                list: self.list,
                line: line.number,
            };
            if let Ok(target) = line.entry
                && let Err(error) = self.sort(target, place, &line.source, &mut batch)
            {
                batch.broken = Some(error.to_string());
                break;
            }
            if batch.items.len() == BATCH {
                break;
            }
        }
        batch.fraction = self.fraction();
        batch
    }

    fn sort(
        &mut self,
        target: Target,
        place: Place,
        list: &str,
        batch: &mut Batch,
    ) -> Result<(), IndexError> {
        let task = TaskId(self.next_task);
        self.next_task += 1;
        let of_fleet = target.ticket().is_some().then(|| target.clone());
        match self.plan.sieve.sort(task, target, place)? {
            Sorted::New(target) => batch.items.push(Item::Task(task, target, None)),
            Sorted::Known(target, known) => {
                batch.items.push(Item::Task(task, target, Some(known)));
            }
            Sorted::Duplicate(target) => batch.items.push(Item::Duplicate(task, target)),
            Sorted::Stored => batch.stored_earlier += 1,
            Sorted::Quarantined => batch.quarantined_earlier += 1,
            Sorted::Refused(problem) if let Some(target) = of_fleet => {
                batch.items.push(Item::Refused(task, target, problem));
            }
            Sorted::Refused(problem) => {
                let problem = format!("{}: {problem}", position(list, place.line));
                batch.items.push(Item::Problem(problem));
            }
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    fn fraction(&self) -> Option<f64> {
        let size = self.size.filter(|&size| size > 0)?;
        let current = self
            .plan
            .lists
            .last()
            .map_or(0, |list| list.lines.consumed());
        Some((self.done + current) as f64 / size as f64)
    }
}
