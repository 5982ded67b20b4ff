//! Tests of placement: the files on disk and the events.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use protocol::{Epoch, SlotId, Timestamp, Validators};
use sha2::{Digest, Sha256};

use super::*;
use crate::fence::boot_time;

const WORKER: WorkerId = WorkerId {
    slot: SlotId(2),
    epoch: Epoch(7),
};

const OTHER: WorkerId = WorkerId {
    slot: SlotId(3),
    epoch: Epoch(1),
};

/// A name such as the coordinator creates.
const NAME: &str = "77777777777777777777777777777777";

/// A placement and its folder.
struct Bench {
    placement: Placement,
    news: Receiver<Vec<PlacementEvent>>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Plan)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let partial = folder.path().join(".coordinator/partial");
        fs::create_dir_all(&partial).expect("created");
        let mut plan = Plan {
            output: Folder::named(folder.path()).expect("it is there"),
            partial: Folder::named(&partial).expect("it is there"),
            local: false,
            boot: Some("now".to_owned()),
            fsync: false,
            remote_time: false,
            insist: false,
            fence: None,
            exec: None,
        };
        change(&mut plan);
        let (sender, news) = channel();
        let sender = Mutex::new(sender);
        let placement = Placement::start(plan, move |news| {
            let sender = sender.lock().expect("nobody panics with it");
            let _ = sender.send(news);
        });
        let placement = placement.expect("started");
        for worker in [WORKER, OTHER] {
            placement.make(worker);
            let told = news.recv_timeout(END_WITHIN).expect("an answer");
            assert!(
                matches!(told[..], [PlacementEvent::Made { result: Ok(()), .. }]),
                "{told:?}"
            );
        }
        Self {
            placement,
            news,
            folder,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Returns a path in the folder of a worker.
    fn own(&self, worker: WorkerId, name: &str) -> PathBuf {
        let folder = self.path(".coordinator/partial").join(folder_of(worker));
        folder.join(name)
    }

    fn left(&self, worker: WorkerId) -> usize {
        let entries = fs::read_dir(self.own(worker, "")).expect("a folder");
        entries.count()
    }

    /// Places `body`, which the worker reports truthfully.
    fn place(&self, path: &str, body: &str) -> Placed {
        fs::write(self.own(WORKER, NAME), body).expect("written");
        self.order(order(path, body))
    }

    fn order(&self, order: Order) -> Placed {
        let told = self.told(order);
        let PlacementEvent::Placed {
            result, violation, ..
        } = told
        else {
            panic!("{told:?}");
        };
        (result, violation)
    }

    /// What is told of `order`, and nothing else is.
    fn told(&self, order: Order) -> PlacementEvent {
        self.placement.place(vec![order]);
        let mut news = self.news.recv_timeout(END_WITHIN).expect("an answer");
        assert_eq!(news.len(), 1, "{news:?}");
        news.pop().expect("one")
    }

    fn fetch(&self, last: Option<WorkerId>) {
        self.placement.fetch(OTHER, vec![(last, NAME.to_owned())]);
        let news = self.news.recv_timeout(END_WITHIN).expect("an answer");
        assert!(
            matches!(news[..], [PlacementEvent::Fetched { worker: OTHER }]),
            "{news:?}"
        );
    }

    fn leave(&self, body: &str) {
        let note = r#"{"v":1,"boot":"now","url":"http://a/","validator":{"etag":"\"1\""},"length":9,"content_type":null}"#;
        fs::write(self.own(WORKER, NAME), body).expect("written");
        fs::write(self.own(WORKER, &format!("{NAME}~note")), note).expect("written");
    }
}

type Placed = (Result<Box<Stored>, Box<Failure>>, Option<String>);

fn order(path: &str, body: &str) -> Order {
    Order {
        worker: WORKER,
        task: TaskId(1),
        kind: TaskKind::Listed,
        url: "http://a/".to_owned(),
        partial: NAME.to_owned(),
        path: path.to_owned(),
        replace: true,
        known: None,
        fenced_as: None,
        stored: Box::new(Stored {
            bytes: body.len() as u64,
            sha256: Sha256::digest(body).into(),
            ..Stored::default()
        }),
    }
}

