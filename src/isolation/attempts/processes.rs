//! Programs and processes: starting them, and outliving the run.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use super::text;
use crate::isolation::attempt::Attempt;
use crate::isolation::ground::{BAIT, Ground, rest};
use crate::isolation::raw::{Arg, call, call_32_bit, fork};

/// How many processes a worker tries to run at once.
const MANY: usize = 20;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "program",
        "start a program",
        |ground| start(ground, "/bin/sh"),
        |view| view.own("ran").exists(),
    ),
    Attempt::new(
        "program-stored",
        "start a program that it has written",
        |ground| {
            let path = ground.own("program");
            fs::write(&path, "#!/bin/sh\neval \"$2\"\n")?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            start(ground, path.to_str().unwrap_or_default())
        },
        |view| view.own("ran").exists(),
    ),
    Attempt::new(
        "program-in-memory",
        "start a program that it holds in memory",
        |ground| {
            let mut memory = fs::File::from(memfd_create("program", MemfdFlags::empty())?);
            memory.write_all(&fs::read("/bin/sh")?)?;
            start(ground, &format!("/proc/self/fd/{}", memory.as_raw_fd()))
        },
        |view| view.own("ran").exists(),
    ),
    Attempt::new(
        "program-instead",
        "become another program",
        |ground| {
            // The raw call passes no argument pointers, so the program is a script.
            let (path, bait) = (ground.own("program"), ground.own(BAIT));
            let (ran, bait) = (ground.own("ran"), bait.display());
            let script = format!(
                "#!/bin/sh\n: > '{}'\nrm '{bait}'\nexec sleep 100\n",
                ran.display()
            );
            fs::write(&path, script)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            let path = text(&path)?;
            let words = [Arg::Text(&path), 0.into(), 0.into()];
            call(libc::SYS_execve, &words).map(drop)
        },
        |view| view.own("ran").exists() || view.is_another_program(),
    )
    .ends_coordinator(),
    Attempt::new(
        "fork",
        "start a copy of itself",
        |ground| fork(&text(ground.own("forked"))?, false),
        |view| view.own("forked").exists(),
    ),
    Attempt::new(
        "fork-many",
        "start twenty copies of itself",
        |ground| (0..MANY).try_for_each(|n| fork(&text(ground.own(&format!("forked{n}")))?, true)),
        |view| view.children_of_attacker() >= MANY,
    ),
    Attempt::new(
        "outlive-by-fork",
        "leave a process behind that outlives the run",
        |ground| fork(&text(ground.own("forked"))?, true),
        |view| view.is_outlived(),
    )
    .and_kill(),
    Attempt::new(
        "outlive",
        "outlive a coordinator that is killed",
        |ground| {
            let asked = rustix::process::set_parent_process_death_signal(None);
            tracing::debug!(?asked, "not to be told of the coordinator's death");
            ground.done();
            rest()
        },
        |view| view.is_outlived(),
    )
    .ends_coordinator()
    .and_kill(),
    Attempt::new(
        "group",
        "leave its process group",
        |ground| {
            let of_coordinator = call(libc::SYS_getpgid, &[ground.coordinator.into()])?;
            call(libc::SYS_setpgid, &[0.into(), of_coordinator.into()]).map(drop)
        },
        |view| {
            view.stat_of_attacker(4)
                .is_some_and(|group| group != i64::from(view.attacker))
        },
    )
    .ends_coordinator(),
    Attempt::new(
        "calls-of-32-bit",
        "kill a process by the calls of another ABI",
        |ground| {
            // kill(2) in the 32-bit ABI.
            call_32_bit(37, ground.bait.bystander, libc::SIGKILL);
            Ok(())
        },
        |view| view.bystander_is_dead(),
    )
    .ends_coordinator(),
];

/// Makes a shell create a file.
fn start(ground: &Ground<'_>, shell: &str) -> io::Result<()> {
    let made = format!(": > '{}'", ground.own("ran").display());
    let status = Command::new(shell)
        .args(["-c", &made])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(status.to_string())),
    }
}
