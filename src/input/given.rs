//! Interprets the arguments of a command line: lists, standard input, or URLs.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::LineError;
use super::fed::Fed;
use super::naming::file_name_without_key;
use super::target;

/// Stands for the name of a list in messages about URLs on the command line.
const ON_COMMAND_LINE: &str = "the command line";

/// The list that is read if the command line names none.
const UNNAMED: &str = "urls.txt";

/// The list that may be used if none is named and none exists.
pub(super) const BUILT_IN: &[u8] = include_bytes!("../../urls.txt");

/// A source of URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or anything that reads like one (a named pipe).
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The command line.
    Urls(Vec<GivenUrl>),
    /// The list inside the program: public documents, for trying the program.
    BuiltIn,
    /// This program: this member's share of a fleet's list.
    Fed(Fed),
}

/// A URL on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUrl {
    /// The URL as it was typed.
    pub url: String,
    /// The name of its file, relative to the output folder. `None`: it is named as in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
}

impl GivenUrl {
    /// Creates a URL whose file is named as in a list.
    ///
    /// # Errors
    ///
    /// Fails if the URL cannot be downloaded.
    pub fn new(text: String) -> Result<Self, LineError> {
        target::parse_url(&text)?;
        Ok(Self {
            url: text,
            out: None,
        })
    }

    /// Returns the last part of the URL's path as a file name, or the host if the path is empty.
    /// Other URLs can have the same name.
    #[must_use]
    pub fn plain_name(&self) -> Option<String> {
        let url = target::parse_url(&self.url).ok()?;
        Some(file_name_without_key(&url))
    }
}

impl Source {
    /// Returns the source for an empty command line: urls.txt, or the built-in list if allowed.
    #[must_use]
    pub fn unnamed(or_built_in: bool) -> Self {
        match or_built_in && !Path::new(UNNAMED).exists() {
            true => Self::BuiltIn,
            false => Self::File(UNNAMED.into()),
        }
    }

    /// Returns the path if the source is a file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdin | Self::Urls(_) | Self::BuiltIn | Self::Fed(_) => None,
        }
    }

    /// Interprets arguments: `-` is standard input, an argument with a scheme is a URL, and any
    /// other is a file. Consecutive URLs are one source.
    ///
    /// # Errors
    ///
    /// Fails if a URL cannot be downloaded.
    pub fn from_arguments(
        arguments: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Vec<Self>, LineError> {
        let mut sources = Vec::new();
        for argument in arguments {
            if argument == Path::new("-") {
                sources.push(Self::Stdin);
                continue;
            }
            match argument.to_str().filter(|text| has_scheme(text)) {
                Some(text) => {
                    let url = GivenUrl::new(text.to_owned())?;
                    match sources.last_mut() {
                        Some(Self::Urls(urls)) => urls.push(url),
                        Some(Self::File(_) | Self::Stdin | Self::BuiltIn | Self::Fed(_)) | None => {
                            sources.push(Self::Urls(vec![url]));
                        }
                    }
                }
                None => sources.push(Self::File(argument)),
            }
        }
        Ok(sources)
    }
}

/// The name in messages: the path, or `<stdin>`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("<stdin>"),
            Self::Urls(_) => f.write_str(ON_COMMAND_LINE),
            Self::BuiltIn => f.write_str("the built-in list"),
            Self::Fed(_) => f.write_str("the list of the fleet"),
        }
    }
}

/// Returns the position of a line in a list for messages: `urls.txt:17`. URLs on the command line
/// have no line number.
#[must_use]
pub fn position(list: &str, line: u64) -> String {
    match list {
        ON_COMMAND_LINE => ON_COMMAND_LINE.to_owned(),
        list => format!("{list}:{line}"),
    }
}

/// Returns whether the text begins with a scheme (RFC 3986 section 3.1). A file with this kind of
/// name can be given as `./` and the name.
fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Returns URLs as a list in JSONL.
pub(super) fn to_jsonl(urls: &[GivenUrl]) -> String {
    let mut text = String::new();
    for url in urls {
        // Plain text cannot fail to serialise.
        text.push_str(&serde_json::to_string(url).unwrap_or_default());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(arguments: &[&str]) -> Vec<Source> {
        Source::from_arguments(arguments.iter().map(PathBuf::from)).expect("valid")
    }

    fn urls(urls: &[&str]) -> Source {
        let given = |url: &&str| GivenUrl::new((*url).to_owned()).expect("valid");
        Source::Urls(urls.iter().map(given).collect())
    }

    #[test]
    fn lists_and_urls_keep_their_order() {
        let mixed = ["https://h/a", "HTTP://h/b", "x.txt", "https://h/c", "-"];
        assert_eq!(
            sources(&mixed),
            [
                urls(&["https://h/a", "HTTP://h/b"]),
                Source::File("x.txt".into()),
                urls(&["https://h/c"]),
                Source::Stdin,
            ]
        );
        assert_eq!(
            sources(&["./https:/h"]),
            [Source::File("./https:/h".into())]
        );
    }

    #[test]
    fn a_url_that_cannot_be_downloaded_is_an_error_at_once() {
        for wrong in ["ftp://h/a", "https://", "http://h:x/", "https://h/\tx"] {
            let given = Source::from_arguments([PathBuf::from(wrong)]);
            assert!(given.is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plain_name_is_that_of_a_list_without_its_key() {
        for (url, name) in [
            ("https://h.example/a/x.pdf?page=2", "x.pdf"),
            ("https://h.example/x.tar.gz", "x.tar.gz"),
            ("https://h.example/", "h.example"),
            ("https://h.example/.htaccess", "htaccess"),
            ("https://h.example/con", "_con"),
            ("https://h.example/con.foo.txt", "_con.foo.txt"),
            ("https://h.example/..%2F..%2Fetc", "_.._etc"),
        ] {
            let given = GivenUrl::new(url.to_owned()).expect("valid");
            assert_eq!(given.plain_name().as_deref(), Some(name), "{url}");
        }
    }
}
