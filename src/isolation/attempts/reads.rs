//! Private data: files, names, environments. An attacker saves what it has read. The attempt has an
//! effect if the secret is in it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::text;
use crate::isolation::attempt::Attempt;
use crate::isolation::ground::Ground;
use crate::isolation::raw::{Arg, call};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "read-file",
        "read a private file elsewhere",
        |ground| ground.keep(fs::read(ground.outside("private"))?),
        |view| view.has_secret(),
    ),
    Attempt::new(
        "read-open",
        "read a private file by the older open(2)",
        |ground| {
            let path = text(ground.outside("private"))?;
            read_all(ground, older_open(&path)?)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "list-folder",
        "list a folder elsewhere",
        |ground| {
            let mut names = Vec::new();
            for entry in fs::read_dir(ground.outside("folder"))? {
                names.extend_from_slice(entry?.file_name().as_bytes());
            }
            ground.keep(names)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "list-output",
        "list the output folder",
        |ground| {
            let mut names = Vec::new();
            for entry in fs::read_dir(ground.output(""))? {
                names.extend_from_slice(entry?.file_name().as_bytes());
            }
            ground.keep(names)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "read-log",
        "read the run log",
        |ground| ground.keep(fs::read(ground.state("results.jsonl"))?),
        |view| view.has_secret(),
    ),
    Attempt::new(
        "read-key",
        "read the key to the names of partial bodies",
        |ground| ground.keep(fs::read(ground.state("partial.key"))?),
        |view| view.loot_is_state("partial.key"),
    ),
    Attempt::new(
        "read-environment",
        "find a secret in its own environment",
        |ground| {
            let all = std::env::vars_os().flat_map(|(name, value)| {
                [name.as_bytes(), b"=", value.as_bytes(), b"\n"].concat()
            });
            ground.keep(all.collect::<Vec<_>>())
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "environment-of-coordinator",
        "read the coordinator's environment",
        |ground| ground.keep(fs::read(format!("/proc/{}/environ", ground.coordinator))?),
        |view| view.has_secret(),
    ),
    Attempt::new(
        "arguments-of-others",
        "read the arguments of another process",
        |ground| {
            ground.keep(fs::read(format!(
                "/proc/{}/cmdline",
                ground.bait.bystander
            ))?)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "file-of-others",
        "read a file that another process has open",
        |ground| {
            let (judge, number) = (ground.bait.judge, ground.bait.descriptor);
            ground.keep(fs::read(format!("/proc/{judge}/fd/{number}"))?)
        },
        |view| view.has_secret(),
    ),
    Attempt::new(
        "inherited",
        "read through a descriptor that the coordinator's caller left open",
        |ground| {
            let (mut all, mut piece) = (Vec::new(), [0; 64]);
            for descriptor in crate::isolation::raw::descriptors() {
                if let Ok(length) = rustix::io::pread(descriptor, &mut piece, 0) {
                    all.extend_from_slice(&piece[..length]);
                }
            }
            ground.keep(all)
        },
        |view| view.has_secret(),
    ),
];

#[cfg(target_arch = "x86_64")]
fn older_open(path: &std::ffi::CStr) -> io::Result<i64> {
    call(libc::SYS_open, &[Arg::Text(path), 0.into(), 0.into()])
}

/// This processor has no older call.
#[cfg(not(target_arch = "x86_64"))]
fn older_open(path: &std::ffi::CStr) -> io::Result<i64> {
    let words = [libc::AT_FDCWD.into(), Arg::Text(path), 0.into(), 0.into()];
    call(libc::SYS_openat, &words)
}

fn read_all(ground: &Ground<'_>, descriptor: i64) -> io::Result<()> {
    let mut room = [0_u8; 4096];
    let cells = std::cell::Cell::from_mut(&mut room[..]).as_slice_of_cells();
    let words = [descriptor.into(), Arg::Room(cells), 4096.into()];
    let length = call(libc::SYS_read, &words)?;
    ground.keep(&room[..usize::try_from(length).unwrap_or(0)])
}
