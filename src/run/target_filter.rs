//! Decides what to do with each target of the input. A target is new, named earlier in the list,
//! finished by an earlier run, or in conflict with another.
//!
//! A file of one URL never replaces a file of another URL, or a file that no run created. Names
//! that contain their URL's key cannot conflict. All other names are claimed, and so are the
//! folders that they need. This module never writes to the output folder, and does not know where
//! targets come from.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::{Known, TaskId};

use super::claims::{Claims, Place, folders_of};
use super::habits::Habits;
use super::intents::Standing;
use super::log::Record;
use super::recheck::{Recheck, Refresh};
use super::resume::{Earlier, Entry, Index, IndexError, is_in_place, is_in_place_as};
use crate::disk_map::{DiskMap, DiskMapError};
use crate::input::naming::{Naming, check_place};
use crate::input::{Excerpt, Target, UrlKey, position};

/// What to do with a target.
#[derive(Debug, PartialEq, Eq)]
pub enum Sorted {
    /// A new task.
    New(Target),
    /// A task if the file that an earlier run stored is not current.
    Known(Target, Box<Known>),
    /// A duplicate of an earlier target, with the path of that one.
    Duplicate(Target),
    /// An earlier run stored it.
    Stored,
    /// An earlier run quarantined it.
    Quarantined,
    /// It cannot be done, for this reason.
    Refused(String),
}

/// The configuration of a filter.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The output folder.
    pub output: PathBuf,
    /// Where temporary files are created, if any are needed.
    pub folder: PathBuf,
    /// How files are named.
    pub naming: Naming,
    /// Names of the lists, for messages.
    pub lists: Vec<String>,
    /// Whether any of them may name files itself.
    pub lists_may_name_files: bool,
    /// Whether to retry what earlier runs quarantined.
    pub retry_quarantined: bool,
    /// Settings for rechecking stored files. The index must then know the places of records.
    pub refresh: Option<Refresh>,
    /// Which names the output folder treats as equal.
    pub habits: Habits,
    /// Intents of earlier runs: files that may be in place without a record.
    pub standing: Standing,
    /// Whether files that no run created are replaced.
    pub force: bool,
    /// The list is a share of a fleet's: it names a target again only if this run has not put it in place.
    pub of_fleet: bool,
}

/// Sorts the targets of the input.
#[derive(Debug)]
pub struct TargetFilter {
    index: Arc<Index>,
    rules: Rules,
    seen: Seen,
    /// The claimed paths, or `None` if names cannot conflict.
    claims: Option<Claims>,
    /// The last folder whose path was checked to contain no link.
    sound: String,
}

/// The URLs that the lists have named so far.
#[derive(Debug)]
struct Seen {
    /// The task of each key.
    tasks: DiskMap<{ size_of::<u64>() }>,
    /// One bit for each entry of the index. Keys that the index has are here and not in `tasks`. `None` if
    /// names depend on the number of the task.
    bits: Option<Vec<u64>>,
}

impl Seen {
    /// Returns the number of the first task with this key, or 0 where no name depends on it. `entry` is the
    /// number of the key's entry in the index.
    fn get(&self, key: &UrlKey, entry: Option<u32>) -> Result<Option<u64>, DiskMapError> {
        if let (Some(bits), Some(entry)) = (&self.bits, entry) {
            let word = bits.get(entry as usize / 64);
            let is_set = word.is_some_and(|word| word >> (entry % 64) & 1 == 1);
            return Ok(is_set.then_some(0));
        }
        let task = self.tasks.get(key.as_bytes())?;
        Ok(task.map(u64::from_be_bytes))
    }

    fn insert(
        &mut self,
        key: &UrlKey,
        entry: Option<u32>,
        task: TaskId,
    ) -> Result<(), DiskMapError> {
        if let (Some(bits), Some(entry)) = (&mut self.bits, entry) {
            let word = entry as usize / 64;
            if bits.len() <= word {
                bits.resize(word + 1, 0);
            }
            bits[word] |= 1 << (entry % 64);
            return Ok(());
        }
        self.tasks.insert(*key.as_bytes(), task.0.to_be_bytes())
    }
}

/// The owner of a file in a target's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The target, from an earlier run.
    Itself,
    /// Another URL, from an earlier run.
    AnotherUrl,
    /// No known run.
    NoRun,
}

impl TargetFilter {
    /// Creates a filter that uses earlier records and the contents of the output folder.
    #[must_use]
    pub fn new(index: Index, rules: Rules) -> Self {
        let names_may_meet = rules.lists_may_name_files || !rules.naming.is_unique();
        let disk_map = || DiskMap::new(rules.folder.clone());
        Self {
            index: Arc::new(index),
            seen: Seen {
                tasks: disk_map(),
                bits: (!rules.naming.has_number()).then(Vec::new),
            },
            claims: names_may_meet.then(|| Claims::new(disk_map())),
            sound: String::new(),
            rules,
        }
    }

