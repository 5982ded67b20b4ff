//! The input of a run: reads the lists on its own thread and decides which lines become tasks.
//!
//! It reads a batch only on request, so that no more of a list is in memory than the core needs. A
//! URL that an earlier run stored or that an earlier line names never becomes a task.
//!
//! A further thread parses lists that are plain files, some lines ahead: if most of a list is
//! stored, parsing takes about as long as checking the stored files. Text lists are read in two
//! passes, so that new URLs do not wait until all stored files are checked.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Builder;

use protocol::{Known, TaskId};

use super::claims::Place;
use super::inbox::Message;
use super::resume::{Earlier, Index, IndexError};
use super::scout::{Answer, Scout};
use super::target_filter::{Sorted, TargetFilter};
use crate::input::{Line, Lines, Marks, Step, Target, position};

/// Maximum number of items in a batch.
const BATCH: usize = 256;

/// Maximum number of lines examined for a batch, so that a stored list does not delay a drain.
const LINES_PER_BATCH: usize = 8192;

/// Number of lines in a parsed chunk, and the maximum number of chunks that wait.
const CHUNK: usize = 256;
const AHEAD: usize = 4;

/// Number of lines to pass over before the lines found between them are passed on.
const PASSED_OVER: usize = 8192;

/// A part of the input.
#[derive(Debug, Default)]
pub struct Batch {
    /// Tasks and messages, in the order of the input.
    pub items: Vec<Item>,
    /// Lines whose file earlier runs stored.
    pub stored_earlier: u64,
    /// Lines that earlier runs quarantined.
    pub quarantined_earlier: u64,
    /// Fraction of all lists that has been read, from 0 to 1, or `None` if it is unknown.
    pub fraction: Option<f64>,
    /// Whether this is the last batch.
    pub ended: bool,
    /// Reason why the input cannot be read further, if the fault is not in the input.
    pub broken: Option<String>,
}

/// One line of the input that needs an action.
#[derive(Debug)]
pub enum Item {
    /// A task; if a file is in place, it runs only if that file is not current.
    Task(TaskId, Target, Option<Box<Known>>),
    /// A line that names the same URL as an earlier line.
    Duplicate(TaskId, Target),
    /// A line that cannot be used: a message that names the line.
    Problem(String),
    /// The same for a target of a fleet, which has an outcome like any other, with the reason.
    Refused(TaskId, Target, String),
}

/// An open list.
#[derive(Debug)]
pub struct OpenList {
    /// Its lines.
    pub lines: Lines,
    /// Its size in bytes, if it is a plain file.
    pub size: Option<u64>,
}

/// The configuration of the intake.
#[derive(Debug)]
pub struct Plan {
    /// The lists, in order.
    pub lists: Vec<OpenList>,
    /// Decides what happens to each target; it uses the same numbers for the lists.
    pub filter: TargetFilter,
}

/// The shell's handle of the intake. Dropping it ends the intake.
#[derive(Debug)]
pub struct Intake {
    requests: Sender<()>,
    requested: bool,
}

impl Intake {
    /// Starts the intake, which sends batches to `inbox`.
    ///
    /// # Errors
    ///
    /// Fails if the thread cannot be started.
    pub fn start(plan: Plan, inbox: Sender<Message>) -> io::Result<Self> {
        let (requests, incoming) = channel();
        let reader = Reader::ahead(plan)?;
        Builder::new()
            .name("intake".to_owned())
            .spawn(move || reader.run(&incoming, &inbox))?;
        Ok(Self {
            requests,
            requested: false,
        })
    }

    /// Requests a batch, unless a request is pending.
    pub fn request(&mut self) {
        if !self.requested {
            // This fails only after the last batch, when the core needs no more.
            self.requested = self.requests.send(()).is_ok();
        }
    }

    /// Must be called for each batch that was received.
    pub const fn received(&mut self) {
        self.requested = false;
    }
}

/// The work of the intake, independent of the thread: reads the lists and sorts every line.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    filter: TargetFilter,
}

/// Where parsed lines come from.
#[derive(Debug)]
enum Source {
    /// Lines are parsed on request.
    Here(Lists),
    /// Lines are parsed by another thread.
    Ahead {
        chunks: Receiver<Chunk>,
        current: std::vec::IntoIter<Entry>,
        fraction: Option<f64>,
        /// The next chunk may take long to arrive.
        few: bool,
        ended: bool,
    },
}

/// Lines that were parsed ahead.
#[derive(Debug)]
struct Chunk {
    entries: Vec<Entry>,
    fraction: Option<f64>,
    /// Whether many lines were passed over to find these.
    few: bool,
    /// Whether this is the last chunk.
    ended: bool,
}

