//! Faults that a worker brings about in itself, for people who test what a crash costs: off unless
//! the setup asks for them.
//!
//! They stand between a slot and its engine, so that they come after the start of the task was
//! told, as a crash in a download would. This module decides which task meets which fault, and
//! lets it happen. It must not touch what is on disk.

use std::future::pending;
use std::hint::black_box;
use std::sync::Arc;

use protocol::{Assignment, Failure, Faults, Share, Stored, TaskFault};
use rustix::process::{Resource, getrlimit};
use rustix::system::sysinfo;
use signal_hook::consts::SIGSEGV;
use signal_hook::low_level::emulate_default_handler;

use crate::activity::Activity;
use crate::job::Download;
use pool::EXIT_OUT_OF_MEMORY;
use pool::link::Outbox;
use pool::session::{Engine, EventEngine};

/// Bytes that are no frame: the number of a message that there is not, then more.
const GARBAGE: &[u8] = b"\xff\xff\xff\xff this is not of the protocol";

/// How much memory [`TaskFault::Eat`] takes at a time.
const MOUTHFUL: usize = 16 << 20;

/// How much it takes where there is no limit.
const MEAL: u64 = 512 << 20;

/// What happens to the worker that takes up `url`, handed out for the `delivery`-th time in this
/// run.
///
/// The first poison that the URL contains; else, with the first delivery, what is drawn: the
/// shares lie side by side in the order of [`TaskFault::ALL`], and [draw](Share::draw) of the URL says where.
#[must_use]
pub fn planned(faults: &Faults, url: &str, delivery: u32) -> Option<TaskFault> {
    let poison = faults
        .poisons
        .iter()
        .find(|poison| url.contains(&poison.text));
    if let Some(poison) = poison {
        return Some(poison.fault);
    }
    if delivery > 1 {
        return None;
    }
    let mut place = Share::draw(faults.seed, url.as_bytes());
    for (fault, share) in &faults.drawn {
        match place.checked_sub(share.millionths()) {
            Some(beyond) => place = beyond,
            None => return Some(*fault),
        }
    }
    None
}

/// Faults, where they have an effect.
#[derive(Debug)]
pub(crate) struct Trap<O> {
    faults: Faults,
    outbox: Arc<O>,
}

/// An engine that some tasks never reach.
#[derive(Debug)]
pub(crate) struct Trapped<E, O> {
    trap: Arc<Trap<O>>,
    engine: E,
}

impl<O: Outbox<Download>> Trap<O> {
    pub(crate) fn new(faults: &Faults, outbox: &Arc<O>) -> Self {
        Self {
            faults: faults.clone(),
            outbox: Arc::clone(outbox),
        }
    }

    /// Puts itself before every engine that `make_engine` makes.
    pub(crate) fn around<E>(self, make_engine: impl Fn() -> E) -> impl Fn() -> Trapped<E, O> {
        let trap = Arc::new(self);
        move || Trapped {
            trap: Arc::clone(&trap),
            engine: make_engine(),
        }
    }

    /// Lets happen what is planned for this task, if anything is. If this returns at all, it tells
    /// whether the task is to go no further.
    fn spring(&self, assignment: &Assignment, activity: &Activity) -> bool {
        let Assignment { url, delivery, .. } = assignment;
        let Some(fault) = planned(&self.faults, url, *delivery) else {
            return false;
        };
        tracing::info!(fault = fault.name(), url, "fault injected");
        match fault {
            TaskFault::Segv => segv(),
            TaskFault::Abort => std::process::abort(),
            TaskFault::Exit => std::process::exit(0),
            TaskFault::Eat => eat(),
            TaskFault::Hang => {}
            TaskFault::Garbage => {
                // Whether it arrived or not, there is nothing more to say.
                let _ = self.outbox.send_raw(GARBAGE);
            }
        }
        // Heartbeats do not name the task any more.
        activity.end();
        true
    }
}

