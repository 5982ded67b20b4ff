//! The attacker's side: its surroundings, its bait, its start and its end.
//!
//! ```text
//!   judge                         attacker
//!     | writes OWN/bait  ---------> | reads it: what to attack
//!     |                             | plays its attempt
//!     | <--------- OWN/bait is gone | continues as a worker
//! ```
//!
//! This module must not judge: the effect of an attempt is observed from outside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pool::link::{Inbox, Outbox};
use protocol::{Assigned, Assignment, FromWorker, Setup, ToWorker};
use rustix::process::{getpid, getppid};
use serde::{Deserialize, Serialize};
use worker::{IpcInbox, IpcOutbox};

use super::attempt::Attempt;

/// The name of the [`Bait`] in the folder that the attacker works in.
pub const BAIT: &str = "bait";

/// The name of the file for data that an attacker has read and should not have.
pub const LOOT: &str = "loot";

/// How long an attacker waits for its bait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two checks for the bait.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What to attack, written by the judge, because an attacker in a sandbox could not find out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bait {
    /// A process of the same user that is not part of the run.
    pub bystander: i32,
    /// The process of the other worker; 0 if there is none.
    pub sibling: i32,
    /// The process of the judge.
    pub judge: i32,
    /// The address of the secret in the judge's memory.
    pub secret_at: u64,
    /// The address of a number in the judge's memory that only the judge may change.
    pub number_at: u64,
    /// A descriptor of the judge for a file with the secret.
    pub descriptor: i32,
    /// A segment of shared memory (System V) of the judge.
    pub shared_memory: Option<i32>,
    /// A message queue (System V) of the judge.
    pub queue: Option<i32>,
    /// A TCP port on 127.0.0.1 on which the judge listens.
    pub tcp: u16,
    /// A UDP port on 127.0.0.1 on which the judge listens.
    pub udp: u16,
    /// Makes names outside of folders unique.
    pub mark: String,
}

/// The surroundings of an attacker.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The folder with everything that is attacked.
    scene: PathBuf,
    /// The folder that the attacker works in.
    own: PathBuf,
    /// The coordinator's process.
    pub coordinator: i32,
    /// The bait from the judge.
    pub bait: Bait,
    /// The link to the coordinator, if the attacker is a process.
    link: Option<(&'a mut IpcInbox, &'a IpcOutbox)>,
}

/// Plays `attempt` in a worker process that works in `folder`. The worker then continues.
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

/// Plays `attempt` in this process, the coordinator. `own` is the folder of its workers, and
/// `output` its output folder. Does not return, so that the objects of the thread stay visible.
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

/// Polls until `look` finds something that another process does. A worker is not allowed to watch
/// files for changes.
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
    /// Returns a path in the folder outside the run.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.scene.join("outside").join(name)
    }

    /// Returns a path in the output folder.
    pub fn output(&self, name: &str) -> PathBuf {
        self.scene.join("downloads").join(name)
    }

    /// Returns a path in the run's private folder inside the output folder.
    pub fn state(&self, name: &str) -> PathBuf {
        self.output(".coordinator").join(name)
    }

    /// Returns a path in the folder of the other worker.
    pub fn of_sibling(&self, name: &str) -> PathBuf {
        self.state("partial/1-1").join(name)
    }

    /// Returns a path in the attacker's own folder.
    pub fn own(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    /// Saves data that was read, in the folder in which a worker may write.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn keep(&self, loot: impl AsRef<[u8]>) -> io::Result<()> {
        fs::write(self.own(LOOT), loot)
    }

    /// Reports that the attempt was played.
    pub fn done(&self) {
        // If this fails, the judge's wait times out.
        let _ = fs::remove_file(self.own(BAIT));
    }

    /// Sends a message to the coordinator.
    ///
    /// # Errors
    ///
    /// Fails if there is no link, or it is closed.
    pub fn say(&self, message: FromWorker) -> io::Result<()> {
        let (_, outbox) = self.link.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        outbox.send(message).map_err(io::Error::other)
    }

    /// Sends bytes to the coordinator that need not be a valid message.
    ///
    /// # Errors
    ///
    /// Fails like [`say`](Self::say).
    pub fn say_raw(&self, bytes: &[u8]) -> io::Result<()> {
        let (_, outbox) = self.link.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        outbox.send_raw(bytes).map_err(io::Error::other)
    }

    /// Reports that it is ready, and waits for a task.
    ///
    /// # Errors
    ///
    /// Fails like [`say`](Self::say).
    pub fn assignment(&mut self) -> io::Result<Assigned<Assignment>> {
        self.say(FromWorker::Ready)?;
        let (inbox, _) = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        loop {
            if let ToWorker::Assign(mut assignments) = inbox.recv().map_err(io::Error::other)? {
                return Ok(assignments.remove(0));
            }
        }
    }

    /// Ends this process after its attempt was played. Its task stays undone.
    pub fn leave(&self) -> ! {
        self.done();
        std::process::exit(7)
    }
}
