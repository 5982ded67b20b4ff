//! Errors in config files, and where they are.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A place in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) path: PathBuf,
    /// Line, counted from 1.
    pub(super) line: usize,
    /// Column, in characters, counted from 1.
    pub(super) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

impl Place {
    pub(super) fn wrong(&self, problem: impl Into<String>) -> Box<FileError> {
        Box::new(FileError::Line {
            at: self.clone(),
            problem: problem.into(),
        })
    }
}

/// Why a config file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the config file {}: {source}; name another (--config) or do without (--no-config)", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file as a whole cannot be used.
    #[error("cannot use the config file {}: {problem}", path.display())]
    File {
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A line of the file is wrong.
    #[error("{}:{}:{}: {problem}", at.path.display(), at.line, at.column)]
    Line {
        at: Place,
        /// What is wrong.
        problem: String,
    },
}
