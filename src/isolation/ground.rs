//! The attacker's side: where it is, what it knows, and how it begins and ends.
//!
//! ```text
//!   judge                         attacker
//!     | writes OWN/bait  ---------> | reads it: whom and what to attack
//!     |                             | plays its attempt
//!     | <--------- OWN/bait is gone | goes on as a worker
//! ```
//!
//! It must not judge: what comes of an attempt is seen from outside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::{Assigned, Assignment, FromWorker, Setup, ToWorker};
use rustix::process::{getpid, getppid};
use serde::{Deserialize, Serialize};
use worker::{Inbox, IpcInbox, IpcOutbox, Outbox};

use super::attempt::Attempt;

/// The name of the [`Bait`] in the folder that the attacker works in.
pub const BAIT: &str = "bait";

/// The name of what an attacker has read and should not have.
pub const LOOT: &str = "loot";

/// How long an attacker waits for its bait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Whom and what to attack, as the judge tells it: an attacker in a sandbox could not find out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bait {
    /// A process of the same user that has nothing to do with the run.
    pub bystander: i32,
    /// The process of the other worker; 0 if there is none.
    pub sibling: i32,
    /// The process that judges.
    pub judge: i32,
    /// Where in the judge's memory its secret is.
    pub secret_at: u64,
    /// Where in the judge's memory a number is that nobody else is to change.
    pub number_at: u64,
    /// A descriptor of the judge's, of a file with its secret.
    pub descriptor: i32,
    /// A segment of shared memory (System V) of the judge's.
    pub shared_memory: Option<i32>,
    /// A message queue (System V) of the judge's.
    pub queue: Option<i32>,
    /// A TCP port on 127.0.0.1 where the judge listens.
    pub tcp: u16,
    /// A UDP port there.
    pub udp: u16,
    /// What makes names unique that are not in a folder.
    pub mark: String,
}

/// Where an attacker is.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The folder with everything that is attacked.
    scene: PathBuf,
    /// The folder that it works in.
    own: PathBuf,
    /// The coordinator's process.
    pub coordinator: i32,
    /// What it is told.
    pub bait: Bait,
    /// The link to the coordinator, if it is in a process of its own.
    link: Option<(&'a mut IpcInbox, &'a IpcOutbox)>,
}

/// Plays `attempt` in a worker process that works in `folder`, and returns for the worker to go on.
pub fn play_in_process(
    attempt: &Attempt,
    folder: &Path,
    setup: &Setup,
    inbox: &mut IpcInbox,
    outbox: &IpcOutbox,
) {
    let coordinator = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let own = PathBuf::from(&setup.partial);
    // OUTPUT/.coordinator/partial/0-1
    let output = folder.ancestors().nth(3).unwrap_or(folder);
    play(attempt, output, own, coordinator, Some((inbox, outbox)));
}

/// Plays `attempt` in this process, which is the coordinator: `own` is the folder of its workers, and
/// `output` its output folder. Does not return: what the thread holds is to be seen.
pub fn play_in_coordinator(attempt: &Attempt, output: &Path, own: PathBuf) -> ! {
    play(attempt, output, own, getpid().as_raw_nonzero().get(), None);
    rest()
}

/// Does nothing until the process ends.
pub fn rest() -> ! {
    loop {
        std::thread::park();
    }
}

fn play(
    attempt: &Attempt,
    output: &Path,
    own: PathBuf,
    coordinator: i32,
    link: Option<(&mut IpcInbox, &IpcOutbox)>,
) {
    let (Some(scene), Some(bait)) = (output.parent(), wait_for_bait(&own)) else {
        return;
    };
    let mut ground = Ground {
        scene: scene.to_owned(),
        own,
        coordinator,
        bait,
        link,
    };
    let result = (attempt.play)(&mut ground);
    tracing::debug!(attempt = attempt.id, ?result, "attempted");
    ground.done();
}

fn wait_for_bait(own: &Path) -> Option<Bait> {
    let text = wait(|| fs::read(own.join(BAIT)).ok())?;
    serde_json::from_slice(&text).ok()
}

/// Looks until `look` finds something, which another process does: a worker is not allowed to be
/// told when files change.
pub(super) fn wait<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= until {
            return found;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Ground<'_> {
    /// A path in the folder outside of the run.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.scene.join("outside").join(name)
    }

    /// A path in the output folder.
    pub fn output(&self, name: &str) -> PathBuf {
        self.scene.join("downloads").join(name)
    }

    /// A path in the folder in there that the run keeps for itself.
    pub fn state(&self, name: &str) -> PathBuf {
        self.output(".coordinator").join(name)
    }

    /// A path in the folder of the other worker.
    pub fn of_sibling(&self, name: &str) -> PathBuf {
        self.state("partial/1-1").join(name)
    }

    /// A path in the attacker's own folder.
    pub fn own(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    /// Puts down what was read, where a worker may write.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn keep(&self, loot: impl AsRef<[u8]>) -> io::Result<()> {
        fs::write(self.own(LOOT), loot)
    }

    /// Says that the attempt was played.
    pub fn done(&self) {
        // The judge waits for a time only.
        let _ = fs::remove_file(self.own(BAIT));
    }

    /// Says something to the coordinator.
    ///
    /// # Errors
    ///
    /// If there is no link, or it is closed.
    pub fn say(&self, message: FromWorker) -> io::Result<()> {
        let (_, outbox) = self.link.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        outbox.send(message).map_err(io::Error::other)
    }

    /// Sends something to the coordinator that need not be a message.
    ///
    /// # Errors
    ///
    /// As for [`say`](Self::say).
    pub fn say_raw(&self, bytes: &[u8]) -> io::Result<()> {
        let (_, outbox) = self.link.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        outbox.send_raw(bytes).map_err(io::Error::other)
    }

    /// Says that it is ready, and waits for a task.
    ///
    /// # Errors
    ///
    /// As for [`say`](Self::say).
    pub fn assignment(&mut self) -> io::Result<Assigned<Assignment>> {
        self.say(FromWorker::Ready)?;
        let (inbox, _) = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        loop {
            if let ToWorker::Assign(mut assignments) = inbox.recv().map_err(io::Error::other)? {
                return Ok(assignments.remove(0));
            }
        }
    }

    /// Ends this process, as one whose attempt was played. What it was given to do is left undone.
    pub fn leave(&self) -> ! {
        self.done();
        std::process::exit(7)
    }
}
