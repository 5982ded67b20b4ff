//! What is to be done about each target of the input: it is new, or named earlier in the list, or
//! finished by an earlier run, or in the way of another.
//!
//! No file of one URL is ever put in the place of another's. Names that hold their URL's key cannot
//! meet; all others are written down as they are claimed. This module never writes in the output
//! folder, and does not know where targets come from.

use std::path::PathBuf;

use protocol::{Known, TaskId};

use super::ledger::{Ledger, LedgerError};
use super::recheck::{Recheck, Refresh};
use super::resume::{Earlier, Index, IndexError, in_place};
use crate::input::naming::Naming;
use crate::input::{Excerpt, Target, UrlKey};

/// What to do about a target.
#[derive(Debug, PartialEq, Eq)]
pub enum Sorted {
    /// To be done.
    New(Target),
    /// To be done if the file that an earlier run stored is not current.
    Known(Target, Box<Known>),
    /// The same as an earlier one: with its path.
    Duplicate(Target),
    /// An earlier run stored it.
    Stored,
    /// An earlier run quarantined it.
    Quarantined,
    /// It cannot be done: why, in words.
    Refused(String),
}

/// Where in the input a target is: the number of its list, and of its line there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 0.
    pub list: u16,
    /// Counted from 1.
    pub line: u64,
}

/// What a sieve goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The output folder.
    pub output: PathBuf,
    /// Where temporary files are made, if there must be any.
    pub folder: PathBuf,
    /// How files are named.
    pub naming: Naming,
    /// Names of the lists, for messages.
    pub lists: Vec<String>,
    /// Whether any of them may name files itself.
    pub lists_may_name_files: bool,
    /// What earlier runs quarantined is to be done again.
    pub retry_quarantined: bool,
    /// Whether servers are asked about what earlier runs stored; the index then must know places.
    pub refresh: Option<Refresh>,
}

/// See the module.
#[derive(Debug)]
pub struct Sieve {
    index: Index,
    rules: Rules,
    /// The task of each key.
    seen: Ledger<{ Place::BYTES }>,
    /// Where in the input each path was claimed; nothing if names cannot meet.
    claimed: Option<Ledger<{ Place::BYTES }>>,
    /// The last folder in which there was no link to be found.
    sound: String,
}

impl Place {
    const BYTES: usize = 8;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b] = self.list.to_be_bytes();
        // No list has 2^48 lines.
        let [.., c, d, e, f, g, h] = self.line.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }

    const fn from_bytes([a, b, c, d, e, f, g, h]: [u8; Self::BYTES]) -> Self {
        Self {
            list: u16::from_be_bytes([a, b]),
            line: u64::from_be_bytes([0, 0, c, d, e, f, g, h]),
        }
    }
}

impl Sieve {
    /// Sorts by what earlier runs recorded, and by what is in the output folder.
    #[must_use]
    pub fn new(index: Index, rules: Rules) -> Self {
        let names_may_meet = rules.lists_may_name_files || !rules.naming.is_unique();
        let ledger = || Ledger::new(rules.folder.clone());
        Self {
            index,
            seen: ledger(),
            claimed: names_may_meet.then(ledger),
            sound: String::new(),
            rules,
        }
    }

    /// What to do about the target that would be `task`.
    ///
    /// # Errors
    ///
    /// If there is no room to keep track of it, or the run log cannot be read.
    pub fn sort(
        &mut self,
        task: TaskId,
        target: Target,
        place: Place,
    ) -> Result<Sorted, IndexError> {
        let key = *target.key.as_bytes();
        if let Some(earlier) = self.seen.get(&key)? {
            let mut target = target;
            self.rules
                .naming
                .renumber(&mut target, u64::from_be_bytes(earlier));
            return Ok(Sorted::Duplicate(target));
        }
        if let Some(problem) = self.claim(&target, place)? {
            return Ok(Sorted::Refused(problem));
        }
        self.seen.insert(key, task.0.to_be_bytes())?;
        Ok(match self.index.state(&target.key)? {
            Some(Earlier::Quarantined) if !self.rules.retry_quarantined => Sorted::Quarantined,
            Some(Earlier::Stored { bytes, sha256 })
                if in_place(&target, bytes, sha256, &self.rules.output).is_some() =>
            {
                Sorted::Stored
            }
            Some(Earlier::Recorded { at }) => self.recheck(at, target)?,
            Some(Earlier::Stored { .. } | Earlier::Quarantined) | None => Sorted::New(target),
        })
    }

