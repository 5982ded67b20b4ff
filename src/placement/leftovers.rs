//! Partial bodies that workers leave: kept for another attempt, or removed.
//!
//! ```text
//!   partial/2-7/     the folder of worker 7 of slot 2 only
//!   partial/local/   the folder of workers that are threads
//!   partial/kept/    partial bodies of workers that have exited
//! ```
//!
//! A partial body is kept if it has a note that another attempt can use. This module must not touch
//! anything outside of that folder.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use protocol::{NOTE_SUFFIX, PartialNote, WorkerId};

/// The folder for partial bodies of workers that have exited.
pub const KEPT: &str = "kept";

/// The folder of workers that are threads.
pub const LOCAL: &str = "local";

/// Length of the name of a partial body, in characters of five bits each.
pub const NAME_CHARS: usize = 32;

/// Returns the name of the folder of a worker that is a process.
#[must_use]
pub fn folder_of(worker: WorkerId) -> String {
    format!("{}-{}", worker.slot, worker.epoch)
}

/// Returns whether `name` has the form of a partial body's name. Names of the first edition do not.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    let of_the_alphabet = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'v');
    name.len() == NAME_CHARS && name.iter().all(of_the_alphabet)
}

/// Maximum number of partial bodies that are kept, the youngest ones. A run leaves one for each
/// running download, and one for each that failed temporarily.
const MOST: usize = 1024;

/// Maximum size of a note that is read, in bytes.
const MAX_NOTE: u64 = 32 * 1024;

/// Result of tidying what a run left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Number of files that were removed.
    pub removed: usize,
    /// Names of the remaining partial bodies, which can be resumed.
    pub kept: HashSet<String>,
    /// Number of removed partial bodies that an earlier edition could resume: they have guessable
    /// names.
    pub guessable: usize,
}

/// Cleans `partial`, the folder of a run for partial bodies. If `boot`, the id of the current boot,
/// is given, moves everything that can be resumed to `kept`. Removes everything else.
///
/// # Errors
///
/// Fails with the path and the reason if the folder cannot be read or an entry not removed.
pub fn tidy(partial: &Path, boot: Option<&str>) -> Result<Tidied, (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let kept = partial.join(KEPT);
    let mut tidied = Tidied::default();
    if let Some(boot) = boot {
        // These are not resumed, because another user could have prepared them.
        let old = notes(partial, boot).map_err(at(partial))?;
        tidied.guessable = old
            .iter()
            .filter(|(_, name)| !is_name(name.as_bytes()))
            .count();
    }
    for entry in fs::read_dir(partial).map_err(at(partial))? {
        let path = entry.map_err(at(partial))?.path();
        if path == kept && is_folder(&path) {
            continue;
        }
        if is_folder(&path) {
            tidied.removed += salvage(&path, &kept, boot).map_err(at(&path))?;
        } else {
            fs::remove_file(&path).map_err(at(&path))?;
            tidied.removed += 1;
        }
    }
    if is_folder(&kept) {
        sort_out(&kept, boot, &mut tidied)?;
    }
    Ok(tidied)
}

/// Keeps the youngest partial bodies that can be resumed.
fn sort_out(
    kept: &Path,
    boot: Option<&str>,
    tidied: &mut Tidied,
) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (kept.to_owned(), error);
    let mut youngest = match boot {
        Some(boot) => notes(kept, boot).map_err(failed)?,
        None => BTreeSet::new(),
    };
    while youngest.len() > MOST {
        youngest.pop_first();
    }
    let names: HashSet<OsString> = youngest.into_iter().map(|(_, name)| name).collect();
    for entry in fs::read_dir(kept).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let body = name.as_bytes().strip_suffix(NOTE_SUFFIX.as_bytes());
        if !names.contains(OsStr::from_bytes(body.unwrap_or(name.as_bytes()))) {
            let path = entry.path();
            let removed = match is_folder(&path) {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(|error| (path, error))?;
            tidied.removed += 1;
        }
    }
    if names.is_empty() {
        fs::remove_dir(kept).map_err(failed)?;
    }
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    tidied.kept = names.collect();
    Ok(())
}

