//! Memory over the limit, and kernel objects that outlive their owner.

use std::fs;
use std::io;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{AddressFamily, SocketType, socket};

use super::{leak, text};
use crate::isolation::attempt::Attempt;
use crate::isolation::raw::{Arg, call, map};

/// More memory than the run allows a worker.
const MUCH: usize = 96 << 20;
const MEMORY: &[&str] = &["--worker-memory", "48MB"];

/// More descriptors than one download needs.
const MANY: usize = 400;

/// More pipes than any part of the program has.
const PIPES: usize = 60;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "memory-private",
        "take more memory than --worker-memory gives it",
        |_| map(libc::MAP_PRIVATE, MUCH),
        |view| view.has_memory("RssAnon", MUCH),
    )
    .with(MEMORY),
    Attempt::new(
        "memory-shared",
        "take as much as shared memory",
        |_| map(libc::MAP_SHARED, MUCH),
        |view| view.has_memory("RssShmem", MUCH),
    )
    .with(MEMORY),
    Attempt::new(
        "memory-stack",
        "take as much as memory that grows like a stack",
        |_| map(libc::MAP_PRIVATE | libc::MAP_GROWSDOWN, MUCH),
        |view| view.has_memory("RssAnon", MUCH),
    )
    .with(MEMORY),
    Attempt::new(
        "memory-file",
        "take as much as a file in memory",
        |_| {
            let memory = fs::File::from(memfd_create("isolation", MemfdFlags::CLOEXEC)?);
            let piece = vec![1; 1 << 20];
            for _ in 0..MUCH >> 20 {
                io::Write::write_all(&mut &memory, &piece)?;
            }
            leak(memory);
            Ok(())
        },
        |view| view.holds(|target| target.starts_with("/memfd:isolation")),
    )
    .with(MEMORY),
    Attempt::new(
        "descriptors",
        "hold more descriptors than its downloads take",
        |_| {
            (0..MANY).try_for_each(|_| {
                leak(socket(AddressFamily::INET, SocketType::DGRAM, None)?);
                Ok(())
            })
        },
        |view| view.descriptors().len() >= MANY,
    ),
    Attempt::new(
        "pipes",
        "fill pipes that count against no limit on memory",
        |_| {
            (0..PIPES).try_for_each(|_| {
                let (reader, writer) = io::pipe()?;
                leak(reader);
                leak(writer);
                Ok(())
            })
        },
        |view| view.count(|target| target.starts_with("pipe:")) >= PIPES,
    ),
    Attempt::new(
        "shm-destroy",
        "destroy shared memory (System V) of another program",
        |ground| {
            let id = ground.bait.shared_memory.ok_or(io::ErrorKind::NotFound)?;
            let words = [id.into(), libc::IPC_RMID.into(), 0.into()];
            call(libc::SYS_shmctl, &words).map(drop)
        },
        |view| view.shared_memory_is_gone(),
    ),
    Attempt::new(
        "queue-fill",
        "put a message into a queue (System V) of another program",
        |ground| {
            let id = ground.bait.queue.ok_or(io::ErrorKind::NotFound)?;
            let message = [&1_i64.to_ne_bytes()[..], b"x"].concat();
            let flags = libc::IPC_NOWAIT;
            let words = [id.into(), Arg::Bytes(&message), 1.into(), flags.into()];
            call(libc::SYS_msgsnd, &words).map(drop)
        },
        |view| view.queue_is_filled(),
    ),
    Attempt::new(
        "queue-posix",
        "leave a message queue (POSIX) behind",
        |ground| {
            let name = text(&ground.bait.mark)?;
            let flags = libc::O_CREAT | libc::O_RDWR;
            let words = [Arg::Text(&name), flags.into(), 0o600.into(), 0.into()];
            call(libc::SYS_mq_open, &words).map(drop)
        },
        |view| view.finds_message_queue(),
    ),
    Attempt::new(
        "keyring",
        "leave a key in the user's keyring",
        |ground| {
            let (kind, name) = (text("user")?, text(&ground.bait.mark)?);
            let words = [
                Arg::Text(&kind),
                Arg::Text(&name),
                Arg::Bytes(b"x"),
                1.into(),
                libc::KEY_SPEC_USER_KEYRING.into(),
            ];
            call(libc::SYS_add_key, &words).map(drop)
        },
        |view| view.finds_key(),
    ),
];
