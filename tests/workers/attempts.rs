//! What a worker that was taken over tries: one attempt each, by name.
//!
//! Files that an attempt is about are in the run's folder, which is outside of what a worker may
//! write to; the folder that it works in is inside. Where there is an effect to be seen from outside,
//! `confined.rs` looks for it.

use std::ffi::CString;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{MemfdFlags, Timestamps, memfd_create, utimensat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};
use rustix::time::Timespec;

use crate::raw::{Arg, call, fork, map, own};

/// Named by tests that look for their effects.
pub const REACH_A_SOCKET: &str = "reach a socket by its path";
pub const REACH_AN_ABSTRACT_SOCKET: &str = "reach an abstract socket";

/// Attempts that need capabilities, which root alone has: without them, the kernel refuses.
pub const OF_ROOT: [&str; 4] = ["mount", "unshare", "chroot", "give a file away"];

/// Attempts at what a kernel may be built without, or told to refuse to all or to all but root.
pub const MAY_BE_REFUSED: [&str; 10] = [
    "a keyring",
    "a message queue",
    "shared memory of System V",
    "a message queue of System V",
    "io_uring",
    "userfaultfd",
    "bpf",
    "perf",
    "MPTCP",
    "read the coordinator's memory",
];

type Attempt = (&'static str, fn(&Target) -> io::Result<()>);

/// What is attacked.
pub struct Target {
    coordinator: Pid,
    /// Of the run.
    folder: PathBuf,
}

impl Target {
    pub fn new() -> Self {
        Self {
            coordinator: getppid().expect("a coordinator"),
            folder: fs::canonicalize(crate::misbehave::RUN_FOLDER).expect("it is there"),
        }
    }

    fn pid(&self) -> i32 {
        self.coordinator.as_raw_nonzero().get()
    }

    /// The name of an abstract socket of the test, and of this run alone.
    fn socket_name(&self) -> String {
        format!("coordinator-test-{}", self.folder.display())
    }
}

/// All of them, in order.
pub const ALL: &[Attempt] = &[
    // Files.
    ("write elsewhere", |_| {
        fs::write("../../../../elsewhere", "x")
    }),
    ("write to the output folder", |_| {
        fs::write("../../../new", "x")
    }),
    ("remove a finished file", |_| {
        fs::remove_file("../../../finished")
    }),
    ("read the run log", |_| {
        fs::read("../../results.jsonl").map(drop)
    }),
    ("list the folders of others", |_| {
        fs::read_dir("..").map(drop)
    }),
    ("write over a file elsewhere", |_| {
        let over = OpenOptions::new().write(true).open("../../../../private");
        over.map(drop)
    }),
    ("remove a file elsewhere", |_| {
        fs::remove_file("../../../../removable")
    }),
    ("make a folder elsewhere", |_| {
        fs::create_dir("../../../../folder")
    }),
    ("move a file out", |_| {
        fs::write("movable", "x")?;
        fs::rename("movable", "../../../../moved")
    }),
    ("link a file in", |_| {
        fs::hard_link("../../../../private", "link")
    }),
    ("read a private file", |_| {
        fs::read("../../../../private").map(drop)
    }),
    ("read what is stored", |_| {
        fs::read("../../../kept").map(drop)
    }),
    ("list a folder", |_| fs::read_dir(".").map(drop)),
    ("change permissions elsewhere", |_| {
        fs::set_permissions("../../../../touched", Permissions::from_mode(0o644))
    }),
    ("change the times of a file elsewhere", |_| {
        let epoch = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: epoch,
            last_modification: epoch,
        };
        let empty = rustix::fs::AtFlags::empty();
        Ok(utimensat(
            rustix::fs::CWD,
            "../../../../touched",
            &times,
            empty,
        )?)
    }),
    ("set an attribute elsewhere", |_| {
        let [path, name] = ["../../../../touched", "user.test"].map(text);
        let words = [
            Arg::Text(&path),
            Arg::Text(&name),
            Arg::Bytes(b"x"),
            1.into(),
        ];
        call(libc::SYS_setxattr, &words).map(drop)
    }),
    ("make a program set-uid", |_| {
        fs::set_permissions("own", Permissions::from_mode(0o4755))
    }),
    ("make a fifo", |_| {
        let path = text("fifo");
        let mode = i64::from(libc::S_IFIFO | 0o600);
        let words = [libc::AT_FDCWD.into(), Arg::Text(&path), mode.into()];
        call(libc::SYS_mknodat, &words).map(drop)
    }),
    ("write more than a body may have", |_| {
        let file = fs::File::create("huge")?;
        file.set_len(1 << 30)
    }),
    ("hold a lease", |_| {
        let file = fs::File::create("leased")?;
        fcntl(&file, libc::F_SETLEASE, libc::F_WRLCK)
    }),
    ("give a file away", |_| {
        fs::write("given", "x")?;
        std::os::unix::fs::chown("given", Some(1), None)
    }),
    ("watch a folder", |_| {
        let watch = own(call(libc::SYS_inotify_init1, &[0.into()])?);
        let path = text(".");
        let all = i64::from(libc::IN_ALL_EVENTS);
        let words = [watch.as_raw_fd().into(), Arg::Text(&path), all.into()];
        call(libc::SYS_inotify_add_watch, &words).map(drop)
    }),
    // Other processes.
    ("read the coordinator's environment", |target| {
        fs::read(format!("/proc/{}/environ", target.pid())).map(drop)
    }),
    ("read the coordinator's memory", |target| {
        // One byte, at an address where there is nothing.
        let byte = [0_u8];
        let [here, there] = [byte.as_ptr() as u64, 8].map(|address| {
            let range: [u64; 2] = [address, 1];
            range.map(u64::to_ne_bytes).concat()
        });
        let words = [
            target.pid().into(),
            Arg::Bytes(&here),
            1.into(),
            Arg::Bytes(&there),
            1.into(),
            0.into(),
        ];
        by(libc::EFAULT, call(libc::SYS_process_vm_readv, &words))
    }),
    ("signal the coordinator", |target| {
        // One that is ignored by whoever does not ask for it.
        Ok(kill_process(target.coordinator, Signal::WINCH)?)
    }),
    ("signal the coordinator through a descriptor", |target| {
        let pid = own(call(
            libc::SYS_pidfd_open,
            &[target.pid().into(), 0.into()],
        )?);
        let words = [pid.as_raw_fd().into(), libc::SIGWINCH.into()];
        call(libc::SYS_pidfd_send_signal, &words).map(drop)
    }),
    ("limit the coordinator", |target| {
        let limit = [1_u64 << 40, 1 << 40].map(u64::to_ne_bytes).concat();
        let kind = i64::from(libc::RLIMIT_AS);
        let words = [target.pid().into(), kind.into(), Arg::Bytes(&limit)];
        call(libc::SYS_prlimit64, &words).map(drop)
    }),
    ("slow the coordinator down", |target| {
        let kind = i64::from(libc::PRIO_PROCESS);
        let words = [kind.into(), target.pid().into(), 11.into()];
        call(libc::SYS_setpriority, &words).map(drop)
    }),
    ("schedule the coordinator", |target| {
        let none = 0_u32.to_ne_bytes();
        let words = [
            target.pid().into(),
            libc::SCHED_BATCH.into(),
            Arg::Bytes(&none),
        ];
        call(libc::SYS_sched_setscheduler, &words).map(drop)
    }),
    ("start a process", |_| fork(Path::new("forked"))),
    ("leave its process group", |target| {
        let of_coordinator = call(libc::SYS_getpgid, &[target.pid().into()])?;
        call(libc::SYS_setpgid, &[0.into(), of_coordinator.into()])?;
        call(libc::SYS_setpgid, &[0.into(), 0.into()]).map(drop)
    }),
    ("outlive the coordinator", |_| {
        Ok(rustix::process::set_parent_process_death_signal(None)?)
    }),
    ("start a program", |_| start("/bin/true")),
    ("start a program that it stored", |_| start_stored()),
    ("start a program in memory", |_| start_in_memory()),
    ("become another program", |_| {
        // One that there is not, or this would be the last attempt.
        let path = text("/nonexistent");
        by(libc::ENOENT, call(libc::SYS_execve, &[Arg::Text(&path)]))
    }),
    ("unshare", |_| {
        let words = [libc::CLONE_NEWNS.into()];
        call(libc::SYS_unshare, &words).map(drop)
    }),
    ("mount", |_| {
        let [what, place] = ["tmpfs", "../../../../folder"].map(text);
        let words = [Arg::Text(&what), Arg::Text(&place), Arg::Text(&what)];
        call(libc::SYS_mount, &words)?;
        let words = [Arg::Text(&place), libc::MNT_DETACH.into()];
        call(libc::SYS_umount2, &words).map(drop)
    }),
    ("chroot", |_| {
        let path = text("/");
        call(libc::SYS_chroot, &[Arg::Text(&path)]).map(drop)
    }),
    ("another personality", |_| {
        let words = [i64::from(libc::ADDR_NO_RANDOMIZE).into()];
        call(libc::SYS_personality, &words).map(drop)
    }),
    // Sockets.
    ("listen", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("listen without an address", |_| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        Ok(rustix::net::listen(&socket, 1)?)
    }),
    ("wait for datagrams", |_| {
        UdpSocket::bind("127.0.0.1:0").map(drop)
    }),
    ("MPTCP", |_| {
        let words = [
            libc::AF_INET.into(),
            libc::SOCK_STREAM.into(),
            libc::IPPROTO_MPTCP.into(),
        ];
        call(libc::SYS_socket, &words).map(own).map(drop)
    }),
    ("netlink", |_| {
        let words = [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0.into()];
        call(libc::SYS_socket, &words).map(own).map(drop)
    }),
    (REACH_A_SOCKET, |_| {
        UnixStream::connect("../../../../socket").map(drop)
    }),
    (REACH_AN_ABSTRACT_SOCKET, |target| {
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        let name = target.socket_name();
        let name = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
        Ok(connect(&socket, &name)?)
    }),
    ("a pair of datagram sockets", |_| {
        UnixDatagram::pair().map(drop)
    }),
    ("have another signalled", |target| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        fcntl(&socket, libc::F_SETOWN, target.pid())
    }),
    // Memory, and what lives on in the kernel.
    ("share memory", |_| map(libc::MAP_SHARED)),
    ("memory that is no data", |_| {
        map(libc::MAP_PRIVATE | libc::MAP_GROWSDOWN)
    }),
    ("a file in memory", |_| {
        Ok(memfd_create("test", MemfdFlags::CLOEXEC).map(drop)?)
    }),
    ("a pipe", |_| io::pipe().map(drop)),
    ("many descriptors", |_| {
        let open: Vec<_> = (0..500)
            .map(|_| socket(AddressFamily::INET, SocketType::DGRAM, None))
            .collect::<Result<_, _>>()?;
        drop(open);
        Ok(())
    }),
    ("shared memory of System V", |_| {
        let private = i64::from(libc::IPC_PRIVATE);
        let made = call(
            libc::SYS_shmget,
            &[private.into(), 4096.into(), 0o600.into()],
        )?;
        let words = [made.into(), libc::IPC_RMID.into()];
        call(libc::SYS_shmctl, &words).map(drop)
    }),
    ("a message queue of System V", |_| {
        let private = i64::from(libc::IPC_PRIVATE);
        let made = call(libc::SYS_msgget, &[private.into(), 0o600.into()])?;
        let words = [made.into(), libc::IPC_RMID.into()];
        call(libc::SYS_msgctl, &words).map(drop)
    }),
    ("a message queue", |_| {
        let name = format!("coordinator-test-{}", getpid().as_raw_nonzero());
        let name = text(&name);
        let flags = libc::O_CREAT | libc::O_RDWR;
        let words = [Arg::Text(&name), flags.into(), 0o600.into()];
        drop(own(call(libc::SYS_mq_open, &words)?));
        call(libc::SYS_mq_unlink, &[Arg::Text(&name)]).map(drop)
    }),
    ("a keyring", |_| {
        let [kind, name] = ["user", "coordinator-test"].map(text);
        let words = [
            Arg::Text(&kind),
            Arg::Text(&name),
            Arg::Bytes(b"x"),
            1.into(),
            libc::KEY_SPEC_PROCESS_KEYRING.into(),
        ];
        call(libc::SYS_add_key, &words).map(drop)
    }),
    ("io_uring", |_| {
        // It would write to the parameters: there are none, which it finds out first if it may.
        let words = [1.into(), 0.into()];
        by(libc::EFAULT, call(libc::SYS_io_uring_setup, &words))
    }),
    ("userfaultfd", |_| {
        call(libc::SYS_userfaultfd, &[libc::O_CLOEXEC.into()])
            .map(own)
            .map(drop)
    }),
    ("bpf", |_| {
        let words = [0.into(), 0.into(), 72.into()];
        by(libc::EFAULT, call(libc::SYS_bpf, &words))
    }),
    ("perf", |_| {
        by(libc::EFAULT, call(libc::SYS_perf_event_open, &[0.into()]))
    }),
];

/// A call that was let through to where it failed for another reason.
fn by(errno: i32, result: io::Result<i64>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        result => result.map(drop),
    }
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no nul byte")
}

fn fcntl(file: &impl AsRawFd, command: i32, argument: i32) -> io::Result<()> {
    let words = [file.as_raw_fd().into(), command.into(), argument.into()];
    call(libc::SYS_fcntl, &words).map(drop)
}

/// It inherits everything: nothing may be opened for it that could be refused in its stead.
fn start(program: &str) -> io::Result<()> {
    Command::new(program).arg("--version").status().map(drop)
}

fn start_stored() -> io::Result<()> {
    fs::write("program", "#!/bin/sh\n")?;
    fs::set_permissions("program", Permissions::from_mode(0o755))?;
    start("./program")
}

/// The dynamic loader is a program as well, in a folder that may be read.
fn start_in_memory() -> io::Result<()> {
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
        .iter()
        .find_map(|path| fs::read(path).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no loader to try it with"))?;
    let memory = memfd_create("program", MemfdFlags::empty())?;
    rustix::io::write(&memory, &loader)?;
    start(&format!("/proc/self/fd/{}", memory.as_raw_fd()))
}
