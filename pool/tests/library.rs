//! The library, as its users see it. The default harness runs these tests: [`worker`] is what workers
//! become.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use pool::{
    Async, AsyncWork, Builder, Context, Exit, Failed, Network, Outcome, Pool, Redeliver, Sandbox,
    StartError, SubmitError, Work,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;

#[global_allocator]
static ALLOCATOR: pool::Allocator = pool::Allocator::new();

/// Does what a job says.
struct Obedient {
    setup: String,
    done: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Job {
    Square(u64),
    Panic,
    Abort,
    /// Dies with the first delivery alone.
    AbortOnce,
    /// Says in the file with this path that it runs, and hangs.
    Hang(PathBuf),
    /// Returns when there is a file with this path.
    Wait(PathBuf),
    /// Makes the first file when it runs, and returns when there is the second.
    Announce(PathBuf, PathBuf),
    Fail(String),
    /// Fails for good at the end of its retries.
    MayPass,
    Fatal,
    Large(usize),
    Eat,
    Read(PathBuf),
    Write(PathBuf),
    Connect(SocketAddr),
    /// Makes so many steps, and says so. Ahead of the second and of each one after that, it waits for the file with this path and
    /// the number of the step.
    Steps(u64, PathBuf),
    /// The first delivery shows progress, and dies once there is the first file. The second makes the second file, and returns
    /// once there is a file `end` beside it.
    ShowAndDie(PathBuf, PathBuf),
    /// How many jobs this worker has done, and what it was told.
    Tell,
    Print,
}

impl Work for Obedient {
    type Setup = String;
    type Job = Job;
    type Output = String;

    fn start(setup: String) -> Result<Self, Failed> {
        match setup.as_str() {
            "broken" => Err(Failed::new("as the setup says")),
            _ => Ok(Self { setup, done: 0 }),
        }
    }

    fn run(&mut self, job: Job, context: &Context) -> Result<String, Failed> {
        self.done += 1;
        let text = match job {
            Job::Square(number) => (number * number).to_string(),
            Job::Panic => panic!("as the job says"),
            Job::AbortOnce if context.delivery > 1 => context.delivery.to_string(),
            Job::Abort | Job::AbortOnce => {
                eprintln!("these are its last words");
                std::process::abort()
            }
            Job::Hang(path) => {
                fs::write(path, "")?;
                loop {
                    std::thread::park();
                }
            }
            Job::Announce(says, path) => {
                fs::write(says, "")?;
                while !path.exists() {
                    std::thread::yield_now();
                }
                String::new()
            }
            Job::Wait(path) => {
                while !path.exists() {
                    std::thread::yield_now();
                }
                String::new()
            }
            Job::Fail(message) => return Err(Failed::new(message)),
            Job::MayPass => return Err(Failed::may_pass("not now", Some(Duration::ZERO))),
            Job::Fatal => return Err(Failed::fatal("the disk is full")),
            Job::Large(bytes) => "x".repeat(bytes),
            Job::Eat => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            Job::Read(path) => fs::read_to_string(path)?,
            Job::Write(path) => {
                fs::write(path, "written")?;
                String::new()
            }
            Job::Connect(address) => {
                TcpStream::connect(address)?;
                String::new()
            }
            Job::Steps(steps, path) => {
                for step in 1..=steps {
                    while step > 1 && !path.with_extension(step.to_string()).exists() {
                        std::thread::yield_now();
                    }
                    context.progress(step, Some(steps));
                }
                String::new()
            }
            Job::ShowAndDie(go, _) if context.delivery == 1 => {
                context.progress(7, None);
                wait_for(&go);
                std::process::abort()
            }
            Job::ShowAndDie(_, runs) => {
                fs::write(&runs, "")?;
                wait_for(&runs.with_file_name("end"));
                context.delivery.to_string()
            }
            Job::Tell => format!("{} {}", self.setup, self.done),
            Job::Print => {
                // Where the page is not.
                use std::io::Write as _;
                std::io::stdout().write_all(&[0xff; 4096])?;
                String::new()
            }
        };
        Ok(text)
    }
}

/// What every worker of these tests becomes.
#[test]
fn worker() {
    pool::init::<Obedient>();
}

/// Does what a job says, many jobs at once.
struct Patient {
    meeting: Barrier,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Waiting {
    /// Until [`TABLE`] jobs of one process wait.
    Meet,
    /// For ever.
    Hang,
    Panic,
    /// Once there is a file with this path.
    Abort(PathBuf),
    Wait(PathBuf),
    Large,
    Steps(PathBuf),
    Delivery,
}

/// How many jobs meet.
const TABLE: usize = 20;

impl AsyncWork for Patient {
    type Setup = String;
    type Job = Waiting;
    type Output = String;