fn failure(placed: Placed) -> (FailureKind, Severity, String) {
    let failure = placed.0.expect_err("a failure");
    (failure.kind, failure.severity, failure.message)
}

#[test]
fn a_body_is_put_in_place_with_the_folders_on_the_way() {
    for fsync in [false, true] {
        let bench = Bench::with(|plan| plan.fsync = fsync);
        for path in ["a.txt", "x/y/a", "x/b"] {
            let (stored, violation) = bench.place(path, "abc");
            assert!(!stored.expect("in place").unchanged);
            assert_eq!(violation, None);
            assert_eq!(fs::read(bench.path(path)).expect("it is there"), b"abc");
        }
        assert_eq!(bench.left(WORKER), 0);
    }
}

#[test]
fn a_link_on_the_way_is_not_followed_and_one_in_the_place_is_replaced() {
    let bench = Bench::new();
    let elsewhere = tempfile::tempdir().expect("another folder");
    for name in ["out", "a"] {
        symlink(elsewhere.path(), bench.path(name)).expect("a link");
    }
    for path in ["out/a", "out/x/a"] {
        let (kind, severity, _) = failure(bench.place(path, "abc"));
        assert_eq!((kind, severity), (FailureKind::Store, Severity::Permanent));
    }
    bench.place("a", "abc").0.expect("in place");
    assert!(!bench.path("a").is_symlink());
    let entries = fs::read_dir(elsewhere.path()).expect("still there");
    assert_eq!((entries.count(), bench.left(WORKER)), (0, 0));
}

#[test]
fn what_cannot_be_put_in_place_is_removed_and_permanent_unless_retries_are_insisted_on() {
    for (insist, expected) in [
        (false, Severity::Permanent),
        (true, Severity::Transient { retry_after: None }),
    ] {
        let bench = Bench::with(|plan| plan.insist = insist);
        fs::create_dir(bench.path("folder")).expect("a folder in the way");
        fs::write(bench.path("file"), "").expect("a file in the way");
        let long = "n".repeat(256);
        for path in ["folder", "file/below", long.as_str()] {
            let (kind, severity, message) = failure(bench.place(path, "abc"));
            assert_eq!(
                (kind, severity),
                (FailureKind::Store, expected),
                "{message}"
            );
        }
        assert_eq!(bench.left(WORKER), 0);
    }
}

#[test]
fn a_file_that_may_not_be_replaced_stays() {
    let bench = Bench::new();
    symlink("nowhere", bench.path("link")).expect("a link");
    fs::write(bench.path("file"), "mine").expect("a file");
    let place = |path: &str| {
        fs::write(bench.own(WORKER, NAME), "abc").expect("written");
        bench.order(Order {
            replace: false,
            ..order(path, "abc")
        })
    };
    for path in ["file", "link"] {
        let (kind, severity, message) = failure(place(path));
        assert_eq!((kind, severity), (FailureKind::Store, Severity::Permanent));
        assert!(message.contains("--force"), "{message}");
    }
    assert_eq!(fs::read(bench.path("file")).expect("it stays"), b"mine");
    assert!(bench.path("link").is_symlink());
    place("new/file").0.expect("nothing is there");
    assert!(bench.path("new/file").is_file());
    assert_eq!(bench.left(WORKER), 0);
}

#[test]
fn a_target_that_is_not_this_machines_any_more_is_refused_and_what_is_there_stays() {
    let fence = Fence::default();
    fence.set_until(Some(boot_time() + Duration::from_secs(3600)));
    fence.grant((7, 1));
    let bench = Bench::with(|plan| plan.fence = Some(fence.clone()));
    let place = |body: &str| {
        fs::write(bench.own(WORKER, NAME), body).expect("written");
        bench.told(Order {
            fenced_as: Some((7, 1)),
            ..order("a", body)
        })
    };
    let is_placed = |told| matches!(told, PlacementEvent::Placed { result: Ok(_), .. });
    assert!(is_placed(place("abc")));
    fence.revoke(7);
    let told = place("other");
    assert!(
        matches!(&told, PlacementEvent::Fenced { stored, .. } if stored.bytes == 5),
        "{told:?}"
    );
    assert_eq!(fs::read(bench.path("a")).expect("it stays"), b"abc");
    assert_eq!(bench.left(WORKER), 0);
    fence.grant((7, 1));
    assert!(is_placed(place("again")));
    // What is of no fleet is not asked about.
    bench.place("b", "abc").0.expect("in place");
}

