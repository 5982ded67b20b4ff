//! Other processes: signalling, tracing, reading, limiting and slowing them.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket};

use super::{fcntl, leak};
use crate::isolation::attempt::Attempt;
use crate::isolation::ground::Ground;
use crate::isolation::raw::{Arg, call};

/// The number that an attacker writes to the judge's memory.
pub(in crate::isolation) const FORGED: u64 = 0x4641_4b45;

/// The limit that an attacker sets on the address space of others, large enough to do no harm.
pub(in crate::isolation) const SPACE: u64 = 1 << 45;

/// The nice value that an attacker gives others.
const NICE: i32 = 17;

/// The value that an attacker writes to `oom_score_adj` of others.
pub(in crate::isolation) const SCORE: &str = "987";

/// Size of the end of a stack that holds arguments and environment, in bytes.
const END: usize = 64 << 10;

/// The text that an attacker writes over an argument of another worker.
const FORGED_ARGUMENT: &[u8] = b"--FAKE";

/// ptrace(2): attach without stopping. libc defines it for some systems only.
const PTRACE_SEIZE: i32 = 0x4206;

/// ioprio_set(2): for a process, the idle class.
const IOPRIO_WHO_PROCESS: i32 = 1;
const IOPRIO_IDLE: i64 = 3 << 13;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "kill",
        "kill another process",
        |ground| kill(ground.bait.bystander, libc::SIGKILL),
        |view| view.bystander_is_dead(),
    ),
    Attempt::new(
        "stop",
        "stop another process",
        |ground| kill(ground.bait.bystander, libc::SIGSTOP),
        |view| view.bystander_is_stopped(),
    ),
    Attempt::new(
        "kill-by-thread",
        "kill a thread of another process",
        |ground| {
            let one = Arg::from(ground.bait.bystander);
            call(libc::SYS_tgkill, &[one, one, libc::SIGKILL.into()]).map(drop)
        },
        |view| view.bystander_is_dead(),
    ),
    Attempt::new(
        "kill-by-descriptor",
        "kill another process through a descriptor",
        |ground| {
            let words = [ground.bait.bystander.into(), 0.into()];
            let pidfd = call(libc::SYS_pidfd_open, &words)?;
            let words = [pidfd.into(), libc::SIGKILL.into(), 0.into(), 0.into()];
            call(libc::SYS_pidfd_send_signal, &words).map(drop)
        },
        |view| view.bystander_is_dead(),
    ),
    Attempt::new(
        "kill-by-socket",
        "have another process signalled when something arrives",
        |ground| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            fcntl(&socket, libc::F_SETOWN, ground.bait.bystander)?;
            fcntl(&socket, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK)?;
            // The default action of SIGIO ends the process.
            socket.send_to(b"x", socket.local_addr()?).map(drop)
        },
        |view| view.bystander_is_dead(),
    ),
    Attempt::new(
        "kill-coordinator",
        "kill the coordinator",
        |ground| kill(ground.coordinator, libc::SIGKILL),
        |view| view.coordinator_is_gone(),
    )
    .ends_coordinator(),
    Attempt::new(
        "end-coordinator",
        "ask the coordinator to end",
        |ground| kill(ground.coordinator, libc::SIGTERM),
        |view| view.coordinator_is_gone(),
    )
    .ends_coordinator(),
    Attempt::new(
        "kill-worker",
        "kill another worker",
        |ground| kill(ground.bait.sibling, libc::SIGKILL),
        |view| view.sibling_is_gone(),
    )
    .against_worker(),
    Attempt::new(
        "stop-worker",
        "stop another worker",
        |ground| kill(ground.bait.sibling, libc::SIGSTOP),
        |view| view.sibling_is_gone(),
    )
    .against_worker(),
    Attempt::new(
        "trace",
        "trace another process",
        |ground| {
            let words = [PTRACE_SEIZE.into(), ground.bait.bystander.into()];
            call(libc::SYS_ptrace, &[words[0], words[1], 0.into(), 0.into()]).map(drop)
        },
        |view| view.bystander_is_traced(),
    ),
    Attempt::new(
        "memory-read",
        "read the memory of another process",
        |ground| {
            let mut room = [0_u8; 16];
            let cells = Cell::from_mut(&mut room[..]).as_slice_of_cells();
            let here = [cells.as_ptr() as u64, 16].map(u64::to_ne_bytes).concat();
            let there = [ground.bait.secret_at, 16].map(u64::to_ne_bytes).concat();
            vectors(ground, libc::SYS_process_vm_readv, &here, &there)?;
            ground.keep(room)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "memory-write",
        "write to the memory of another process",
        |ground| {
            let forged = FORGED.to_ne_bytes();
            let here = [forged.as_ptr() as u64, 8].map(u64::to_ne_bytes).concat();
            let there = [ground.bait.number_at, 8].map(u64::to_ne_bytes).concat();
            vectors(ground, libc::SYS_process_vm_writev, &here, &there)
        },
        |view| view.number_is_forged(),
    ),
    Attempt::new(
        "memory-file-read",
        "read the memory of another process as a file",
        |ground| {
            let mut room = [0; 16];
            let file = fs::File::open(format!("/proc/{}/mem", ground.bait.judge))?;
            file.read_exact_at(&mut room, ground.bait.secret_at)?;
            ground.keep(room)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "memory-file-write",
        "write to the memory of another process as a file",
        |ground| {
            let path = format!("/proc/{}/mem", ground.bait.judge);
            let file = OpenOptions::new().write(true).open(path)?;
            file.write_all_at(&FORGED.to_ne_bytes(), ground.bait.number_at)
        },
        |view| view.number_is_forged(),
    ),
    Attempt::new(
        "memory-of-coordinator",
        "read the coordinator's memory",
        |ground| {
            let (memory, stack) = stack(ground.coordinator)?;
            // Arguments and environment are at the end of the stack.
            let mut room = vec![0; END];
            memory.read_exact_at(&mut room, stack.end - END as u64)?;
            ground.keep(room)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "memory-of-worker",
        "write over the memory of another worker",
        |ground| {
            let (memory, stack) = stack(ground.bait.sibling)?;
            let mut room = vec![0; END];
            let begin = stack.end - END as u64;
            memory.read_exact_at(&mut room, begin)?;
            // Overwrites an argument, because arguments are visible from outside.
            let place = memchr::memmem::find(&room, b"--slot").ok_or(io::ErrorKind::NotFound)?;
            memory.write_all_at(FORGED_ARGUMENT, begin + place as u64)
        },
        |view| view.sibling_has(FORGED_ARGUMENT),
    )
    .against_worker(),
    Attempt::new(
        "descriptor-of-others",
        "take a descriptor of another process",
        |ground| {
            let pidfd = call(libc::SYS_pidfd_open, &[ground.bait.judge.into(), 0.into()])?;
            let words = [pidfd.into(), ground.bait.descriptor.into(), 0.into()];
            let taken = call(libc::SYS_pidfd_getfd, &words)?;
            ground.keep(fs::read(format!("/proc/self/fd/{taken}"))?)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "limit",
        "limit another process",
        |ground| limit(ground.bait.bystander),
        |view| view.is_limited(view.bystander()),
    ),
    Attempt::new(
        "limit-coordinator",
        "limit the coordinator",
        |ground| limit(ground.coordinator),
        |view| view.is_limited(view.coordinator),
    ),
    Attempt::new(
        "nice",
        "slow another process down",
        |ground| nice(ground.bait.bystander),
        |view| view.stat(view.bystander(), 18) == Some(NICE.into()),
    ),
    Attempt::new(
        "nice-coordinator",
        "slow the coordinator down",
        |ground| nice(ground.coordinator),
        |view| view.stat(view.coordinator, 18) == Some(NICE.into()),
    ),
    Attempt::new(
        "schedule",
        "choose how the coordinator is scheduled",
        |ground| {
            let none = 0_u32.to_ne_bytes();
            let words = [
                ground.coordinator.into(),
                libc::SCHED_BATCH.into(),
                Arg::Bytes(&none),
            ];
            call(libc::SYS_sched_setscheduler, &words).map(drop)
        },
        |view| view.stat(view.coordinator, 40) == Some(libc::SCHED_BATCH.into()),
    ),
    Attempt::new(
        "affinity",
        "keep another process to one processor",
        |ground| {
            // Uses the last processor that the process may run on.
            let mut mask = [0_u8; 128];
            let cells = Cell::from_mut(&mut mask[..]).as_slice_of_cells();
            let words = [ground.bait.bystander.into(), 128.into(), Arg::Room(cells)];
            call(libc::SYS_sched_getaffinity, &words)?;
            let last = mask.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            let bit = 0x80 >> mask[last].leading_zeros();
            mask.fill(0);
            mask[last] = bit;
            let words = [ground.bait.bystander.into(), 128.into(), Arg::Bytes(&mask)];
            call(libc::SYS_sched_setaffinity, &words).map(drop)
        },
        |view| view.bystander_has_one_processor(),
    ),
    Attempt::new(
        "io-priority",
        "lower the priority of another process's input and output",
        |ground| {
            let words = [
                IOPRIO_WHO_PROCESS.into(),
                ground.bait.bystander.into(),
                IOPRIO_IDLE.into(),
            ];
            call(libc::SYS_ioprio_set, &words).map(drop)
        },
        |view| {
            let words = [IOPRIO_WHO_PROCESS.into(), view.bystander_pid().into()];
            call(libc::SYS_ioprio_get, &words).is_ok_and(|found| found == IOPRIO_IDLE)
        },
    ),
    Attempt::new(
        "oom-score",
        "offer another process to the out-of-memory killer",
        |ground| {
            let path = format!("/proc/{}/oom_score_adj", ground.bait.bystander);
            fs::write(path, SCORE)
        },
        |view| view.bystander_is_offered(),
    ),
];

/// Opens the memory of a process for writing, and returns the address range of its stack.
fn stack(process: i32) -> io::Result<(fs::File, Range<u64>)> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[stack]"));
    let range = line.and_then(|line| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        Some(address(start)?..address(end)?)
    });
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{process}/mem"))?;
    Ok((memory, range.ok_or(io::ErrorKind::NotFound)?))
}

fn kill(process: i32, signal: i32) -> io::Result<()> {
    // 0 would signal the attacker's own process group.
    if process <= 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    call(libc::SYS_kill, &[process.into(), signal.into()]).map(drop)
}

fn vectors(ground: &Ground<'_>, number: libc::c_long, here: &[u8], there: &[u8]) -> io::Result<()> {
    let words = [
        ground.bait.judge.into(),
        Arg::Bytes(here),
        1.into(),
        Arg::Bytes(there),
        1.into(),
        0.into(),
    ];
    call(number, &words).map(drop)
}

fn limit(process: i32) -> io::Result<()> {
    let limit = [SPACE, SPACE].map(u64::to_ne_bytes).concat();
    let kind = i64::from(libc::RLIMIT_AS);
    let words = [process.into(), kind.into(), Arg::Bytes(&limit), 0.into()];
    call(libc::SYS_prlimit64, &words).map(drop)
}

fn nice(process: i32) -> io::Result<()> {
    let kind = i64::from(libc::PRIO_PROCESS);
    let words = [kind.into(), process.into(), NICE.into()];
    call(libc::SYS_setpriority, &words).map(drop)
}

/// Connects to a socket of the judge.
pub(super) fn reach(name: &SocketAddrUnix, kind: SocketType) -> io::Result<()> {
    let socket = socket(AddressFamily::UNIX, kind, None)?;
    rustix::net::connect(&socket, name)?;
    rustix::net::send(&socket, b"x", rustix::net::SendFlags::NOSIGNAL)?;
    leak(socket);
    Ok(())
}
