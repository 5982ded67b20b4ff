//! Tests of the resolver, with a lookup that the test controls.

use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::*;
use crate::testing::options;

const PATIENCE: Duration = Duration::from_secs(30);

/// A resolver whose lookups are counted and answered by `answer`.
fn resolver(
    options: &HttpOptions,
    answer: impl Fn(&str) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync + 'static,
) -> (Resolver, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let resolver = Resolver::with_lookup(
        options,
        Arc::new(move |host: &str| {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(host)
        }),
    );
    (resolver, count)
}

fn one(_: &str) -> Result<Vec<IpAddr>, ResolveError> {
    Ok(vec![Ipv4Addr::new(192, 0, 2, 1).into()])
}

fn addresses(resolver: &Resolver, https: bool, host: &str, port: u16) -> Vec<String> {
    resolver
        .resolve(https, host, port, PATIENCE)
        .expect("an address")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn overrides_and_literals_need_no_lookup() {
    let mut options = options();
    options.resolve = vec![ResolveOverride {
        host: "a.test".to_owned(),
        port: 443,
        addr: Ipv4Addr::LOCALHOST.into(),
    }];
    let (resolver, count) = resolver(&options, one);
    let resolve = |host, port| addresses(&resolver, true, host, port);
    assert_eq!(resolve("a.test", 443), ["127.0.0.1:443"]);
    assert_eq!(resolve("192.0.2.7", 81), ["192.0.2.7:81"]);
    assert_eq!(resolve("[::1]", 443), ["[::1]:443"]);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_eq!(resolve("a.test", 80), ["192.0.2.1:80"], "another port");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn the_built_in_origin_stands_in_for_every_host() {
    let mut options = options();
    options.simulated = Some(Simulated {
        http: "127.0.0.1:8080".parse().expect("an address"),
        https: "127.0.0.1:8443".parse().expect("an address"),
    });
    let (resolver, count) = resolver(&options, one);
    assert_eq!(
        addresses(&resolver, false, "a.test", 99),
        ["127.0.0.1:8080"]
    );
    assert_eq!(
        addresses(&resolver, true, "192.0.2.9", 443),
        ["127.0.0.1:8443"]
    );
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn an_answer_is_asked_for_once_and_again_when_it_is_old() {
    let (resolver, count) = resolver(&options(), one);
    let now = Instant::now();
    for _ in 0..3 {
        resolver
            .look_up("a.test", 80, now)
            .wait(PATIENCE)
            .expect("found");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let later = Instant::now() + LIFETIME;
    resolver
        .look_up("a.test", 80, later)
        .wait(PATIENCE)
        .expect("found");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_temporary_failure_is_forgotten_soon_and_no_such_host_is_not() {
    for (soon_asks_again, failure) in [
        (true, temporary("a.test", "try again")),
        (
            false,
            ResolveError::NoSuchHost {
                host: "a.test".to_owned(),
                cause: "unknown".to_owned(),
            },
        ),
    ] {
        let answer = failure.clone();
        let (resolver, count) = resolver(&options(), move |_| Err(answer.clone()));
        for _ in 0..2 {
            let found = resolver
                .look_up("a.test", 80, Instant::now())
                .wait(PATIENCE);
            assert_eq!(found, Err(failure.clone()));
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let soon = Instant::now() + FAILURE_LIFETIME;
        assert!(resolver.look_up("a.test", 80, soon).wait(PATIENCE).is_err());
        let asked = count.load(Ordering::SeqCst);
        assert_eq!(asked, if soon_asks_again { 2 } else { 1 });
    }
}

#[test]
fn a_name_server_that_hangs_does_not_hang_the_caller() {
    let (release, hang) = channel::<()>();
    let hang = Mutex::new(hang);
    let (resolver, count) = resolver(&options(), move |host| {
        let _ = lock(&hang).recv();
        one(host)
    });
    for _ in 0..2 {
        let found = resolver
            .look_up("a.test", 80, Instant::now())
            .wait(Duration::from_millis(1));
        assert!(
            matches!(found, Err(ResolveError::Temporary { .. })),
            "{found:?}"
        );
    }
    drop(release);
    resolver
        .look_up("a.test", 80, Instant::now())
        .wait(PATIENCE)
        .expect("the late answer counts");
    assert_eq!(
        count.load(Ordering::SeqCst),
        1,
        "the hanging lookup is shared"
    );
}

#[test]
fn lookups_of_one_name_at_once_share_one() {
    let (release, hang) = channel::<()>();
    let hang = Mutex::new(hang);
    let (resolver, count) = resolver(&options(), move |host| {
        let _ = lock(&hang).recv();
        one(host)
    });
    let together = Barrier::new(5);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    resolver
                        .look_up("a.test", 80, Instant::now())
                        .wait(PATIENCE)
                })
            })
            .collect();
        together.wait();
        drop(release);
        for thread in asking {
            let found = thread.join().expect("no panic");
            assert_eq!(found.expect("found").len(), 1);
        }
    });
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn the_cache_stays_small() {
    let (resolver, _) = resolver(&options(), one);
    for number in 0..CAPACITY + 10 {
        let (pending, ours) = resolver.entry(&format!("{number}.test"), Instant::now());
        assert!(ours);
        pending.settle(Ok(Arc::from([])));
    }
    assert!(lock(&resolver.cache).len() <= CAPACITY);
}

#[test]
fn a_task_that_asks_is_woken_by_the_answer() {
    let (answer, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let (resolver, count) = resolver(&options(), move |host| {
        wait.lock()
            .expect("no panic")
            .recv()
            .expect("the test answers");
        one(host)
    });
    let ask = async || match resolver.find(false, "a.test", 80) {
        Found::Known(addrs) => Ok(addrs),
        Found::Asked(question) => std::future::poll_fn(|context| question.poll(context)).await,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let found = runtime.expect("a runtime").block_on(async {
        tokio::join!(ask(), ask(), async {
            // Both of the others have asked, and wait.
            answer.send(()).expect("the lookup waits");
        })
    });
    let addrs: Vec<SocketAddr> = vec!["192.0.2.1:80".parse().expect("an address")];
    assert_eq!((found.0, found.1), (Ok(addrs.clone()), Ok(addrs)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
