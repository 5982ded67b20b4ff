//! Tests of the robots gate.

use std::fs;
use std::path::Path;

use super::*;
use crate::input::naming::Naming;
use crate::run::log::OutputFolder;

/// A robots gate in its own folder, and the folder where workers would put files.
struct Gate {
    robots_gate: RobotsGate,
    folder: OutputFolder,
    _dir: tempfile::TempDir,
}

fn gate() -> Gate {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = OutputFolder::prepare(dir.path()).expect("it can be worked in");
    let robots = folder.make_robots().expect("made");
    let scratch = dir.path().to_owned();
    Gate {
        robots_gate: RobotsGate::new(robots, scratch, "coordinator".to_owned()),
        folder,
        _dir: dir,
    }
}

fn target(url: &str) -> Target {
    let url = url.parse().expect("a URL");
    let target = Target::new(url, &Naming::default(), 1).expect("a name");
    target.expect("with a host")
}

fn candidate(task: u64, url: &str) -> Candidate {
    Candidate {
        task: TaskId(task),
        target: target(url),
        known: None,
    }
}

fn failed(kind: FailureKind, status: Option<u16>) -> Verdict {
    let mut failed = failure(kind, String::new());
    failed.exchange.status = status;
    Verdict::Failed(failed)
}

impl Gate {
    /// Fetches the robots.txt of `url`, which has this text.
    fn fetch(&mut self, url: &str, text: &[u8]) -> Standing {
        let (_, robots) = self
            .robots_gate
            .hold(candidate(1, url))
            .expect("nobody asked");
        fs::write(self.folder.layout().output().join(&robots.path), text).expect("written");
        self.learn(&robots, &stored())
    }

    fn learn(&mut self, robots: &Target, verdict: &Verdict) -> Standing {
        let learnt = self.robots_gate.learn(robots, verdict);
        learnt.expect("room for it").0
    }

    fn ruling(&mut self, url: &str) -> Ruling {
        let ruling = self.robots_gate.ruling(&target(url));
        ruling.expect("it is in memory")
    }

    fn kind(&mut self, url: &str) -> Option<FailureKind> {
        match self.ruling(url) {
            Ruling::Allowed(_) => None,
            Ruling::Forbidden(failure) => Some(failure.kind),
            Ruling::Unknown => panic!("{url} is known"),
        }
    }

    fn files(&self) -> usize {
        fs::read_dir(self.folder.layout().robots())
            .expect("a folder")
            .count()
    }
}

fn stored() -> Verdict {
    Verdict::Done(Box::new(Stored {
        exchange: Exchange::default(),
        bytes: 1,
        sha256: [0; 32],
        content_type: None,
        executed: None,
        validators: protocol::Validators::default(),
        modified: None,
        unchanged: false,
        suggested_name: None,
    }))
}

#[test]
fn the_first_target_of_a_place_sends_somebody_and_all_wait_for_the_answer() {
    let mut gate = gate();
    assert!(matches!(gate.ruling("http://h/a"), Ruling::Unknown));
    let (task, robots) = gate
        .robots_gate
        .hold(candidate(1, "http://u:p@h/a?b"))
        .expect("the first");
    assert!(task.0 >= FIRST_ERRAND);
    assert_eq!(robots.url, "http://h/robots.txt");
    assert_eq!(robots.request_url(), robots.url, "no credentials");
    assert!(Path::new(&robots.path).starts_with(".coordinator/robots"));
    assert!(matches!(gate.ruling("http://h/b"), Ruling::Unknown));
    assert!(gate.robots_gate.hold(candidate(2, "http://h/b")).is_none());
    let (other, _) = gate
        .robots_gate
        .hold(candidate(3, "http://h:81/b"))
        .expect("another place");
    assert_ne!(task, other);
    assert_eq!(gate.robots_gate.held(), 3);
    let not_found = failed(FailureKind::Status, Some(404));
    let (standing, waited) = gate.robots_gate.learn(&robots, &not_found).expect("room");
    assert_eq!(standing, Standing::Open(Duration::ZERO));
    let waited: Vec<_> = waited.iter().map(|waited| waited.task.0).collect();
    assert_eq!((waited, gate.robots_gate.held()), (vec![1, 2], 1));
    assert_eq!(gate.kind("http://h/b"), None);
    assert!(matches!(gate.ruling("http://h:81/c"), Ruling::Unknown));
}

