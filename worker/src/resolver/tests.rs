//! Tests of the resolver, with a lookup that the test controls.

use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::*;
use crate::testing::options;

const PATIENCE: Duration = Duration::from_secs(30);

/// Creates a resolver whose lookups are counted and answered by `answer`.
fn resolver(
    options: &HttpOptions,
    answer: impl Fn(&str) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync + 'static,
) -> (Resolver, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let resolver = Resolver::with_lookup(
        options,
        Arc::new(move |host: &str, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(host)
        }),
    );
    (resolver, count)
}

fn one(_: &str) -> Result<Vec<IpAddr>, ResolveError> {
    Ok(vec![Ipv4Addr::new(192, 0, 2, 1).into()])
}

fn find(
    resolver: &Resolver,
    purpose: Purpose,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, ResolveError> {
    match resolver.find(purpose, host, port) {
        Found::Known(answer) => answer,
        Found::Asked(question) => question.wait(PATIENCE),
    }
}

fn addresses(resolver: &Resolver, https: bool, host: &str, port: u16) -> Vec<String> {
    find(resolver, Purpose::Origin { https }, host, port)
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
            .look_up("a.test", 80, false, now)
            .wait(PATIENCE)
            .expect("found");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let later = Instant::now() + LIFETIME;
    resolver
        .look_up("a.test", 80, false, later)
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
                .look_up("a.test", 80, false, Instant::now())
                .wait(PATIENCE);
            assert_eq!(found, Err(failure.clone()));
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let soon = Instant::now() + FAILURE_LIFETIME;
        assert!(
            resolver
                .look_up("a.test", 80, false, soon)
                .wait(PATIENCE)
                .is_err()
        );
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
            .look_up("a.test", 80, false, Instant::now())
            .wait(Duration::from_millis(1));
        assert!(
            matches!(found, Err(ResolveError::Temporary { .. })),
            "{found:?}"
        );
    }
    drop(release);
    resolver
        .look_up("a.test", 80, false, Instant::now())
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
                        .look_up("a.test", 80, false, Instant::now())
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
    let ask = async || match resolver.find(Purpose::Origin { https: false }, "a.test", 80) {
        Found::Known(answer) => answer,
        Found::Asked(question) => std::future::poll_fn(|context| question.poll(context)).await,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let found = runtime.expect("a runtime").block_on(async {
        tokio::join!(ask(), ask(), async {
            // Both others have asked and are waiting.
            answer.send(()).expect("the lookup waits");
        })
    });
    let addrs: Vec<SocketAddr> = vec!["192.0.2.1:80".parse().expect("an address")];
    assert_eq!((found.0, found.1), (Ok(addrs.clone()), Ok(addrs)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn only_public_addresses_are_admitted_for_origins_when_that_is_asked_for() {
    let mut options = options();
    options.block_private = true;
    options.resolve = vec![ResolveOverride {
        host: "pinned.test".to_owned(),
        port: 80,
        addr: Ipv4Addr::LOCALHOST.into(),
    }];
    let (resolver, _) = resolver(&options, |host| {
        let public = Ipv4Addr::new(1, 1, 1, 1).into();
        let private = Ipv4Addr::new(10, 0, 0, 1).into();
        Ok(match host {
            "both.test" => vec![private, public],
            "private.test" => vec![private],
            _ => vec![public],
        })
    });
    let origin = Purpose::Origin { https: false };
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "pinned.test",
        "private.test",
    ] {
        let found = find(&resolver, origin, host, 80);
        assert!(matches!(found, Err(ResolveError::Blocked { .. })), "{host}");
        let found = find(&resolver, Purpose::Proxy, host, 80);
        assert!(found.is_ok(), "{host}: a proxy is where the user says");
    }
    assert_eq!(addresses(&resolver, false, "both.test", 80), ["1.1.1.1:80"]);
    assert_eq!(addresses(&resolver, false, "1.1.1.1", 80), ["1.1.1.1:80"]);
}

#[test]
fn localhost_and_what_is_below_it_are_this_machine_without_a_lookup() {
    let mut options = options();
    let here = |options: &HttpOptions, host: &str| {
        let (resolver, count) = resolver(options, one);
        let found = addresses(&resolver, false, host, 80);
        assert_eq!(count.load(Ordering::SeqCst), 0, "{host}");
        found
    };
    for host in ["localhost", "a.localhost", "a.b.localhost."] {
        assert_eq!(here(&options, host), ["[::1]:80", "127.0.0.1:80"]);
    }
    options.family = Some(Family::V4);
    assert_eq!(here(&options, "a.localhost"), ["127.0.0.1:80"]);
    options.family = Some(Family::V6);
    assert_eq!(here(&options, "a.localhost"), ["[::1]:80"]);
    options.block_private = true;
    let (resolver, _) = resolver(&options, one);
    let purpose = Purpose::Origin { https: false };
    let blocked = find(&resolver, purpose, "a.localhost", 80);
    assert!(matches!(blocked, Err(ResolveError::Blocked { .. })));
}

#[test]
fn a_name_of_the_excluded_family_alone_is_told_from_an_unknown_one() {
    let v4 = IpAddr::from([192, 0, 2, 1]);
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    for (family, own, other, message) in [
        (
            Family::V4,
            v4,
            v6,
            "other.test has only IPv6 addresses, such as 2001:db8::1; run without --ipv4",
        ),
        (
            Family::V6,
            v6,
            v4,
            "other.test has only IPv4 addresses, such as 192.0.2.1; run without --ipv6",
        ),
    ] {
        let mut options = options();
        options.family = Some(family);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let resolver = Resolver::with_lookup(
            &options,
            Arc::new(move |host: &str, of: Option<Family>| {
                lock(&noted).push((host.to_owned(), of));
                match (host, of == Some(family)) {
                    ("both.test", true) => Ok(vec![own]),
                    ("other.test", false) => Ok(vec![other]),
                    ("silent.test", true) => Err(temporary(host, "try again")),
                    // What getaddrinfo(3) may report in place of an error.
                    ("empty.test", _) => Ok(Vec::new()),
                    _ => Err(ResolveError::NoSuchHost {
                        host: host.to_owned(),
                        cause: "unknown".to_owned(),
                    }),
                }
            }),
        );
        for purpose in [Purpose::Origin { https: false }, Purpose::Proxy] {
            let found = |host| find(&resolver, purpose, host, 80);
            assert_eq!(found("both.test"), Ok(vec![SocketAddr::new(own, 80)]));
            let error = found("other.test").expect_err("the other family");
            assert_eq!(error.to_string(), message);
            for unknown in ["unknown.test", "empty.test"] {
                let error = found(unknown).expect_err("no address");
                assert!(matches!(error, ResolveError::NoSuchHost { .. }), "{error}");
            }
            let error = found("silent.test").expect_err("no answer");
            assert!(matches!(error, ResolveError::Temporary { .. }), "{error}");
        }
        // The other family is looked up only if the name is unknown, and once.
        let asked = lock(&asked);
        let count = |host| asked.iter().filter(|(name, _)| name == host).count();
        let names = ["both.test", "silent.test", "other.test", "unknown.test"];
        assert_eq!(names.map(count), [1, 1, 2, 2], "{asked:?}");
    }
}