    fn start(setup: String) -> Result<Self, Failed> {
        let meeting = Barrier::new(TABLE);
        match setup.as_str() {
            "broken" => Err(Failed::new("as the setup says")),
            _ => Ok(Self { meeting }),
        }
    }

    async fn run(&self, job: Waiting, context: &Context<'_>) -> Result<String, Failed> {
        match job {
            Waiting::Meet => {
                self.meeting.wait().await;
            }
            Waiting::Hang => std::future::pending().await,
            Waiting::Panic => panic!("as the job says"),
            Waiting::Abort(path) => {
                appears(&path).await;
                std::process::abort()
            }
            Waiting::Wait(path) => appears(&path).await,
            Waiting::Large => return Ok("x".repeat(60_000)),
            Waiting::Steps(path) => {
                context.progress(1, None);
                appears(&path).await;
            }
            Waiting::Delivery => return Ok(context.delivery.to_string()),
        }
        Ok(String::new())
    }
}

async fn appears(path: &Path) {
    while !path.exists() {
        tokio::task::yield_now().await;
    }
}

/// What every async worker of these tests becomes.
#[test]
fn async_worker() {
    pool::init::<Async<Patient>>();
}

fn async_builder() -> Builder<Async<Patient>> {
    Pool::builder(String::new())
        .under_test("async_worker")
        .workers(1)
        .on_line(|_| {})
}

fn builder() -> Builder<Obedient> {
    Pool::builder("told".to_owned())
        .under_test("worker")
        .on_line(|_| {})
}

fn pool() -> Pool<Obedient> {
    builder().workers(2).start().unwrap()
}

fn one(pool: &Pool<Obedient>, job: Job) -> Outcome<String> {
    pool.submit(job).unwrap().wait()
}

fn done(text: impl ToString) -> Outcome<String> {
    Outcome::Done(text.to_string())
}

/// A file that is not there yet.
fn flag(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn wait_for(path: &Path) {
    while !path.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn every_job_has_its_outcome_whatever_the_others_do() {
    let pool = pool();
    let jobs = (0..300_u64).map(|number| match number {
        100 => Job::Abort,
        200 => Job::Panic,
        _ => Job::Square(number),
    });
    let outcomes: BTreeMap<_, _> = pool.run(jobs).collect();
    assert_eq!(outcomes.len(), 300);
    for (number, outcome) in outcomes {
        match (number, outcome) {
            (100, Outcome::Quarantined(deaths)) => {
                assert_eq!(deaths.len(), 3);
                for death in deaths {
                    assert_eq!(death.exit, Exit::Signal(libc::SIGABRT));
                    assert_eq!(death.last_words, ["these are its last words"]);
                    assert!(death.peak_memory > Some(0));
                }
            }
            (200, Outcome::Failed(failed)) => {
                assert!(failed.message().contains("as the job says"), "{failed}");
            }
            (number, outcome) => assert_eq!(outcome, done(number * number)),
        }
    }
    let ended = pool.finish();
    assert_eq!(ended.gave_up, None);
    assert_eq!((ended.counts.done, ended.counts.failed), (298, 1));
    assert_eq!((ended.counts.quarantined, ended.counts.deaths), (1, 3));
}

#[test]
fn outcomes_come_in_the_order_of_the_jobs_if_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let go = flag(&folder, "go");
    // The first has to wait for the last, so the others cannot be handed out in their order.
    let pool = builder().workers(2).room(64).start().unwrap();
    let jobs = (0..50).map(|number| match number {
        0 => Job::Wait(go.clone()),
        49 => Job::Write(go.clone()),
        _ => Job::Square(number),
    });
    let outcomes: Vec<_> = pool.run_ordered(jobs).collect();
    assert_eq!(outcomes.len(), 50);
    for (number, outcome) in outcomes.iter().enumerate().take(49).skip(1) {
        assert_eq!(*outcome, done(number * number));
    }
}

#[test]
fn a_full_pool_pushes_back() {
    let folder = tempfile::tempdir().unwrap();
    let go = flag(&folder, "go");
    let pool = builder().workers(1).room(2).start().unwrap();
    let first = pool.submit(Job::Wait(go.clone())).unwrap();
    let second = pool.try_submit(Job::Square(2)).unwrap();
    let refused = pool.try_submit(Job::Square(3));
    assert!(matches!(refused, Err(SubmitError::Full)), "{refused:?}");
    std::thread::scope(|scope| {
        let third = scope.spawn(|| one(&pool, Job::Square(3)));
        fs::write(&go, "").unwrap();
        assert_eq!(third.join().unwrap(), done(9));
    });
    assert_eq!(first.wait(), done(""));
    assert_eq!(second.wait(), done(4));
}

#[test]
fn a_handle_is_a_future() {
    let pool = pool();
    let mut handle = std::pin::pin!(pool.submit(Job::Square(3)).unwrap());
    let (tell, told) = channel();
    struct Told(std::sync::mpsc::Sender<()>);
    impl std::task::Wake for Told {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }
    let waker = Waker::from(std::sync::Arc::new(Told(tell)));
    let mut context = TaskContext::from_waker(&waker);
    let outcome = loop {
        match handle.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => break outcome,
            Poll::Pending => told.recv().unwrap(),
        }
    };
    assert_eq!(outcome, done(9));
}

#[test]
fn a_job_that_takes_too_long_is_ended_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_secs(2);
    let deaths = channel();
    let pool = builder()
        .workers(1)
        .deadline(limit)
        .on_death(move |death| deaths.0.send(death.exit.clone()).unwrap())
        .start()
        .unwrap();
    let hung = pool.submit(Job::Hang(flag(&folder, "runs"))).unwrap();
    let next = pool.submit(Job::Tell).unwrap();
    assert_eq!(hung.wait(), Outcome::DeadlineExceeded(limit));
    // Another worker does it, and it is not blamed for the end of the first.
    assert_eq!(next.wait(), done("told 1"));
    assert_eq!(deaths.1.recv().unwrap(), Exit::Code(78));
    assert_eq!(pool.finish().counts.redeliveries, 0);
}

#[test]
fn a_job_is_begun_again_unless_it_must_not_be() {
    let pool = builder().workers(1).start().unwrap();
    assert_eq!(one(&pool, Job::AbortOnce), done(2));
    let pool = builder()
        .workers(1)
        .redeliver(Redeliver::Never)
        .start()
        .unwrap();
    let outcome = one(&pool, Job::AbortOnce);
    let Outcome::Quarantined(deaths) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(deaths.len(), 1);
    let few = Redeliver::UpTo(NonZeroU32::new(2).unwrap());
    let pool = builder().workers(1).redeliver(few).start().unwrap();
    let outcome = one(&pool, Job::Abort);
    assert!(
        matches!(&outcome, Outcome::Quarantined(deaths) if deaths.len() == 2),
        "{outcome:?}"
    );
}

#[test]
fn a_job_fails_as_it_says() {
    let pool = builder().workers(1).retries(2).start().unwrap();
    let failed = |outcome| match outcome {
        Outcome::Failed(failed) => failed,
        other => panic!("{other:?}"),
    };
    let text = failed(one(&pool, Job::Fail("no\x1b[2J".to_owned())));
    assert_eq!(text.message(), "no [2J");
    assert_eq!(failed(one(&pool, Job::MayPass)).message(), "not now");
    assert_eq!(pool.counts().retries, 2);
    // Neither the job nor its output may be larger than a frame.
    assert_eq!(one(&pool, Job::Large(40_000)), done("x".repeat(40_000)));
    let text = failed(one(&pool, Job::Large(60_000)));
    assert!(text.message().contains("60003 bytes"), "{text}");
    let large = pool.submit(Job::Fail("x".repeat(60_000)));
    assert!(matches!(large, Err(SubmitError::Encode(_))), "{large:?}");
}

#[test]
fn a_fatal_failure_ends_the_pool_and_abandons_what_is_left() {
    let pool = builder().workers(1).start().unwrap();
    let jobs = (0..200).map(|number| match number {
        10 => Job::Fatal,
        _ => Job::Square(number),
    });
    let outcomes: BTreeMap<_, _> = pool.run(jobs).collect();
    assert_eq!(outcomes.len(), 200);
    assert_eq!(outcomes[&0], done(0));
    assert_eq!(outcomes[&10], Outcome::Abandoned);
    assert_eq!(outcomes[&199], Outcome::Abandoned);
    let closed = pool.submit(Job::Tell);
    assert!(matches!(closed, Err(SubmitError::Closed)), "{closed:?}");
    let reason = pool.finish().gave_up;
    assert_eq!(reason.as_deref(), Some("the disk is full"));
}

#[test]
fn a_pool_whose_workers_cannot_start_gives_up() {
    let (tell, lines) = channel();
    let pool = Pool::<Obedient>::builder("broken".to_owned())
        .under_test("worker")
        .workers(2)
        .restart_intensity(1, Duration::from_secs(600))
        .on_line(move |line| tell.send(line.to_owned()).unwrap())
        .start()
        .unwrap();
    assert_eq!(one(&pool, Job::Tell), Outcome::Abandoned);
    assert!(lines.recv().unwrap().contains("as the setup says"));
    let reason = pool.finish().gave_up.unwrap();
    assert!(reason.contains("2 workers died"), "{reason}");
}

#[test]
fn workers_are_replaced_after_their_share() {
    let share = NonZeroU32::new(10).unwrap();
    let pool = builder().workers(1).recycle_after(share).start().unwrap();
    for round in 0..3 {
        for number in 1..=10 {
            // The first worker of a pool has its full share if it is the only one.
            let told = one(&pool, Job::Tell);
            assert_eq!(told, done(format!("told {number}")), "round {round}");
        }
    }
    let counts = pool.finish().counts;
    assert_eq!((counts.recycled, counts.deaths), (3, 0));
}

#[test]
fn a_worker_beyond_its_memory_dies_alone() {
    let pool = builder().workers(1).memory(256 << 20).start().unwrap();
    let outcome = one(&pool, Job::Eat);
    let Outcome::Quarantined(deaths) = outcome else {
        panic!("{outcome:?}");
    };
    let exits: Vec<_> = deaths.iter().map(|death| death.exit.to_string()).collect();
    assert_eq!(exits, ["out of memory (over its limit)"; 3]);
    assert_eq!(one(&pool, Job::Square(2)), done(4));
}

#[test]
fn a_worker_in_a_sandbox_reaches_what_it_is_given() {
    let open = tempfile::tempdir().unwrap();
    let shut = tempfile::tempdir().unwrap();
    let drawer = tempfile::tempdir().unwrap();
    for folder in [&open, &shut] {
        fs::write(flag(folder, "text"), "text").unwrap();
    }
    let sandbox = Sandbox {
        read: vec![open.path().to_owned()],
        write: vec![drawer.path().to_owned()],
        network: Network::None,
        ..Sandbox::default()
    };
    let pool = builder().workers(1).sandbox(sandbox).start().unwrap();
    assert_eq!(one(&pool, Job::Read(flag(&open, "text"))), done("text"));
    assert_eq!(one(&pool, Job::Write(flag(&drawer, "new"))), done(""));
    let refused = |job| match one(&pool, job) {
        Outcome::Failed(failed) => failed.message().to_owned(),
        other => panic!("{other:?}"),
    };
    for job in [
        Job::Read(flag(&shut, "text")),
        Job::Write(flag(&open, "new")),
    ] {
        let message = refused(job);
        assert!(message.contains("Permission denied"), "{message}");
    }
    // It does not even make a socket.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let message = refused(Job::Connect(server.local_addr().unwrap()));
    assert!(message.contains("Operation not permitted"), "{message}");
}

#[test]
fn what_a_job_prints_does_not_touch_the_pool() {
    let pool = builder().workers(1).start().unwrap();
    assert_eq!(one(&pool, Job::Print), done(""));
    let outcome = one(&pool, Job::AbortOnce);
    assert_eq!(outcome, done(2));
}

#[test]
fn a_pool_drains_aborts_and_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, go) = (flag(&folder, "runs"), flag(&folder, "go"));
    let pool = builder().workers(1).start().unwrap();
    let job = Job::Announce(runs.clone(), go.clone());
    let running = pool.submit(job).unwrap();
    wait_for(&runs);
    let jobs: Vec<_> = (0..100)
        .map(|number| pool.submit(Job::Square(number)).unwrap())
        .collect();
    let ended = std::thread::scope(|scope| {
        let drained = scope.spawn(|| pool.drain());
        // Whatever is drained by then, this one has to end.
        fs::write(&go, "").unwrap();
        drained.join().unwrap()
    });
    assert_eq!(running.wait(), done(""), "what runs is finished");
    let abandoned = jobs.into_iter().map(pool::Handle::wait);
    let abandoned = abandoned.filter(|outcome| *outcome == Outcome::Abandoned);
    assert_eq!(abandoned.count() as u64 + ended.counts.done, 101);

    for drop_it in [false, true] {
        let runs = flag(&folder, if drop_it { "third" } else { "second" });
        let pool = builder().workers(1).start().unwrap();
        let hung = pool.submit(Job::Hang(runs.clone())).unwrap();
        wait_for(&runs);
        if drop_it {
            drop(pool);
        } else {
            assert_eq!(pool.abort().gave_up, None);
        }
        assert_eq!(hung.wait(), Outcome::Abandoned);
    }
}

