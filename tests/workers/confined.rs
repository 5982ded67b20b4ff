//! A worker that was taken over by somebody, in its sandbox: what it tries, and what comes of it.
//!
//! It is a real worker process of a real coordinator, which applies the setup that it was sent with
//! the function that every worker uses, tries everything, writes down how each went (in a file that it
//! opened before), and goes on as a worker.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use protocol::Setup;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
use rustix::process::{Pid, Signal, getppid, kill_process};

use crate::misbehave::RUN_FOLDER;
use crate::support::{Ended, Run, Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_confined_worker_writes_to_its_own_folder_and_can_do_no_harm,
        without_a_sandbox_the_same_worker_can_do_all_of_it,
        a_worker_that_needs_more_memory_than_it_may_have_dies_and_the_others_go_on,
    ]
}

/// Where the worker writes down what it tried.
const TRIED: &str = "tried";

/// What a worker must be able to do.
const ALLOWED: [&str; 4] = [
    "write to its own folder",
    "read what it wrote",
    "remove what it wrote",
    "look up localhost",
];

/// Where a path in the run's folder is for a worker.
fn there(path: &str) -> PathBuf {
    Path::new(RUN_FOLDER).join(path)
}

/// An abstract socket of the test, and of the run in this folder alone.
fn socket_name(folder: &Path) -> String {
    format!("coordinator-test-{}", folder.display())
}

/// Called in the worker.
pub fn try_everything(setup: &Setup) {
    let mut report = File::create(there(TRIED)).expect("nothing confines it yet");
    let name = socket_name(&there("").canonicalize().expect("the run's folder"));
    worker::limits::apply(setup).expect("the limits can be had");
    let mut tried: Vec<(&str, io::Result<()>)> = Vec::new();
    let mut attempt = |name, result: io::Result<()>| tried.push((name, result));

    attempt(ALLOWED[0], fs::write("own", "own"));
    attempt(ALLOWED[1], fs::read("own").map(drop));
    attempt(
        ALLOWED[2],
        fs::write("more", "x").and_then(|()| fs::remove_file("more")),
    );
    attempt(ALLOWED[3], ("localhost", 80).to_socket_addrs().map(drop));

    attempt("write elsewhere", fs::write(there("elsewhere"), "x"));
    let own = there("downloads/new");
    attempt("write to the output folder", fs::write(own, "x"));
    let over = |path| OpenOptions::new().write(true).open(there(path)).map(drop);
    attempt("write over a file elsewhere", over("private"));
    attempt("write over a finished file", over("downloads/finished"));
    attempt(
        "write to the run log",
        over("downloads/.coordinator/results.jsonl"),
    );
    attempt(
        "remove a file elsewhere",
        fs::remove_file(there("removable")),
    );
    let finished = there("downloads/removable");
    attempt("remove a finished file", fs::remove_file(finished));
    attempt("make a folder elsewhere", fs::create_dir(there("folder")));
    attempt("make a folder", fs::create_dir("folder"));
    fs::write("movable", "x").expect("it may");
    attempt(
        "move a file out",
        fs::rename("movable", there("downloads/moved")),
    );
    attempt("link a file in", fs::hard_link(there("private"), "link"));
    attempt("read a private file", fs::read(there("private")).map(drop));
    let finished = there("downloads/finished");
    attempt("read a finished file", fs::read(finished).map(drop));
    attempt("list the run's folder", fs::read_dir(there("")).map(drop));
    let others = there("downloads/.coordinator/partial");
    attempt("list the folders of others", fs::read_dir(others).map(drop));
    let parent = getppid().expect("a coordinator");
    let environ = format!("/proc/{}/environ", parent.as_raw_nonzero());
    attempt(
        "read the coordinator's environment",
        fs::read(environ).map(drop),
    );
    attempt("start a program", start("/bin/true"));
    attempt("start a program that it stored", start_stored());
    attempt("start a program in memory", start_in_memory());
    attempt("signal the coordinator", signal(parent));
    attempt("listen", TcpListener::bind("127.0.0.1:0").map(drop));
    attempt("reach an abstract socket", reach(&name));
    let lines: String = tried
        .iter()
        .map(|(name, result)| match result {
            Ok(()) => format!("{name}: done\n"),
            Err(error) => format!("{name}: {:?} {error}\n", error.kind()),
        })
        .collect();
    report.write_all(lines.as_bytes()).expect("it is open");
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

fn signal(process: Pid) -> io::Result<()> {
    // One that is ignored by whoever does not ask for it.
    Ok(kill_process(process, Signal::WINCH)?)
}

fn reach(name: &str) -> io::Result<()> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    Ok(connect(
        &socket,
        &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
    )?)
}

