//! Names of partial bodies. Each task has its own name, which cannot be computed without the key.
//!
//! So two files never share a partial body, whatever names a list contains. And another user cannot
//! prepare a body for a URL so that a download resumes from it. This module does not know bodies.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use data_encoding::BASE32_DNSSEC;
use protocol::TaskKind;
use ring::hmac::{Context, HMAC_SHA256, Key};

use crate::folder::OwnFolder;
use crate::input::Target;

/// The file with the key, beside the run log.
const KEY_FILE: &str = "partial.key";

const KEY_BYTES: usize = 32;

/// Bytes of the code that become the name: 160 bits.
const NAME_BYTES: usize = 20;

/// Computes the names of partial bodies.
#[derive(Clone, Debug)]
pub struct PartialNames {
    key: Key,
}

/// The key cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot store the key for partial bodies in {}: {source}; check that file, or remove it", .path.display())]
pub struct KeyError {
    path: PathBuf,
    source: io::Error,
}

impl PartialNames {
    /// Uses the key of earlier runs if `folder` holds one that no other user can have written or
    /// read, and otherwise creates one. The lock must be held.
    ///
    /// # Errors
    ///
    /// Fails if there is no key and none can be created.
    pub fn open(folder: &OwnFolder) -> Result<Self, KeyError> {
        let key = match read(folder) {
            Some(key) => key,
            None => create(folder).map_err(|source| KeyError {
                path: folder.as_folder().path().join(KEY_FILE),
                source,
            })?,
        };
        Ok(Self {
            key: Key::new(HMAC_SHA256, &key),
        })
    }

    /// Returns the name of the partial body of a target. It depends on the URL, and on the part of
    /// it and the name that the list gives.
    #[must_use]
    pub fn of(&self, kind: TaskKind, target: &Target) -> String {
        let mut code = Context::with_key(&self.key);
        code.update(match kind {
            TaskKind::Listed => b"listed\n",
            TaskKind::RobotsTxt => b"robots\n",
        });
        code.update(target.url.as_bytes());
        if let Some(range) = target.range() {
            // A normalised URL has no fragment.
            code.update(format!("#bytes={range}").as_bytes());
        }
        if target.named {
            // Neither contains a line end, so that two different pairs never give the same text.
            code.update(b"\n");
            code.update(target.path.as_bytes());
        }
        let code = code.sign();
        BASE32_DNSSEC.encode(&code.as_ref()[..NAME_BYTES])
    }
}

fn read(folder: &OwnFolder) -> Option<[u8; KEY_BYTES]> {
    let mut file = folder.read_private(KEY_FILE)?;
    let mut key = [0; KEY_BYTES];
    let whole = file.metadata().ok()?.len() == KEY_BYTES as u64;
    file.read_exact(&mut key).ok()?;
    whole.then_some(key)
}

/// Creates a new key in a new file.
fn create(folder: &OwnFolder) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    folder.as_folder().renew(KEY_FILE)?.write_all(&key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::input::Lines;
    use crate::placement::is_name;

    fn of_line(line: String) -> Target {
        let reader = Box::new(Cursor::new(line.into_bytes()));
        let mut lines = Lines::new("list", reader, Arc::default());
        lines.next().expect("a line").entry.expect("a target")
    }

    fn target(url: &str) -> Target {
        of_line(url.to_owned())
    }

    fn named(url: &str, out: &str) -> Target {
        of_line(format!(r#"{{"url":"{url}","out":"{out}"}}"#))
    }

    fn names_in(folder: &Path) -> PartialNames {
        let folder = OwnFolder::named(folder).expect("a folder");
        PartialNames::open(&folder).expect("a key")
    }

    #[test]
    fn each_task_has_a_name_of_its_own_for_as_long_as_the_key_is_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = names_in(folder.path());
        let of = |names: &PartialNames| {
            [
                names.of(TaskKind::Listed, &target("http://a/")),
                names.of(TaskKind::RobotsTxt, &target("http://a/")),
                names.of(TaskKind::Listed, &target("http://b/")),
                names.of(TaskKind::Listed, &named("http://a/", "b")),
                names.of(TaskKind::Listed, &named("http://a/", "c")),
            ]
        };
        let first = of(&names);
        for (at, name) in first.iter().enumerate() {
            assert!(is_name(name.as_bytes()), "{name}");
            assert!(!first[..at].contains(name), "{first:?}");
        }
        let again = names_in(folder.path());
        assert_eq!(of(&again), first);
        let path = folder.path().join(KEY_FILE);
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(path).expect("removed");
        let other = names_in(folder.path());
        assert!(of(&other).iter().all(|name| !first.contains(name)));
    }

    #[test]
    fn a_key_that_somebody_else_may_have_put_there_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(KEY_FILE);
        let elsewhere = folder.path().join("elsewhere");
        let prepare: [&dyn Fn(); 5] = [
            &|| fs::write(&path, "short").expect("written"),
            &|| symlink(&elsewhere, &path).expect("a link"),
            &|| fs::hard_link(&elsewhere, &path).expect("a link"),
            &|| {
                fs::write(&path, [7; KEY_BYTES]).expect("written");
                let open = fs::Permissions::from_mode(0o644);
                fs::set_permissions(&path, open).expect("changed");
            },
            &|| {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a fifo");
            },
        ];
        for put in prepare {
            fs::write(&elsewhere, [7; KEY_BYTES]).expect("written");
            let own = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&elsewhere, own).expect("changed");
            put();
            names_in(folder.path());
            let key = fs::read(&path).expect("it is there");
            assert!(key.len() == KEY_BYTES && key != [7; KEY_BYTES]);
            assert_eq!(
                fs::read(&elsewhere).expect("untouched"),
                [7; KEY_BYTES],
                "nothing is written through a link"
            );
            fs::remove_file(&path).expect("removed");
        }
    }
}