/// The reason why a source returns no line.
enum NoLine {
    /// The next line may take long to arrive.
    Yet,
    /// There are no more lines.
    Left,
    /// The program has a defect.
    Defect(&'static str),
}

/// A parsed line.
#[derive(Debug)]
struct Entry {
    line: Line,
    /// The number of the task that its target would become.
    task: TaskId,
    /// The number of its list.
    list: u16,
    /// The answer for its text, if it was looked up ahead.
    answer: Option<Answer>,
}

impl Entry {
    /// Creates the entry for the line that `lines` has just returned.
    fn of(lines: &Lines, line: Line, list: u16) -> Self {
        let task = lines.next_task() - u64::from(line.entry.is_ok());
        Self {
            line,
            task: TaskId(task),
            list,
            answer: None,
        }
    }
}

/// All lists, from the first line to the last.
#[derive(Debug)]
struct Lists {
    /// The lists that remain; the current one is the last element.
    lists: Vec<OpenList>,
    /// The number of the current list.
    list: u16,
    next_task: u64,
    /// Size of all lists in bytes, if all are plain files; and of those that are read.
    size: Option<u64>,
    done: u64,
}

impl Lists {
    fn new(mut lists: Vec<OpenList>) -> Self {
        lists.reverse();
        Self {
            size: lists.iter().map(|list| list.size).sum(),
            lists,
            list: 0,
            next_task: 1,
            done: 0,
        }
    }

    /// Returns whether the next line may take long to arrive.
    fn may_wait(&self) -> bool {
        let current = self.lists.last();
        current.is_some_and(|list| list.size.is_none() && !list.lines.has_line())
    }

    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    fn fraction_of(&self, done: u64) -> Option<f64> {
        let size = self.size.filter(|&size| size > 0)?;
        Some(done as f64 / size as f64)
    }

    fn fraction(&self) -> Option<f64> {
        let current = self.lists.last().map_or(0, |list| list.lines.consumed());
        self.fraction_of(self.done + current)
    }

    /// Parses all lines until the receiver is gone.
    fn parse_for(mut self, chunks: &SyncSender<Chunk>) -> Result<(), Unwanted> {
        loop {
            let entries: Vec<_> = self.by_ref().take(CHUNK).collect();
            let ended = entries.len() < CHUNK;
            hand_on(chunks, entries, self.fraction(), false)?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Parses in two passes: first the lines whose files no earlier run stored, then the others.
    fn parse_in_passes(
        mut self,
        index: &Arc<Index>,
        chunks: &SyncSender<Chunk>,
    ) -> Result<(), Unwanted> {
        let scout = |lines: &Lines, marks| {
            let lines = lines.again()?;
            Some(Scout::new(lines, Arc::clone(index), marks))
        };
        let mut read = Vec::new();
        while let Some(mut current) = self.lists.pop() {
            let (mut marks, mut ended) = (Marks::default(), false);
            let first_task = self.next_task;
            current.lines.count_from(first_task);
            let mut ahead = scout(&current.lines, None);
            let mut is_stored = || {
                let answer = ahead.as_mut().and_then(Scout::advance);
                let earlier = answer.and_then(|answer| index.earlier(answer.entry));
                matches!(earlier, Some(Earlier::Stored { .. }))
            };
            while !ended {
                let (mut entries, mut most) = (Vec::new(), PASSED_OVER);
                while entries.len() < CHUNK {
                    let next = current
                        .lines
                        .next_unknown(&mut marks, &mut most, &mut is_stored);
                    match next {
                        Step::Line(line) => {
                            entries.push(Entry::of(&current.lines, line, self.list));
                        }
                        Step::PassedOver => break,
                        Step::End => {
                            ended = true;
                            break;
                        }
                    }
                }
                let done = self.done + current.lines.consumed();
                hand_on(chunks, entries, self.fraction_of(done), true)?;
            }
            self.next_task = current.lines.next_task();
            self.done += current.size.unwrap_or_default();
            self.list = self.list.saturating_add(1);
            // Reopened, so that its buffer is empty.
            read.push((current.lines.again(), first_task, Arc::new(marks)));
        }
        for (list, (lines, first_task, marks)) in (0..).zip(read) {
            let Some(mut lines) = lines else {
                continue;
            };
            let mut ahead = scout(&lines, Some(Arc::clone(&marks)));
            lines.count_from(first_task);
            let (mut looked_at, mut ended) = (0, false);
            while !ended {
                let next = || {
                    let line = lines.next_passed_over(&marks, &mut looked_at)?;
                    Some(Entry {
                        answer: ahead.as_mut().and_then(Scout::advance),
                        ..Entry::of(&lines, line, list)
                    })
                };
                let entries: Vec<_> = std::iter::from_fn(next).take(CHUNK).collect();
                ended = entries.len() < CHUNK;
                hand_on(chunks, entries, Some(1.0), false)?;
            }
        }
        Ok(())
    }
}

/// The receiver of the lines is gone.
struct Unwanted;

fn hand_on(
    chunks: &SyncSender<Chunk>,
    entries: Vec<Entry>,
    fraction: Option<f64>,
    few: bool,
) -> Result<(), Unwanted> {
    let chunk = Chunk {
        entries,
        fraction,
        few,
        ended: false,
    };
    chunks.send(chunk).map_err(|_| Unwanted)
}

impl Iterator for Lists {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let current = self.lists.last_mut()?;
            current.lines.count_from(self.next_task);
            if let Some(line) = current.lines.next() {
                self.next_task = current.lines.next_task();
                return Some(Entry::of(&current.lines, line, self.list));
            }
            self.done += current.size.unwrap_or_default();
            self.lists.pop();
            self.list = self.list.saturating_add(1);
        }
    }
}

impl Source {
    fn may_wait(&self) -> bool {
        match self {
            Self::Here(lists) => lists.may_wait(),
            // The lists are plain files.
            Self::Ahead { .. } => false,
        }
    }

