//! What the arguments of a command line mean: lists, standard input, or URLs.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::LineError;
use super::naming::file_name_without_key;
use super::target;

/// The name of the URLs on the command line in messages, in place of that of a list.
const ON_COMMAND_LINE: &str = "the command line";

/// The list that is read if nothing is named.
const UNNAMED: &str = "urls.txt";

/// The list that may be used where none is named and none is there.
pub(super) const BUILT_IN: &[u8] = include_bytes!("../../urls.txt");

/// Where URLs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or anything that reads like one (a named pipe).
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The command line.
    Urls(Vec<GivenUrl>),
    /// The list that is part of the program: public documents, to try it on.
    BuiltIn,
}

/// A URL on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUrl {
    /// As it was typed.
    pub url: String,
    /// The name of its file, relative to the output folder, unless that is to be made as in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
}

impl GivenUrl {
    /// A URL whose file is named as in a list.
    ///
    /// # Errors
    ///
    /// It cannot be downloaded.
    pub fn new(text: String) -> Result<Self, LineError> {
        target::parse_url(&text)?;
        Ok(Self {
            url: text,
            out: None,
        })
    }

    /// The last part of the URL's path as the name of a file, or the host where the path is empty.
    /// Other URLs can have the same name.
    #[must_use]
    pub fn plain_name(&self) -> Option<String> {
        let url = target::parse_url(&self.url).ok()?;
        Some(file_name_without_key(&url))
    }
}

impl Source {
    /// What no argument means. Where there is no such list, it may be the built-in one.
    #[must_use]
    pub fn unnamed(or_built_in: bool) -> Self {
        match or_built_in && !Path::new(UNNAMED).exists() {
            true => Self::BuiltIn,
            false => Self::File(UNNAMED.into()),
        }
    }

    /// The file that is read, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdin | Self::Urls(_) | Self::BuiltIn => None,
        }
    }

    /// What arguments mean: `-` is standard input, what has a scheme is a URL, anything else a file.
    /// URLs that follow each other are one source.
    ///
    /// # Errors
    ///
    /// A URL that cannot be downloaded.
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
                        Some(Self::File(_) | Self::Stdin | Self::BuiltIn) | None => {
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
        }
    }
}

/// Where a line of the list of this name is, for messages: `urls.txt:17`. URLs on the command line
/// have no lines.
#[must_use]
pub fn position(list: &str, line: u64) -> String {
    match list {
        ON_COMMAND_LINE => ON_COMMAND_LINE.to_owned(),
        list => format!("{list}:{line}"),
    }
}

/// Whether the text begins as a URL does (RFC 3986 section 3.1). A file of such a name is `./` and
/// the name.
fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// URLs as a list in JSONL.
pub(super) fn to_jsonl(urls: &[GivenUrl]) -> String {
    let mut text = String::new();
    for url in urls {
        // Text and nothing else: it cannot fail.
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
