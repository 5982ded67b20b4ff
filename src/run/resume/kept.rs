//! The index in a file beside the run log, so that the next run need not read the whole log again.
//!
//! The file names the bytes of the log that it covers, by their number and their checksum
//! (CRC-32C). It is used only for a log that begins with exactly these bytes. If the log was
//! edited, or if a crash left the file torn, which its own checksum shows, the log is read as if
//! there were no index. A wrong or missing file therefore only costs time.
//!
//! ```text
//!   tasks, sorted by key | owners, sorted by place | footer: which bytes of the log, how many entries | checksum
//! ```
//!
//! This module does not know what the entries mean.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use crc32c::crc32c_append;

use crate::disk_map::DiskMap;
use crate::folder::{Folder, OwnFolder, Replace};

/// The name of the file, beside the run log.
pub(in crate::run) const FILE: &str = "results.index";

/// The name of a new file, before it replaces the old one.
const NEW: &str = "results.index.new";

/// The start of the footer: the kind of file, and the version of its format.
const MAGIC: [u8; 16] = *b"run log index 1\n";

/// Number of numbers in a footer.
const NUMBERS: usize = 10;

/// Size of the footer, and of the checksum behind it, in bytes.
const FOOTER: usize = MAGIC.len() + NUMBERS * 8;
const SUM: usize = 4;

/// Bytes of the log that are read at a time for the checksum.
const PIECE: usize = 1024 * 1024;

/// Stands for a number that does not exist.
const NONE: u64 = u64::MAX;

/// A part of a run log from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Number of bytes.
    pub(super) bytes: u64,
    /// Their checksum.
    pub(super) sum: u32,
}

/// What an index stores about the log besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Number of bytes of the log that were read, all of them whole lines.
    pub(super) end: u64,
    /// Number of lines.
    pub(super) lines: u64,
    /// Number of lines that are records of finished tasks.
    pub(super) records: u64,
    /// Number of lines that are not records.
    pub(super) unreadable: u64,
    /// The first of these: the number of lines and of bytes before it.
    pub(super) first_problem: Option<(u64, u64)>,
    /// The position of the last record of a stored file that neither the list nor the server named.
    pub(super) last_unnamed: Option<u64>,
}

/// The contents of the file.
#[derive(Debug)]
pub(super) struct Kept<const T: usize, const O: usize> {
    pub(super) tasks: DiskMap<T>,
    pub(super) owners: DiskMap<O>,
    pub(super) facts: Facts,
    /// The part of the log that it covers.
    pub(super) extent: Extent,
}

impl Extent {
    /// Extends this extent to `bytes` bytes of the log.
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
    /// Opens the file into maps with the settings of these empty ones, if the file is whole and
    /// belongs to the log. If it covers exactly `known`, the log is not read to check that.
    ///
    /// # Errors
    ///
    /// Fails if the file is not whole, belongs to another log, or cannot be read, or if the log
    /// cannot be read.
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

/// Writes these entries to a new file, puts it in place, and reads the entries from it afterwards.
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

/// Removes an unfinished file that a killed run left.
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