/// Moves everything that can be resumed from `folder`, whose worker has exited, to `kept`. Removes
/// the rest with the folder, and returns the number of names that were in it.
///
/// # Errors
///
/// Fails if something could not be moved or removed.
pub fn salvage(folder: &Path, kept: &Path, boot: Option<&str>) -> io::Result<usize> {
    if let Some(boot) = boot {
        for (_, body) in notes(folder, boot)? {
            if !is_name(body.as_bytes()) {
                continue;
            }
            make(kept)?;
            let note = note_of(&body);
            // An older note would describe another body.
            match fs::remove_file(kept.join(&note)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            fs::rename(folder.join(&body), kept.join(&body))?;
            fs::rename(folder.join(&note), kept.join(&note))?;
        }
    }
    let removed = fs::read_dir(folder)?.count();
    // This does not follow links.
    fs::remove_dir_all(folder)?;
    Ok(removed)
}

/// Creates a folder that other users cannot read, if it does not exist.
fn make(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_folder(folder) => Ok(()),
        made => made,
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn note_of(body: &OsStr) -> OsString {
    OsString::from_vec([body.as_bytes(), NOTE_SUFFIX.as_bytes()].concat())
}

/// Returns the partial bodies in `folder` that have a valid note, with their times of modification.
fn notes(folder: &Path, boot: &str) -> io::Result<BTreeSet<(SystemTime, OsString)>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let note = entry?.file_name();
        let Some(body) = note.as_bytes().strip_suffix(NOTE_SUFFIX.as_bytes()) else {
            continue;
        };
        let body = OsStr::from_bytes(body).to_owned();
        if let Some(modified) = modified(folder, &body, &note, boot) {
            found.insert((modified, body));
        }
    }
    Ok(found)
}

/// Returns when `body` was last written, if it is a file with one name and a valid note.
fn modified(folder: &Path, body: &OsStr, note: &OsStr, boot: &str) -> Option<SystemTime> {
    let is_file = |path: &Path| {
        let metadata = fs::symlink_metadata(path).ok()?;
        (metadata.is_file() && metadata.nlink() == 1).then_some(metadata)
    };
    let (body, note) = (folder.join(body), folder.join(note));
    is_file(&note)?;
    let mut text = Vec::new();
    let file = fs::File::open(note).ok()?;
    file.take(MAX_NOTE).read_to_end(&mut text).ok()?;
    let note: PartialNote = serde_json::from_slice(&text).ok()?;
    let body = is_file(&body)?;
    note.is_good(boot)
        .then(|| body.modified().unwrap_or(SystemTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::fs::{read_dir, write};

    use super::*;

    fn note(boot: &str) -> String {
        format!(
            r#"{{"v":1,"boot":"{boot}","url":"http://a/","validator":{{"etag":"\"1\""}},"length":9,"content_type":null}}"#
        )
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| {
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
        let own = dir.path().join("2-7");
        fs::create_dir(&own).expect("created");
        let put = |name: &str, text: &str| write(own.join(name), text).expect("written");
        let (good, linked) = ("7".repeat(32), "8".repeat(32));
        put(&good, "body");
        put(&format!("{good}~note"), &note("now"));
        put(&linked, "body");
        put(&format!("{linked}~note"), &note("now"));
        fs::hard_link(own.join(&linked), own.join("link")).expect("linked");
        put("guessed", "body");
        put("guessed~note", &note("now"));
        put("alone", "body");
        put("old", "body");
        put("old~note", &note("before"));
        put("torn", "body");
        put("torn~note", &note("now")[..40]);
        put("gone~note", &note("now"));
        fs::create_dir(own.join("folder")).expect("created");
        std::os::unix::fs::symlink("/", own.join("everything")).expect("linked");
        write(dir.path().join("first-edition"), "body").expect("written");
        write(dir.path().join("first-edition~note"), note("now")).expect("written");
        let told = tidy(dir.path(), Some("now")).expect("tidied");
        assert_eq!((told.removed, told.guessable), (15, 1));
        assert_eq!(told.kept, HashSet::from([good.clone()]));
        assert_eq!(names(dir.path()), [KEPT]);
        let kept = dir.path().join(KEPT);
        assert_eq!(names(&kept), [good.clone(), good + "~note"]);
        let told = tidy(dir.path(), None).expect("tidied");
        assert_eq!((told.removed, told.kept), (2, HashSet::new()));
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let own = dir.path().join(LOCAL);
        fs::create_dir(&own).expect("created");
        for number in 0..MOST + 5 {
            let name = format!("{number:032}");
            write(own.join(&name), "body").expect("written");
            write(own.join(name + NOTE_SUFFIX), note("now")).expect("written");
        }
        let told = tidy(dir.path(), Some("now")).expect("tidied");
        assert_eq!((told.removed, told.kept.len()), (10, MOST));
        assert_eq!(names(&dir.path().join(KEPT)).len(), 2 * MOST);
    }

    #[test]
    fn names_of_the_first_edition_are_told_from_these() {
        let digest = "IUDLGSM7VAN18ARVGRJA69T4MHHHULG2JGPHHRFC8AO8HE6LV1O0";
        for name in ["file-m2jrke0nkl8omo4v.txt", digest, "", "partial"] {
            assert!(!is_name(name.as_bytes()), "{name}");
        }
    }
}