#[test]
fn a_program_that_does_not_become_a_worker_is_told() {
    // `worker` is not what these become: that test does not know their kind.
    struct Unknown;
    impl Work for Unknown {
        type Setup = ();
        type Job = ();
        type Output = ();

        fn start((): ()) -> Result<Self, Failed> {
            Ok(Self)
        }

        fn run(&mut self, (): (), _: &Context) -> Result<(), Failed> {
            Ok(())
        }
    }
    let (tell, lines) = channel();
    let pool = Pool::<Unknown>::builder(())
        .under_test("worker")
        .workers(1)
        .restart_intensity(0, Duration::from_secs(600))
        .on_line(move |line| tell.send(line.to_owned()).unwrap())
        .start()
        .unwrap();
    assert_eq!(pool.submit(()).unwrap().wait(), Outcome::Abandoned);
    let line = lines.recv().unwrap();
    assert!(
        line.contains("Unknown` is not one of the kinds of work"),
        "{line}"
    );
}

#[test]
fn what_cannot_be_had_is_told_before_anything_starts() {
    let sandbox = Sandbox {
        write: vec![PathBuf::from("/nonexistent")],
        strict: true,
        ..Sandbox::default()
    };
    let started = builder().sandbox(sandbox).start();
    assert!(
        matches!(started, Err(StartError::Confine(_))),
        "{started:?}"
    );
}

