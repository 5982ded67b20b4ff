//! Help on a topic, shell completions and manual pages.
//!
//! All are generated from the clap types, so they always agree with `--help`. Hidden options and
//! commands are left out. This module must not decide what an option means.

mod help;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::{Generator as _, Shell};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Cli;
pub use help::{NoTopic, on as help_on, whole as whole_help};

/// Date of the last change to the manual.
const DATE: &str = "2026-11-27";

/// Longest line in the source of a page, in bytes.
const LINE: usize = 80;

/// Why the pages could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Stdout(#[from] io::Error),
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}; name a folder that can be written to (--dir)", .path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Writes the completions for a shell.
///
/// # Errors
///
/// Fails if `out` cannot be written.
pub fn completions(shell: Shell, out: &mut impl Write) -> Result<(), ManualError> {
    let mut command = visible();
    command.set_bin_name(command.get_name().to_owned());
    command.build();
    let mut script = Vec::new();
    shell.try_generate(&command, &mut script)?;
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// Writes a text to standard output.
///
/// # Errors
///
/// Fails if standard output cannot be written.
pub fn print(text: &str) -> Result<(), ManualError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    Ok(out.flush()?)
}

/// Writes the page of the main command.
///
/// # Errors
///
/// Fails if `out` cannot be written.
pub fn page(out: &mut impl Write) -> Result<(), ManualError> {
    let text = render(&visible())?;
    out.write_all(&text)?;
    Ok(out.flush()?)
}

/// Writes a page for each command into `folder`, which is created if it does not exist.
///
/// # Errors
///
/// Fails at the first page that cannot be written. The pages before it remain.
pub fn pages(folder: &Path) -> Result<(), ManualError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ManualError::File { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut command = visible();
    command.build();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = folder.join(format!("{name}.1"));
        let text = render(command)?;
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

/// Returns the command without its hidden parts, which shells would otherwise offer.
fn visible() -> Command {
    let whole = Cli::command();
    let shown = whole.get_subcommands().filter(|sub| !sub.is_hide_set());
    let mut command = Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(whole.get_arguments())
        .subcommands(shown);
    if let Some(about) = whole.get_about() {
        command = command.about(about.clone());
    }
    if let Some(about) = whole.get_long_about() {
        command = command.long_about(about.clone());
    }
    if let Some(help) = whole.get_after_help() {
        command = command.after_help(help.clone());
    }
    command
}

fn render(command: &Command) -> io::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone())
        .title(name.to_ascii_uppercase())
        .date(DATE)
        .source(concat!("coordinator ", env!("CARGO_PKG_VERSION")))
        .manual("coordinator");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    if let Some(help) = command.get_after_help() {
        sections(&help.to_string()).to_writer(&mut out)?;
    }
    Ok(tidied(&String::from_utf8_lossy(&out)).into_bytes())
}

/// Returns the page as mandoc(1) asks for it: short lines, and no repeated paragraph breaks.
fn tidied(page: &str) -> String {
    let page = page.replace("\n.br\n\n.br\n", "\n.sp\n");
    let mut out = String::with_capacity(page.len());
    let mut is_tag = false;
    for line in page.lines().map(str::trim_end) {
        if is_tag || line.starts_with(['.', '\'']) {
            out.push_str(line);
        } else {
            wrap(line, &mut out);
        }
        out.push('\n');
        is_tag = line == ".TP";
    }
    out
}

/// Breaks a line of text at spaces, but never where the next line would look like a request.
fn wrap(line: &str, out: &mut String) {
    let mut width = 0;
    for (place, word) in line.split(' ').enumerate() {
        let looks_like_request = word.starts_with(['.', '\'']);
        if width + word.len() >= LINE && width > 0 && !looks_like_request {
            out.push('\n');
            width = 0;
        } else if place > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.len();
    }
}

/// Converts the text after the options in `--help` to sections of a page. A line that ends with a
/// colon is a heading. An indented line is an entry. Its description follows after two spaces, or
/// on a line that is indented further.
fn sections(help: &str) -> Roff {
    let mut roff = Roff::new();
    let mut begun = false;
    let mut after_blank = false;
    for line in help.lines() {
        // Text that is neither a heading nor an entry starts a new paragraph.
        if std::mem::take(&mut after_blank) && !line.ends_with(':') && !line.starts_with(' ') {
            roff.control("PP", []);
        }
        if let Some(heading) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            roff.control("SH", [heading.to_uppercase().as_str()]);
        } else if let Some(text) = line.strip_prefix("      ") {
            roff.text([roman(text)]);
        } else if let Some(entry) = line.strip_prefix("  ") {
            let (term, text) = entry.split_once("  ").unwrap_or((entry, ""));
            roff.control("TP", []);
            roff.text([bold(term)]);
            if !text.is_empty() {
                roff.text([roman(text.trim_start())]);
            }
        } else if line.is_empty() {
            after_blank = begun;
        } else {
            if !begun {
                roff.control("SH", ["NOTES"]);
            }
            roff.text([roman(line)]);
        }
        begun = true;
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_options_becomes_sections_with_entries() {
        let help =
            "Note.\n\nExit status:\n  0    good\n  130  bad, 143 too\nMore:\n  a\n      says";
        let text = sections(help).to_roff();
        let expected = [
            ".SH NOTES",
            "Note.",
            ".SH \"EXIT STATUS\"",
            "\\fB0\\fR",
            "good",
            "\\fB130\\fR",
            "bad, 143 too",
            ".SH MORE",
            "\\fBa\\fR",
            "says",
        ];
        let mut lines = text.lines();
        for part in expected {
            assert!(
                lines.any(|line| line == part),
                "{part} is not in order in:\n{text}"
            );
        }
    }

    #[test]
    fn what_is_hidden_is_not_documented_and_all_else_is() {
        let whole = Cli::command();
        let shown = visible();
        let names: Vec<_> = shown.get_subcommands().map(Command::get_name).collect();
        for command in whole.get_subcommands() {
            let name = command.get_name();
            let is_hidden = ["worker", "runner", "attacked", "bare-calls"].contains(&name);
            assert_eq!(names.contains(&name), !is_hidden, "{name}");
        }
        assert_eq!(shown.get_arguments().count(), whole.get_arguments().count());
    }
}
