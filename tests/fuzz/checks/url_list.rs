//! What must hold for any bytes that are given as a list of URLs.

use std::io::{Cursor, Read};
use std::path::{Component, Path};

use coordinator::input::{Line, Lines, MAX_LINE, Target, UrlKey};
use protocol::{Assignment, TaskId, ToWorker, codec};
use url::Url;

/// Longest message that a line may cause, in bytes: 100 characters of the line, each up to 10 bytes
/// when escaped, a suggestion of the same length, and the words around.
const MAX_MESSAGE: usize = 3_000;

/// Reads `data` as a list, whole and in small pieces.
///
/// # Panics
///
/// If a promise of the list reader does not hold.
pub fn check(data: &[u8]) {
    let lines: Vec<Line> = Lines::new("list", Box::new(Cursor::new(data.to_vec()))).collect();
    let pieces = Pieces(Cursor::new(data.to_vec()));
    let again: Vec<Line> = Lines::new("list", Box::new(pieces)).collect();
    assert_eq!(
        shown(&lines),
        shown(&again),
        "how it arrives does not matter"
    );

    let most = data.split(|&byte| byte == b'\n').count() as u64;
    let mut last = 0;
    for line in &lines {
        assert!(last < line.number && line.number <= most, "{line:?}");
        last = line.number;
        match &line.entry {
            Ok(target) => check_target(target),
            Err(_) => check_problem(&line.problem().expect("a problem")),
        }
    }
}

/// Seven bytes at a time.
struct Pieces(Cursor<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = out.len().min(7);
        self.0.read(&mut out[..most])
    }
}

fn shown(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| format!("{line:?}")).collect()
}

fn check_target(target: &Target) {
    let url = Url::parse(&target.url).expect("a target has a URL");
    assert_eq!(url.as_str(), target.url, "it is normalised");
    assert!(matches!(url.scheme(), "http" | "https"));
    assert_eq!(url.host_str(), Some(target.host.as_str()));
    assert!(!target.host.is_empty());
    assert!(url.username().is_empty() && url.password().is_none());
    assert_eq!(url.fragment(), None);
    assert_eq!(target.key, UrlKey::of(&target.url));
    assert_eq!(
        Target::new(url).as_ref(),
        Some(target),
        "the URL alone counts"
    );
    check_path(&target.path);

    // Written as a line of its own, it means the same; normalised it may be too long for one.
    if target.url.len() <= MAX_LINE {
        let line = Cursor::new(target.url.clone().into_bytes());
        let mut lines = Lines::new("list", Box::new(line));
        let line = lines.next().expect("a line");
        assert_eq!(line.entry.expect("a target"), *target);
    }
    let assignment = Assignment::new(TaskId(u64::MAX), &*target.url, &*target.path);
    codec::encode(&ToWorker::Assign(vec![assignment])).expect("every target fits a frame");
}

/// The path can only lead to a file within the folder that it is joined to, and not to the one in
/// which the run keeps its own.
fn check_path(path: &str) {
    assert!(!path.is_empty() && !path.contains(['\0', '\\']), "{path:?}");
    let mut parts = Path::new(path).components();
    for part in parts.by_ref() {
        let Component::Normal(name) = part else {
            panic!("{path:?} leaves the folder");
        };
        assert!((1..=255).contains(&name.len()), "{path:?}");
    }
    assert!(!path.starts_with('.'), "{path:?} may be our own folder");
    assert!(!path.split('/').any(str::is_empty), "{path:?}");
}

/// One line, of bounded length, that cannot do anything to a terminal.
fn check_problem(problem: &str) {
    assert!(problem.len() <= MAX_MESSAGE, "{problem}");
    assert!(!problem.contains(char::is_control), "{problem:?}");
    assert!(problem.starts_with("list:"), "{problem}");
}
