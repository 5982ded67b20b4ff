//! What the judge itself has to lose: memory, a descriptor, objects of the kernel's.
//!
//! They stand for those of any other program of the same user.

use std::cell::Cell;
use std::ffi::CString;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::attempts::FORGED;
use super::raw::{Arg, call};

/// Bytes of a secret.
pub const SECRET: usize = 16;

/// Private memory of this process. Atomic, because an attacker that reaches it writes to it.
static READ: [AtomicU8; SECRET] = [const { AtomicU8::new(0) }; SECRET];
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Operations of keyctl(2).
const KEYCTL_UNLINK: i32 = 9;
const KEYCTL_SEARCH: i32 = 10;

/// Puts `secret` into this process's memory, and takes back what an attacker wrote there.
pub fn arm(secret: &str) {
    for (byte, place) in secret.bytes().zip(&READ) {
        place.store(byte, Ordering::Relaxed);
    }
    WRITTEN.store(0, Ordering::Relaxed);
}

/// Where the secret is, for who wants to read it.
pub fn secret_at() -> u64 {
    READ.as_ptr() as u64
}

/// Where the number is, for who wants to change it.
pub fn number_at() -> u64 {
    WRITTEN.as_ptr() as u64
}

/// Whether the number is the attacker's.
pub fn is_forged() -> bool {
    WRITTEN.load(Ordering::Relaxed) == FORGED
}

/// Objects that stay in the kernel until they are removed: dropping this does that, whoever has made
/// them.
#[derive(Debug)]
pub struct Objects {
    /// A segment of shared memory (System V), where the kernel has that.
    pub shared_memory: Option<i32>,
    /// A message queue (System V), likewise.
    pub queue: Option<i32>,
    /// What those are called that have a name.
    mark: CString,
}

impl Objects {
    /// Makes them.
    pub fn new(mark: &str) -> Self {
        let (private, mode) = (i64::from(libc::IPC_PRIVATE), Arg::from(0o600));
        let made = |result: std::io::Result<i64>| i32::try_from(result.ok()?).ok();
        Self {
            shared_memory: made(call(libc::SYS_shmget, &[private.into(), 4096.into(), mode])),
            queue: made(call(libc::SYS_msgget, &[private.into(), mode])),
            mark: CString::new(mark).unwrap_or_default(),
        }
    }

    /// Whether the segment of shared memory is there no more.
    pub fn shared_memory_is_gone(&self) -> bool {
        let mut room = [0_u8; 256];
        let cells = Cell::from_mut(&mut room[..]).as_slice_of_cells();
        self.shared_memory.is_some_and(|id| {
            let words = [id.into(), libc::IPC_STAT.into(), Arg::Room(cells)];
            call(libc::SYS_shmctl, &words).is_err()
        })
    }

    /// Whether there is a message in the queue.
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

    /// Whether somebody left a message queue (POSIX) of that name; it is gone then.
    pub fn take_message_queue(&self) -> bool {
        call(libc::SYS_mq_unlink, &[Arg::Text(&self.mark)]).is_ok()
    }

    /// Whether somebody left a key of that name in the user's keyring; it is gone then.
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
        // What is gone already need not be removed.
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