    /// Returns the index if lines that name a URL whose file an earlier run stored can be sorted last without
    /// any other effect: their names cannot conflict with others, and lines that name the same URL are all
    /// of this kind. Returns `None` if that does not hold, or if no earlier run stored a file.
    #[must_use]
    pub fn known(&self) -> Option<Arc<Index>> {
        let in_order = self.claims.is_some() || self.rules.refresh.is_some();
        (!in_order && !self.index.is_empty()).then(|| Arc::clone(&self.index))
    }

    /// Decides what to do with the target that would be `task`. `entry` is the target's entry in the index, if
    /// it was looked up before.
    ///
    /// # Errors
    ///
    /// Fails if the disk map has no room, or if the run log cannot be read.
    pub fn sort(
        &mut self,
        task: TaskId,
        mut target: Target,
        place: Place,
        entry: Option<Entry>,
    ) -> Result<Sorted, IndexError> {
        let entry = match entry {
            Some(entry) => Some(entry),
            None => self.index.find(&target.key)?,
        };
        let number = entry.and_then(|entry| entry.number);
        let seen = self.seen.get(&target.key, number)?;
        if seen.is_some() && self.rules.of_fleet {
            // It has its place from the first time.
            let own = self.owner(&target)?;
            target.replace = own == Owner::Itself || self.rules.force;
            return Ok(Sorted::New(target));
        }
        if let Some(earlier) = seen {
            self.rules.naming.renumber(&mut target, earlier);
            return Ok(Sorted::Duplicate(target));
        }
        match self.claim(&target, place)? {
            Ok(replace) => target.replace = replace,
            Err(problem) => return Ok(Sorted::Refused(problem)),
        }
        self.seen.insert(&target.key, number, task)?;
        let earlier = entry.and_then(|entry| self.index.earlier(entry));
        Ok(match earlier {
            Some(Earlier::Quarantined) if !self.rules.retry_quarantined => Sorted::Quarantined,
            Some(Earlier::Stored { left, sha256 })
                if is_in_place(&target, left, sha256, &self.rules.output) =>
            {
                Sorted::Stored
            }
            Some(Earlier::Recorded { at }) => self.recheck(at, target)?,
            Some(Earlier::ServerNamed { at }) => match self.index.record(at, &target)? {
                Some(record) => self.sort_named(&record, target)?,
                None => Sorted::New(target),
            },
            Some(Earlier::Stored { .. } | Earlier::Quarantined) | None => Sorted::New(target),
        })
    }

    /// Decides what to do with a target whose file was stored under the server's suggested name.
    fn sort_named(&self, record: &Record, mut target: Target) -> Result<Sorted, IndexError> {
        self.keep_name(record, &mut target)?;
        Ok(match is_in_place_as(record, &target, &self.rules.output) {
            true => Sorted::Stored,
            false => Sorted::New(target),
        })
    }

    /// Keeps the name that the server suggested before, unless another URL has a file there now.
    fn keep_name(&self, record: &Record, target: &mut Target) -> Result<(), DiskMapError> {
        let Some(path) = record.path.as_deref().filter(|_| record.server_named) else {
            return Ok(());
        };
        let url = UrlKey::of(&target.url);
        let owner = self.index.owner(UrlKey::of(path).as_bytes())?;
        if check_place(path).is_ok() && owner.is_none_or(|owner| owner == *url.as_bytes()) {
            target.stored_as = Some(path.into());
            target.suggestible = false;
            target.replace = true;
        }
        Ok(())
    }

    /// Decides what to do with a target whose stored file has its record at this place.
    fn recheck(&self, at: u64, mut target: Target) -> Result<Sorted, IndexError> {
        let record = self.index.record(at, &target)?;
        let (Some(record), Some(refresh)) = (record, &self.rules.refresh) else {
            return Ok(Sorted::New(target));
        };
        self.keep_name(&record, &mut target)?;
        Ok(match refresh.of(record, &target, &self.rules.output) {
            Recheck::Fresh => Sorted::Stored,
            Recheck::Ask(known) => Sorted::Known(target, known),
            Recheck::Anew => Sorted::New(target),
        })
    }

