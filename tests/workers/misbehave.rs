//! What a misbehaving worker does, and which worker does it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use coordinator::cli::worker::WorkerArgs;
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender};
use pool::dial::{Dialled, dial};
use pool::page::Page;
use pool::session::{Engine, Session};
use protocol::handshake::Hello;
use protocol::{
    Assigned, Assignment, Exchange, Failure, FromWorker, MonotonicNanos, Notice, Report, Running,
    Setup, Stored, TaskId, ToWorker, codec,
};
use rustix::process::{Signal, getpid, kill_process};
use worker::{Activity, BlockingEngine, Download, IpcInbox, IpcOutbox, Shared, session};

use crate::packets::{raw, raw_socket};
use crate::support::{Process, Run};

/// The file with the plan, in the run's folder: `SLOT.EPOCH=ACTION`, separated by `;`, with `*` for
/// any number. The first match counts; a worker without a match is a real one.
const PLAN: &str = "misbehaviour";

/// Makes the workers of `run` that start from now on follow `plan`.
pub fn plan(run: &Run, plan: &str) {
    std::fs::write(run.path(PLAN), plan).expect("the plan can be written");
}

/// A file in the run's folder that some workers wait for before they misbehave.
pub const GO: &str = "go";

/// The path from a worker's folder to the run's folder.
pub const RUN_FOLDER: &str = "../../../..";

/// An action, as words separated by `:`.
pub struct Action(Vec<String>);

/// Returns what the plan says about this worker.
pub fn planned(arguments: &WorkerArgs) -> Option<Action> {
    let above = arguments.folder.ancestors();
    let plan = above
        .filter_map(|folder| std::fs::read_to_string(folder.join(PLAN)).ok())
        .next()?;
    let (slot, epoch) = (arguments.slot, arguments.epoch);
    let fits = |pattern: &str, number: u64| pattern == "*" || pattern.parse() == Ok(number);
    plan.split(';').find_map(|rule| {
        let (who, action) = rule.split_once('=')?;
        let (of_slot, of_epoch) = who.split_once('.')?;
        (fits(of_slot, slot.into()) && fits(of_epoch, epoch.into()))
            .then(|| Action(action.split(':').map(str::to_owned).collect()))
    })
}

impl Action {
    pub fn play(&self, arguments: &WorkerArgs) -> ExitCode {
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        match words[..] {
            ["dies", how] => die(how),
            ["sleeps"] => sleep(),
            ["connects-and", "sleeps"] => {
                let _socket = raw_socket(arguments);
                sleep()
            }
            ["connects-and", how] => {
                let _socket = raw_socket(arguments);
                die(how)
            }
            ["raw", kind] => raw(arguments, kind),
            ["before-hello", "sleeps"] => {
                let _caller = Peer::connect(arguments);
                sleep()
            }
            ["before-hello", how] => {
                let _caller = Peer::connect(arguments);
                die(how)
            }
            ["first-frame", kind] => {
                let caller = Peer::connect(arguments);
                caller.say_first(kind);
                sleep()
            }
            ["after-setup", what] => {
                Peer::connect(arguments).greet();
                match what {
                    "sleeps" => sleep(),
                    how => die(how),
                }
            }
            ["after-ready", what] => {
                let (peer, _) = Peer::connect(arguments).greet();
                peer.say(&FromWorker::Ready);
                peer.after_ready(what)
            }
            ["tries", what] => {
                let (peer, setup) = Peer::connect(arguments).greet();
                let page = page_of(&setup);
                crate::confined::attempt(what, &setup);
                peer.work(&setup, page, "no URL contains this", "0")
            }
            ["on", part, how] => work_until(arguments, part, how),
            ["a-stranger-connects-first"] => {
                crate::packets::let_a_stranger_connect(arguments);
                work_until(arguments, "no URL contains this", "0")
            }
            ["stays"] => {
                // Works, and does not exit when it is dismissed.
                work_until(arguments, "no URL contains this", "0");
                sleep()
            }
            _ => panic!("no such misbehaviour: {words:?}"),
        }
    }
}

/// Ends this process with an exit code or a signal.
fn die(how: &str) -> ExitCode {
    let signal = match how {
        "SEGV" => Signal::SEGV,
        "KILL" => Signal::KILL,
        "ABRT" => Signal::ABORT,
        "STOP" => Signal::STOP,
        code => std::process::exit(code.parse().expect("an exit code")),
    };
    loop {
        // The standard library's handler for SIGSEGV assumes that the fault will recur: it restores
        // the default and returns.
        kill_process(getpid(), signal).expect("one may kill oneself");
    }
}