    fn fraction(&self) -> Option<f64> {
        match self {
            Self::Here(lists) => lists.fraction(),
            Self::Ahead { fraction, .. } => *fraction,
        }
    }

    /// Returns the next line.
    fn next(&mut self) -> Result<Entry, NoLine> {
        let (chunks, current, fraction, few, ended) = match self {
            Self::Here(lists) => return lists.next().ok_or(NoLine::Left),
            Self::Ahead {
                chunks,
                current,
                fraction,
                few,
                ended,
            } => (chunks, current, fraction, few, ended),
        };
        loop {
            if let Some(entry) = current.next() {
                return Ok(entry);
            }
            if *ended {
                return Err(NoLine::Left);
            }
            if std::mem::take(few) {
                return Err(NoLine::Yet);
            }
            let Ok(chunk) = chunks.recv() else {
                let defect = "internal error: the thread that parses the lists has ended";
                return Err(NoLine::Defect(defect));
            };
            *current = chunk.entries.into_iter();
            (*fraction, *few, *ended) = (chunk.fraction, chunk.few, chunk.ended);
        }
    }
}

impl Reader {
    /// Creates a reader that is before the first line.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            source: Source::Here(Lists::new(plan.lists)),
            filter: plan.filter,
        }
    }

    /// Creates a reader that parses lists ahead if they are plain files.
    fn ahead(plan: Plan) -> io::Result<Self> {
        let lists = Lists::new(plan.lists);
        let source = if lists.size.is_some() {
            let (sender, chunks) = sync_channel(AHEAD);
            let have_passes = lists.lists.iter().all(|list| list.lines.has_passes());
            let known = plan.filter.known().filter(|_| have_passes);
            Builder::new().name("lists".to_owned()).spawn(move || {
                let parsed = match known {
                    Some(index) => lists.parse_in_passes(&index, &sender),
                    None => lists.parse_for(&sender),
                };
                if parsed.is_ok() {
                    let last = Chunk {
                        entries: Vec::new(),
                        fraction: Some(1.0),
                        few: false,
                        ended: true,
                    };
                    // The run may have ended.
                    let _ = sender.send(last);
                }
            })?;
            Source::Ahead {
                chunks,
                current: Vec::new().into_iter(),
                fraction: None,
                few: false,
                ended: false,
            }
        } else {
            Source::Here(lists)
        };
        Ok(Self {
            source,
            filter: plan.filter,
        })
    }

    fn run(mut self, requests: &Receiver<()>, inbox: &Sender<Message>) {
        while requests.recv().is_ok() {
            let batch = self.batch();
            let ended = batch.ended || batch.broken.is_some();
            if inbox.send(Message::Intake(batch)).is_err() || ended {
                return;
            }
        }
    }

    /// Returns the next batch, until one is the last or is broken. Waits only while the batch is
    /// empty.
    pub fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..LINES_PER_BATCH {
            // Items that are ready do not wait for lines that may take long.
            if !batch.items.is_empty() && self.source.may_wait() {
                break;
            }
            let Entry {
                line,
                task,
                list,
                answer,
            } = match self.source.next() {
                Ok(entry) => entry,
                Err(NoLine::Yet) => break,
                Err(NoLine::Left) => {
                    batch.ended = true;
                    break;
                }
                Err(NoLine::Defect(defect)) => {
                    batch.broken = Some(defect.to_owned());
                    break;
                }
            };
            if let Some(problem) = line.problem() {
                batch.items.push(Item::Problem(problem));
            }
            let place = Place {
                list,
                line: line.number,
            };
            if let Ok(target) = line.entry
                && let Err(error) = self.sort(task, target, answer, place, &line.source, &mut batch)
            {
                batch.broken = Some(error.to_string());
                break;
            }
            if batch.items.len() == BATCH {
                break;
            }
        }
        batch.fraction = self.source.fraction();
        batch
    }

    fn sort(
        &mut self,
        task: TaskId,
        target: Target,
        answer: Option<Answer>,
        place: Place,
        list: &str,
        batch: &mut Batch,
    ) -> Result<(), IndexError> {
        let of_fleet = target.ticket().is_some().then(|| target.clone());
        // The list may have changed since.
        let answer = answer.filter(|answer| answer.key == target.key);
        let entry = answer.map(|answer| answer.entry);
        match self.filter.sort(task, target, place, entry)? {
            Sorted::New(target) => batch.items.push(Item::Task(task, target, None)),
            Sorted::Known(target, known) => {
                batch.items.push(Item::Task(task, target, Some(known)));
            }
            Sorted::Duplicate(target) => batch.items.push(Item::Duplicate(task, target)),
            Sorted::Stored => batch.stored_earlier += 1,
            Sorted::Quarantined => batch.quarantined_earlier += 1,
            Sorted::Refused(problem) if let Some(target) = of_fleet => {
                batch.items.push(Item::Refused(task, target, problem));
            }
            Sorted::Refused(problem) => {
                let problem = format!("{}: {problem}", position(list, place.line));
                batch.items.push(Item::Problem(problem));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::folder::OwnFolder;
    use crate::input::ListOptions;
    use crate::run::habits::Habits;
    use crate::run::intents::Standing;
    use crate::run::log::tests::{facts, stored};
    use crate::run::log::{Facts, LogReader, Record};
    use crate::run::resume::{Detail, Index};
    use crate::run::target_filter::Rules;

    fn rules(folder: &Path) -> Rules {
        Rules {
            output: folder.to_owned(),
            folder: folder.to_owned(),
            naming: ListOptions::default().naming,
            lists: ["a", "b", "c"].map(str::to_owned).into(),
            lists_may_name_files: false,
            retry_quarantined: false,
            of_fleet: false,
            refresh: None,
            habits: Habits::default(),
            standing: Standing::default(),
            force: false,
        }
    }

    /// Two lists with an empty one between them. Some lines are not URLs, some URLs occur twice.
    fn plan(folder: &Path) -> Plan {
        let options = Arc::new(ListOptions::default());
        let lists = [("a", 3 * CHUNK), ("b", 0), ("c", 700)].map(|(name, lines)| {
            let text: String = (0..lines)
                .map(|n| match n % 50 {
                    0 => "no URL\n".to_owned(),
                    1 => "https://h/again\n".to_owned(),
                    _ => format!("https://h/{name}/{n}\n"),
                })
                .collect();
            let size = Some(text.len() as u64);
            let text = Box::new(Cursor::new(text.into_bytes()));
            let lines = Lines::new(name, text, Arc::clone(&options));
            OpenList { lines, size }
        });
        Plan {
            lists: lists.into(),
            filter: TargetFilter::new(Index::empty(folder.to_owned()), rules(folder)),
        }
    }

    fn told(mut reader: Reader) -> (Vec<String>, Option<f64>) {
        let mut told = Vec::new();
        loop {
            let batch = reader.batch();
            assert_eq!(batch.broken, None);
            told.extend(batch.items.iter().map(|item| format!("{item:?}")));
            if batch.ended {
                return (told, batch.fraction);
            }
        }
    }

    #[test]
    fn lists_that_are_parsed_ahead_say_what_they_say_otherwise() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let here = told(Reader::new(plan(folder.path())));
        assert_eq!((here.0.len(), here.1), (3 * CHUNK + 700, Some(1.0)));
        let ahead = Reader::ahead(plan(folder.path())).expect("a thread");
        assert!(matches!(ahead.source, Source::Ahead { .. }));
        assert_eq!(told(ahead), here);
    }

    /// Lists that are files. Earlier runs stored every third URL; the file of every sixth still
    /// exists. The index is in a file or in memory.
    fn known_plan(folder: &Path, in_file: bool) -> Plan {
        let options = Arc::new(ListOptions::default());
        let url = |n: usize| format!("https://h/{n}");
        let mut log = String::new();
        let lists = ["a", "b"].map(|name| {
            let text: String = (0..3 * CHUNK)
                .map(|n| match n % 24 {
                    1 => "no URL\n\n# a comment\n".to_owned(),
                    // A URL that this list or the other named before.
                    2 => url(n / 24 * 3) + "\n",
                    4 => url(n) + "#fragment\n",
                    _ => format!("  {}\r\n", url(n)),
                })
                .collect();
            let path = folder.join(name);
            std::fs::write(&path, text).expect("write");
            let source = crate::input::Source::File(path);
            let lines = crate::input::read(&source, &options).expect("a list");
            let size = std::fs::metadata(folder.join(name))
                .expect("it is there")
                .len();
            OpenList {
                lines,
                size: Some(size),
            }
        });
        let target = |n: usize| {
            let text = std::io::Cursor::new(url(n).into_bytes());
            let mut lines = Lines::new("list", Box::new(text), Arc::clone(&options));
            lines.next().expect("a line").entry.expect("a target")
        };
        for n in (0..3 * CHUNK).step_by(3) {
            let target = target(n);
            let facts = Facts {
                path: target.path.clone(),
                ..facts(1, &target.url)
            };
            let record = Record::stored(facts, stored(7));
            log += &(serde_json::to_string(&record).expect("it is JSON") + "\n");
            if n.is_multiple_of(6) {
                std::fs::write(folder.join(&target.path), [0; 7]).expect("write");
            }
        }
        let index = if in_file {
            let path = folder.join("results.jsonl");
            std::fs::write(&path, log).expect("write");
            let source = crate::run::resume::Source {
                results: Some(std::fs::File::open(&path).expect("it is there")),
                path: &path,
                folder: folder.to_owned(),
                kept: None,
            };
            let mut index = Index::load(source, Detail::Size).expect("readable");
            let own = OwnFolder::named(folder).expect("its own");
            index.keep(&own).expect("there is room");
            index
        } else {
            Index::read(LogReader::new(log.as_bytes()), folder.to_owned()).expect("readable")
        };
        Plan {
            lists: lists.into(),
            filter: TargetFilter::new(index, rules(folder)),
        }
    }

    #[test]
    fn what_is_new_comes_first_and_nothing_else_differs_from_one_pass() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plan = |in_file| known_plan(folder.path(), in_file);
        let one = all_of(Reader::new(plan(false)));
        assert_eq!(all_of(Reader::new(plan(true))), one);
        let two = all_of(Reader::ahead(plan(false)).expect("a thread"));
        assert_eq!(all_of(Reader::ahead(plan(true)).expect("a thread")), two);
        let is_known = |item: &String| {
            let text = item.split_once("https://h/").map_or("", |(_, rest)| rest);
            let number = text.split('"').next().and_then(|n| n.parse::<u32>().ok());
            number.is_some_and(|number| number % 3 == 0) && !item.starts_with("Duplicate")
        };
        let is_new = |item: &String| item.starts_with("Task") && !is_known(item);
        let last_new = two.0.iter().rposition(is_new).expect("one is new");
        let first_known = two.0.iter().position(is_known).expect("one is gone");
        assert!(last_new < first_known, "{last_new} {first_known}");
        let sorted = |(mut items, stored): (Vec<String>, u64)| {
            items.sort();
            (items, stored)
        };
        assert!(one.1 > 0);
        assert_eq!(sorted(two), sorted(one));
    }

    fn all_of(mut reader: Reader) -> (Vec<String>, u64) {
        let (mut items, mut stored) = (Vec::new(), 0);
        loop {
            let batch = reader.batch();
            assert_eq!(batch.broken, None);
            stored += batch.stored_earlier;
            items.extend(batch.items.iter().map(|item| format!("{item:?}")));
            if batch.ended {
                return (items, stored);
            }
        }
    }

    #[test]
    fn a_list_is_not_taken_for_ended_when_its_parser_is_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (sender, chunks) = sync_channel(AHEAD);
        drop(sender);
        let mut reader = Reader::new(plan(folder.path()));
        reader.source = Source::Ahead {
            chunks,
            current: Vec::new().into_iter(),
            fraction: None,
            few: false,
            ended: false,
        };
        let batch = reader.batch();
        assert!(batch.broken.is_some() && !batch.ended, "{batch:?}");
    }
}
