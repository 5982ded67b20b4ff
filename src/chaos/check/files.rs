//! Lists the files in the folders, and compares their contents.
//!
//! Apart from the run's private folder, this module does not know which files belong there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use lab::origin::Spec;
use lab::origin::body::Content;

use super::Unreadable;

/// The contents of `.coordinator`: see ARCHITECTURE.md, "On disk".
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

/// The files that exist.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files in the output folder, relative to it, with `/` between the parts of a path.
    pub(super) files: BTreeSet<String>,
    /// Descriptions of files that should not exist.
    pub(super) leftovers: Vec<String>,
}

/// The result of comparing a file with the body of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// Identical.
    Same,
    /// The file is the beginning of the body, with this many bytes.
    Beginning(u64),
    /// The file has this many bytes, and is not the beginning of the body.
    OtherSize(u64),
    /// The same size, but different bytes.
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
        // A link to a folder counts as a file, and should not exist.
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

/// Returns the names in a folder, or none if the folder does not exist.
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
/// Fails if the file cannot be read, for example because it does not exist.
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

/// Returns the SHA-256 of a file.
pub(super) fn sha256(path: &Path) -> Result<[u8; 32], Unreadable> {
    // Reads the whole file, because the origin's bodies are small here.
    let bytes = fs::read(path).map_err(|source| Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    Ok(Sha256::digest(bytes).into())
}