impl<E: Engine<Download>, O: Outbox<Download>> Engine<Download> for Trapped<E, O> {
    fn run(
        &mut self,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        if self.trap.spring(assignment, activity) {
            rest();
        }
        self.engine.run(assignment, activity)
    }
}

impl<E: EventEngine<Download>, O: Outbox<Download>> EventEngine<Download> for Trapped<E, O> {
    async fn run(
        &mut self,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        if self.trap.spring(assignment, activity) {
            return pending().await;
        }
        self.engine.run(assignment, activity).await
    }
}

/// Does nothing for ever, at no cost.
pub(crate) fn rest() -> ! {
    loop {
        std::thread::park();
    }
}

/// Dies by SIGSEGV: past the handler of the standard library, which looks for stack overflows.
fn segv() -> ! {
    // It cannot fail for this signal, and does not return.
    let _ = emulate_default_handler(SIGSEGV);
    std::process::abort()
}

/// Takes memory, and uses it, until the limit on it (`RLIMIT_DATA`) ends this process. Where there
/// is none, it ends itself at [`MEAL`] bytes as it would at a limit; and so it does, limit or not,
/// when half of what was free is gone: before anybody else on the machine is in want.
fn eat() -> ! {
    let meal = getrlimit(Resource::Data).current.unwrap_or(MEAL);
    let reserve = free_memory() / 2;
    let mut eaten = Vec::new();
    // A limit is met before this: it counts what was there before the first mouthful as well.
    while (eaten.len() * MOUTHFUL) as u64 <= meal && free_memory() > reserve {
        // Written to, so that there is memory behind it.
        eaten.push(black_box(vec![1_u8; MOUTHFUL]));
    }
    std::process::exit(EXIT_OUT_OF_MEMORY)
}

/// Bytes of memory that nobody uses. A system call and not a file: there may be a sandbox.
fn free_memory() -> u64 {
    let info = sysinfo();
    info.freeram.saturating_mul(info.mem_unit.into())
}

#[cfg(test)]
mod tests {
    use protocol::Poison;

    use super::*;

    fn share(millionths: u32) -> Share {
        Share::from_millionths(millionths).expect("at most all")
    }

    fn url(number: u32) -> String {
        format!("https://a.example/{number}")
    }

    #[test]
    fn each_fault_has_its_share_of_the_urls() {
        let faults = Faults {
            seed: 7,
            drawn: [
                (TaskFault::Segv, share(100_000)),
                (TaskFault::Hang, share(300_000)),
            ]
            .into(),
            poisons: Vec::new(),
        };
        let all: Vec<_> = (0..10_000).map(|n| planned(&faults, &url(n), 1)).collect();
        let count = |fault| all.iter().filter(|planned| **planned == fault).count();
        // 5 standard deviations are at most 250.
        assert!(count(Some(TaskFault::Segv)).abs_diff(1000) < 250);
        assert!(count(Some(TaskFault::Hang)).abs_diff(3000) < 250);
        assert_eq!(
            count(None) + count(Some(TaskFault::Segv)) + count(Some(TaskFault::Hang)),
            10_000
        );
        let other = Faults { seed: 8, ..faults };
        assert!((0..100).any(|n| planned(&other, &url(n), 1) != all[n as usize]));
    }

    #[test]
    fn what_is_drawn_happens_once_and_a_poison_every_time() {
        let faults = Faults {
            seed: 1,
            drawn: [(TaskFault::Abort, share(Share::WHOLE))].into(),
            poisons: vec![Poison {
                fault: TaskFault::Exit,
                text: "/poison".to_owned(),
            }],
        };
        let good = "https://a.example/good";
        assert_eq!(planned(&faults, good, 1), Some(TaskFault::Abort));
        assert_eq!(planned(&faults, good, 2), None);
        for delivery in 1..4 {
            let planned = planned(&faults, "https://a.example/poison/1", delivery);
            assert_eq!(planned, Some(TaskFault::Exit));
        }
    }
}
