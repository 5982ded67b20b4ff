//! The command of `--exec`: its words and their placeholders for facts about a file.
//!
//! Data only: this module starts nothing.

use std::ffi::OsString;
use std::time::Duration;

/// Maximum length of a command in bytes. It becomes arguments of a process.
pub const MAX_COMMAND: usize = 16 * 1024;

/// The program to run on each file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program: an absolute path.
    pub program: OsString,
    /// The words of the command as typed, with the name of the program first; a [`Template`].
    pub words: Vec<String>,
    /// Its time limit.
    pub timeout: Duration,
}

/// A command with placeholders for facts about a file. A placeholder is filled within its argument,
/// which is never split, so that a value cannot add an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The name of the program as typed.
    pub name: String,
    /// Its arguments, each in pieces.
    pub arguments: Vec<Vec<Piece>>,
}

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as typed.
    Text(String),
    /// A placeholder.
    Field(Field),
}

/// The facts that can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The file: an absolute path.
    Path,
    /// Its folder: an absolute path.
    Dir,
    /// Its name without the folder.
    Name,
    /// Its name without the folder and the extension.
    Stem,
    /// The URL of the file as the list gives it, without user name and password.
    Url,
    /// Its SHA-256 in lower-case hexadecimal digits.
    Sha256,
}

/// Reason why words are not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There are no words.
    #[error("it is empty")]
    Empty,
    /// It is longer than `MAX_COMMAND` bytes.
    #[error("it has {0} bytes, more than {MAX_COMMAND}; put it into a script")]
    TooLong(usize),
    /// It contains a nul byte.
    #[error("it holds a nul byte")]
    Nul,
    /// The name of the program contains a placeholder.
    #[error("its first word is a placeholder; name the program to run")]
    Program,
    /// An unknown placeholder.
    #[error(
        "there is no {{{0}}}; a command has {{path}} (or {{}}), {{dir}}, {{name}}, {{stem}}, {{url}} \
         and {{sha256}}; put other braces into a script"
    )]
    Unknown(String),
}

impl Field {
    /// All fields.
    pub const ALL: [Self; 6] = [
        Self::Path,
        Self::Dir,
        Self::Name,
        Self::Stem,
        Self::Url,
        Self::Sha256,
    ];

    /// Returns the name that stands between braces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Dir => "dir",
            Self::Name => "name",
            Self::Stem => "stem",
            Self::Url => "url",
            Self::Sha256 => "sha256",
        }
    }

    /// Returns the field with this name. The empty name means the path, as in find(1).
    fn named(name: &str) -> Option<Self> {
        match name {
            "" => Some(Self::Path),
            name => Self::ALL.into_iter().find(|field| field.name() == name),
        }
    }
}

impl Template {
    /// Parses `words`. If no word has a placeholder, the path becomes an additional last argument.
    ///
    /// A placeholder is a lower-case name in braces. Other text in braces is kept, and so is syntax
    /// of a shell or of awk(1): `${home}`, `{ print $1 }`, `{3}`.
    ///
    /// # Errors
    ///
    /// Fails if the words are not a command.
    pub fn parse(words: &[String]) -> Result<Self, CommandError> {
        let (name, arguments) = words.split_first().ok_or(CommandError::Empty)?;
        if name.is_empty() {
            return Err(CommandError::Empty);
        }
        let bytes = words.iter().map(|word| word.len() + 1).sum();
        if bytes > MAX_COMMAND {
            return Err(CommandError::TooLong(bytes));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(CommandError::Nul);
        }
        if pieces(name)?.iter().any(Piece::is_field) {
            return Err(CommandError::Program);
        }
        let mut arguments = arguments
            .iter()
            .map(|word| pieces(word))
            .collect::<Result<Vec<_>, _>>()?;
        if !arguments.iter().flatten().any(Piece::is_field) {
            arguments.push(vec![Piece::Field(Field::Path)]);
        }
        Ok(Self {
            name: name.clone(),
            arguments,
        })
    }
}

impl Piece {
    const fn is_field(&self) -> bool {
        matches!(self, Self::Field(_))
    }
}

/// Returns the pieces of one word.
fn pieces(word: &str) -> Result<Vec<Piece>, CommandError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        match place(from).filter(|_| !text.ends_with('$')) {
            Some(name) => {
                let field =
                    Field::named(name).ok_or_else(|| CommandError::Unknown(name.to_owned()))?;
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Field(field));
                rest = &from[name.len() + 2..];
            }
            None => {
                text.push('{');
                rest = &from[1..];
            }
        }
    }
    text.push_str(rest);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Returns the text between the first brace of `text` and its closing brace, if it is a name.
fn place(text: &str) -> Option<&str> {
    let name = &text[1..text.find('}')?];
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Template, CommandError> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        Template::parse(&words)
    }

    /// Returns the arguments with field names in angle brackets.
    fn shown(words: &[&str]) -> Vec<String> {
        let template = parse(words).expect("a command");
        let shown = |argument: &Vec<Piece>| -> String {
            let pieces = argument.iter().map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Field(field) => format!("<{}>", field.name()),
            });
            pieces.collect()
        };
        template.arguments.iter().map(shown).collect()
    }

    #[test]
    fn places_are_found_within_words_and_without_any_the_path_comes_last() {
        assert_eq!(shown(&["p"]), ["<path>"]);
        assert_eq!(shown(&["p", "-q", ""]), ["-q", "", "<path>"]);
        assert_eq!(
            shown(&["p", "{}", "{dir}/{stem}.png", "a{sha256}b"]),
            ["<path>", "<dir>/<stem>.png", "a<sha256>b"]
        );
        assert_eq!(shown(&["p", "{{path}}"]), ["{<path>}"]);
    }

    #[test]
    fn what_is_another_programs_stays_as_it_is() {
        for word in ["{ print $1 }", "a{3}", "${path}", "{A}", "{", "}{", "{a b}"] {
            assert_eq!(shown(&["p", word, "{url}"]), [word, "<url>"], "{word}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_reason() {
        let long = "x".repeat(MAX_COMMAND);
        for (words, expected) in [
            (&[][..], "it is empty"),
            (&[""], "it is empty"),
            (&["{path}"], "its first word is a placeholder"),
            (&["p", "{pth}"], "there is no {pth}; a command has {path}"),
            (&["p", "\0"], "it holds a nul byte"),
            (&["p", &long], "it has 16387 bytes"),
        ] {
            let error = parse(words).expect_err("it is none").to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