#[test]
fn a_file_stays_only_where_something_is_forbidden() {
    let mut gate = gate();
    let delay = b"User-agent: *\nCrawl-delay: 2\n";
    let standing = gate.fetch("http://open/", delay);
    assert_eq!(standing, Standing::Open(Duration::from_secs(2)));
    assert!(matches!(gate.ruling("http://open/x"), Ruling::Allowed(delay) if delay.as_secs() == 2));
    assert_eq!(gate.files(), 0);
    let standing = gate.fetch("http://ruled/", b"User-agent: *\nDisallow: /x\n\xff\xfe");
    assert_eq!(standing, Standing::Ruled(Duration::ZERO));
    assert_eq!(gate.kind("http://ruled/x"), Some(FailureKind::Robots));
    assert_eq!(gate.kind("http://ruled/y"), None);
    assert_eq!(gate.files(), 1);
    // Nothing is allowed where robots.txt is unreachable. Redirected workers find such a file.
    let (_, robots) = gate
        .robots_gate
        .hold(candidate(1, "http://down/"))
        .expect("the first");
    gate.learn(&robots, &failed(FailureKind::Status, Some(503)));
    assert_eq!(
        gate.kind("http://down/"),
        Some(FailureKind::RobotsUnreachable)
    );
    let text = fs::read(gate.folder.layout().output().join(&robots.path)).expect("written");
    assert!(RobotsRules::parse(&text, "x").forbids("/y").is_some());
}

#[test]
fn rules_are_read_again_when_there_was_no_room_for_them() {
    let mut gate = gate();
    let text = |n: u32| {
        format!(
            "User-agent: *\nDisallow: /{n}$\n{}",
            "Disallow: /zz\n".repeat(30_000)
        )
    };
    for n in 0..12 {
        gate.fetch(&format!("http://h{n}/"), text(n).as_bytes());
    }
    assert!(gate.robots_gate.kept.weight <= MOST_KEPT);
    assert!(gate.robots_gate.kept.rules.len() < 12);
    assert_eq!(
        gate.robots_gate.kept.rules.len(),
        gate.robots_gate.kept.order.len()
    );
    for n in 0..12 {
        let url = format!("http://h{n}/{n}");
        assert_eq!(gate.kind(&url), Some(FailureKind::Robots), "{url}");
        assert_eq!(gate.kind(&format!("{url}0")), None);
    }
    // If the rules cannot be read again, nothing is allowed.
    fs::remove_dir_all(gate.folder.layout().robots()).expect("removed");
    let gone = (0..12)
        .filter(|n| gate.kind(&format!("http://h{n}/x")) == Some(FailureKind::RobotsUnreachable));
    assert!(gone.count() > 0);
}

#[test]
fn only_an_answer_of_the_host_says_that_there_is_none() {
    let open = [
        (FailureKind::Status, Some(404)),
        (FailureKind::Status, Some(408)),
        (FailureKind::Status, Some(300)),
        (FailureKind::TooManyRedirects, Some(302)),
        (FailureKind::BadRedirect, Some(302)),
    ];
    for (kind, status) in open {
        let Verdict::Failed(failure) = failed(kind, status) else {
            continue;
        };
        assert_eq!(of_failure(&failure), Standing::Open(Duration::ZERO));
    }
    let statuses =
        [206, 304, 407, 429, 500, 503, 599].map(|status| (FailureKind::Status, Some(status)));
    let others = FailureKind::ALL.into_iter().filter(|kind| {
        !matches!(
            kind,
            FailureKind::Status | FailureKind::TooManyRedirects | FailureKind::BadRedirect
        )
    });
    // The status is that of the last response, whatever failed after it.
    for (kind, status) in statuses
        .into_iter()
        .chain(others.map(|kind| (kind, Some(404))))
    {
        let Verdict::Failed(failure) = failed(kind, status) else {
            continue;
        };
        assert_eq!(of_failure(&failure), Standing::Unreachable(kind, status));
    }
}

#[test]
fn a_standing_is_eight_bytes() {
    let delays = [0, 1, 1500, 60_000].map(Duration::from_millis);
    let timed = delays
        .into_iter()
        .flat_map(|delay| [Standing::Open(delay), Standing::Ruled(delay)]);
    let unreachable = FailureKind::ALL
        .into_iter()
        .flat_map(|kind| [None, Some(503)].map(|status| Standing::Unreachable(kind, status)));
    for standing in timed.chain(unreachable) {
        assert_eq!(Standing::from_bytes(standing.to_bytes()), standing);
    }
}