#[test]
fn an_async_worker_has_many_jobs_under_way() {
    let pool = async_builder().at_once(20).start().unwrap();
    let outcomes = pool.run(std::iter::repeat_n(Waiting::Meet, 3 * TABLE));
    let done = outcomes.filter(|(_, outcome)| *outcome == Outcome::Done(String::new()));
    assert_eq!(done.count(), 3 * TABLE);
    let counts = pool.finish().counts;
    assert_eq!((counts.spawned, counts.deaths), (1, 0));
}

#[test]
fn an_async_job_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let go = flag(&folder, "go");
    let limit = Duration::from_secs(1);
    let pool = async_builder().deadline(limit).start().unwrap();
    let others: Vec<_> = [
        Waiting::Hang,
        Waiting::Panic,
        Waiting::Large,
        Waiting::Delivery,
    ]
    .into_iter()
    .map(|job| pool.submit(job).unwrap())
    .collect();
    let outcomes: Vec<_> = others.into_iter().map(pool::Handle::wait).collect();
    assert_eq!(outcomes[0], Outcome::DeadlineExceeded(limit));
    assert!(
        matches!(&outcomes[1], Outcome::Failed(failed) if failed.message().contains("as the job says")),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[2], Outcome::Failed(failed) if failed.message().contains("60003 bytes")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[3], Outcome::Done("1".to_owned()));
    fs::write(&go, "").unwrap();
    assert_eq!(
        pool.submit(Waiting::Wait(go)).unwrap().wait().done(),
        Some(String::new())
    );
    // All in one process.
    let counts = pool.finish().counts;
    assert_eq!((counts.spawned, counts.deaths), (1, 0));
}

