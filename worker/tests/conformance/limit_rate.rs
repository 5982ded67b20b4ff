//! `--limit-rate` within one download: what its waits count as, and how they end.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pool::session::EventEngine as _;
use protocol::{Assignment, Engine, FailureKind, HttpOptions, LimitRate, TaskId};
use tokio::runtime::Builder;
use worker::{Activity, AsyncEngine, BlockingEngine, Connections, Shared, Throttle};

use crate::support::{Bench, Downloaded, Server, TRANSIENT, ok, on_every_engine, options, setup};

const KIB: usize = 1024;

fn limit(bytes_per_second: u64) -> LimitRate {
    LimitRate {
        bytes_per_second: NonZeroU64::new(bytes_per_second).expect("more than none"),
        sharers: 1,
    }
}

fn bench(engine: Engine, options: HttpOptions, rate: u64) -> Bench {
    Bench::with(engine, options, |setup| {
        setup.limit_rate = Some(limit(rate))
    })
}

fn server(size: usize) -> Server {
    Server::answering(move |_| ok(&"x".repeat(size)))
}

fn a_body_takes_the_time_that_its_rate_says(engine: Engine) {
    let server = server(200 * KIB);
    let mut bench = bench(engine, options(), 400 * KIB as u64);
    let begun = Instant::now();
    assert_eq!(bench.body(&server.url("/")).len(), 200 * KIB);
    // Half a second, minus the tenth that may be made up for and the bytes of one turn in advance.
    assert!(
        begun.elapsed() >= Duration::from_millis(350),
        "{:?}",
        begun.elapsed()
    );
    // The next body pays for the rest, and gains nothing from the time between.
    let begun = Instant::now();
    bench.body(&server.url("/"));
    assert!(
        begun.elapsed() >= Duration::from_millis(350),
        "{:?}",
        begun.elapsed()
    );
}

fn bodies_that_are_not_stored_count_as_well(engine: Engine) {
    let body = "x".repeat(60 * KIB);
    let server = Server::answering(move |head| {
        if head.starts_with("GET /here ") {
            return ok("here");
        }
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: /here\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        format!("{head}{body}").into_bytes()
    });
    let mut bench = bench(engine, options(), 120 * KIB as u64);
    let begun = Instant::now();
    assert_eq!(bench.body(&server.url("/")), "here");
    assert!(
        begun.elapsed() >= Duration::from_millis(350),
        "{:?}",
        begun.elapsed()
    );
}

fn waiting_for_the_rate_is_no_stall(engine: Engine) {
    let server = server(12 * KIB);
    let mut options = options();
    // 4 KiB are read at once, which takes twice as long as the limit.
    options.stall_timeout = Duration::from_millis(250);
    let mut bench = bench(engine, options, 8 * KIB as u64);
    assert_eq!(bench.body(&server.url("/")).len(), 12 * KIB);
}

fn but_it_counts_for_the_time_that_is_allowed(engine: Engine) {
    let server = server(12 * KIB);
    let mut options = options();
    options.max_time = Some(Duration::from_millis(300));
    // The bytes read at once take forty seconds.
    let mut bench = bench(engine, options, 100);
    let begun = Instant::now();
    bench.fails(&server.url("/"), FailureKind::Timeout, TRANSIENT);
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

fn a_download_that_waits_moves_and_can_be_given_up(engine: Engine) {
    let server = server(12 * KIB);
    let folder = tempfile::tempdir().expect("a folder");
    let mut setup = setup(folder.path(), 1, options());
    setup.limit_rate = Some(limit(100));
    let throttle = setup.limit_rate.as_ref().map(Throttle::local);
    let shared = Arc::new(Shared::new(&setup, throttle).expect("a good setup"));
    let abandoned = Arc::new(AtomicBool::new(false));
    let activity = Arc::new(Activity::new(Arc::clone(&abandoned)));
    activity.begin(TaskId(1));
    let download = {
        let (url, activity) = (server.url("/"), Arc::clone(&activity));
        let abandoned = Arc::clone(&abandoned);
        thread::spawn(move || download(engine, shared, &url, &activity, &abandoned))
    };
    let moved_within = |time| activity.running(Instant::now(), time);
    let received = || moved_within(Duration::MAX).expect("it runs").progress.bytes;
    let look_again = || {
        assert!(!download.is_finished(), "it waits");
        // The test waits for a condition, so this pause affects only its speed.
        thread::sleep(Duration::from_millis(1));
    };
    while received() == 0 {
        look_again();
    }
    // It has received its share of the next forty seconds. In the following second or more it still
    // gives signs of life, but receives no more of the body.
    let (waits, before) = (Instant::now(), received());
    while waits.elapsed() < Duration::from_secs(1) || moved_within(waits.elapsed() / 2).is_none() {
        look_again();
    }
    assert_eq!(received(), before);
    abandoned.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    download.join().expect("no panic").expect_err("given up");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// Downloads `url` until it is abandoned; an event loop then drops the download.
fn download(
    engine: Engine,
    shared: Arc<Shared>,
    url: &str,
    activity: &Activity,
    abandoned: &AtomicBool,
) -> Result<Downloaded, ()> {
    let assignment = Assignment::new(url, "file");
    match engine {
        Engine::Blocking => {
            let result =
                pool::session::Engine::run(&mut BlockingEngine::new(shared), &assignment, activity);
            if abandoned.load(Ordering::Relaxed) {
                result.expect_err("given up");
                return Err(());
            }
            Ok(result)
        }
        Engine::Async => {
            let runtime = Builder::new_current_thread().enable_all().build();
            let mut engine = AsyncEngine::new(Arc::new(Connections::new(shared, 1)));
            runtime.expect("a runtime").block_on(async {
                let download = engine.run(&assignment, activity);
                let stop = async {
                    while !abandoned.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                tokio::select! {
                    result = download => Ok(result),
                    () = stop => Err(()),
                }
            })
        }
    }
}

on_every_engine![
    a_body_takes_the_time_that_its_rate_says,
    bodies_that_are_not_stored_count_as_well,
    waiting_for_the_rate_is_no_stall,
    but_it_counts_for_the_time_that_is_allowed,
    a_download_that_waits_moves_and_can_be_given_up,
];
