//! Faults that a worker causes in itself, for measuring the cost of a crash. They are off unless
//! the setup asks for them.
//!
//! They occur between a slot and its engine, after the start of the task was reported, as a crash
//! in a download would. This module decides which task meets which fault, and causes it. It must
//! not change anything on disk.

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

/// Bytes that are not a frame: an unknown message number, then more.
const GARBAGE: &[u8] = b"\xff\xff\xff\xff this is not of the protocol";

/// Bytes that [`TaskFault::Eat`] allocates at a time.
const MOUTHFUL: usize = 16 << 20;

/// Bytes that it allocates if there is no limit.
const MEAL: u64 = 512 << 20;

/// Returns the fault of the worker that starts `url` with its `delivery`-th delivery in this run.
///
/// The first poison contained in the URL decides. Otherwise, with the first delivery, the
/// [draw](Share::draw) of the URL does: the shares lie side by side in the order of
/// [`TaskFault::ALL`].
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

/// The faults and what they act on.
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

    /// Wraps every engine that `make_engine` creates.
    pub(crate) fn around<E>(self, make_engine: impl Fn() -> E) -> impl Fn() -> Trapped<E, O> {
        let trap = Arc::new(self);
        move || Trapped {
            trap: Arc::clone(&trap),
            engine: make_engine(),
        }
    }

    /// Causes the fault that is planned for this task, if there is one. Returns whether to stop the
    /// task, unless the fault ends the process.
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
                // Nothing follows, whether the bytes arrived or not.
                let _ = self.outbox.send_raw(GARBAGE);
            }
        }
        // Heartbeats no longer name the task.
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

/// Sleeps forever.
pub(crate) fn rest() -> ! {
    loop {
        std::thread::park();
    }
}

/// Dies by SIGSEGV, bypassing the standard library's handler for stack overflows.
fn segv() -> ! {
    // Cannot fail for this signal, and does not return.
    let _ = emulate_default_handler(SIGSEGV);
    std::process::abort()
}

/// Allocates and writes memory until the limit (`RLIMIT_DATA`) ends this process. Without a limit,
/// exits at [`MEAL`] bytes as it would at a limit. More than an eighth of the machine's memory is used
/// only while half of what was free remains, so that the machine does not run short.
fn eat() -> ! {
    let meal = getrlimit(Resource::Data).current.unwrap_or(MEAL);
    let harmless = memory().0 / 8;
    let reserve = memory().1 / 2;
    let mut eaten = Vec::new();
    loop {
        let bytes = (eaten.len() * MOUTHFUL) as u64;
        // A limit is reached before this: it also counts the memory in use before the first
        // allocation. Memory that holds cached files does not count as free, although the kernel
        // gives it back, so little free memory alone is no reason to stop.
        if bytes > meal || (bytes > harmless && memory().1 <= reserve) {
            break;
        }
        // Written to, so that memory backs it.
        eaten.push(black_box(vec![1_u8; MOUTHFUL]));
    }
    std::process::exit(EXIT_OUT_OF_MEMORY)
}

/// Returns the bytes of memory of the machine, and those of them that are free. Uses a system call,
/// not a file, because of the sandbox.
fn memory() -> (u64, u64) {
    let info = sysinfo();
    let unit = u64::from(info.mem_unit);
    (
        info.totalram.saturating_mul(unit),
        info.freeram.saturating_mul(unit),
    )
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