    /// What to do about a target whose file was stored, as is recorded at this place.
    fn recheck(&self, at: u64, target: Target) -> Result<Sorted, IndexError> {
        let record = self.index.record(at, &target)?;
        let (Some(record), Some(refresh)) = (record, &self.rules.refresh) else {
            return Ok(Sorted::New(target));
        };
        Ok(match refresh.of(record, &target, &self.rules.output) {
            Recheck::Fresh => Sorted::Stored,
            Recheck::Ask(known) => Sorted::Known(target, known),
            Recheck::Anew => Sorted::New(target),
        })
    }

    /// Claims the target's path for it; or says why it cannot have it.
    fn claim(&mut self, target: &Target, place: Place) -> Result<Option<String>, LedgerError> {
        let Some(claimed) = &mut self.claimed else {
            return Ok(None);
        };
        let path = *UrlKey::of(&target.path).as_bytes();
        let shown = || Excerpt::of_name(&target.path);
        if let Some(other) = claimed.get(&path)?.map(Place::from_bytes) {
            let list = self.rules.lists.get(usize::from(other.list));
            return Ok(Some(format!(
                "the file of {} would be {}, which is that of another URL, in {}:{}; give it \
                 another name, or put {{hash}} into --naming",
                Excerpt::of(&target.url),
                shown(),
                list.map_or("another list", String::as_str),
                other.line
            )));
        }
        if target.named
            && let Some(link) = self.link_on_the_way(&target.path)
        {
            return Ok(Some(format!(
                "the name {} (out) leads through {}, which is a symbolic link or no folder; give \
                 another name, or remove that",
                shown(),
                Excerpt::of_name(&link)
            )));
        }
        if self.index.is_taken(target, &self.rules.output)? {
            return Ok(Some(format!(
                "the file of {} would be {}, where an earlier run stored that of another URL; give \
                 it another name, or move the file away",
                Excerpt::of(&target.url),
                shown()
            )));
        }
        if let Some(claimed) = &mut self.claimed {
            claimed.insert(path, place.to_bytes())?;
        }
        Ok(None)
    }

    /// The first part of the way to `path` that is there and is not a folder: whoever stores the
    /// file does not follow it. Most paths of a list are in the folder of the one before.
    fn link_on_the_way(&mut self, path: &str) -> Option<String> {
        let (folder, _) = path.rsplit_once('/')?;
        if folder == self.sound {
            return None;
        }
        let ends = folder.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([folder.len()]) {
            let part = &folder[..end];
            match self.rules.output.join(part).symlink_metadata() {
                Ok(metadata) if !metadata.is_dir() => return Some(part.to_owned()),
                Ok(_) => {}
                // What is not there yet is no link; what cannot be looked at fails later.
                Err(_) => break,
            }
        }
        folder.clone_into(&mut self.sound);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::sync::Arc;

    use super::*;
    use crate::input::{Lines, ListOptions};

    struct Bench {
        folder: tempfile::TempDir,
        options: Arc<ListOptions>,
        sieve: Sieve,
        next: u64,
    }

    fn bench(naming: &str, may_name: bool) -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = ListOptions {
            naming: naming.parse().expect("a scheme"),
            ..ListOptions::default()
        };
        let output = folder.path().to_owned();
        let rules = Rules {
            output: output.clone(),
            folder: output.clone(),
            naming: options.naming.clone(),
            lists: vec!["a.txt".to_owned(), "b.jsonl".to_owned()],
            lists_may_name_files: may_name,
            retry_quarantined: false,
            refresh: None,
        };
        Bench {
            sieve: Sieve::new(Index::empty(output), rules),
            folder,
            options: Arc::new(options),
            next: 1,
        }
    }

