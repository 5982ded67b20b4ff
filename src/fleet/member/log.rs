//! Reads the member's own run log: the outcome of each target, and new records.
//!
//! Must not write: the run writes the log.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::disk_map::DiskMap;
use crate::fleet::FleetError;
use crate::fleet::chain;
use crate::fleet::lease::Partition;
use crate::input::{Ticket, UrlKey};
use crate::run::log::{Layout, Log, Outcome};

/// Number of bytes per read. A line may be longer.
const PIECE: usize = 256 * 1024;

/// Number of bytes in which a line must end. Reading stops before a longer line.
const LONGEST: usize = 4 * 1024 * 1024;

/// The fields of a line that are used here.
#[derive(Debug, Deserialize)]
struct Noted {
    url: String,
    outcome: Outcome,
    #[serde(default)]
    out: Option<String>,
    #[serde(default)]
    range: Option<String>,
    #[serde(default)]
    fleet: Option<Ticket>,
}

impl Noted {
    fn key(&self) -> UrlKey {
        UrlKey::of_task(&self.url, self.range.as_deref(), self.out.as_deref())
    }

    /// Returns whether this outcome is final for the target in this run.
    fn is_final(&self, run: &str) -> bool {
        match self.outcome {
            Outcome::Stored | Outcome::Unchanged | Outcome::Quarantined => true,
            // A failure in another run does not count: this run may succeed.
            Outcome::Failed => self.fleet.as_ref().is_some_and(|ticket| ticket.run == run),
            Outcome::Duplicate | Outcome::Fenced => false,
        }
    }
}

/// The run log of this member.
#[derive(Debug)]
pub(super) struct OwnLog {
    output: PathBuf,
    run: String,
    file: Option<File>,
    /// Offset of the first line that was not read.
    next: u64,
    /// Offset of the line of each target that has its outcome.
    lines: DiskMap<8>,
}

impl OwnLog {
    /// Opens the log in that output folder, which may not exist yet, and reads it to its end. Also
    /// returns its outcomes in this run from the offset `told` on, as lines of a chain.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read.
    pub(super) fn open(
        output: PathBuf,
        run: String,
        told: u64,
    ) -> Result<(Self, Vec<(Partition, String)>), FleetError> {
        let mut log = Self {
            output,
            run,
            file: None,
            next: 0,
            lines: DiskMap::new(std::env::temp_dir()),
        };
        let (run, mut untold) = (log.run.clone(), Vec::new());
        log.each(|at, noted, line| {
            if let Some(ticket) = noted.fleet.as_ref().filter(|ticket| ticket.run == run)
                && noted.is_final(&run)
                && at >= told
            {
                let line = chain::recorded(ticket.task, line);
                untold.push((Partition(ticket.partition), line));
            }
        })?;
        Ok((log, untold))
    }

    /// Returns the offset up to which the log was read.
    pub(super) const fn position(&self) -> u64 {
        self.next
    }

    /// Reads new lines. Calls `tell` with the line of each target that has its outcome, and without
    /// a line for each target whose body was refused.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read.
    pub(super) fn follow(
        &mut self,
        mut tell: impl FnMut(UrlKey, Option<&str>),
    ) -> Result<(), FleetError> {
        let is_fenced = |noted: &Noted| noted.outcome == Outcome::Fenced;
        self.each(|_, noted, line| tell(noted.key(), (!is_fenced(noted)).then_some(line)))
    }

    /// Calls `tell` for each outcome and each refusal, with the offset of its line.
    fn each(&mut self, mut tell: impl FnMut(u64, &Noted, &str)) -> Result<(), FleetError> {
        if self.file.is_none() {
            self.file = open(&self.output)?;
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut piece = vec![0; PIECE];
        loop {
            let length = file.read_at(&mut piece, self.next).map_err(unreadable)?;
            let Some(end) = memchr::memrchr(b'\n', &piece[..length]) else {
                if length == piece.len() && length < LONGEST {
                    piece.resize(2 * length, 0);
                    continue;
                }
                return Ok(());
            };
            for line in piece[..=end].split_inclusive(|byte| *byte == b'\n') {
                let at = self.next;
                self.next += line.len() as u64;
                // A line that is not a record is ignored, as the run does.
                let Ok(text) = std::str::from_utf8(line) else {
                    continue;
                };
                let Ok(noted) = serde_json::from_str::<Noted>(text) else {
                    continue;
                };
                let is_final = noted.is_final(&self.run);
                if is_final {
                    self.lines
                        .insert(*noted.key().as_bytes(), at.to_be_bytes())?;
                }
                if is_final || noted.outcome == Outcome::Fenced {
                    tell(at, &noted, text.trim_end());
                }
            }
        }
    }

    /// Returns the line of a target, if it has its outcome.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read.
    pub(super) fn known(&self, key: &UrlKey) -> Result<Option<String>, FleetError> {
        let Some(at) = self.lines.get(key.as_bytes())? else {
            return Ok(None);
        };
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let mut piece = vec![0; 2048];
        loop {
            let length = file
                .read_at(&mut piece, u64::from_be_bytes(at))
                .map_err(unreadable)?;
            match memchr::memchr(b'\n', &piece[..length]) {
                Some(end) => return Ok(std::str::from_utf8(&piece[..end]).ok().map(str::to_owned)),
                None if length < piece.len() || length >= LONGEST => return Ok(None),
                None => piece.resize(2 * length, 0),
            }
        }
    }
}

/// Calls `tell` for each target that is done according to the run log in a folder.
///
/// # Errors
///
/// Fails if the log cannot be read, or if `tell` fails.
pub(in crate::fleet) fn each_done(
    output: &Path,
    mut tell: impl FnMut(&UrlKey) -> Result<(), FleetError>,
) -> Result<(), FleetError> {
    let mut problem = Ok(());
    let mut log = OwnLog {
        output: output.to_owned(),
        run: String::new(),
        file: None,
        next: 0,
        lines: DiskMap::new(std::env::temp_dir()),
    };
    log.follow(|key, line| {
        if line.is_some() && problem.is_ok() {
            problem = tell(&key);
        }
    })?;
    if log.file.is_none() {
        let folder = output.display();
        return Err(FleetError::Log(format!(
            "there is none in {folder} (--reconcile)"
        )));
    }
    problem
}

fn open(output: &Path) -> Result<Option<File>, FleetError> {
    let layout = Layout::look(output).map_err(|error| FleetError::Log(error.to_string()))?;
    layout
        .open_log(Log::Results)
        .map_err(|error| FleetError::Log(error.to_string()))
}

fn unreadable(error: std::io::Error) -> FleetError {
    FleetError::Log(error.to_string())
}
