//! Files outside the worker's folder: their contents, names and metadata.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};

use rustix::fs::{AtFlags, CWD, Timestamps, utimensat};
use rustix::time::Timespec;

use super::{at, fcntl, leak, text};
use crate::isolation::attempt::Attempt;
use crate::isolation::raw::{Arg, call};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "file-new",
        "make a file elsewhere",
        |ground| fs::write(ground.outside("new"), "x"),
        |view| view.outside("new").exists(),
    ),
    Attempt::new(
        "file-overwrite",
        "write over a file elsewhere",
        |ground| {
            let file = OpenOptions::new().write(true).open(ground.outside("other"));
            file?.write_all(b"over")
        },
        |view| view.content("other").starts_with(b"over"),
    ),
    Attempt::new(
        "file-append",
        "append to a file elsewhere",
        |ground| {
            let file = OpenOptions::new()
                .append(true)
                .open(ground.outside("other"));
            file?.write_all(b"more")
        },
        |view| view.content("other").ends_with(b"more"),
    ),
    Attempt::new(
        "file-truncate",
        "cut off a file elsewhere by its path",
        |ground| {
            let path = text(ground.outside("other"))?;
            call(libc::SYS_truncate, &[Arg::Text(&path), 0.into()]).map(drop)
        },
        |view| view.content("other").is_empty(),
    ),
    Attempt::new(
        "file-remove",
        "remove a file elsewhere",
        |ground| fs::remove_file(ground.outside("other")),
        |view| !view.outside("other").exists(),
    ),
    Attempt::new(
        "folder-new",
        "make a folder elsewhere",
        |ground| fs::create_dir(ground.outside("new")),
        |view| view.outside("new").is_dir(),
    ),
    Attempt::new(
        "folder-remove",
        "remove a folder elsewhere",
        |ground| fs::remove_dir(ground.outside("empty")),
        |view| !view.outside("empty").exists(),
    ),
    Attempt::new(
        "file-move-out",
        "move a file of its own out of its folder",
        |ground| {
            fs::write(ground.own("moved"), "x")?;
            fs::rename(ground.own("moved"), ground.outside("new"))
        },
        |view| view.outside("new").exists(),
    ),
    Attempt::new(
        "file-move-in",
        "move a file elsewhere into its folder",
        |ground| fs::rename(ground.outside("other"), ground.own("moved")),
        |view| !view.outside("other").exists(),
    ),
    Attempt::new(
        "link-hard",
        "give a file elsewhere a name in its folder",
        |ground| fs::hard_link(ground.outside("private"), ground.own("link")),
        |view| fs::metadata(view.outside("private")).is_ok_and(|file| file.nlink() > 1),
    ),
    Attempt::new(
        "link-symbolic",
        "make a symbolic link elsewhere",
        |ground| symlink("/", ground.outside("new")),
        |view| view.outside("new").is_symlink(),
    ),
    Attempt::new(
        "link-symbolic-own",
        "make a symbolic link in its folder",
        |ground| symlink(ground.outside("private"), ground.own("link")),
        |view| view.own("link").is_symlink(),
    ),
    Attempt::new(
        "mode",
        "change the permissions of a file elsewhere",
        |ground| fs::set_permissions(ground.outside("other"), Permissions::from_mode(0o666)),
        |view| view.mode(&view.outside("other")) & 0o777 == 0o666,
    ),
    Attempt::new(
        "times",
        "change the times of a file elsewhere",
        |ground| {
            let epoch = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: epoch,
                last_modification: epoch,
            };
            let path = ground.outside("other");
            Ok(utimensat(CWD, &path, &times, AtFlags::empty())?)
        },
        |view| fs::metadata(view.outside("other")).is_ok_and(|file| file.mtime() == 0),
    ),
    Attempt::new(
        "attribute",
        "set an extended attribute of a file elsewhere",
        |ground| {
            let (path, name) = (text(ground.outside("other"))?, text("user.isolation")?);
            let words = [
                Arg::Text(&path),
                Arg::Text(&name),
                Arg::Bytes(b"x"),
                1.into(),
                0.into(),
            ];
            call(libc::SYS_setxattr, &words).map(drop)
        },
        |view| {
            let path = view.outside("other");
            rustix::fs::getxattr(path, "user.isolation", &mut [0_u8; 8]).is_ok()
        },
    ),
    Attempt::new(
        "set-uid",
        "make a file of its own set-uid",
        |ground| {
            fs::write(ground.own("program"), "x")?;
            fs::set_permissions(ground.own("program"), Permissions::from_mode(0o4755))
        },
        |view| view.mode(&view.own("program")) & 0o4000 != 0,
    ),
    Attempt::new(
        "give-away",
        "give a file of its own to another user",
        |ground| {
            fs::write(ground.own("given"), "x")?;
            chown(ground.own("given"), Some(12_345), None)
        },
        |view| fs::metadata(view.own("given")).is_ok_and(|file| file.uid() == 12_345),
    ),
    Attempt::new(
        "fifo",
        "make a fifo",
        |ground| {
            let path = text(ground.own("fifo"))?;
            let mode = i64::from(libc::S_IFIFO | 0o600);
            at(libc::SYS_mknodat, &path, &[mode.into(), 0.into()])
        },
        |view| fs::metadata(view.own("fifo")).is_ok_and(|file| file.file_type().is_fifo()),
    ),
    Attempt::new(
        "device",
        "make a device",
        |ground| {
            let path = text(ground.own("device"))?;
            let mode = i64::from(libc::S_IFCHR | 0o600);
            let null = libc::makedev(1, 3).cast_signed();
            at(libc::SYS_mknodat, &path, &[mode.into(), null.into()])
        },
        |view| {
            let made = fs::metadata(view.own("device"));
            made.is_ok_and(|file| file.file_type().is_char_device())
        },
    ),
    Attempt::new(
        "huge",
        "write a file far larger than --max-filesize",
        |ground| fs::File::create(ground.own("huge"))?.set_len(1 << 30),
        |view| fs::metadata(view.own("huge")).is_ok_and(|file| file.len() == 1 << 30),
    )
    .with(&["--max-filesize", "1MiB"]),
    Attempt::new(
        "lease",
        "hold a lease of a file, which makes others wait",
        |ground| {
            let file = fs::File::create(ground.own("leased"))?;
            fcntl(&file, libc::F_SETLEASE, libc::F_WRLCK)?;
            leak(file);
            Ok(())
        },
        |view| view.holds_a_lease(),
    ),
    Attempt::new(
        "metadata",
        "see the size of a file whose path it knows",
        |ground| {
            let size = fs::metadata(ground.outside("private"))?.len();
            ground.keep(size.to_string())
        },
        |view| {
            let size = fs::metadata(view.outside("private")).map_or(0, |file| file.len());
            view.loot() == size.to_string().into_bytes()
        },
    )
    .allowed(),
    Attempt::new(
        "fill",
        "write files of its own that nobody asked for",
        |ground| (0..8).try_for_each(|n| fs::write(ground.own(&format!("fill{n}")), [0; 1 << 16])),
        |view| fs::metadata(view.own("fill7")).is_ok_and(|file| file.len() == 1 << 16),
    )
    .allowed(),
];
