//! Decides which stored files are checked with the server again (`--refresh`), and how.
//!
//! It uses the record and the metadata of a file. It must not read the file or the run log.

use std::path::Path;
use std::time::{Duration, SystemTime};

use protocol::{Known, Validators};

use super::log::{Moment, Record};
use super::resume::{Left, in_place, is_in_place};
use crate::input::{MAX_LINE, Target};

/// How much later than recorded a file may have been written, in milliseconds: the times in a
/// record do not cover everything, and two clocks may differ a little.
const SLACK: i64 = 60_000;

/// Maximum lengths of texts that are passed on, in bytes: what a worker would have reported.
const MAX_ETAG: usize = 512;
const MAX_DATE: usize = 64;
const MAX_CONTENT_TYPE: usize = 256;

/// The settings of `--refresh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Files that were downloaded or checked more recently than this are left alone.
    pub age: Duration,
    /// The current time.
    pub now: Moment,
}

/// What to do with a file that an earlier run stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Recheck {
    /// Nothing, because it was checked recently.
    Fresh,
    /// Ask its server whether it is current.
    Ask(Box<Known>),
    /// Download it, whatever is in place: nothing, or a file that another program has written.
    Anew,
}

impl Refresh {
    /// Decides what to do with the file of `target`, which has this record.
    #[must_use]
    pub fn of(&self, record: Record, target: &Target, output: &Path) -> Recheck {
        let (Some(bytes), Some(digest), Some(started)) =
            (record.bytes, record.sha256, record.started)
        else {
            return Recheck::Anew;
        };
        // A checksum that the list gives now may not have been verified when the file was stored.
        let expected = target.expect().map_or(&[][..], |expect| &expect.checksums);
        let mut expected = expected.iter();
        if !expected.all(|sum| record.checksum(sum.algorithm).as_ref() == Some(sum)) {
            return Recheck::Anew;
        }
        let mut begin = [0; 8];
        begin.copy_from_slice(&digest.0[..8]);
        let passed = self.now.as_millis().saturating_sub(started.as_millis());
        // If the clock was set back, the file counts as new.
        let is_young = u128::from(passed.max(0).unsigned_abs()) < self.age.as_millis();
        let left = Left::after(bytes, record.exec.map(|exec| exec.left));
        if is_young && is_in_place(target, left, begin, output) {
            return Recheck::Fresh;
        }
        // The server cannot say anything about a file that its own command changed or removed.
        let whole = (left == Left::Whole(bytes)).then(|| in_place(target, bytes, begin, output));
        let Some(metadata) = whole.flatten() else {
            return Recheck::Anew;
        };
        // Written after the record, by another program or by a run that was killed before it could
        // record it. The record does not describe these bytes.
        let took = i64::try_from(record.timing_ms.took() / 1000).unwrap_or(i64::MAX);
        let latest = started.as_millis().saturating_add(took);
        let modified = metadata.modified().map(millis);
        if !modified.is_ok_and(|modified| modified <= latest.saturating_add(SLACK)) {
            return Recheck::Anew;
        }
        let url = record.final_url.unwrap_or(record.url);
        if url.len() > MAX_LINE {
            return Recheck::Anew;
        }
        Recheck::Ask(Box::new(Known {
            url,
            validators: Validators {
                etag: within(record.etag, MAX_ETAG),
                last_modified: within(record.last_modified, MAX_DATE),
            },
            bytes,
            sha256: digest.0,
            content_type: within(record.content_type, MAX_CONTENT_TYPE),
        }))
    }
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// A log may have been edited: text that is too long for a worker counts as unknown.
fn within(text: Option<String>, most: usize) -> Option<String> {
    text.filter(|text| text.len() <= most)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use protocol::{Algorithm, Checksum, Expect, Timestamp};

    use super::super::log::tests::{facts, stored};
    use super::*;
    use crate::input::Extra;
    use crate::input::naming::Naming;

    const HOUR: Duration = Duration::from_secs(3600);
    /// When the sample's download began, in seconds since 1970.
    const STARTED: u64 = 1_769_860_800;

    fn target() -> Target {
        let url = url::Url::parse("https://h/a").expect("a URL");
        let target = Target::new(url, &Naming::default(), 1).expect("it can be named");
        target.expect("a target")
    }

    fn record(target: &Target) -> Record {
        let mut facts = facts(1, &target.url);
        facts.path.clone_from(&target.path);
        Record::stored(facts, stored(3))
    }

    /// Returns what to do an hour after the file was written, `written` seconds after its download
    /// began.
    fn after(written: u64, age: Duration, change: impl FnOnce(&mut Record)) -> Recheck {
        after_for(&target(), written, age, change)
    }

    /// The same for a given target.
    fn after_for(
        target: &Target,
        written: u64,
        age: Duration,
        change: impl FnOnce(&mut Record),
    ) -> Recheck {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(&target.path);
        fs::write(&path, "abc").expect("written");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(STARTED + written);
        let file = File::options()
            .write(true)
            .open(&path)
            .expect("it is there");
        file.set_modified(modified).expect("its owner may");
        let mut record = record(target);
        change(&mut record);
        let now = i64::try_from(STARTED + 3600).expect("small");
        let now = Moment::from(Timestamp(now * 1_000_000));
        Refresh { age, now }.of(record, target, folder.path())
    }

    #[test]
    fn a_file_is_asked_about_by_what_its_record_says() {
        let Recheck::Ask(known) = after(0, Duration::ZERO, |_| {}) else {
            panic!("it is in place, and due");
        };
        assert_eq!(known.url, "https://h/b", "where it came from");
        assert_eq!(known.validators.etag.as_deref(), Some("W/\"a\""));
        assert_eq!((known.bytes, known.sha256), (3, [0xAB; 32]));
        let long = |record: &mut Record| {
            record.final_url = None;
            record.etag = Some("x".repeat(513));
        };
        let Recheck::Ask(known) = after(0, Duration::ZERO, long) else {
            panic!("it is in place, and due");
        };
        assert_eq!(known.url, "https://h/a");
        assert_eq!(known.validators, Validators::default());
    }

    #[test]
    fn a_checksum_that_the_record_does_not_have_is_checked_by_a_download() {
        let md5 = "0123456789abcdef".repeat(2);
        let sums = [
            Checksum::parse(Algorithm::Md5, &md5),
            Checksum::parse(Algorithm::Sha256, &"ab".repeat(32)),
        ];
        let mut target = target();
        target.extra = Some(Box::new(Extra {
            expect: Expect {
                checksums: sums.into_iter().flatten().collect(),
                size: None,
            },
            ..Extra::default()
        }));
        for (recorded, asks) in [
            (None, false),
            (Some("0".repeat(32)), false),
            (Some(md5), true),
        ] {
            let change = |record: &mut Record| record.md5.clone_from(&recorded);
            let recheck = after_for(&target, 0, Duration::ZERO, change);
            assert_eq!(matches!(recheck, Recheck::Ask(_)), asks, "{recorded:?}");
            let recheck = after_for(&target, 0, HOUR * 2, change);
            assert_eq!(recheck == Recheck::Fresh, asks, "{recorded:?}");
        }
    }

    #[test]
    fn what_was_checked_lately_is_left_alone() {
        assert_eq!(after(0, HOUR * 2, |_| {}), Recheck::Fresh);
        assert!(matches!(after(0, HOUR / 2, |_| {}), Recheck::Ask(_)));
        // The time in the record is that of the latest check, not that of the file.
        let checked = |record: &mut Record| {
            let now = i64::try_from(STARTED + 3000).expect("small");
            record.started = Some(Moment::from(Timestamp(now * 1_000_000)));
        };
        assert_eq!(after(0, HOUR / 2, checked), Recheck::Fresh);
    }

    #[test]
    fn what_is_not_what_was_recorded_is_downloaded_anew() {
        assert_eq!(
            after(120, Duration::ZERO, |_| {}),
            Recheck::Anew,
            "written since"
        );
        assert!(matches!(after(30, Duration::ZERO, |_| {}), Recheck::Ask(_)));
        let other_size = |record: &mut Record| record.bytes = Some(4);
        assert_eq!(after(0, Duration::ZERO, other_size), Recheck::Anew);
        assert_eq!(
            after(0, Duration::ZERO, |record| record.sha256 = None),
            Recheck::Anew
        );
        assert_eq!(
            after(0, Duration::ZERO, |record| record.started = None),
            Recheck::Anew
        );
        let slow = |record: &mut Record| {
            let seconds = serde_json::json!(90_000);
            record.timing_ms.body = serde_json::from_value(seconds).expect("a number");
        };
        assert!(
            matches!(after(120, Duration::ZERO, slow), Recheck::Ask(_)),
            "a slow body"
        );
    }
}
