//! A worker as a separate process. This test starts itself as the worker, so it has its own `main`:
//! a worker must have a single thread when it starts.

mod support;

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pool::page;
use protocol::packet::{self, MAX_PACKET};
use protocol::{
    Assigned, Assignment, Engine, FromWorker, LimitRate, Report, TaskId, ToWorker, codec,
};
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, recv, send, socket_with,
};
use support::{Server, ok, options, read_head, setup, wait_for_end};

type Checked = Result<(), Box<dyn Error>>;

/// The argument that makes this program a worker.
const WORKER: &str = "be-a-worker";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, WORKER, socket, parent] => worker(socket, parent),
        _ => [Engine::Blocking, Engine::Async]
            .into_iter()
            .try_for_each(|engine| {
                a_worker_serves_and_leaves_when_dismissed(engine)?;
                a_worker_leaves_when_the_coordinator_is_gone(engine)
            })
            .and_then(|()| a_worker_of_another_parent_leaves_quietly())
            .and_then(|()| a_worker_that_cannot_connect_says_so())
            .and_then(|()| a_worker_that_another_process_answers_does_nothing())
            .and_then(|()| what_runs_is_shown_through_standard_input_or_nothing_is_done())
            .and_then(|()| a_rate_is_shared_through_standard_output_or_not_at_all()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A test reports errors by panicking.
            assert_eq!(env::args().nth(1).as_deref(), Some(WORKER), "{error}");
            ExitCode::from(9)
        }
    }
}

fn worker(socket: &str, parent: &str) -> Checked {
    Ok(worker::process::run(
        socket.as_ref(),
        parent.parse()?,
        |_, _, _| (),
    )?)
}

/// A running worker, and the coordinator's side of it.
struct Bench {
    child: Child,
    page: File,
    to_worker: OwnedFd,
    from_worker: OwnedFd,
}

fn seqpacket() -> Result<OwnedFd, Box<dyn Error>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket)
}

