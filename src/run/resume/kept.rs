//! The index in a file of its own beside the run log, so that the next run does not read all of the
//! log again.
//!
//! The file says of which bytes of the log it was made, and counts only for a log that begins with just
//! these: their number and their checksum (CRC-32C) are compared. Whoever edits the log has an index
//! that does not fit, and then the log is read as if there were none; as after a crash that left the
//! file torn, which its own checksum tells. So nothing depends on it but time.
//!
//! ```text
//!   tasks, sorted by key | owners, sorted by place | footer: which bytes of the log, how many entries | checksum
//! ```
//!
//! This module does not know what entries say.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use crc32c::crc32c_append;

use crate::disk_map::DiskMap;
use crate::folder::{Folder, OwnFolder, Replace};

/// The file, beside the run log.
pub(in crate::run) const FILE: &str = "results.index";

/// The file that takes its place.
const NEW: &str = "results.index.new";

/// What the footer begins with: what it is, and the version of its format.
const MAGIC: [u8; 16] = *b"run log index 1\n";

/// Numbers in a footer.
const NUMBERS: usize = 10;

/// Bytes of the footer, and of the checksum behind it.
const FOOTER: usize = MAGIC.len() + NUMBERS * 8;
const SUM: usize = 4;

/// Bytes of the log that are read at a time to be summed.
const PIECE: usize = 1024 * 1024;

/// Stands for a number that there is not.
const NONE: u64 = u64::MAX;

/// The beginning of a run log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// So many bytes.
    pub(super) bytes: u64,
    /// Their checksum.
    pub(super) sum: u32,
}

/// What an index knows of the log beside the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// How many bytes of the log were read, all of them whole lines.
    pub(super) end: u64,
    /// How many lines.
    pub(super) lines: u64,
    /// How many of them are records of finished tasks.
    pub(super) records: u64,
    /// How many are no records.
    pub(super) unreadable: u64,
    /// The first of these: how many lines are before it, and how many bytes.
    pub(super) first_problem: Option<(u64, u64)>,
    /// Where the last record is of a stored file that neither its list nor its server named.
    pub(super) last_unnamed: Option<u64>,
}

/// What was found in the file.
#[derive(Debug)]
pub(super) struct Kept<const T: usize, const O: usize> {
    pub(super) tasks: DiskMap<T>,
    pub(super) owners: DiskMap<O>,
    pub(super) facts: Facts,
    /// The part of the log that it was made from.
    pub(super) extent: Extent,
}

impl Extent {
    /// As far as so many bytes, of which this is a part.
    pub(super) fn to(self, log: &File, bytes: u64) -> io::Result<Self> {
        let mut extent = self;
        let mut piece = vec![0; PIECE];
        while extent.bytes < bytes {
            let most = usize::try_from(bytes - extent.bytes).map_or(PIECE, |left| left.min(PIECE));
            let read = log.read_at(&mut piece[..most], extent.bytes)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            extent.sum = crc32c_append(extent.sum, &piece[..read]);
            extent.bytes += read as u64;
        }
        Ok(extent)
    }
}

