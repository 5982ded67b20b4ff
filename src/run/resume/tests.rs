//! Tests what an index reports of the records that it has read.

use std::collections::BTreeMap;

use std::sync::Arc;

use proptest::prelude::*;
use protocol::{Checksum, Expect};

use super::super::log::tests::{facts, failure, stored};
use super::super::log::{Facts, LogWriter, RESULTS};
use super::*;
use crate::folder::OwnFolder;
use crate::input::{Extra, Lines};

fn record(url: &str, outcome: Outcome, bytes: u64) -> Record {
    let facts = facts(1, url);
    match outcome {
        Outcome::Stored => Record::stored(facts, stored(bytes)),
        Outcome::Unchanged => Record {
            outcome,
            ..Record::stored(facts, stored(bytes))
        },
        Outcome::Duplicate => Record::duplicate(facts),
        Outcome::Failed => Record::failed(facts, failure()),
        Outcome::Quarantined => Record::quarantined(facts, "signal 9".into()),
        Outcome::Fenced => Record::fenced(facts, protocol::Exchange::default()),
    }
}

fn own(dir: &Path) -> OwnFolder {
    OwnFolder::named(dir).expect("a folder")
}

fn load_with(dir: &Path, detail: Detail, kept: Option<File>) -> Result<Index, IndexError> {
    let path = &dir.join(RESULTS);
    let source = Source {
        results: File::open(path).ok(),
        path,
        folder: dir.to_owned(),
        kept,
    };
    Index::load(source, detail)
}

fn load(dir: &Path, detail: Detail) -> Result<Index, IndexError> {
    load_with(dir, detail, File::open(dir.join(FILE)).ok())
}

/// Returns the index of a log with these records.
fn index(records: &[Record]) -> Index {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut log = LogWriter::open(&own(dir.path())).expect("open");
    for record in records {
        log.append(record).expect("append");
    }
    drop(log);
    load(dir.path(), Detail::Size).expect("it can be read")
}

fn state(index: &Index, url: &str) -> Option<Earlier> {
    index.state(&UrlKey::of(url)).expect("readable")
}

fn earlier(bytes: u64) -> Earlier {
    Earlier::Stored {
        left: Left::Whole(bytes),
        sha256: [0xAB; 8],
    }
}

#[test]
fn each_outcome_means_what_it_says() {
    let table = [
        (Outcome::Stored, Some(earlier(7))),
        (Outcome::Unchanged, Some(earlier(7))),
        (Outcome::Quarantined, Some(Earlier::Quarantined)),
        (Outcome::Failed, None),
        (Outcome::Duplicate, None),
        (Outcome::Fenced, None),
    ];
    for (outcome, expected) in table {
        let index = index(&[record("https://h/", outcome, 7)]);
        assert_eq!(state(&index, "https://h/"), expected, "{outcome:?}");
        assert_eq!(state(&index, "https://h/other"), None);
    }
}

#[test]
fn a_log_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let index = load(dir.path(), Detail::Size).expect("nothing there");
    assert_eq!(state(&index, "https://h/"), None);
    // Reading a directory fails, as a bad disk would.
    fs::create_dir(dir.path().join(RESULTS)).expect("create");
    let error = load(dir.path(), Detail::Size).expect_err("it is a directory");
    assert!(
        matches!(error, IndexError::Log(LogError::Read { .. })),
        "{error:?}"
    );
}

#[test]
fn a_size_that_no_file_has_counts_for_nothing() {
    for bytes in [u64::MAX, 1 << 48, (1 << 48) - 1, 1 << 47, 1 << 46] {
        let index = index(&[record("https://h/", Outcome::Stored, bytes)]);
        assert_eq!(state(&index, "https://h/"), None, "{bytes}");
    }
    let bytes = (1 << 46) - 1;
    let index = index(&[record("https://h/", Outcome::Stored, bytes)]);
    assert_eq!(state(&index, "https://h/"), Some(earlier(bytes)));
}

#[test]
fn lines_that_are_not_records_are_counted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(RESULTS);
    let line = serde_json::to_string(&record("https://h/", Outcome::Stored, 7));
    let line = line.expect("it is JSON");
    fs::write(&path, format!("x\n{line}\n\u{0}\n{{\"torn")).expect("write");
    let index = load(dir.path(), Detail::Size).expect("it can be read");
    assert_eq!(
        (state(&index, "https://h/"), index.unreadable()),
        (Some(earlier(7)), 2)
    );
    let problem = index.first_problem().expect("there is one").to_string();
    assert!(problem.starts_with("line 1 is not a record"), "{problem}");
}

