//! The judge's own targets: memory, a descriptor, kernel objects.
//!
//! They stand for those of any other program of the same user.

use std::cell::Cell;
use std::ffi::CString;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::attempts::FORGED;
use super::raw::{Arg, call};

/// Length of a secret, in bytes.
pub const SECRET: usize = 16;

/// Private memory of this process. Atomic, because an attacker that can reach it writes to it.
static READ: [AtomicU8; SECRET] = [const { AtomicU8::new(0) }; SECRET];
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Operations of keyctl(2).
const KEYCTL_UNLINK: i32 = 9;
const KEYCTL_SEARCH: i32 = 10;

/// Stores `secret` in this process's memory, and resets what an attacker wrote there.
pub fn arm(secret: &str) {
    for (byte, place) in secret.bytes().zip(&READ) {
        place.store(byte, Ordering::Relaxed);
    }
    WRITTEN.store(0, Ordering::Relaxed);
}

/// Returns the address of the secret, for attempts that read it.
pub fn secret_at() -> u64 {
    READ.as_ptr() as u64
}

/// Returns the address of the number, for attempts that change it.
pub fn number_at() -> u64 {
    WRITTEN.as_ptr() as u64
}

/// Returns whether an attacker has changed the number.
pub fn is_forged() -> bool {
    WRITTEN.load(Ordering::Relaxed) == FORGED
}

/// Kernel objects that exist until they are removed. Dropping this removes them, even an
/// attacker's.
#[derive(Debug)]
pub struct Objects {
    /// A segment of shared memory (System V), if the kernel has that.
    pub shared_memory: Option<i32>,
    /// A message queue (System V), if the kernel has that.
    pub queue: Option<i32>,
    /// The name of the objects that have one.
    mark: CString,
}

impl Objects {
    /// Creates the objects.
    pub fn new(mark: &str) -> Self {
        let (private, mode) = (i64::from(libc::IPC_PRIVATE), Arg::from(0o600));
        let made = |result: std::io::Result<i64>| i32::try_from(result.ok()?).ok();
        Self {
            shared_memory: made(call(libc::SYS_shmget, &[private.into(), 4096.into(), mode])),
            queue: made(call(libc::SYS_msgget, &[private.into(), mode])),
            mark: CString::new(mark).unwrap_or_default(),
        }
    }

    /// Returns whether the segment of shared memory was removed.
    pub fn shared_memory_is_gone(&self) -> bool {
        let mut room = [0_u8; 256];
        let cells = Cell::from_mut(&mut room[..]).as_slice_of_cells();
        self.shared_memory.is_some_and(|id| {
            let words = [id.into(), libc::IPC_STAT.into(), Arg::Room(cells)];
            call(libc::SYS_shmctl, &words).is_err()
        })
    }

    /// Returns whether the queue holds a message. Receives it.
    pub fn queue_is_filled(&self) -> bool {
        let mut room = [0_u8; 256];
        let cells = Cell::from_mut(&mut room[..]).as_slice_of_cells();
        self.queue.is_some_and(|id| {
            let flags = libc::IPC_NOWAIT | libc::MSG_NOERROR;
            let words = [
                id.into(),
                Arg::Room(cells),
                16.into(),
                0.into(),
                flags.into(),
            ];
            call(libc::SYS_msgrcv, &words).is_ok()
        })
    }

    /// Removes the message queue (POSIX) with this name, and returns whether there was one.
    pub fn take_message_queue(&self) -> bool {
        call(libc::SYS_mq_unlink, &[Arg::Text(&self.mark)]).is_ok()
    }

    /// Removes the key with this name from the user's keyring, and returns whether there was one.
    pub fn take_key(&self) -> bool {
        let ring = Arg::from(libc::KEY_SPEC_USER_KEYRING);
        let words = [
            KEYCTL_SEARCH.into(),
            ring,
            Arg::Text(c"user"),
            Arg::Text(&self.mark),
            0.into(),
        ];
        call(libc::SYS_keyctl, &words).is_ok_and(|key| {
            let words = [KEYCTL_UNLINK.into(), key.into(), ring];
            call(libc::SYS_keyctl, &words).is_ok()
        })
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        let remove = Arg::from(libc::IPC_RMID);
        // Removing an object that is already gone fails, which does not matter.
        if let Some(id) = self.shared_memory {
            let _ = call(libc::SYS_shmctl, &[id.into(), remove, 0.into()]);
        }
        if let Some(id) = self.queue {
            let _ = call(libc::SYS_msgctl, &[id.into(), remove, 0.into()]);
        }
        self.take_message_queue();
        self.take_key();
    }
}
