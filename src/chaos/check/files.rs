//! What is in the folders, and what is in a file.
//!
//! It must not know what belongs there, but for the run's own folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use lab::origin::Spec;
use lab::origin::body::Content;

use super::Unreadable;

/// What a run keeps in `.coordinator`: see ARCHITECTURE.md, "On disk".
const OWN: [&str; 11] = [
    "results.jsonl",
    "run.json",
    "lock",
    "lock.held",
    "partial",
    "sockets",
    "deaths.jsonl",
    "injected.jsonl",
    "partial.key",
    "intents",
    "simulated",
];

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files in the output folder, with `/` between parts of a name, relative to it.
    pub(super) files: BTreeSet<String>,
    /// What should not be there, in words.
    pub(super) leftovers: Vec<String>,
}

/// How a file compares with a URL's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// Byte for byte.
    Same,
    /// So many bytes of it, and no more.
    Beginning(u64),
    /// It has so many bytes, and is no beginning.
    OtherSize(u64),
    /// The same size, and other bytes.
    Different,
}

/// Lists the output folder and the folder for temporary files.
pub(super) fn list(output: &Path, tmp: &Path) -> Result<Found, Unreadable> {
    let mut found = Found::default();
    walk(output, "", &mut found.files)?;
    for name in names(&output.join(".coordinator"))? {
        if !OWN.contains(&name.as_str()) {
            found.leftovers.push(format!(".coordinator/{name}"));
        }
    }
    for emptied in [".coordinator/partial", ".coordinator/sockets"] {
        for name in names(&output.join(emptied))? {
            found.leftovers.push(format!("{emptied}/{name}"));
        }
    }
    for name in names(tmp)? {
        found.leftovers.push(format!("{name} in TMPDIR"));
    }
    Ok(found)
}

fn walk(folder: &Path, prefix: &str, files: &mut BTreeSet<String>) -> Result<(), Unreadable> {
    for name in names(folder)? {
        let path = folder.join(&name);
        let full = format!("{prefix}{name}");
        // A link to a folder is a file that has no business here.
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if prefix.is_empty() && name == ".coordinator" {
            continue;
        } else if is_folder {
            walk(&path, &format!("{full}/"), files)?;
        } else {
            files.insert(full);
        }
    }
    Ok(())
}

/// The names in a folder; none if there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, Unreadable> {
    let unreadable = |source| Unreadable {
        path: folder.display().to_string(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(unreadable(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Compares a file with the body of a URL.
///
/// # Errors
///
/// If it cannot be read; it is not there, for example.
pub(super) fn compare(file: &Path, spec: &Spec, identity: &str) -> io::Result<Likeness> {
    let mut content = Content::new(spec, identity);
    let expected = content.remaining();
    let mut file = File::open(file)?;
    let size = file.metadata()?.len();
    let mut buffer = vec![0; 64 << 10];
    let mut same = true;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let chunk = content.next_chunk(read);
        if chunk[..] != buffer[..read] {
            same = false;
            break;
        }
    }
    Ok(match (same, size == expected) {
        (true, true) => Likeness::Same,
        (true, false) => Likeness::Beginning(size),
        (false, true) => Likeness::Different,
        (false, false) => Likeness::OtherSize(size),
    })
}

/// The SHA-256 of a file.
pub(super) fn sha256(path: &Path) -> Result<[u8; 32], Unreadable> {
    // Whole: no body of the origin is large here.
    let bytes = fs::read(path).map_err(|source| Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    Ok(Sha256::digest(bytes).into())
}
