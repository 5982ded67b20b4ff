//! A worker that was taken over by somebody, in its sandbox: what it tries, and what comes of it.
//!
//! It is a real worker process of a real coordinator, which applies the setup that it was sent with
//! the function that every worker uses, tries everything, writes down how each went (it may do that
//! below the output folder only), and goes on as a worker.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use libtest_mimic::Trial;
use protocol::{CommandOrder, Setup};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
use rustix::process::{Pid, Signal, getppid, kill_process};
use worker::exec::{Commands, Home};
use worker::{Activity, Fault};

use crate::support::{Ended, Run, Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_confined_worker_writes_below_the_output_folder_and_can_do_no_harm,
        a_confined_worker_with_commands_is_as_confined_and_chooses_neither_command_nor_file,
        without_a_sandbox_the_same_worker_can_do_all_of_it,
        a_worker_that_needs_more_memory_than_it_may_have_dies_and_the_others_go_on,
    ]
}

/// Where the worker writes down what it tried.
const TRIED: &str = "downloads/tried";

/// What a worker must be able to do.
const ALLOWED: [&str; 4] = [
    "write below the output folder",
    "move a file within the output folder",
    "remove a file of the output folder",
    "look up localhost",
];

/// An abstract socket of the test, and of this run alone.
fn socket_name() -> String {
    format!(
        "coordinator-test-{}",
        std::env::current_dir().unwrap().display()
    )
}

/// What it must not get its runner to do, if it has one: an order each.
const FORGED: [(&str, &str, &str); 6] = [
    ("run on a file elsewhere", "../private", "http://h/"),
    ("run on an absolute path", "/etc/passwd", "http://h/"),
    ("run through a link", "up/private", "http://h/"),
    ("run on a link", "link-to-private", "http://h/"),
    (
        "run on the run log",
        ".coordinator/results.jsonl",
        "http://h/",
    ),
    ("run with an option for a URL", "own", "--option"),
];

/// And what it may, on a file that it has written.
const RUN: &str = "run on its own file";

fn order(commands: &Commands, path: &str, url: &str) -> io::Result<()> {
    let order = CommandOrder {
        path: path.to_owned(),
        url: url.to_owned(),
        bytes: 3,
        sha256: [0; 32],
        content_type: None,
    };
    let refused = |fault: Fault| {
        let is_refusal = fault.message.contains("was not run");
        assert!(is_refusal, "{fault:?}");
        io::Error::new(io::ErrorKind::PermissionDenied, fault.message)
    };
    let run = commands.run(&order, &Activity::default());
    run.map(drop).map_err(refused)
}

/// Called in the worker.
pub fn try_everything(setup: &Setup) {
    let commands = Commands::start(setup, Home::Process).expect("a guard");
    worker::limits::apply(setup).expect("the limits can be had");
    let mut tried: Vec<(&str, io::Result<()>)> = Vec::new();
    let mut attempt = |name, result: io::Result<()>| tried.push((name, result));

    attempt(ALLOWED[0], fs::write("downloads/own", "own"));
    attempt(
        ALLOWED[1],
        fs::write("downloads/.coordinator/partial/moving", "x").and_then(|()| {
            fs::rename("downloads/.coordinator/partial/moving", "downloads/movable")
        }),
    );
    attempt(
        ALLOWED[2],
        fs::write("downloads/more", "x").and_then(|()| fs::remove_file("downloads/more")),
    );
    attempt(ALLOWED[3], ("localhost", 80).to_socket_addrs().map(drop));

    attempt("write elsewhere", fs::write("elsewhere", "x"));
    let over = OpenOptions::new().write(true).open("private");
    attempt("write over a file elsewhere", over.map(drop));
    attempt("remove a file elsewhere", fs::remove_file("removable"));
    attempt("make a folder elsewhere", fs::create_dir("folder"));
    attempt("move a file out", fs::rename("downloads/movable", "moved"));
    attempt("link a file in", fs::hard_link("private", "downloads/link"));
    attempt("read a private file", fs::read("private").map(drop));
    attempt("read what is stored", fs::read("downloads/own").map(drop));
    attempt("list a folder", fs::read_dir(".").map(drop));
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
    attempt("reach an abstract socket", reach(&socket_name()));
    if let Some(commands) = &commands {
        attempt(RUN, order(commands, "own", "http://h/"));
        for (name, path, url) in FORGED {
            attempt(name, order(commands, path, url));
        }
    }

    let lines: String = tried
        .iter()
        .map(|(name, result)| match result {
            Ok(()) => format!("{name}: done\n"),
            Err(error) => format!("{name}: {:?} {error}\n", error.kind()),
        })
        .collect();
    fs::write(TRIED, lines).expect("the output folder can be written to");
}

/// It inherits everything: nothing may be opened for it that could be refused in its stead.
fn start(program: &str) -> io::Result<()> {
    Command::new(program).arg("--version").status().map(drop)
}

fn start_stored() -> io::Result<()> {
    fs::write("downloads/program", "#!/bin/sh\n")?;
    fs::set_permissions("downloads/program", Permissions::from_mode(0o755))?;
    start("downloads/program")
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
        .script("command", r#"echo "$COORDINATOR_PATH" >> ran"#)
        .with("--workers 1 --sandbox")
        .with(options);
    fs::create_dir(run.path("downloads")).unwrap();
    symlink("..", run.path("downloads/up")).unwrap();
    symlink("../private", run.path("downloads/link-to-private")).unwrap();
    fs::write(run.path("private"), "secret").unwrap();
    fs::write(run.path("removable"), "mine").unwrap();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let name = format!("coordinator-test-{}", run.path("").display());
    let name = name.trim_end_matches('/');
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

fn a_confined_worker_writes_below_the_output_folder_and_can_do_no_harm() {
    let (run, ended, tried) = tried("on");
    assert_eq!(tried.len(), 20, "{tried:#?}");
    check(&run, &ended, &tried);
}

fn a_confined_worker_with_commands_is_as_confined_and_chooses_neither_command_nor_file() {
    let (run, ended, tried) = tried("on --exec ./command");
    assert_eq!(tried.len(), 20 + 1 + FORGED.len(), "{tried:#?}");
    check(&run, &ended, &tried);
    let own = fs::canonicalize(run.path("downloads/own")).unwrap();
    let ran = fs::read_to_string(run.path("ran")).unwrap();
    assert_eq!(ran, format!("{}\n", own.display()), "{tried:#?}");
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
            |(attempt, result)| match *attempt == RUN || ALLOWED.contains(&attempt.as_str()) {
                true => *result != "done",
                false => !refused(result),
            },
        )
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}; {}", ended.text());
    assert_eq!(fs::read_to_string(run.path("private")).unwrap(), "secret");
    assert!(run.path("removable").exists());
    for name in ["elsewhere", "folder", "moved", "downloads/link"] {
        assert!(!run.path(name).exists(), "{name}");
    }
}

fn without_a_sandbox_the_same_worker_can_do_all_of_it() {
    let (run, _, tried) = tried("off");
    assert_eq!(tried.len(), 20, "{tried:#?}");
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