    /// Claims the path for the target, and returns whether an existing file may be replaced.
    /// Otherwise returns why the target cannot have the path.
    fn claim(
        &mut self,
        target: &Target,
        place: Place,
    ) -> Result<Result<bool, String>, DiskMapError> {
        let Some(claims) = &mut self.claims else {
            return Ok(Ok(true));
        };
        let refused = |problem: &str| {
            let (url, path) = (Excerpt::of(&target.url), Excerpt::of_name(&target.path));
            Ok(Err(format!("the file of {url} would be {path}, {problem}")))
        };
        let path = self.rules.habits.fold(&target.path);
        if let Some((meeting, other)) = claims.meeting(&path)? {
            let list = self.rules.lists.get(usize::from(other.list));
            return refused(&format!(
                "{meeting} another URL, in {}; give it another name, or put {{hash}} into \
                 --naming",
                position(list.map_or("another list", String::as_str), other.line)
            ));
        }
        let own = self.owner(target)?;
        if let Some(problem) = self.in_the_way(target, own) {
            return refused(&problem);
        }
        if let Some(claims) = &mut self.claims {
            claims.claim(&path, place)?;
        }
        Ok(Ok(own == Owner::Itself || self.rules.force))
    }

    /// Returns whom a file in the target's place would belong to.
    fn owner(&self, target: &Target) -> Result<Owner, DiskMapError> {
        let owner = self.index.owner(UrlKey::of(&target.path).as_bytes())?;
        Ok(match owner {
            _ if !target.named && self.rules.naming.is_unique() => Owner::Itself,
            Some(owner) if owner == *UrlKey::of(&target.url).as_bytes() => Owner::Itself,
            Some(_) => Owner::AnotherUrl,
            None if self.rules.standing.has(target) => Owner::Itself,
            None => Owner::NoRun,
        })
    }

    /// Returns why the target cannot be stored in its place, as far as the file system shows. A
    /// file there would belong to `owner`.
    fn in_the_way(&mut self, target: &Target, owner: Owner) -> Option<String> {
        if target.named || !self.rules.naming.is_unique() {
            let link = self.link_on_the_way(&target.path);
            if let Some(link) = link {
                return Some(format!(
                    "which leads through {}, and that is a symbolic link or not a folder; give it \
                     another name, or move that away",
                    Excerpt::of_name(&link)
                ));
            }
        }
        if owner == Owner::Itself {
            return None;
        }
        let there = self.rules.output.join(&target.path).symlink_metadata();
        let problem = match (owner, there) {
            (_, Err(_)) | (Owner::Itself, _) => return None,
            (_, Ok(there)) if there.is_dir() => {
                "where there is a folder; give it another name, or move that away"
            }
            (Owner::AnotherUrl, Ok(_)) => {
                "where an earlier run stored the file of another URL; give it another name, or move the \
                 file away"
            }
            (Owner::NoRun, Ok(_)) if self.rules.force => return None,
            (Owner::NoRun, Ok(_)) => {
                "where there is a file that no run has made; move it away, or replace it with --force"
            }
        };
        Some(problem.to_owned())
    }

    /// Returns the first part of the way to `path` that exists and is not a folder: placement does
    /// not follow it. Most paths of a list are in the same folder as the path before.
    fn link_on_the_way(&mut self, path: &str) -> Option<String> {
        let (folder, _) = path.rsplit_once('/')?;
        if folder == self.sound {
            return None;
        }
        for part in folders_of(path) {
            match self.rules.output.join(part).symlink_metadata() {
                Ok(metadata) if !metadata.is_dir() => return Some(part.to_owned()),
                Ok(_) => {}
                // A missing part is not a link. A part that cannot be examined fails later.
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
        filter: TargetFilter,
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
            of_fleet: false,
            refresh: None,
            habits: Habits::default(),
            standing: Standing::default(),
            force: false,
        };
        Bench {
            filter: TargetFilter::new(Index::empty(output), rules),
            folder,
            options: Arc::new(options),
            next: 1,
        }
    }

    impl Bench {
        /// Returns the path of a line, or why it has none.
        fn sort(&mut self, line: &str) -> String {
            let reader = Box::new(Cursor::new(line.as_bytes().to_vec()));
            let mut lines = Lines::new("b.jsonl", reader, Arc::clone(&self.options));
            lines.count_from(self.next);
            let target = lines.next().expect("a line").entry.expect("a target");
            let place = Place {
                list: 1,
                line: 100 + self.next,
            };
            let sorted = self.filter.sort(TaskId(self.next), target, place, None);
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
            "the file of http://h/2/x.txt would be x.txt, which is the file of another URL, in \
             b.jsonl:101; give it another name, or put {hash} into --naming"
        );
        // A refused target has claimed nothing, and is refused again.
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
            let expected = format!("would be {name}, which leads through {way}, and that is");
            assert!(told.contains(&expected), "{told}");
        }
        // A link in the place itself counts as a file.
        assert!(out(6, "a/link").contains("no run has made"));
    }
}