fn target(url: &str, out: Option<&str>) -> Target {
    let line = match out {
        Some(out) => format!("{{\"url\":\"{url}\",\"out\":\"{out}\"}}"),
        None => url.to_owned(),
    };
    let reader = io::Cursor::new(line.into_bytes());
    let mut lines = Lines::new("list", Box::new(reader), Arc::default());
    lines.next().expect("a line").entry.expect("a target")
}

#[test]
fn only_a_file_that_is_still_there_with_its_size_is_in_place() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut target = target("https://h/a.txt", None);
    let sha256 = [0xAB; 8];
    let is_stored = |target: &Target| in_place(target, 3, sha256, dir.path()).is_some();
    assert!(!is_stored(&target), "no file");
    let path = dir.path().join(&target.path);
    fs::write(&path, "abcd").expect("write");
    assert!(!is_stored(&target), "another size");
    fs::write(&path, "abc").expect("write");
    assert!(is_stored(&target));
    for (sha256, size, stored) in [
        (Some([0xAB; 32]), Some(3), true),
        (Some([0xAC; 32]), None, false),
        (None, Some(4), false),
    ] {
        target.extra = Some(extra(sha256, size));
        assert_eq!(is_stored(&target), stored, "the list says what it must be");
    }
    target.extra = None;
    fs::rename(&path, dir.path().join("elsewhere")).expect("rename");
    std::os::unix::fs::symlink("elsewhere", &path).expect("link");
    assert!(!is_stored(&target), "a link");
}

/// What a list says about a file.
fn extra(sha256: Option<[u8; 32]>, size: Option<u64>) -> Box<Extra> {
    let checksum = sha256.map(|digest| Checksum {
        algorithm: Algorithm::Sha256,
        digest: digest.into(),
    });
    Box::new(Extra {
        expect: Expect {
            checksums: checksum.into_iter().collect(),
            size,
        },
        ..Extra::default()
    })
}

#[test]
fn what_its_own_command_did_to_a_file_does_not_count_against_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut target = target("https://h/a.txt", None);
    let is_stored = |target: &Target, left| is_in_place(target, left, [0xAB; 8], dir.path());
    assert!(is_stored(&target, Left::Gone), "it was taken away");
    assert!(!is_stored(&target, Left::Changed(2)), "it was not");
    fs::write(dir.path().join(&target.path), "ab").expect("write");
    assert!(is_stored(&target, Left::Changed(2)));
    assert!(!is_stored(&target, Left::Changed(3)), "by somebody else");
    // The list describes the file as it was downloaded.
    target.extra = Some(extra(Some([0xAB; 32]), Some(7)));
    assert!(is_stored(&target, Left::Changed(2)) && is_stored(&target, Left::Gone));
    target.extra = Some(extra(Some([0xAC; 32]), None));
    assert!(!is_stored(&target, Left::Changed(2)) && !is_stored(&target, Left::Gone));
}

#[test]
fn a_url_with_two_names_is_two_tasks() {
    let [plain, a, b] = [None, Some("a.txt"), Some("b.txt")].map(|out| target("https://h/x", out));
    let record = |target: &Target, bytes| {
        let facts = Facts {
            path: target.path.clone(),
            named: target.named,
            stored_as: None,
            ..facts(1, &target.url)
        };
        Record::stored(facts, stored(bytes))
    };
    let index = index(&[record(&plain, 1), record(&a, 2)]);
    let state = |target: &Target| index.state(&target.key).expect("readable");
    assert_eq!(state(&plain), Some(earlier(1)));
    assert_eq!(state(&a), Some(earlier(2)));
    assert_eq!(state(&b), None);
}

#[test]
fn the_record_of_a_stored_file_is_found_whatever_failed_since() {
    use Outcome::{Duplicate, Failed, Quarantined, Stored, Unchanged};
    let target = target("https://h/a.txt", None);
    // The outcomes of the task, run by run; the size in the record that is found, if there is one.
    for (history, found) in [
        (&[(Stored, 1)][..], Some(1)),
        (&[(Stored, 1), (Unchanged, 2)], Some(2)),
        (&[(Unchanged, 1), (Stored, 2), (Duplicate, 3)], Some(2)),
        (&[(Stored, 1), (Failed, 2), (Failed, 3)], Some(1)),
        (&[(Failed, 1), (Stored, 2), (Failed, 3)], Some(2)),
        (&[(Failed, 1)], None),
        (&[(Quarantined, 1), (Failed, 2)], None),
        (&[(Stored, 1), (Quarantined, 2), (Failed, 3)], None),
    ] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut log = LogWriter::open(&own(dir.path())).expect("open");
        for (outcome, bytes) in history {
            log.append(&record("https://other/", Stored, 9))
                .expect("append");
            let mut record = record(&target.url, *outcome, *bytes);
            record.path = record.path.map(|_| target.path.clone());
            log.append(&record).expect("append");
        }
        drop(log);
        let index = load(dir.path(), Detail::Place).expect("readable");
        let at = match index.state(&target.key).expect("readable") {
            Some(Earlier::Recorded { at }) => Some(at),
            Some(Earlier::Stored { .. } | Earlier::ServerNamed { .. } | Earlier::Quarantined)
            | None => None,
        };
        let record = at.map(|at| index.record(at, &target).expect("readable"));
        let bytes = record.map(|record| record.expect("it is the target's").bytes);
        assert_eq!(bytes, found.map(Some), "{history:?}");
        if let Some(at) = at {
            let mut other = target.clone();
            other.url.push('x');
            assert_eq!(index.record(at, &other).expect("readable"), None);
            let mut other = target.clone();
            other.path.push('x');
            assert_eq!(index.record(at, &other).expect("readable"), None);
        }
    }
}

