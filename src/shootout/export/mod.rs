//! The results as files. Each is written completely or not at all.
//!
//! This module must not compute figures. It only writes them.

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

/// Checks that every result can be written, before the shootout begins.
///
/// # Errors
///
/// Fails if a file cannot be created in its folder.
pub fn writable(args: &ExportArgs) -> Result<(), ShootoutError> {
    for (path, _) in wanted(args) {
        WholeFile::create(path).map_err(|source| error(path, source))?;
    }
    Ok(())
}

/// Writes every requested result, and prints its path unless `quiet` is set.
///
/// # Errors
///
/// Fails if a result cannot be written. The results before it are kept.
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
            // If this fails, the error cannot be reported, but the file exists.
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