#[test]
fn an_async_job_that_crashes_is_found_among_those_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let go = flag(&folder, "go");
    let pool = async_builder().start().unwrap();
    let beside: Vec<_> = (0..10)
        .map(|_| pool.submit(Waiting::Wait(go.clone())).unwrap())
        .collect();
    let crash = pool.submit(Waiting::Abort(go.clone())).unwrap();
    fs::write(&go, "").unwrap();
    let outcome = crash.wait();
    let Outcome::Quarantined(deaths) = outcome else {
        panic!("{outcome:?}");
    };
    // The first may have been beside others, and counts for nothing then.
    assert!((3..=4).contains(&deaths.len()), "{deaths:?}");
    for handle in beside {
        assert_eq!(handle.wait(), Outcome::Done(String::new()));
    }
    assert_eq!(pool.finish().counts.quarantined, 1);
}

#[test]
fn an_async_pool_whose_workers_cannot_start_gives_up() {
    let pool = Pool::<Async<Patient>>::builder("broken".to_owned())
        .under_test("async_worker")
        .restart_intensity(1, Duration::from_secs(600))
        .on_line(|_| {})
        .start()
        .unwrap();
    let outcome = pool.submit(Waiting::Delivery).unwrap().wait();
    assert_eq!(outcome, Outcome::Abandoned);
}

