//! Exports the records that count to files for other programs.
//!
//! Records are written as they are read, so memory does not grow with them.

mod csv;
mod json;

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::ResultsError;
use super::summary::Summary;
use crate::run::log::Record;
use crate::whole_file::WholeFile;

pub use self::csv::Csv;
pub use self::json::Json;

/// The destination of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file at this path.
    File(PathBuf),
}

impl Target {
    /// Parses an argument: `-` means standard output.
    #[must_use]
    pub fn from_argument(argument: PathBuf) -> Self {
        if argument == Path::new("-") {
            Self::Stdout
        } else {
            Self::File(argument)
        }
    }
}

/// A file that is being written, with its name.
#[derive(Debug)]
pub struct Out {
    to: To,
    name: String,
}

#[derive(Debug)]
enum To {
    Stdout(BufWriter<StdoutLock<'static>>),
    File(WholeFile),
}

impl Out {
    /// Opens the target, so that an error shows before the records are read. `log` is the run log,
    /// which must not be overwritten.
    ///
    /// # Errors
    ///
    /// Fails if the target cannot be opened, or if it is the run log.
    pub fn open(target: &Target, log: &File) -> Result<Self, ResultsError> {
        match target {
            Target::Stdout => Ok(Self {
                to: To::Stdout(BufWriter::new(io::stdout().lock())),
                name: "standard output".to_owned(),
            }),
            Target::File(path) => {
                let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
                if let (Ok(there), Ok(log)) = (path.metadata(), log.metadata())
                    && same(&there, &log)
                {
                    let path = path.clone();
                    return Err(ResultsError::OverLog { path });
                }
                let name = path.display().to_string();
                match WholeFile::create(path) {
                    Ok(file) => Ok(Self {
                        to: To::File(file),
                        name,
                    }),
                    Err(source) => Err(ResultsError::Write { what: name, source }),
                }
            }
        }
    }

    /// Puts the file in place.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written to its end.
    pub fn finish(self) -> Result<(), ResultsError> {
        let finished = match self.to {
            To::Stdout(mut out) => out.flush(),
            To::File(file) => file.finish(),
        };
        finished.map_err(|source| ResultsError::Write {
            what: self.name,
            source,
        })
    }

    fn failed(&self, source: io::Error) -> ResultsError {
        let what = self.name.clone();
        ResultsError::Write { what, source }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::Stdout(out) => out.write(bytes),
            To::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Stdout(out) => out.flush(),
            To::File(file) => file.flush(),
        }
    }
}

/// All requested exports.
#[derive(Debug, Default)]
pub struct Exports {
    /// The table.
    pub csv: Option<Csv>,
    /// The JSON document.
    pub json: Option<Json>,
}

impl Exports {
    /// Returns whether there are no exports.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.csv.is_none() && self.json.is_none()
    }

    /// Writes the parts before the records.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be written.
    pub fn begin(&mut self, summary: &Summary) -> Result<(), ResultsError> {
        self.json
            .as_mut()
            .map_or(Ok(()), |json| json.begin(summary))
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn add(&mut self, record: &Record) -> Result<(), ResultsError> {
        if let Some(csv) = &mut self.csv {
            csv.add(record)?;
        }
        self.json.as_mut().map_or(Ok(()), |json| json.add(record))
    }

    /// Puts the files in place.
    ///
    /// # Errors
    ///
    /// Fails if one cannot be written to its end.
    pub fn finish(self) -> Result<(), ResultsError> {
        if let Some(csv) = self.csv {
            csv.finish()?;
        }
        self.json.map_or(Ok(()), Json::finish)
    }
}