/// What the worker wrote down.
fn tried(options: &str) -> (Run, Ended, BTreeMap<String, String>) {
    let server = Server::start();
    let url = server.url("/f");
    let run = run("*.*=tries-everything")
        .list([&url])
        .with("--workers 1 --sandbox")
        .with(options);
    fs::create_dir(run.path("downloads")).unwrap();
    fs::write(run.path("downloads/finished"), "done").unwrap();
    fs::write(run.path("downloads/removable"), "done").unwrap();
    fs::write(run.path("private"), "secret").unwrap();
    fs::write(run.path("removable"), "mine").unwrap();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let name = socket_name(&run.path("").canonicalize().unwrap());
    bind(
        &listener,
        &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap(),
    )
    .unwrap();
    listen(&listener, 1).unwrap();
    let ended = run.finish().code(0);
    // It still is a worker.
    run.log()
        .check(&run.log().one(&url), &sha256(&server::body("/f")));
    let text = fs::read_to_string(run.path(TRIED)).unwrap();
    let tried = text
        .lines()
        .map(|line| {
            let (name, result) = line.split_once(": ").unwrap();
            (name.to_owned(), result.to_owned())
        })
        .collect();
    (run, ended, tried)
}

fn a_confined_worker_writes_to_its_own_folder_and_can_do_no_harm() {
    let (run, ended, tried) = tried("on");
    assert_eq!(tried.len(), 27, "{tried:#?}");
    check(&run, &ended, &tried);
}

/// Whether it could do what it must be able to do, and nothing else.
fn check(run: &Run, ended: &Ended, tried: &BTreeMap<String, String>) {
    // A file cannot be moved or linked to where the rights would be others: EXDEV.
    let refused = |result: &str| {
        result.starts_with("PermissionDenied") || result.starts_with("CrossesDevices")
    };
    let wrong: Vec<_> = tried
        .iter()
        .filter(
            |(attempt, result)| match ALLOWED.contains(&attempt.as_str()) {
                true => *result != "done",
                false => !refused(result),
            },
        )
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}; {}", ended.text());
    assert_eq!(fs::read_to_string(run.path("private")).unwrap(), "secret");
    assert!(run.path("removable").exists());
    for name in ["elsewhere", "folder", "downloads/moved", "downloads/new"] {
        assert!(!run.path(name).exists(), "{name}");
    }
    let finished = fs::read_to_string(run.path("downloads/finished")).unwrap();
    assert_eq!(finished, "done");
    assert!(run.path("downloads/removable").exists());
}

fn without_a_sandbox_the_same_worker_can_do_all_of_it() {
    let (run, _, tried) = tried("off");
    assert_eq!(tried.len(), 27, "{tried:#?}");
    for (attempt, result) in &tried {
        assert_eq!(result, "done", "{attempt}");
    }
    assert!(run.path("elsewhere").exists() && !run.path("removable").exists());
}

fn a_worker_that_needs_more_memory_than_it_may_have_dies_and_the_others_go_on() {
    let server = Server::start();
    let mut list = crate::support::run::urls(&server.url(""), 6);
    let hungry = server.url("/hungry");
    list.insert(2, hungry.clone());
    let run = run("*.*=on:/hungry:eats")
        .list(&list)
        .with("--workers 2 --worker-memory 100MB --max-deliveries 1");
    let ended = run.finish().code(1);
    let line = ended.says(&[
        "out of memory",
        "limit of 100000000 bytes",
        "--worker-memory",
    ]);
    assert_eq!(ended.stderr.matches("out of memory: ").count(), 1, "{line}");
    assert_eq!(ended.summary("quarantined"), 1, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 6, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    let record = run.log().one(&hungry);
    assert_eq!(record.outcome, "quarantined");
}