pub fn sleep() -> ! {
    loop {
        thread::park();
    }
}

/// Panics with a message, then raises SIGABRT.
fn abort() {
    let _ = std::panic::catch_unwind(|| panic!("as planned, with \x1b[31mcolour"));
    std::process::abort();
}

/// Writes to standard error as fast as possible, without a newline.
fn flood() {
    let chunk = [b'x'; 64 * 1024];
    let mut stderr = std::io::stderr().lock();
    while stderr.write_all(&chunk).is_ok() {}
}

/// Allocates memory until it runs out and dies.
fn eat() {
    let mut eaten = Vec::new();
    loop {
        // Zeros would take no memory of this process.
        eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Writes some lines and continues.
fn chat() {
    let text = "chatter one\n\x1b[2Jchatter two\r\nchatter three";
    let mut stderr = std::io::stderr().lock();
    for _ in 0..40 {
        stderr.write_all(text.as_bytes()).expect("somebody reads");
        stderr.write_all(b"\n").expect("somebody reads");
    }
}

/// Number of lines that a worker writes before it dies. Each has 64 bytes.
pub const BURST: usize = 5000;

/// Writes more than is read at once, and dies.
fn burst() {
    let text: String = (1..=BURST).map(|n| format!("{n:>63}\n")).collect();
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(text.as_bytes()).expect("somebody reads");
    die("KILL");
}

/// Starts a process outside this process group that holds `stderr` open. Returns its id.
#[allow(clippy::zombie_processes, reason = "who starts it dies before it")]
pub fn start_apart(stderr: Stdio) -> u32 {
    let left = Command::new("setsid")
        .args(["sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("there is such a program");
    // Before that, it would be killed with the process group.
    let apart = || {
        Process::find(left.id())?
            .group()
            .filter(|&group| group == left.id())
    };
    crate::support::wait("a process to leave its group", apart, String::new);
    left.id()
}

/// Dies, and leaves a process outside its process group that holds its standard error open.
fn leave_somebody() {
    let left = start_apart(Stdio::inherit());
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "left {left}").expect("somebody reads");
    die("KILL");
}

/// A hand-written worker that has not greeted.
struct Caller(Dialled);

/// A hand-written worker.
pub struct Peer {
    from_coordinator: IpcBytesReceiver,
    to_coordinator: IpcBytesSender,
}

impl Caller {
    fn say_bytes(&self, bytes: &[u8]) {
        // The coordinator may no longer read.
        let _ = self.0.outbox().send(bytes);
    }

    fn say(&self, message: &FromWorker) {
        self.say_bytes(&codec::encode(message).expect("it fits"));
    }

    fn say_first(&self, kind: &str) {
        let hello = self.0.hello().clone();
        match kind {
            "version" => self.say(&FromWorker::Hello(Hello {
                version: 4711,
                ..hello
            })),
            "stranger" => self.say(&FromWorker::Hello(Hello {
                magic: *b"stranger",
                ..hello
            })),
            "other-pid" => self.say(&FromWorker::Hello(Hello { pid: 1, ..hello })),
            // A worker must not name anything above the folder.
            "elsewhere" => self.say(&FromWorker::Hello(Hello {
                server: "../run.lock".to_owned(),
                ..hello
            })),
            "garbage" => self.say_bytes(&[0xff; 100]),
            "nothing" => self.say_bytes(&[]),
            "ready" => self.say(&FromWorker::Ready),
            "large" => self.say_bytes(&vec![0; codec::MAX_FRAME + 1]),
            "twice" => {
                self.say(&FromWorker::Hello(hello.clone()));
                self.say(&FromWorker::Hello(hello));
            }
            _ => panic!("no such first frame: {kind}"),
        }
    }

    /// Greets, and waits for the setup.
    fn greet(self) -> (Peer, Box<Setup>) {
        self.say(&FromWorker::Hello(self.0.hello().clone()));
        let peer = Peer {
            to_coordinator: self.0.outbox().clone(),
            from_coordinator: self.0.answer().expect("the coordinator answers"),
        };
        let ToWorker::Setup(setup) = peer.hear() else {
            panic!("a setup comes first");
        };
        (peer, setup)
    }
}

impl Peer {
    fn connect(arguments: &WorkerArgs) -> Caller {
        Caller(dial(&arguments.socket).expect("it listens"))
    }

    pub fn say(&self, message: &FromWorker) {
        self.say_bytes(&codec::encode(message).expect("it fits"));
    }

    fn say_bytes(&self, bytes: &[u8]) {
        // The coordinator may no longer read.
        let _ = self.to_coordinator.send(bytes);
    }

    pub fn hear(&self) -> ToWorker {
        match self.from_coordinator.recv() {
            Ok(frame) => codec::decode(&frame).expect("a message"),
            // The coordinator has exited or closed the link.
            Err(_) => std::process::exit(0),
        }
    }

    pub fn first_assignment(&self) -> Assigned<Assignment> {
        loop {
            if let ToWorker::Assign(mut assignments) = self.hear() {
                return assignments.remove(0);
            }
        }
    }

    /// Fails its first task with the names of the hosts that it was notified of until then.
    fn tell_logins(&self) {
        let mut hosts = Vec::new();
        let task = loop {
            match self.hear() {
                ToWorker::Notice(Notice::Logins(logins)) => {
                    hosts.extend(logins.into_iter().map(|one| one.host));
                }
                ToWorker::Assign(assignments) => break assignments[0].task,
                ToWorker::Setup(_)
                | ToWorker::Notice(Notice::LimitRate(_))
                | ToWorker::Revoke(_)
                | ToWorker::Dismiss => {}
            }
        };
        let failure = Box::new(Failure {
            exchange: Exchange::default(),
            kind: protocol::FailureKind::Internal,
            message: format!("told of {}", hosts.join(", ")),
            severity: protocol::Severity::Permanent,
        });
        let report = Report::Nacked { task, failure };
        self.say(&FromWorker::Reports(vec![started(task), report]));
    }

    fn after_ready(&self, what: &str) -> ExitCode {
        let reports = |reports| FromWorker::Reports(reports);
        match what {
            "garbage" => self.say_bytes(b"\xff\xff\xff\xff garbage"),
            "trailing" => {
                let mut frame = codec::encode(&FromWorker::Ready).expect("it fits");
                frame.extend_from_slice(b"more");
                self.say_bytes(&frame);
            }
            "large" => self.say_bytes(&vec![0; codec::MAX_FRAME + 1]),
            // A message in many fragments.
            "huge" => self.say_bytes(&vec![0; 5 << 20]),
            "claims" => {
                // A list of 2^62 reports, as bincode would encode its length.
                let mut frame = vec![2, 253];
                frame.extend_from_slice(&(1_u64 << 62).to_le_bytes());
                self.say_bytes(&frame);
            }
            "ready-again" => self.say(&FromWorker::Ready),
            "stops-in-a-message" => {
                // Half of a large message, then nothing: the rest has to come over another socket.
                let sender = self.to_coordinator.clone();
                thread::spawn(move || sender.send(&vec![0; 5 << 20]));
                let task = self.first_assignment().task;
                self.say(&reports(vec![started(task)]));
            }
            "foreign-ack" => {
                // Tasks that it never had: of other workers, and one that does not exist.
                let task = self.first_assignment().task;
                // The test creates this file when the others are working.
                crate::support::wait_until(
                    "the word",
                    || Path::new(RUN_FOLDER).join(GO).exists(),
                    String::new,
                );
                for id in 1..=4 {
                    if TaskId(id) != task {
                        self.say(&reports(vec![acked(TaskId(id))]));
                    }
                }
                self.say(&reports(vec![
                    acked(TaskId(u64::MAX)),
                    nacked(TaskId(u64::MAX)),
                    Report::Released {
                        task: TaskId(u64::MAX),
                    },
                ]));
                // Then it fails its own task, which shows that the reports were read.
                self.say(&reports(vec![started(task), nacked(task)]));
            }
            "foreign-heartbeat" => {
                let running = (0..1000).map(|id| Running {
                    task: TaskId(id),
                    progress: protocol::Progress {
                        phase: protocol::Phase::Storing,
                        bytes: u64::MAX,
                        expected: None,
                    },
                });
                self.say(&FromWorker::Heartbeat(running.collect()));
                let task = self.first_assignment().task;
                self.say(&reports(vec![started(task), nacked(task)]));
            }
            "tells-logins" => self.tell_logins(),
            "ack-twice" => {
                let task = self.first_assignment().task;
                self.say(&reports(vec![
                    started(task),
                    nacked(task),
                    nacked(task),
                    acked(task),
                ]));
            }
            "lies-open" | "lies-link" => {
                let Assigned { task, job } = self.first_assignment();
                let partial = job.partial;
                let kept = crate::lies::prepare(what, &partial);
                self.say(&reports(vec![started(task), acked(task)]));
                let ended = self.until_killed();
                drop(kept);
                return ended;
            }
            "sleeps" => {}
            "deaf" => {
                let heard = std::sync::Arc::default();
                signal_hook::flag::register(signal_hook::consts::SIGTERM, heard)
                    .expect("SIGTERM can be caught");
            }
            what if crate::hostile::does(self, what) => {}
            how => {
                // It holds a task that it has not reported as started.
                self.first_assignment();
                return die(how);
            }
        }
        self.until_killed()
    }

    /// Reads until the coordinator dismisses or kills it.
    fn until_killed(&self) -> ExitCode {
        loop {
            if self.hear() == ToWorker::Dismiss {
                return ExitCode::SUCCESS;
            }
        }
    }
}

pub fn started(task: TaskId) -> Report {
    Report::Started {
        task,
        at: MonotonicNanos(0),
    }
}

fn acked(task: TaskId) -> Report {
    Report::Finished {
        task,
        output: Box::new(Stored {
            bytes: 1,
            ..Stored::default()
        }),
    }
}

pub fn nacked(task: TaskId) -> Report {
    Report::Nacked {
        task,
        failure: Box::new(Failure {
            exchange: Exchange::default(),
            kind: protocol::FailureKind::Connect,
            message: "made up by a worker".to_owned(),
            severity: protocol::Severity::Transient { retry_after: None },
        }),
    }
}

/// An engine that works, except for URLs that contain `part`.
struct Trapped {
    engine: BlockingEngine,
    part: String,
    how: String,
}

impl Engine<Download> for Trapped {
    fn run(
        &mut self,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        if assignment.url.contains(&self.part) {
            match self.how.as_str() {
                "sleeps" => sleep(),
                "panics" => panic!("as planned"),
                "aborts" => abort(),
                "chats-and-aborts" => {
                    chat();
                    abort();
                }
                "floods" => flood(),
                "eats" => eat(),
                "chats" => chat(),
                "bursts" => burst(),
                "leaves" => leave_somebody(),
                "asks" => return Err(asking(&assignment.url)),
                how => {
                    die(how);
                }
            }
        }
        self.engine.run(assignment, activity)
    }
}

/// The failure of a worker that asks how to log in to a host.
fn asking(url: &str) -> Box<Failure> {
    Box::new(Failure {
        exchange: Exchange {
            final_url: Some("http://login.test/".to_owned()),
            ..Exchange::default()
        },
        kind: protocol::FailureKind::Internal,
        message: format!("asks on and on for {url}"),
        severity: protocol::Severity::Unprepared,
    })
}

/// Works as a real worker until it gets a URL that contains `part`.
fn work_until(arguments: &WorkerArgs, part: &str, how: &str) -> ExitCode {
    let (peer, setup) = Peer::connect(arguments).greet();
    let page = page_of(&setup);
    worker::limits::apply(&setup).expect("the limits can be had");
    peer.work(&setup, page, part, how)
}

/// The page of tasks, as in every worker. A confined worker can no longer share memory.
fn page_of(setup: &Setup) -> Page {
    Page::map(rustix::stdio::stdin(), session::slots(setup)).expect("a page")
}

impl Peer {
    fn work(self, setup: &Setup, page: Page, part: &str, how: &str) -> ExitCode {
        let shared = Arc::new(Shared::new(setup, None).expect("a good setup"));
        let trap = Arc::new(Mutex::new((part.to_owned(), how.to_owned())));
        let session = Session::on_threads(
            Arc::new(IpcOutbox::new(self.to_coordinator)),
            session::options(setup, Some(page)),
            move || {
                let (part, how) = trap.lock().expect("nobody panics with it").clone();
                Trapped {
                    engine: BlockingEngine::new(Arc::clone(&shared)),
                    part,
                    how,
                }
            },
        )
        .expect("a session");
        session
            .read(&mut IpcInbox::new(self.from_coordinator))
            .expect("the link holds");
        ExitCode::SUCCESS
    }
}
