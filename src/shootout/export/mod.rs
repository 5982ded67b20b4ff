//! The results as files, each written whole or not at all.
//!
//! It must not compute figures, only write them.

mod csv;
mod json;
mod markdown;
mod trace;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::result::Shootout;
use super::{ShootoutError, report};
use crate::cli::shootout::ExportArgs;
use crate::whole_file::WholeFile;

type Writer = fn(&Shootout) -> Result<String, ShootoutError>;

fn wanted(args: &ExportArgs) -> impl Iterator<Item = (&PathBuf, Writer)> {
    let all: [(&Option<PathBuf>, Writer); 5] = [
        (&args.report, |shootout| Ok(report::page(shootout)?)),
        (&args.export_json, json::text),
        (&args.export_csv, csv::text),
        (&args.export_markdown, |shootout| {
            Ok(markdown::text(shootout))
        }),
        (&args.export_trace, trace::text),
    ];
    all.into_iter()
        .filter_map(|(path, writer)| Some((path.as_ref()?, writer)))
}

/// Makes sure that every result can be written, before the time is spent on having one.
///
/// # Errors
///
/// If a file cannot be made in its folder.
pub fn writable(args: &ExportArgs) -> Result<(), ShootoutError> {
    for (path, _) in wanted(args) {
        WholeFile::create(path).map_err(|source| error(path, source))?;
    }
    Ok(())
}

/// Writes every result that is asked for, and says where each is, unless it is to be `quiet`.
///
/// # Errors
///
/// If one cannot be written; those before it are.
pub fn write(args: &ExportArgs, shootout: &Shootout, quiet: bool) -> Result<(), ShootoutError> {
    for (path, writer) in wanted(args) {
        let text = writer(shootout)?;
        let save = || -> io::Result<()> {
            let mut file = WholeFile::create(path)?;
            file.write_all(text.as_bytes())?;
            file.finish()
        };
        save().map_err(|source| error(path, source))?;
        if !quiet {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            // Nobody to tell it to if that fails; the file is there.
            let _ = writeln!(io::stdout(), "written: {}", path.display());
        }
    }
    Ok(())
}

fn error(path: &Path, source: io::Error) -> ShootoutError {
    ShootoutError::Write {
        what: path.display().to_string(),
        source,
    }
}