#[test]
fn the_same_bytes_are_not_put_in_place_again() {
    let bench = Bench::new();
    bench.place("a", "abc").0.expect("in place");
    let inode = || fs::metadata(bench.path("a")).expect("it is there").ino();
    let before = inode();
    let again = |body: &str, known: &str| {
        fs::write(bench.own(WORKER, NAME), body).expect("written");
        let known = order("a", known).stored;
        bench.order(Order {
            known: Some(Box::new(Known {
                url: "http://a/".to_owned(),
                validators: Validators::default(),
                bytes: known.bytes,
                sha256: known.sha256,
                content_type: None,
            })),
            ..order("a", body)
        })
    };
    assert!(again("abc", "abc").0.expect("stored").unchanged);
    assert_eq!(inode(), before);
    fs::remove_file(bench.path("a")).expect("removed");
    assert!(
        !again("abc", "abc").0.expect("stored").unchanged,
        "it is gone"
    );
    assert!(!again("new", "abc").0.expect("stored").unchanged);
    assert_eq!(fs::read(bench.path("a")).expect("it is there"), b"new");
    assert_eq!(bench.left(WORKER), 0);
}

#[test]
fn what_a_worker_lies_about_is_not_put_in_place() {
    let bench = Bench::new();
    let own = bench.own(WORKER, NAME);
    let victim = bench.path("victim");
    fs::write(&victim, "abc").expect("written");
    let mut open = None;
    let mut lie = |what: &str| {
        match what {
            "missing" => {}
            "short" => fs::write(&own, "ab").expect("written"),
            "a link" => symlink(&victim, &own).expect("linked"),
            "a hard link" => fs::hard_link(&victim, &own).expect("linked"),
            "open for writing" => {
                fs::write(&own, "abc").expect("written");
                open = fs::OpenOptions::new().write(true).open(&own).ok();
            }
            _ => panic!("no such lie: {what}"),
        }
        let placed = bench.order(order("a", "abc"));
        assert!(placed.1.is_some(), "{what}: {placed:?}");
        assert_eq!(
            placed.0.expect_err(what).severity,
            Severity::Transient { retry_after: None }
        );
        assert!(!bench.path("a").exists(), "{what}");
        assert_eq!(bench.left(WORKER), 0, "{what}");
    };
    for what in [
        "missing",
        "short",
        "a link",
        "a hard link",
        "open for writing",
    ] {
        lie(what);
    }
    assert!(open.is_some());
    let mut current = order("a", "abc");
    current.stored.unchanged = true;
    assert!(bench.order(current).1.is_some(), "nobody knew of a file");
    assert_eq!(fs::read(&victim).expect("it is there"), b"abc");
}

#[test]
fn a_partial_body_goes_to_another_worker_with_its_note_whether_its_own_is_gone_or_not() {
    for gone in [false, true] {
        let bench = Bench::new();
        bench.leave("part");
        fs::write(bench.own(WORKER, "alone"), "x").expect("written");
        if gone {
            bench.placement.salvage(WORKER);
        }
        bench.fetch(Some(WORKER));
        let moved = fs::read(bench.own(OTHER, NAME)).expect("it was moved");
        assert_eq!((moved.as_slice(), bench.left(OTHER)), (&b"part"[..], 2));
        assert_eq!(bench.own(WORKER, "").exists(), !gone);
    }
}

#[test]
fn a_partial_body_that_its_worker_can_still_change_goes_to_nobody() {
    let bench = Bench::new();
    bench.leave("part");
    let _open = fs::OpenOptions::new()
        .write(true)
        .open(bench.own(WORKER, NAME))
        .expect("opened");
    bench.fetch(Some(WORKER));
    assert_eq!((bench.left(OTHER), bench.left(WORKER)), (0, 0));
    // A partial body without a note cannot be used.
    fs::write(bench.own(WORKER, NAME), "part").expect("written");
    bench.fetch(Some(WORKER));
    assert_eq!(bench.left(OTHER), 0);
}

