//! Opens files below a folder, and none elsewhere: with openat2(2), or one part of the path at a
//! time if that call is missing (Linux before 5.6) or a container refuses it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// How a path is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By the kernel, in one call.
    AtOnce,
    /// One part at a time.
    InSteps,
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Flags for opening a folder on the way.
const STEP: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Flags that open(2) accepts together with `O_PATH`; openat2(2) refuses others.
const WITH_PATH: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl How {
    /// Returns which way the kernel allows for this process in a folder.
    pub(super) fn find(folder: BorrowedFd<'_>) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat2(folder, ".", flags, Mode::empty(), RESOLVE) {
            // Seccomp filters of containers return EPERM for unknown calls.
            Err(Errno::NOSYS | Errno::PERM) => Self::InSteps,
            Ok(_) | Err(_) => Self::AtOnce,
        }
    }
}

/// Opens `path` below `folder`. Follows no link, on the way or at the end.
pub(super) fn open(
    folder: BorrowedFd<'_>,
    path: &OsStr,
    flags: OFlags,
    mode: Mode,
    how: How,
) -> Result<OwnedFd, Errno> {
    let mut parts = parts(path)?;
    let safe = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = match flags.contains(OFlags::PATH) {
        true => flags.intersection(WITH_PATH) | safe,
        false => flags | safe | OFlags::NONBLOCK | OFlags::NOCTTY,
    };
    let makes = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if makes { mode } else { Mode::empty() };
    if how == How::AtOnce {
        return openat2(folder, path, flags, mode, RESOLVE);
    }
    let mut part = parts.next().ok_or(Errno::INVAL)?;
    let mut parent: Option<OwnedFd> = None;
    for next in parts {
        let above = parent.as_ref().map_or(folder, AsFd::as_fd);
        parent = Some(openat(above, part, STEP, Mode::empty())?);
        part = next;
    }
    openat(
        parent.as_ref().map_or(folder, AsFd::as_fd),
        part,
        flags,
        mode,
    )
}

/// Returns the parts of a path below a folder.
///
/// # Errors
///
/// Returns `EINVAL` if the path could lead elsewhere: each part must be a name.
pub(super) fn parts(path: &OsStr) -> Result<impl Iterator<Item = &OsStr>, Errno> {
    let split = || path.as_bytes().split(|&byte| byte == b'/');
    let names = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    if split().all(names) {
        Ok(split().map(OsStr::from_bytes))
    } else {
        Err(Errno::INVAL)
    }
}
