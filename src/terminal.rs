//! What the user and the terminal decide about output: colours, characters, progress reports.
//!
//! This module must not write anything.

use std::env;
use std::ffi::OsString;
use std::str::FromStr;

use clap::ValueEnum;

/// The form of progress reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Drawn on a terminal, otherwise written as lines.
    #[default]
    Auto,
    /// Lines of text.
    Plain,
    /// JSON on standard error, which then carries nothing else.
    Json,
    /// JSON on this descriptor, which the parent process has opened.
    JsonTo(u32),
}

impl FromStr for Progress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            text => text
                .strip_prefix("json:")
                .and_then(|number| number.parse().ok())
                .map(Self::JsonTo)
                .ok_or(
                    "expected auto, plain, json, or json:N with the number of an open descriptor",
                ),
        }
    }
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set (no-color.org).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Returns whether a stream is coloured, given whether it is a terminal.
    #[must_use]
    pub fn is_on(self, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                is_terminal && !is_dumb() && env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
            }
        }
    }
}

/// Returns whether the terminal reports that it cannot move its cursor.
#[must_use]
pub fn is_dumb() -> bool {
    env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Returns whether the locale is limited to ASCII (POSIX, locale(7)).
#[must_use]
pub fn is_ascii() -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut values = names.iter().filter_map(env::var_os);
    is_ascii_locale(values.find(|value| !value.is_empty()))
}

fn is_ascii_locale(value: Option<OsString>) -> bool {
    let value = value.unwrap_or_default().to_string_lossy().to_lowercase();
    !(value.contains("utf-8") || value.contains("utf8"))
}

/// Colours text that reports a failure.
#[must_use]
pub fn red(text: &str) -> String {
    format!("\u{1b}[31m{text}\u{1b}[0m")
}

/// Colours text that needs attention.
#[must_use]
pub fn yellow(text: &str) -> String {
    format!("\u{1b}[33m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_goes_to_a_descriptor_by_number() {
        assert_eq!("json:3".parse(), Ok(Progress::JsonTo(3)));
        assert_eq!("json".parse(), Ok(Progress::Json));
        for wrong in ["", "json:", "json:x", "json:-1", "bar"] {
            assert!(wrong.parse::<Progress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_locale_in_utf_8_has_more_than_ascii() {
        for utf8 in ["C.UTF-8", "de_DE.utf8", "en_US.UTF-8"] {
            assert!(!is_ascii_locale(Some(utf8.into())), "{utf8}");
        }
        for ascii in ["C", "POSIX", "de_DE", "de_DE.ISO-8859-1"] {
            assert!(is_ascii_locale(Some(ascii.into())), "{ascii}");
        }
        assert!(is_ascii_locale(None));
    }
}
