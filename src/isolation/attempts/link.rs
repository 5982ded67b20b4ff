//! The link: messages from a worker to the coordinator, and the bodies that it reports.

use std::fs::OpenOptions;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use protocol::{
    Exchange, Failure, FailureKind, FromWorker, MonotonicNanos, Phase, Progress, Report, Running,
    Severity, Stored, TaskId, codec, packet,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::isolation::attempt::Attempt;
use crate::isolation::ground::{Ground, rest, wait};
use crate::isolation::raw::descriptors;

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_millis(700);

/// Most descriptors that this process has in flight.
const IN_FLIGHT: u64 = 128;

/// Characters that control a terminal, or reverse text.
pub(in crate::isolation) const COMMANDS: [char; 4] = ['\x1b', '\x07', '\u{9b}', '\u{202e}'];

/// A text with all of these characters.
const COMMANDING: &str = "\x1b[2J\x1b]0;x\x07 \u{202e}gnp.exe \u{9b}1m";

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "frame-2-gib",
        "announce a message of 2 GiB",
        |ground| announce(ground, 2 << 30),
        |view| view.coordinator_is_swollen(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "frame-64-tib",
        "announce a message of 64 TiB",
        |ground| announce(ground, 1 << 46),
        |view| view.coordinator_is_swollen(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "frame-large",
        "send a message that is larger than any frame",
        |_| {
            packet_of(100_000, 100_000 - 16, &[0; 100_000 - 16]);
            Ok(())
        },
        |view| view.coordinator_is_swollen(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "frame-unfinished",
        "begin a message, and never end it",
        |_| {
            packet_of(16 + 1000, 60_000, &[0; 1000]);
            // The message stays unfinished until this worker is killed.
            rest()
        },
        |view| view.coordinator_is_swollen(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "frame-garbage",
        "send what is no message",
        |ground| ground.say_raw(b"\xff\xff\xff\xff garbage"),
        |view| view.coordinator_is_swollen(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "frame-count",
        "announce a list of 2^62 reports",
        |ground| {
            // Encoded as bincode would encode it.
            let mut frame = vec![2, 253];
            frame.extend_from_slice(&(1_u64 << 62).to_le_bytes());
            ground.say_raw(&frame)
        },
        |view| view.coordinator_is_swollen(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "descriptors-sent",
        "send the coordinator 2,000 descriptors",
        |_| {
            let frame = codec::encode(&FromWorker::Heartbeat(vec![])).map_err(io::Error::other)?;
            let packet = [&packet::header(frame.len())[..], &frame].concat();
            for _ in 0..20 {
                for descriptor in descriptors() {
                    send_descriptors(descriptor, &packet, 100);
                }
            }
            Ok(())
        },
        |view| view.coordinator_is_swollen(),
    )
    .over_link(),
    Attempt::new(
        "flood",
        "flood the coordinator with good messages",
        flood,
        |view| view.coordinator_is_swollen(),
    )
    .over_link(),
    Attempt::new(
        "flood-stderr",
        "write to standard error without end",
        |_| {
            let (begun, chunk) = (Instant::now(), [b'x'; 1 << 14]);
            while begun.elapsed() < FLOOD {
                rustix::io::write(rustix::stdio::stderr(), &chunk)?;
            }
            Ok(())
        },
        |view| view.coordinator_is_swollen(),
    )
    .over_link(),
    Attempt::new(
        "claim",
        "report tasks of others as done",
        |ground| {
            ground.say(FromWorker::Ready)?;
            let claims = (1..400).map(TaskId).map(finished).collect();
            ground.say(FromWorker::Reports(claims))
        },
        |view| view.coordinator_is_swollen(),
    )
    .over_link(),
    Attempt::new(
        "fatal",
        "report a failure that would end the run",
        |ground| {
            let task = ground.assignment()?.task;
            fail(
                ground,
                task,
                "made up",
                FailureKind::DiskFull,
                Severity::Fatal,
            )
        },
        |view| view.coordinator_is_gone(),
    )
    .over_link()
    .met_by("finds nothing wrong"),
    Attempt::new(
        "body-missing",
        "report a body that there is not",
        |ground| {
            let task = ground.assignment()?.task;
            finish(ground, task)
        },
        |view| view.coordinator_is_gone(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "body-link",
        "report a link to a private file as a body",
        |ground| {
            let assignment = ground.assignment()?;
            // Succeeds only without a sandbox.
            let made = symlink(
                ground.outside("letter"),
                ground.own(&assignment.job.partial),
            );
            tracing::debug!(?made, "link in place of a body");
            finish(ground, assignment.task)
        },
        |view| view.output_has_letter(),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "body-open",
        "report a body that it goes on writing to",
        |ground| {
            let assignment = ground.assignment()?;
            let path = ground.own(&assignment.job.partial);
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(b"x")?;
            ground.say(FromWorker::Reports(vec![
                started(assignment.task),
                finished(assignment.task),
            ]))?;
            // The coordinator has moved the body into place, or refused and deleted it.
            wait(|| (!path.exists()).then_some(()));
            file.write_all(b"changed")?;
            ground.leave()
        },
        |view| view.output_has(b"xchanged"),
    )
    .over_link()
    .met_by("worker 0.1 broke the protocol"),
    Attempt::new(
        "terminal",
        "command the terminal through standard error",
        |_| {
            eprint_line(COMMANDING)?;
            Ok(())
        },
        |view| view.said_commands(),
    )
    .over_link()
    .met_by("gnp.exe"),
    Attempt::new(
        "terminal-by-report",
        "command the terminal through the message of a failure",
        |ground| {
            let task = ground.assignment()?.task;
            let (kind, severity) = (
                FailureKind::Connect,
                Severity::Transient { retry_after: None },
            );
            fail(ground, task, COMMANDING, kind, severity)
        },
        |view| view.said_commands(),
    )
    .over_link()
    .met_by("gnp.exe"),
    Attempt::new(
        "rate",
        "starve others of their share of --limit-rate",
        |_| {
            let begun = Instant::now();
            let far = u64::MAX.to_ne_bytes();
            let word = rustix::stdio::stdout();
            while begun.elapsed() < FLOOD {
                rustix::io::pwrite(word, &far, 0)?;
            }
            Ok(())
        },
        |view| view.coordinator_is_gone(),
    )
    .over_link()
    .with(&["--limit-rate", "20MB"]),
    Attempt::new(
        "page-forge",
        "say in its page that it runs tasks of others, and die",
        |ground| {
            let tasks: Vec<u8> = (1..64_u64).flat_map(u64::to_ne_bytes).collect();
            let page = rustix::stdio::stdin();
            // The page has as many words as the worker has slots.
            (1..=tasks.len() / 8)
                .try_for_each(|words| rustix::io::pwrite(page, &tasks[..8 * words], 0).map(drop))?;
            ground.leave()
        },
        |view| view.coordinator_is_gone(),
    )
    .over_link(),
    Attempt::new(
        "page-cut",
        "cut its page off under the coordinator, and die",
        |ground| {
            let cut = rustix::fs::ftruncate(rustix::stdio::stdin(), 0);
            tracing::debug!(?cut, "page");
            ground.leave()
        },
        |view| view.coordinator_is_gone(),
    )
    .over_link(),
];

/// Sends a packet whose header announces a message of `whole` bytes.
fn announce(_: &Ground<'_>, whole: usize) -> io::Result<()> {
    packet_of(16 + 1000, whole, &[0; 1000]);
    Ok(())
}

/// Sends a packet on every socket. Its header announces these sizes for the packet and the message.
fn packet_of(announced: usize, whole: usize, message: &[u8]) {
    let words = [announced.to_ne_bytes(), whole.to_ne_bytes()].concat();
    let packet = [&words[..], message].concat();
    for descriptor in descriptors() {
        // Some are not sockets, and some do not lead to the coordinator.
        let _ = send(
            descriptor,
            &packet,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }
}

/// Sends `packet` with `count` descriptors. Errors are ignored.
pub fn send_descriptors(socket: impl AsFd, packet: &[u8], count: usize) {
    // Descriptors that all processes of a user have sent, and that are not received yet, count
    // against the limit of the next sender (unix(7), ETOOMANYREFS). With this limit, which is that
    // of a small sandboxed worker, workers of other runs can still connect.
    let limits = getrlimit(Resource::Nofile);
    let current = limits.current.map_or(IN_FLIGHT, |now| now.min(IN_FLIGHT));
    let few = Rlimit {
        current: Some(current),
        ..limits
    };
    let _ = setrlimit(Resource::Nofile, few);
    let Ok(own) = rustix::io::dup(rustix::stdio::stderr()) else {
        return;
    };
    let attached: Vec<BorrowedFd<'_>> = (0..count).map(|_| own.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if ancillary.push(SendAncillaryMessage::ScmRights(&attached)) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, flags);
    }
}

fn flood(ground: &mut Ground<'_>) -> io::Result<()> {
    let ids = || (0..1000).map(|id| TaskId(1 << 20 | id));
    let reports = FromWorker::Reports(ids().map(started).collect());
    let running = |task| Running {
        task,
        progress: Progress {
            phase: Phase::Storing,
            bytes: 1,
            expected: None,
        },
    };
    let heartbeat = FromWorker::Heartbeat(ids().map(running).collect());
    let begun = Instant::now();
    while begun.elapsed() < 3 * FLOOD {
        ground.say(reports.clone())?;
        ground.say(heartbeat.clone())?;
    }
    Ok(())
}

fn started(task: TaskId) -> Report {
    Report::Started {
        task,
        at: MonotonicNanos(0),
    }
}

/// Returns a report of a body of one byte.
fn finished(task: TaskId) -> Report {
    Report::Finished {
        task,
        output: Box::new(Stored {
            bytes: 1,
            ..Stored::default()
        }),
    }
}

/// Reports that `task` is done, and exits. The coordinator reads the report before the death.
fn finish(ground: &Ground<'_>, task: TaskId) -> io::Result<()> {
    ground.say(FromWorker::Reports(vec![started(task), finished(task)]))?;
    ground.leave()
}

/// Reports that `task` has failed, and exits.
fn fail(
    ground: &Ground<'_>,
    task: TaskId,
    message: &str,
    kind: FailureKind,
    severity: Severity,
) -> io::Result<()> {
    let exchange = Exchange {
        final_url: Some(format!("http://h/{message}")),
        ..Exchange::default()
    };
    let failure = Box::new(Failure {
        exchange,
        kind,
        message: message.to_owned(),
        severity,
    });
    ground.say(FromWorker::Reports(vec![
        started(task),
        Report::Nacked { task, failure },
    ]))?;
    ground.leave()
}

fn eprint_line(text: &str) -> io::Result<()> {
    io::stderr().write_all(format!("{text}\n").as_bytes())
}