fn say(to_worker: &OwnedFd, message: &[u8]) -> Checked {
    let bytes = [&packet::header(message.len())[..], message].concat();
    send(to_worker, &bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn hear(from_worker: &OwnedFd) -> Result<FromWorker, Box<dyn Error>> {
    let mut buffer = vec![0; MAX_PACKET];
    let (length, _) = recv(from_worker, &mut buffer[..], RecvFlags::empty())?;
    Ok(FromWorker::heard(packet::message(&buffer[..length])?)?)
}

fn spawn(
    socket: &str,
    parent: u32,
    rate: Stdio,
    page: impl Into<Stdio>,
) -> Result<Child, Box<dyn Error>> {
    let program = env::current_exe()?;
    let parent = parent.to_string();
    Ok(Command::new(program)
        .args([WORKER, socket, &parent])
        .stdin(page)
        .stdout(rate)
        // Not in the setup, so it must be ignored.
        .env("http_proxy", "http://127.0.0.1:1/")
        .spawn()?)
}

impl Bench {
    fn start(engine: Engine, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let bench = Self::greet(Stdio::null())?;
        let mut setup = setup(folder, 1, options());
        setup.engine = engine;
        bench.say(&ToWorker::Setup(Box::new(setup)))?;
        assert_eq!(bench.next()?, FromWorker::Ready);
        Ok(bench)
    }

    /// Starts a worker that waits for its setup.
    fn greet(rate: Stdio) -> Result<Self, Box<dyn Error>> {
        Self::answer(
            rate,
            pool::memory::shared_memory(c"test", 1)?.into(),
            |_| {},
        )
    }

    /// As [`greet`](Self::greet), with this page. `alter` can change the secret that is sent.
    fn answer(
        rate: Stdio,
        page: File,
        alter: impl FnOnce(&mut [u8; 16]),
    ) -> Result<Self, Box<dyn Error>> {
        let sockets = tempfile::tempdir()?;
        // Longer than the path of a socket can be.
        let folder = sockets.path().join("x".repeat(150));
        fs::create_dir(&folder)?;
        let open = File::open(&folder)?;
        let at =
            |name: &str| SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()));
        let listener = seqpacket()?;
        bind(&listener, &at("listener")?)?;
        listen(&listener, 1)?;
        let socket = folder.join("listener");
        let socket = socket.to_str().ok_or("it is text")?;
        let child = spawn(socket, std::process::id(), rate, page.try_clone()?)?;
        let from_worker = accept_with(&listener, SocketFlags::CLOEXEC)?;
        let FromWorker::Hello(mut hello) = hear(&from_worker)? else {
            return Err("no hello".into());
        };
        hello.check(child.id())?;
        let to_worker = seqpacket()?;
        connect(&to_worker, &at(&hello.server)?)?;
        alter(&mut hello.secret);
        say(&to_worker, &hello.secret)?;
        Ok(Self {
            child,
            page,
            to_worker,
            from_worker,
        })
    }

    fn next(&self) -> Result<FromWorker, Box<dyn Error>> {
        hear(&self.from_worker)
    }

    fn say(&self, message: &ToWorker) -> Checked {
        say(&self.to_worker, &codec::encode(message)?)
    }

    fn assign(&self, url: String) -> Checked {
        self.say(&ToWorker::Assign(vec![Assigned {
            task: TaskId(1),
            job: Assignment::new(url, "file"),
        }]))
    }

    /// Waits until the page contains the task.
    fn wait_until_it_runs(&self) -> Checked {
        let begun = Instant::now();
        while page::read(&self.page)? != [TaskId(1)] {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("it does not begin".into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn end(self) -> Result<ExitStatus, Box<dyn Error>> {
        let Self { mut child, .. } = self;
        Ok(child.wait()?)
    }
}

fn a_worker_serves_and_leaves_when_dismissed(engine: Engine) -> Checked {
    let folder = tempfile::tempdir()?;
    // A descriptor that every child inherits, as ipc-channel leaks them.
    let leaked = File::open("/dev/null")?;
    rustix::io::fcntl_setfd(&leaked, FdFlags::empty())?;

    let bench = Bench::start(engine, folder.path())?;
    let process = format!("/proc/{}", bench.child.id());
    let inherited = fs::read_link(format!("{process}/fd/{}", leaked.as_raw_fd()));
    assert_ne!(inherited.ok(), Some("/dev/null".into()), "it was inherited");

    // Threads during a request: main, and either one slot and the heartbeat, or the event loop.
    let expected = match engine {
        Engine::Blocking => 3,
        Engine::Async => 2,
    };
    let threads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&threads);
    let ran = Arc::new(Mutex::new(Vec::new()));
    let (named, page) = (Arc::clone(&ran), bench.page.try_clone()?);
    let server = Server::answering(move |_| {
        let tasks = fs::read_dir(format!("{process}/task"));
        *counted.lock().expect("no panic") = tasks.map_or(0, Iterator::count);
        named.lock().expect("no panic").extend(page::read(&page));
        ok("body")
    });
    bench.assign(server.url("/"))?;
    let FromWorker::Reports(reports) = bench.next()? else {
        return Err("no report".into());
    };
    let [
        Report::Started { .. },
        Report::Finished { output: stored, .. },
    ] = reports.as_slice()
    else {
        return Err(format!("no ack: {reports:?}").into());
    };
    assert_eq!(stored.bytes, 4);
    assert_eq!(fs::read(folder.path().join(".partial/file"))?, b"body");
    assert_eq!(*threads.lock().expect("no panic"), expected);
    // The page was readable at the first request, before any message about the start.
    assert_eq!(*ran.lock().expect("no panic"), [[TaskId(1)]]);

    bench.say(&ToWorker::Dismiss)?;
    assert_eq!(bench.end()?.code(), Some(0));
    Ok(())
}

fn a_worker_leaves_when_the_coordinator_is_gone(engine: Engine) -> Checked {
    let folder = tempfile::tempdir()?;
    let server = Server::start(|mut stream, _| {
        read_head(&mut stream);
        wait_for_end(&mut stream);
    });
    let bench = Bench::start(engine, folder.path())?;
    bench.assign(server.url("/"))?;
    // The download would run for another 20 seconds; `end` closes the channels and waits.
    bench.wait_until_it_runs()?;
    let Bench {
        mut child,
        page,
        to_worker,
        from_worker,
    } = bench;
    drop((to_worker, from_worker));
    assert_eq!(child.wait()?.code(), Some(0));
    assert_eq!(page::read(&page)?, [TaskId(1)], "it is there to be read");
    Ok(())
}

fn what_runs_is_shown_through_standard_input_or_nothing_is_done() -> Checked {
    let folder = tempfile::tempdir()?;
    let setup = ToWorker::Setup(Box::new(setup(folder.path(), 1, options())));
    let null = File::options().write(true).open("/dev/null")?;
    let larger = pool::memory::shared_memory(c"test", 2)?.into();
    for other in [null, larger] {
        let bench = Bench::answer(Stdio::null(), other, |_| {})?;
        bench.say(&setup)?;
        assert_eq!(bench.end()?.code(), Some(9));
    }
    Ok(())
}

fn a_worker_of_another_parent_leaves_quietly() -> Checked {
    // There is no such socket: the worker must not try to connect.
    let stranger = std::process::id() + 1;
    let mut child = spawn(
        "/nonexistent/socket",
        stranger,
        Stdio::null(),
        Stdio::null(),
    )?;
    assert_eq!(child.wait()?.code(), Some(0));
    Ok(())
}

fn a_worker_that_cannot_connect_says_so() -> Checked {
    let parent = std::process::id();
    let mut child = spawn("/nonexistent/socket", parent, Stdio::null(), Stdio::null())?;
    assert_eq!(child.wait()?.code(), Some(9));
    Ok(())
}

fn a_worker_that_another_process_answers_does_nothing() -> Checked {
    let page = pool::memory::shared_memory(c"test", 1)?.into();
    let bench = Bench::answer(Stdio::null(), page, |secret| secret[15] ^= 1)?;
    assert_eq!(bench.end()?.code(), Some(9));
    Ok(())
}

fn a_rate_is_shared_through_standard_output_or_not_at_all() -> Checked {
    let folder = tempfile::tempdir()?;
    let mut setup = setup(folder.path(), 1, options());
    setup.limit_rate = Some(LimitRate {
        bytes_per_second: NonZeroU64::MAX,
        sharers: 1,
    });
    let setup = ToWorker::Setup(Box::new(setup));
    let bench = Bench::greet(pool::memory::shared_memory(c"test", 1)?.into())?;
    bench.say(&setup)?;
    assert_eq!(bench.next()?, FromWorker::Ready);
    bench.say(&ToWorker::Dismiss)?;
    assert_eq!(bench.end()?.code(), Some(0));
    // A private word would give each worker the whole rate.
    let bench = Bench::greet(Stdio::null())?;
    bench.say(&setup)?;
    assert_eq!(bench.end()?.code(), Some(9));
    Ok(())
}
