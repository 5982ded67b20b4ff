//! Checks for any bytes found as a run log.

use std::collections::HashMap;

use coordinator::input::UrlKey;
use coordinator::run::log::{Brief, LogReader, Outcome, Record};
use coordinator::run::resume::{Earlier, Index, Left};

/// Reads `data` as a run log with each of the readers, and compares the results.
///
/// # Panics
///
/// Panics if a promise of the reader or of resume does not hold.
pub fn check(data: &[u8]) {
    let whole = data.iter().rposition(|&byte| byte == b'\n');
    let whole = &data[..whole.map_or(0, |at| at + 1)];
    let records = records(data);
    assert_eq!(records, self::records(whole), "a torn line yields nothing");
    let lines = whole.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(records.len(), lines, "one item for each line");

    let told = check_briefs(data, &records);
    check_index(data, &told);
    for record in records.into_iter().flatten() {
        check_round_trip(&record);
    }
}

fn records(data: &[u8]) -> Vec<Option<Record>> {
    LogReader::new(data).map(Result::ok).collect()
}

/// Returns the last state of each task in the log, from the brief reader that resume uses.
fn check_briefs(data: &[u8], records: &[Option<Record>]) -> HashMap<UrlKey, Option<Earlier>> {
    let mut told = HashMap::new();
    let mut reader = LogReader::new(data);
    let mut expected = records.iter();
    while let Some(brief) = reader.next_brief() {
        let record = expected.next().expect("as many briefs as records");
        let Ok(brief) = brief else {
            assert_eq!(*record, None, "what is no brief is no record");
            continue;
        };
        if let Some(record) = record {
            assert_eq!(brief.url, record.url);
            assert_eq!(brief.outcome, record.outcome);
            assert_eq!(brief.path(), record.path.as_deref());
            assert_eq!(brief.bytes, record.bytes);
            assert_eq!(brief.sha256, record.sha256);
            assert_eq!(brief.status, record.status);
            assert_eq!(
                (brief.attempts, brief.deliveries),
                (record.attempts, record.deliveries)
            );
            assert_eq!(brief.started, record.started);
            assert_eq!(brief.timing_ms, record.timing_ms);
            let problem = brief.error.as_ref();
            let problem = problem.map(|problem| (problem.kind, &*problem.message));
            let recorded = record.error.as_ref();
            let recorded = recorded.map(|problem| (problem.kind, &*problem.message));
            assert_eq!(problem, recorded);
        }
        let earlier = match brief.outcome {
            Outcome::Stored | Outcome::Unchanged => left(&brief).map(|left| Earlier::Stored {
                left,
                sha256: brief.sha256.map_or([0; 8], |digest| {
                    digest.0[..8].try_into().expect("eight bytes")
                }),
            }),
            Outcome::Quarantined => Some(Earlier::Quarantined),
            Outcome::Failed => None,
            Outcome::Duplicate | Outcome::Fenced => continue,
        };
        let key = UrlKey::of_task(&brief.url, brief.range(), brief.out());
        told.insert(key, earlier);
    }
    assert!(expected.next().is_none(), "as many records as briefs");
    told
}

/// Checks that resume uses the last line of each task, and nothing else.
fn check_index(data: &[u8], told: &HashMap<UrlKey, Option<Earlier>>) {
    // The log is small enough for memory, so nothing is created in that folder.
    let index = Index::read(LogReader::new(data), "/nonexistent".into()).expect("a slice");
    for (key, earlier) in told {
        let state = index.state(key).expect("it is in memory");
        assert_eq!(state, *earlier, "{key}");
    }
}

/// Returns what is left of a file according to its record. Sizes that no file has are ignored.
fn left(brief: &Brief<'_>) -> Option<Left> {
    let bytes = brief.bytes.filter(|bytes| *bytes < 1 << 47)?;
    match brief.exec.map(|exec| exec.left) {
        None => Some(Left::Whole(bytes)),
        Some(None) => Some(Left::Gone),
        Some(Some(left)) if left == bytes => Some(Left::Whole(bytes)),
        Some(Some(left)) => (left < (1 << 47) - 3).then_some(Left::Changed(left)),
    }
}

/// Checks that a record can be written again, as one line with the same contents.
fn check_round_trip(record: &Record) {
    let mut line = serde_json::to_vec(record).expect("it was JSON");
    assert!(!line.contains(&b'\n'));
    assert_eq!(records(&line), [], "not a line yet");
    line.push(b'\n');
    assert_eq!(records(&line), [Some(record.clone())]);
}
