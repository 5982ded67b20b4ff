//! What a run leaves in the folder for partial bodies: kept for the next one, or removed.
//!
//! A partial body is worth keeping if it has a note that another attempt can go by. It must not
//! touch anything outside of that folder.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use protocol::{NOTE_SUFFIX, PartialNote};
use rustix::fs::{Mode, OFlags};

use crate::folder::OwnFolder;
use crate::run::partials::PartialNames;

/// Most partial bodies that are kept, the youngest. A run leaves as many as it had in flight, and
/// those of downloads that failed for now.
const MOST: usize = 1024;

/// Largest note that is read.
const MAX_NOTE: u64 = 32 * 1024;

/// What became of what a run had left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Files, and other things, that were removed.
    pub removed: usize,
    /// Files that are still there: partial bodies that can be resumed, and their notes.
    pub kept: usize,
    /// Partial bodies among those that were removed that an earlier edition could have resumed: their
    /// names can be guessed.
    pub guessable: usize,
}

/// Removes what is in the run's folder for them, except, if `boot` says which boot of the machine
/// this is, the partial bodies that can be resumed.
///
/// # Errors
///
/// The folder cannot be read, or something in it not removed: which, and why.
pub(super) fn tidy(own: &OwnFolder, boot: Option<&str>) -> Result<Tidied, (PathBuf, io::Error)> {
    let folder = own.as_folder();
    let mut tidied = Tidied::default();
    let kept = match boot {
        Some(boot) => resumable(own, boot, &mut tidied.guessable)
            .map_err(|error| (folder.path().to_owned(), error))?,
        None => HashSet::new(),
    };
    tidied.removed = folder.clear(|name| kept.contains(name))?;
    tidied.kept = kept.len();
    Ok(tidied)
}

/// The names of partial bodies that can be resumed, and of their notes.
fn resumable(own: &OwnFolder, boot: &str, guessable: &mut usize) -> io::Result<HashSet<OsString>> {
    let mut youngest: BTreeSet<((i64, u64), OsString)> = BTreeSet::new();
    for note in own.as_folder().names()? {
        let Some(body) = note.as_bytes().strip_suffix(NOTE_SUFFIX.as_bytes()) else {
            continue;
        };
        let body = OsStr::from_bytes(body).to_owned();
        if let Some(modified) = modified(own, &body, &note, boot) {
            if !PartialNames::is_one(body.as_bytes()) {
                *guessable += 1;
                continue;
            }
            youngest.insert((modified, body));
            if youngest.len() > MOST {
                youngest.pop_first();
            }
        }
    }
    let names = youngest.into_iter().flat_map(|(_, body)| {
        let note = [body.as_bytes(), NOTE_SUFFIX.as_bytes()].concat();
        [body, OsString::from_vec(note)]
    });
    Ok(names.collect())
}

/// When `body` was written to, if it is a file with a good note, and both are this user's.
fn modified(own: &OwnFolder, body: &OsStr, note: &OsStr, boot: &str) -> Option<(i64, u64)> {
    let text = own.as_folder().look(note).ok()?;
    let body = own.as_folder().look(body).ok()?;
    if !own.is_own_file(&text) || !own.is_own_file(&body) {
        return None;
    }
    let file = own.as_folder().open(note, OFlags::RDONLY, Mode::empty());
    let mut text = Vec::new();
    file.ok()?.take(MAX_NOTE).read_to_end(&mut text).ok()?;
    let note: PartialNote = serde_json::from_slice(&text).ok()?;
    note.is_good(boot)
        .then_some((body.st_mtime, body.st_mtime_nsec))
}

#[cfg(test)]
mod tests {
    use std::fs::{read_dir, write};
    use std::path::Path;

    use super::*;

    fn own(dir: &Path) -> OwnFolder {
        OwnFolder::named(dir).expect("a folder")
    }

    fn note(boot: &str) -> String {
        format!(
            r#"{{"v":1,"boot":"{boot}","url":"http://a/","validator":{{"etag":"\"1\""}},"length":9,"content_type":null}}"#
        )
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = read_dir(folder).expect("a folder");
        let name = |entry: io::Result<std::fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = names.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_can_be_resumed_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let put = |name: &str, text: &str| write(dir.path().join(name), text).expect("written");
        let good = "7".repeat(32);
        put(&good, "body");
        put(&format!("{good}~note"), &note("now"));
        put("guessed", "body");
        put("guessed~note", &note("now"));
        put("alone", "body");
        put("old", "body");
        put("old~note", &note("before"));
        put("torn", "body");
        put("torn~note", &note("now")[..40]);
        put("gone~note", &note("now"));
        let told = tidy(&own(dir.path()), Some("now")).expect("tidied");
        assert_eq!((told.removed, told.kept, told.guessable), (8, 2, 1));
        assert_eq!(names(dir.path()), [good.clone(), good + "~note"]);
        let told = tidy(&own(dir.path()), None).expect("tidied");
        assert_eq!((told.removed, told.kept), (2, 0));
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for number in 0..MOST + 5 {
            let name = format!("{number:032}");
            write(dir.path().join(&name), "body").expect("written");
            write(dir.path().join(name + NOTE_SUFFIX), note("now")).expect("written");
        }
        let told = tidy(&own(dir.path()), Some("now")).expect("tidied");
        assert_eq!((told.removed, told.kept), (10, 2 * MOST));
        assert_eq!(names(dir.path()).len(), 2 * MOST);
    }
}
