//! Parts of the kernel that a worker does not need, and that have often been attacked.

use std::cell::Cell;
use std::io;

use super::text;
use crate::isolation::attempt::Attempt;
use crate::isolation::raw::{Arg, call};

/// userfaultfd(2): handle only faults from user mode, which needs no privileges.
const UFFD_USER_MODE_ONLY: i32 = 1;

/// bpf(2): create a map; an array of one number.
const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// perf_event_open(2): the size of the first version of its structure; count a software event.
const PERF_ATTR_SIZE: u32 = 64;
const PERF_TYPE_SOFTWARE: u32 = 1;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "io-uring",
        "use io_uring, which passes by filters of system calls",
        |_| {
            let mut room = [0_u8; 120];
            let cells = Cell::from_mut(&mut room[..]).as_slice_of_cells();
            call(libc::SYS_io_uring_setup, &[1.into(), Arg::Room(cells)]).map(drop)
        },
        |view| view.holds(|target| target.contains("io_uring")),
    ),
    Attempt::new(
        "userfaultfd",
        "use userfaultfd",
        |_| {
            let flags = libc::O_CLOEXEC | UFFD_USER_MODE_ONLY;
            call(libc::SYS_userfaultfd, &[flags.into()]).map(drop)
        },
        |view| view.holds(|target| target.contains("userfaultfd")),
    ),
    Attempt::new(
        "bpf",
        "use bpf",
        |_| {
            let words: [u32; 4] = [BPF_MAP_TYPE_ARRAY, 4, 4, 1];
            let mut attributes = words.map(u32::to_ne_bytes).concat();
            attributes.resize(72, 0);
            let words = [BPF_MAP_CREATE.into(), Arg::Bytes(&attributes), 72.into()];
            call(libc::SYS_bpf, &words).map(drop)
        },
        |view| view.holds(|target| target.contains("bpf")),
    ),
    Attempt::new(
        "perf",
        "use perf events",
        |_| {
            let mut attributes = [PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE]
                .map(u32::to_ne_bytes)
                .concat();
            attributes.resize(64, 0);
            // Excludes the kernel and the hypervisor, so that no privileges are needed.
            attributes[40] = 0b0110_0000;
            let words = [
                Arg::Bytes(&attributes),
                0.into(),
                (-1).into(),
                (-1).into(),
                0.into(),
            ];
            call(libc::SYS_perf_event_open, &words).map(drop)
        },
        |view| view.holds(|target| target.contains("perf_event")),
    ),
    Attempt::new(
        "inotify",
        "watch a folder",
        |ground| {
            let watch = call(libc::SYS_inotify_init1, &[0.into()])?;
            let path = text(ground.outside("folder"))?;
            let all = i64::from(libc::IN_ALL_EVENTS);
            let words = [watch.into(), Arg::Text(&path), all.into()];
            call(libc::SYS_inotify_add_watch, &words).map(drop)
        },
        |view| view.holds(|target| target.contains("inotify")),
    ),
    Attempt::new(
        "fanotify",
        "watch a file system",
        |_| {
            let flags = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID;
            let words = [i64::from(flags).into(), 0.into()];
            call(libc::SYS_fanotify_init, &words).map(drop)
        },
        |view| view.holds(|target| target.contains("fanotify")),
    ),
    Attempt::new(
        "timer",
        "have a descriptor of a timer",
        |_| {
            let words = [libc::CLOCK_MONOTONIC.into(), 0.into()];
            call(libc::SYS_timerfd_create, &words).map(drop)
        },
        |view| view.holds(|target| target.contains("timerfd")),
    ),
    Attempt::new(
        "namespace",
        "have a user namespace of its own",
        |_| namespace(libc::CLONE_NEWUSER),
        |view| view.is_in_another_namespace("user"),
    )
    .ends_coordinator(),
    Attempt::new(
        "mount",
        "mount a file system",
        |ground| {
            // In a separate namespace, so that the mount is not visible to other processes.
            namespace(libc::CLONE_NEWNS)
                .or_else(|_| namespace(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
            let (root, kind, place) = (text("/")?, text("tmpfs")?, text(ground.outside("folder"))?);
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let words = [
                0.into(),
                Arg::Text(&root),
                0.into(),
                Arg::Number(private.cast_signed()),
                0.into(),
            ];
            call(libc::SYS_mount, &words)?;
            let words = [
                Arg::Text(&kind),
                Arg::Text(&place),
                Arg::Text(&kind),
                0.into(),
                0.into(),
            ];
            call(libc::SYS_mount, &words).map(drop)
        },
        |view| view.sees_a_mount(),
    )
    .ends_coordinator(),
    Attempt::new(
        "root",
        "have another root folder",
        |ground| {
            let path = text(ground.outside("folder"))?;
            call(libc::SYS_chroot, &[Arg::Text(&path)]).map(drop)
        },
        |view| view.has_another_root(),
    )
    .ends_coordinator(),
    Attempt::new(
        "personality",
        "change how it is run",
        |_| {
            let words = [i64::from(libc::ADDR_NO_RANDOMIZE).into()];
            call(libc::SYS_personality, &words).map(drop)
        },
        |view| view.has_personality(libc::ADDR_NO_RANDOMIZE),
    ),
];

fn namespace(flags: i32) -> io::Result<()> {
    call(libc::SYS_unshare, &[flags.into()]).map(drop)
}