    impl Bench {
        /// What becomes of a line: its path, or why it has none.
        fn sort(&mut self, line: &str) -> String {
            let reader = Box::new(Cursor::new(line.as_bytes().to_vec()));
            let mut lines = Lines::new("b.jsonl", reader, Arc::clone(&self.options));
            lines.count_from(self.next);
            let target = lines.next().expect("a line").entry.expect("a target");
            let place = Place {
                list: 1,
                line: 100 + self.next,
            };
            let sorted = self.sieve.sort(TaskId(self.next), target, place);
            self.next += 1;
            match sorted.expect("there is room") {
                Sorted::New(target) => target.path,
                Sorted::Duplicate(target) => format!("again {}", target.path),
                Sorted::Refused(problem) => problem,
                sorted @ (Sorted::Known(..) | Sorted::Stored | Sorted::Quarantined) => {
                    format!("{sorted:?}")
                }
            }
        }
    }

    #[test]
    fn a_name_of_another_url_is_refused_with_where_that_is() {
        let mut bench = bench("{name}", false);
        assert_eq!(bench.sort("http://h/1/x.txt"), "x.txt");
        assert_eq!(bench.sort("http://h/2/y.txt"), "y.txt");
        assert_eq!(bench.sort("http://h/1/x.txt"), "again x.txt");
        assert_eq!(
            bench.sort("http://h/2/x.txt"),
            "the file of http://h/2/x.txt would be x.txt, which is that of another URL, in \
             b.jsonl:101; give it another name, or put {hash} into --naming"
        );
        // What was refused has claimed nothing, and is refused again.
        assert!(bench.sort("http://h/2/x.txt").contains("another URL"));
    }

    #[test]
    fn names_in_the_list_and_names_by_themselves_cannot_meet() {
        let mut bench = bench("flat", true);
        let path = bench.sort("http://h/x.txt");
        let taken = bench.sort(&format!(r#"{{"url":"http://h/y","out":"{path}"}}"#));
        assert!(taken.contains("b.jsonl:101"), "{taken}");
        let same = bench.sort(&format!(r#"{{"url":"http://h/x.txt","out":"{path}"}}"#));
        assert_eq!(same, format!("again {path}"));
        assert_eq!(bench.sort(r#"{"url":"http://h/x.txt","out":"a"}"#), "a");
        assert_eq!(bench.sort(r#"{"url":"http://h/x.txt","out":"b"}"#), "b");
        assert_eq!(
            bench.sort(r#"{"url":"http://h/x.txt","out":"a"}"#),
            "again a"
        );
    }

    #[test]
    fn a_duplicate_has_the_number_of_the_first() {
        let mut bench = bench("{n}.bin", false);
        assert_eq!(bench.sort("http://h/1"), "1.bin");
        assert_eq!(bench.sort("http://h/2"), "2.bin");
        assert_eq!(bench.sort("http://h/1"), "again 1.bin");
        assert_eq!(bench.sort("http://h/3"), "4.bin");
    }

    #[test]
    fn a_name_that_leads_through_a_link_is_refused() {
        let mut bench = bench("flat", true);
        let path = bench.folder.path();
        fs::create_dir_all(path.join("a/b")).expect("folders");
        std::os::unix::fs::symlink("/tmp", path.join("a/link")).expect("a link");
        fs::write(path.join("file"), "").expect("a file");
        let mut out =
            |n: u32, out: &str| bench.sort(&format!(r#"{{"url":"http://h/{n}","out":"{out}"}}"#));
        assert_eq!(out(1, "a/b/c/d"), "a/b/c/d");
        assert_eq!(out(2, "a/b/x"), "a/b/x");
        for (n, name, way) in [
            (3, "a/link/x", "a/link"),
            (4, "a/link/y/z", "a/link"),
            (5, "file/x", "file"),
        ] {
            let told = out(n, name);
            let expected =
                format!("the name {name} (out) leads through {way}, which is a symbolic");
            assert!(told.starts_with(&expected), "{told}");
        }
        // In the place itself a link is replaced, and not followed.
        assert_eq!(out(6, "a/link"), "a/link");
    }
}
