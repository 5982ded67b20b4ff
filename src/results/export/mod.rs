//! The records that count, as one file each for other programs.
//!
//! They are written as they are read: memory does not grow with them.

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

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To standard output.
    Stdout,
    /// There.
    File(PathBuf),
}

impl Target {
    /// What an argument means: `-` is standard output.
    #[must_use]
    pub fn from_argument(argument: PathBuf) -> Self {
        if argument == Path::new("-") {
            Self::Stdout
        } else {
            Self::File(argument)
        }
    }
}

/// A file on its way, which knows its name.
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
    /// Makes sure that it can be written, before the time is spent on what is in it. `log` is the
    /// run log, whose place nothing may take.
    ///
    /// # Errors
    ///
    /// If it cannot.
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

    /// Puts it in its place.
    ///
    /// # Errors
    ///
    /// If it cannot be written to its end.
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

/// Everything that is to be written.
#[derive(Debug, Default)]
pub struct Exports {
    /// As a table.
    pub csv: Option<Csv>,
    /// As one JSON document.
    pub json: Option<Json>,
}

impl Exports {
    /// Whether nothing is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.csv.is_none() && self.json.is_none()
    }

    /// Writes what comes before the records.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn begin(&mut self, summary: &Summary) -> Result<(), ResultsError> {
        self.json
            .as_mut()
            .map_or(Ok(()), |json| json.begin(summary))
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn add(&mut self, record: &Record) -> Result<(), ResultsError> {
        if let Some(csv) = &mut self.csv {
            csv.add(record)?;
        }
        self.json.as_mut().map_or(Ok(()), |json| json.add(record))
    }

    /// Puts the files in their places.
    ///
    /// # Errors
    ///
    /// If one cannot be written to its end.
    pub fn finish(self) -> Result<(), ResultsError> {
        if let Some(csv) = self.csv {
            csv.finish()?;
        }
        self.json.map_or(Ok(()), Json::finish)
    }
}
