//! Prints a verdict on standard output, as JSON or as text for people.

use std::io::{self, StdoutLock, Write as _};

use serde_json::Value;

/// Prints `json` if there is one. Otherwise calls `write`.
///
/// # Errors
///
/// Fails if standard output cannot be written.
pub fn print(
    json: Option<&Value>,
    write: impl FnOnce(&mut StdoutLock<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        Some(json) => writeln!(out, "{json:#}")?,
        None => write(&mut out)?,
    }
    out.flush()
}
