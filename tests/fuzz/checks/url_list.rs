//! Checks for any bytes given as a list of URLs, in any format.

use std::io::{Cursor, Read};
use std::path::{Component, Path};
use std::sync::Arc;

use coordinator::input::naming::Naming;
use coordinator::input::{
    Column, Extra, Format, Line, Lines, ListOptions, MAX_HEADERS, MAX_LINE, Target, UrlKey,
};
use protocol::{Assigned, Assignment, TaskId, ToWorker, codec};
use url::Url;

/// Longest message about a line, in bytes: 100 characters of the line, each up to 10 bytes when
/// escaped, twice (a suggestion, or the existing columns), and the words around them.
const MAX_MESSAGE: usize = 3_000;

/// Reads `data` as a list, whole and in small pieces. The first byte chooses the options.
///
/// # Panics
///
/// Panics if a promise of the list reader does not hold.
pub fn check(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else {
        return;
    };
    let options = Arc::new(options(how));
    let whole = Lines::new(
        "list",
        Box::new(Cursor::new(data.to_vec())),
        Arc::clone(&options),
    );
    let lines: Vec<Line> = whole.collect();
    let pieces = Pieces(Cursor::new(data.to_vec()));
    let again: Vec<Line> = Lines::new("list", Box::new(pieces), Arc::clone(&options)).collect();
    assert_eq!(
        shown(&lines),
        shown(&again),
        "how it arrives does not matter"
    );

    let mut last = 0;
    let mut tasks = 0;
    for line in &lines {
        assert!(last < line.number, "{line:?}");
        last = line.number;
        match &line.entry {
            Ok(target) => {
                tasks += 1;
                check_target(target, &options.naming, tasks);
            }
            Err(_) => check_problem(&line.problem().expect("a problem")),
        }
    }
}

/// Returns options for a list. Each byte chooses a combination.
fn options(how: u8) -> ListOptions {
    let naming = ["flat", "tree", "hash", "{host}/{path}", "{n}-{name}"][usize::from(how / 5) % 5];
    ListOptions {
        format: match how % 5 {
            0 => None,
            1 => Some(Format::Text),
            2 => Some(Format::Jsonl),
            3 => Some(Format::Csv),
            _ => Some(Format::Tsv),
        },
        url_column: match how / 25 % 5 {
            0..=2 => None,
            3 => Some(Column::Number(2)),
            _ => Some(Column::Name("u".to_owned())),
        },
        naming: naming.parse().expect("a scheme"),
        ..ListOptions::default()
    }
}

/// Returns seven bytes at a time.
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

fn check_target(target: &Target, naming: &Naming, task: u64) {
    let url = Url::parse(&target.url).expect("a target has a URL");
    assert_eq!(url.as_str(), target.url, "it is normalised");
    assert!(matches!(url.scheme(), "http" | "https"));
    let host = url.host_str().expect("it has a host");
    assert!(!host.is_empty());
    match url.port() {
        Some(port) => assert_eq!(target.host, format!("{host}:{port}")),
        None => assert_eq!(target.host, host),
    }
    assert!(url.username().is_empty() && url.password().is_none());
    assert_eq!(url.fragment(), None);

    // The path always leads to a file in the output folder that is not one of the run's own.
    check_path(&target.path);
    let mut bare = target.clone();
    bare.extra = None;
    let range = target.range().map(|range| range.to_string());
    let request = Url::parse(&target.request_url()).expect("it can be requested");
    let by_itself = Target::new(request, naming, task);
    if target.named {
        let key = UrlKey::of_task(&target.url, range.as_deref(), Some(&target.path));
        assert_eq!(target.key, key);
        assert_ne!(by_itself, Ok(Some(bare)));
    } else if range.is_some() {
        let key = UrlKey::of_task(&target.url, range.as_deref(), None);
        assert_eq!(target.key, key);
        assert_ne!(by_itself, Ok(Some(bare)), "the whole is another file");
    } else {
        assert_eq!(target.key, UrlKey::of(&target.url));
        assert_eq!(by_itself, Ok(Some(bare.clone())), "the URL alone counts");
        check_again(&bare, naming, task);
    }
    check_assignment(target);
}

fn check_path(path: &str) {
    let shown = || format!("{path:?}");
    assert!(
        (1..=1024).contains(&path.len()) && !path.contains('\0'),
        "{}",
        shown()
    );
    for part in Path::new(path).components() {
        let Component::Normal(name) = part else {
            panic!("{path:?} leaves the folder");
        };
        assert!(name.len() <= 255, "{}", shown());
    }
    let first = path.split('/').next().unwrap_or_default();
    assert!(!first.eq_ignore_ascii_case(".coordinator"), "{}", shown());
    assert!(
        path.split('/').all(|part| !["", "."].contains(&part)),
        "{}",
        shown()
    );
}

/// Checks that a URL means the same when written as a line, unless it is too long for one.
fn check_again(target: &Target, naming: &Naming, task: u64) {
    let url = target.request_url();
    if url.len() > MAX_LINE {
        return;
    }
    let options = ListOptions {
        naming: naming.clone(),
        ..ListOptions::default()
    };
    let line = Cursor::new(url.into_bytes());
    let mut lines = Lines::new("list", Box::new(line), Arc::new(options));
    lines.count_from(task);
    let line = lines.next().expect("a line");
    assert_eq!(line.entry.expect("a target"), *target);
}

/// Checks that every target fits a protocol frame, and that its other fields are valid.
fn check_assignment(target: &Target) {
    let mut assignment = Assignment::new(target.request_url(), &*target.path);
    if let Some(extra) = &target.extra {
        assert_ne!(**extra, Extra::default(), "nothing is None");
        assignment.expect = Some(Box::new(extra.expect.clone()));
        assignment.range = extra.range;
        assignment.headers.clone_from(&extra.headers);
        let bytes: usize = extra.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        assert!(bytes <= MAX_HEADERS);
        for (name, value) in &extra.headers {
            assert!(!name.is_empty() && !name.contains([':', '\r', '\n', ' ']));
            assert!(!value.contains(['\r', '\n', '\0']));
        }
    }
    let mirrors = target.mirrors().iter().map(|mirror| mirror.request_url());
    let mirrors: Vec<_> = mirrors
        .map(|url| Assignment {
            url,
            ..assignment.clone()
        })
        .collect();
    assert!(mirrors.is_empty() || !target.expect().expect("a checksum").checksums.is_empty());
    for job in std::iter::once(assignment).chain(mirrors) {
        let task = TaskId(u64::MAX);
        codec::encode(&ToWorker::Assign(vec![Assigned { task, job }]))
            .expect("every target fits a frame");
    }
}

/// Checks that a message is one line of bounded length without terminal control characters.
fn check_problem(problem: &str) {
    assert!(problem.len() <= MAX_MESSAGE, "{problem}");
    assert!(!problem.contains(char::is_control), "{problem:?}");
    assert!(problem.starts_with("list:"), "{problem}");
}