impl<const T: usize, const O: usize> Kept<T, O> {
    /// Reads the file, if it is whole and of the log, of which `known` need not be read, into maps like
    /// these empty ones.
    ///
    /// # Errors
    ///
    /// It is not, or something cannot be read.
    pub(super) fn open(
        file: File,
        log: &File,
        known: Option<Extent>,
        empty: (&DiskMap<T>, &DiskMap<O>),
    ) -> io::Result<Self> {
        let unfit = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let length = file.metadata()?.len();
        let entries_end = length
            .checked_sub((FOOTER + SUM) as u64)
            .ok_or_else(|| unfit("it is too short"))?;
        let (mut footer, mut sum_found) = ([0; FOOTER], [0; SUM]);
        file.read_exact_at(&mut footer, entries_end)?;
        file.read_exact_at(&mut sum_found, entries_end + FOOTER as u64)?;
        let (facts, extent, tasks, owners) =
            decode(&footer).ok_or_else(|| unfit("it is of another format"))?;
        let tasks_end = DiskMap::<T>::bytes_of(tasks);
        let owners_bytes = DiskMap::<O>::bytes_of(owners);
        let (Some(tasks_end), Some(owners_bytes)) = (tasks_end, owners_bytes) else {
            return Err(unfit("it is too short"));
        };
        if tasks_end.checked_add(owners_bytes) != Some(entries_end) {
            return Err(unfit("its length is not what it says"));
        }
        if log.metadata()?.len() < extent.bytes {
            return Err(unfit("the run log is shorter"));
        }
        let mut sum = 0;
        let mut seen = |bytes: &[u8]| sum = crc32c_append(sum, bytes);
        let again = file.try_clone()?;
        let tasks = empty.0.open(again, 0, tasks, &mut seen)?;
        let owners = empty.1.open(file, tasks_end, owners, &mut seen)?;
        if crc32c_append(sum, &footer).to_le_bytes() != sum_found {
            return Err(unfit("it is damaged"));
        }
        if known != Some(extent) && Extent::default().to(log, extent.bytes)? != extent {
            return Err(unfit("it is not of this run log"));
        }
        Ok(Self {
            tasks,
            owners,
            facts,
            extent,
        })
    }
}

/// Puts a file with these entries in place, and asks them there from now on.
pub(super) fn keep<const T: usize, const O: usize>(
    own: &OwnFolder,
    tasks: &mut DiskMap<T>,
    owners: &mut DiskMap<O>,
    facts: Facts,
    extent: Extent,
) -> io::Result<()> {
    let folder = own.as_folder();
    let mut file = folder.renew(NEW)?;
    let mut sum = 0;
    let mut seen = |bytes: &[u8]| sum = crc32c_append(sum, bytes);
    tasks.seal_into(file.try_clone()?, &mut seen)?;
    owners.seal_into(file.try_clone()?, &mut seen)?;
    let entries = [tasks.entries(), owners.entries()].map(Option::unwrap_or_default);
    let mut end = encode(facts, extent, entries).to_vec();
    end.extend_from_slice(&crc32c_append(sum, &end).to_le_bytes());
    file.write_all(&end)?;
    folder.rename(NEW, folder, FILE, Replace::Yes)
}

/// Removes what a run that was killed left of a file that it was writing.
pub(super) fn tidy(folder: &Folder) {
    match folder.remove_file(NEW) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(%error, "half an index is left");
        }
        Ok(()) | Err(_) => {}
    }
}

fn encode(facts: Facts, extent: Extent, [tasks, owners]: [u64; 2]) -> [u8; FOOTER] {
    let (problem_lines, problem_bytes) = facts.first_problem.unwrap_or((NONE, NONE));
    let numbers: [u64; NUMBERS] = [
        extent.bytes,
        extent.sum.into(),
        facts.lines,
        facts.records,
        facts.unreadable,
        problem_lines,
        problem_bytes,
        facts.last_unnamed.unwrap_or(NONE),
        tasks,
        owners,
    ];
    let mut footer = [0; FOOTER];
    let (magic, rest) = footer.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    for (place, number) in rest.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    footer
}

fn decode(footer: &[u8; FOOTER]) -> Option<(Facts, Extent, u64, u64)> {
    let (magic, rest) = footer.split_at(MAGIC.len());
    let mut numbers = [0; NUMBERS];
    for (number, place) in numbers.iter_mut().zip(rest.chunks_exact(8)) {
        *number = u64::from_le_bytes(place.try_into().ok()?);
    }
    let [
        bytes,
        sum,
        lines,
        records,
        unreadable,
        problem_lines,
        problem_bytes,
        last_unnamed,
        tasks,
        owners,
    ] = numbers;
    let some = |number: u64| Some(number).filter(|&number| number != NONE);
    let facts = Facts {
        end: bytes,
        lines,
        records,
        unreadable,
        first_problem: some(problem_lines).zip(some(problem_bytes)),
        last_unnamed: some(last_unnamed),
    };
    let sum = u32::try_from(sum).ok()?;
    (magic == MAGIC).then_some((facts, Extent { bytes, sum }, tasks, owners))
}