/// What `handle` tells of the progress of its job, once it is this many steps.
fn wait_for_step<O: serde::de::DeserializeOwned>(
    handle: &pool::Handle<O>,
    step: u64,
) -> Option<u64> {
    loop {
        match handle.progress() {
            Some(progress) if progress.done == step => return progress.total,
            _ => std::thread::yield_now(),
        }
    }
}

#[test]
fn who_waits_for_a_job_is_told_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = flag(&folder, "step");
    // A heartbeat of its own would come too late.
    let lease = Duration::from_secs(36_000);
    let pool = builder().workers(1).lease(lease).start().unwrap();
    let silent = pool.submit(Job::Square(2)).unwrap();
    let handle = pool.submit(Job::Steps(3, path.clone())).unwrap();
    for step in 1..=3 {
        if step > 1 {
            fs::write(path.with_extension(step.to_string()), "").unwrap();
        }
        if step < 3 {
            assert_eq!(wait_for_step(&handle, step), Some(3));
        }
    }
    assert_eq!(silent.progress(), None);
    assert_eq!(handle.wait(), done(""));
    assert_eq!(silent.wait(), done(4));

    let go = flag(&folder, "go");
    let pool = async_builder().lease(lease).start().unwrap();
    let handle = pool.submit(Waiting::Steps(go.clone())).unwrap();
    assert_eq!(wait_for_step(&handle, 1), None);
    fs::write(go, "").unwrap();
    assert_eq!(handle.wait(), Outcome::Done(String::new()));
}

#[test]
fn a_job_that_is_begun_again_has_made_no_progress() {
    let folder = tempfile::tempdir().unwrap();
    let (go, runs) = (flag(&folder, "go"), flag(&folder, "runs"));
    let pool = builder().workers(1).start().unwrap();
    let handle = pool
        .submit(Job::ShowAndDie(go.clone(), runs.clone()))
        .unwrap();
    assert_eq!(wait_for_step(&handle, 7), None);
    fs::write(&go, "").unwrap();
    // The second worker has it.
    wait_for(&runs);
    assert_eq!(handle.progress(), None);
    fs::write(flag(&folder, "end"), "").unwrap();
    assert_eq!(handle.wait(), done(2));
}