#[test]
fn a_place_that_does_not_tell_has_the_owner_that_was_recorded() {
    let [x, y] = ["https://h/x", "https://h/y"].map(|url| target(url, Some("a.txt")));
    let facts = Facts {
        path: x.path.clone(),
        named: x.named,
        stored_as: None,
        ..facts(1, &x.url)
    };
    let index = index(&[Record::stored(facts, stored(3))]);
    let owner = |place: &str| {
        let owner = index.owner(UrlKey::of(place).as_bytes());
        owner.expect("readable")
    };
    assert_eq!(owner("a.txt"), Some(*UrlKey::of(&x.url).as_bytes()));
    assert_ne!(owner("a.txt"), Some(*UrlKey::of(&y.url).as_bytes()));
    assert_eq!(owner("b.txt"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_latest_record_of_a_url_counts(
        history in prop::collection::vec((0_u8..20, 0_u64..1000, prop::sample::select(vec![
            Outcome::Stored,
            Outcome::Unchanged,
            Outcome::Duplicate,
            Outcome::Failed,
            Outcome::Quarantined,
            Outcome::Fenced,
        ])), 0..60),
    ) {
        let url = |n: u8| format!("https://h/{n}");
        let mut expected = BTreeMap::new();
        let mut records = Vec::new();
        for &(n, bytes, outcome) in &history {
            records.push(record(&url(n), outcome, bytes));
            match outcome {
                Outcome::Stored | Outcome::Unchanged => {
                    expected.insert(n, earlier(bytes));
                }
                Outcome::Quarantined => {
                    expected.insert(n, Earlier::Quarantined);
                }
                Outcome::Failed => {
                    expected.remove(&n);
                }
                Outcome::Duplicate | Outcome::Fenced => {}
            }
        }
        let index = index(&records);
        for n in 0..20 {
            prop_assert_eq!(state(&index, &url(n)), expected.get(&n).copied());
        }
    }
}

/// Everything that an index reports of these tasks and paths.
fn all_of(index: &Index) -> impl PartialEq + std::fmt::Debug + use<> {
    let names = ["a.txt", "b.txt", "c.txt"];
    let urls = (0..6).map(|n| format!("https://h/{n}"));
    let tasks = urls.flat_map(|url| {
        let named = names.map(|out| UrlKey::of_task(&url, None, Some(out)));
        named.into_iter().chain([UrlKey::of(&url)])
    });
    let states: Vec<_> = tasks
        .map(|key| index.state(&key).expect("readable"))
        .collect();
    let owners = names.map(|name| index.owner(UrlKey::of(name).as_bytes()).expect("readable"));
    (
        states,
        owners,
        index.facts,
        index.is_empty(),
        index.last_unnamed().cloned(),
        index.first_problem().map(ToString::to_string),
    )
}

/// Lines of a log with few tasks, some of them named by their list or their server. Some lines are
/// not records.
fn line() -> impl Strategy<Value = String> {
    let outcome = prop::sample::select(vec![
        Outcome::Stored,
        Outcome::Unchanged,
        Outcome::Duplicate,
        Outcome::Failed,
        Outcome::Failed,
        Outcome::Quarantined,
        Outcome::Fenced,
    ]);
    let name = prop::option::of(prop::sample::select(vec!["a.txt", "b.txt", "c.txt"]));
    (0..6_u8, outcome, 0..1000_u64, name, any::<bool>(), 0..12_u8).prop_map(
        |(n, outcome, bytes, name, by_server, broken)| {
            if broken == 0 {
                return "no record\n".to_owned();
            }
            let mut record = record(&format!("https://h/{n}"), outcome, bytes);
            if let Some(name) = name {
                record.path = record.path.map(|_| name.to_owned());
                record.server_named = by_server;
                record.out = (!by_server).then(|| name.to_owned());
            }
            serde_json::to_string(&record).expect("it is JSON") + "\n"
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_kept_of_a_log_makes_no_difference(
        runs in prop::collection::vec((prop::collection::vec(line(), 0..12), any::<bool>()), 1..6),
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(RESULTS);
        let mut text = String::new();
        for (lines, keep) in runs {
            text += &lines.concat();
            fs::write(&path, &text).expect("write");
            for detail in [Detail::Size, Detail::Place] {
                let without = load_with(dir.path(), detail, None);
                let mut with = load(dir.path(), detail).expect("readable");
                let expected = all_of(&without.expect("readable"));
                prop_assert_eq!(&all_of(&with), &expected);
                if keep {
                    with.keep(&own(dir.path())).expect("there is room");
                    prop_assert_eq!(&all_of(&with), &expected, "asked where it is kept");
                    let with = load(dir.path(), detail).expect("readable");
                    prop_assert_eq!(with.kept.bytes, text.len() as u64, "nothing is read again");
                    prop_assert_eq!(&all_of(&with), &expected);
                }
            }
        }
    }
}

#[test]
fn an_index_that_is_damaged_or_of_another_log_is_not_used() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (log, file) = (dir.path().join(RESULTS), dir.path().join(FILE));
    let line = |url: &str, outcome| {
        serde_json::to_string(&record(url, outcome, 7)).expect("it is JSON") + "\n"
    };
    let text = line("https://h/1", Outcome::Stored) + &line("https://h/2", Outcome::Failed);
    fs::write(&log, &text).expect("write");
    let mut index = load(dir.path(), Detail::Size).expect("readable");
    index.keep(&own(dir.path())).expect("there is room");
    let kept = fs::read(&file).expect("it is there");
    let used = || {
        let index = load(dir.path(), Detail::Size).expect("readable");
        (index.kept.bytes > 0, state(&index, "https://h/1"))
    };
    assert_eq!(used(), (true, Some(earlier(7))));
    let unused = (false, Some(earlier(7)));
    for length in 0..kept.len() {
        fs::write(&file, &kept[..length]).expect("write");
        assert_eq!(used(), unused, "cut to {length}");
    }
    for at in 0..kept.len() {
        for bits in [0x01, 0x80, 0xFF] {
            let mut damaged = kept.clone();
            damaged[at] ^= bits;
            fs::write(&file, damaged).expect("write");
            assert_eq!(used(), unused, "byte {at}");
        }
    }
    fs::write(&file, [&kept[..], b"\0"].concat()).expect("write");
    assert_eq!(used(), unused, "more behind it");

    fs::write(&file, &kept).expect("write");
    // As many bytes and the same end: a record was edited, to download the file again.
    let edited = text.replacen("\"stored\"", "\"failed\"", 1);
    assert_eq!(edited.len(), text.len());
    for (log_now, expected) in [
        (edited, None),
        (line("https://h/1", Outcome::Stored), Some(earlier(7))),
        (text.replace(":7", ":8"), Some(earlier(8))),
        (String::new(), None),
    ] {
        fs::write(&log, log_now).expect("write");
        assert_eq!(used(), (false, expected));
    }
    fs::write(&log, text.clone() + &line("https://h/3", Outcome::Failed)).expect("write");
    assert_eq!(used(), (true, Some(earlier(7))), "it has grown");
}

#[test]
fn a_run_keeps_the_index_of_what_it_adds_to_the_log() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (log, file) = (dir.path().join(RESULTS), dir.path().join(FILE));
    let long = "x".repeat(100_000);
    let line = |n: usize| {
        let record = record(&format!("https://h/{n}/{long}"), Outcome::Stored, 7);
        serde_json::to_string(&record).expect("it is JSON") + "\n"
    };
    let mut text = line(1);
    fs::write(&log, &text).expect("write");
    let index = load(dir.path(), Detail::Size).expect("readable");
    let mut keeper = Keeper::new(&index, own(dir.path()));
    keeper.grown(text.len() as u64);
    assert!(!file.exists(), "it is short");
    for _ in 0..2 {
        while text.len() as u64 <= keeper.kept().bytes + AGAIN {
            text += &line(text.len());
        }
        // A line that is not written completely does not count yet.
        fs::write(&log, text.clone() + &line(0)[..1000]).expect("write");
        keeper.grown(text.len() as u64);
        keeper.wait();
        fs::write(&log, &text).expect("write");
        let with = load(dir.path(), Detail::Size).expect("readable");
        assert_eq!(with.kept.bytes, text.len() as u64);
        let without = load_with(dir.path(), Detail::Size, None).expect("readable");
        assert_eq!(with.facts, without.facts);
        for url in [1, text.len() - line(0).len()].map(|n| format!("https://h/{n}/{long}")) {
            assert_eq!(state(&with, &url), state(&without, &url));
        }
        assert_eq!(with.tasks.entries(), without.tasks.entries());
    }
}