#[test]
fn bodies_are_placed_before_the_folder_of_their_worker_is_removed() {
    let bench = Bench::new();
    fs::write(bench.own(WORKER, NAME), "abc").expect("written");
    bench.placement.place(vec![order("a", "abc")]);
    bench.placement.salvage(WORKER);
    let Bench {
        placement, folder, ..
    } = bench;
    placement.close();
    assert_eq!(fs::read(folder.path().join("a")).expect("in place"), b"abc");
    assert!(!folder.path().join(".coordinator/partial/2-7").exists());
}

#[test]
fn a_file_gets_the_time_that_the_server_says_within_reason() {
    const HOUR: i64 = 3600;
    let since_1970 = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        i64::try_from(since.expect("after 1970").as_secs()).expect("small")
    };
    let begun = since_1970(SystemTime::now());
    for (wanted, modified, given) in [
        (true, Some(0), true),
        (true, Some(1_000_000_000), true),
        (true, Some(begun - HOUR), true),
        (true, Some(begun + HOUR), false),
        (true, Some(-1), false),
        (true, Some(i64::MAX / 1_000_000), false),
        (true, Some(i64::MIN / 1_000_000), false),
        (true, None, false),
        (false, Some(1_000_000_000), false),
    ] {
        let bench = Bench::with(|plan| plan.remote_time = wanted);
        fs::write(bench.own(WORKER, NAME), "abc").expect("written");
        let mut order = order("a/b", "abc");
        order.stored.modified = modified.map(|seconds| Timestamp(seconds * 1_000_000));
        bench.order(order).0.expect("in place");
        let time = fs::metadata(bench.path("a/b")).and_then(|file| file.modified());
        let time = since_1970(time.expect("it is there"));
        match modified.filter(|_| given) {
            Some(modified) => assert_eq!(time, modified),
            // The clock of a file system may be behind by a tick.
            None => assert!(
                (begun - 1..=begun + HOUR / 2).contains(&time),
                "{modified:?}: {time}"
            ),
        }
    }
}

#[test]
fn bodies_that_are_placed_at_once_are_each_in_place_and_told_of_once() {
    const BODIES: u64 = 60;
    let bench = Bench::new();
    let mover = Mover {
        output: Arc::new(Folder::named(bench.folder.path()).expect("opened")),
        local: false,
        times: None,
        insist: false,
        fence: None,
    };
    let mut hand = Hand {
        mover: Arc::new(mover),
        partial: Folder::named(&bench.path(".coordinator/partial")).expect("opened"),
        boot: None,
        fsync: false,
        crew: None,
        helpers: None,
        // As on a slow file system.
        pace: SLOW * 100,
        folders: HashMap::new(),
    };
    let path = |number: u64| format!("d{}/e/{number}", number % 3);
    let orders = (0..BODIES).map(|number| {
        let body = format!("{number:03}");
        let worker = if number % 2 == 0 { WORKER } else { OTHER };
        // Every tenth body is missing.
        if number % 10 != 9 {
            fs::write(bench.own(worker, &body), &body).expect("written");
        }
        Order {
            task: TaskId(number),
            worker,
            partial: body.clone(),
            ..order(&path(number), &body)
        }
    });
    let (mut orders, mut done, mut news) = (orders.collect(), Vec::new(), Vec::new());
    hand.place_all(&mut orders, &mut done, &mut news);
    assert!(hand.helpers.is_some() && orders.is_empty());
    let failed = news.iter().map(|told| match told {
        PlacementEvent::Placed { task, result, .. } => (task.0, result.is_ok()),
        PlacementEvent::Fenced { .. }
        | PlacementEvent::Fetched { .. }
        | PlacementEvent::Made { .. } => {
            panic!("only bodies were to be placed")
        }
    });
    let mut told: Vec<_> = done.iter().map(|order| (order.task.0, true)).collect();
    told.extend(failed);
    told.sort_unstable();
    let expected: Vec<_> = (0..BODIES).map(|n| (n, n % 10 != 9)).collect();
    assert_eq!(told, expected);
    for (number, placed) in expected {
        let found = fs::read_to_string(bench.path(&path(number)));
        assert_eq!(found.ok(), placed.then(|| format!("{number:03}")));
    }
    assert!(hand.pace < SLOW * 100, "it learns how long it takes");
}
