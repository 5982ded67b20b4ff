//! Names of partial bodies: each task has its own, and nobody can tell it who has not the key.
//!
//! So no two files share a partial body, whatever a list calls them; and nobody can prepare a body
//! for a URL, in the hope that a download goes on with it. This module knows nothing of bodies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE32_DNSSEC;
use protocol::TaskKind;
use ring::hmac::{Context, HMAC_SHA256, Key};
use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::input::Target;

/// The file with the key, beside the run log.
const KEY_FILE: &str = "partial.key";

const KEY_BYTES: usize = 32;

/// Of the code, those that become the name: 160 bits.
const NAME_BYTES: usize = 20;

/// See the module.
#[derive(Clone, Debug)]
pub struct PartialNames {
    key: Key,
}

/// The key cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the key for partial bodies in {}: {source}; see to that file, or remove it", .path.display())]
pub struct KeyError {
    path: PathBuf,
    source: io::Error,
}

impl PartialNames {
    /// Goes by the key of earlier runs, if `folder` holds one that nobody else can have written or
    /// read; otherwise by a new one. The lock must be held.
    ///
    /// # Errors
    ///
    /// If there is none, and none can be made.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(KEY_FILE);
        let key = match read(&path) {
            Some(key) => Ok(key),
            None => create(&path),
        };
        match key {
            Ok(key) => Ok(Self {
                key: Key::new(HMAC_SHA256, &key),
            }),
            Err(source) => Err(KeyError { path, source }),
        }
    }

    /// The name of the partial body of a target: of its URL, and of the
    /// part of it and the name that the list gives.
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
            // Neither holds a line end, so that no two pairs make one text.
            code.update(b"\n");
            code.update(target.path.as_bytes());
        }
        let code = code.sign();
        BASE32_DNSSEC.encode(&code.as_ref()[..NAME_BYTES])
    }
}

/// Opens a file that nobody but ourselves can have written: of our own, without another name, and
/// shut to others. It is not followed if it is a link, and not waited for if it is a fifo.
pub(super) fn open_own(path: &Path) -> Option<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    let sound = metadata.is_file()
        && metadata.nlink() == 1
        && metadata.uid() == geteuid().as_raw()
        && metadata.mode() & 0o077 == 0;
    sound.then_some(file)
}

fn read(path: &Path) -> Option<[u8; KEY_BYTES]> {
    let mut file = open_own(path)?;
    let mut key = [0; KEY_BYTES];
    let whole = file.metadata().ok()?.len() == KEY_BYTES as u64;
    file.read_exact(&mut key).ok()?;
    whole.then_some(key)
}

/// A new key, in a new file: what is in its place is removed, and not written to.
fn create(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(&key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use std::io::Cursor;
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

    #[test]
    fn each_task_has_a_name_of_its_own_for_as_long_as_the_key_is_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = PartialNames::open(folder.path()).expect("a key");
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
        let again = PartialNames::open(folder.path()).expect("a key");
        assert_eq!(of(&again), first);
        let path = folder.path().join(KEY_FILE);
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(path).expect("removed");
        let other = PartialNames::open(folder.path()).expect("a key");
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
            PartialNames::open(folder.path()).expect("a new key");
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
