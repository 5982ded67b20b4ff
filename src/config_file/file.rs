//! Reads one config file, checks it, and converts it to options.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use rustix::fs::OFlags;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Author;
use super::error::{FileError, Place};
use super::keys::{self, FROM_ANYBODY, HOST};
use crate::cli::file::HostArgs;
use crate::hints;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// How often a switch can be counted at most.
const MOST_TIMES: usize = 9;

/// The keys in the table of a host.
const OF_HOST: [&str; 2] = ["cert", "key"];

/// The contents of a file.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<Entry>,
    pub(super) hosts: Vec<HostArgs>,
}

/// An option and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The long name of the option.
    pub(super) key: String,
    pub(super) at: Place,
    /// The words for the command line; empty for a switch that is off.
    pub(super) words: Vec<OsString>,
    /// The value, for people.
    pub(super) shown: String,
    /// The option has no meaning without another option.
    pub(super) depends: bool,
}

impl Entry {
    /// Returns whether the entry adds words to the command line.
    pub(super) const fn is_set(&self) -> bool {
        !self.words.is_empty()
    }
}

/// Reads the file at `path`. Returns `None` if it does not exist and the user has not named it.
pub(super) fn read(
    path: &Path,
    author: Author,
    command: &Command,
) -> Result<Option<Loaded>, Box<FileError>> {
    let failed = |source| {
        Box::new(FileError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let wrong = |problem: String| {
        Box::new(FileError::File {
            path: path.to_owned(),
            problem,
        })
    };
    let opened = match author {
        Author::Named => File::open(path),
        // Without NONBLOCK, opening a FIFO would block.
        Author::User | Author::Anybody => {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            File::options().read(true).custom_flags(flags).open(path)
        }
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if author != Author::Named && is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if author != Author::Named && !metadata.is_file() {
        return Err(wrong(
            "it is no regular file; --no-config does without".to_owned(),
        ));
    }
    let mode = metadata.mode() & 0o777;
    let owner = metadata.uid();
    if author == Author::User {
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(wrong(
                "it belongs to another user; name it with --config, or do without (--no-config)"
                    .to_owned(),
            ));
        }
        if mode & 0o022 != 0 {
            return Err(wrong(format!(
                "its mode is {mode:o}, so that others may write to it; run chmod 600 on it"
            )));
        }
    }
    let is_exposed = metadata.is_file() && mode & 0o077 != 0;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong("it is larger than 1 MiB".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    let reader = Reader {
        path,
        text: text.strip_prefix('\u{feff}').unwrap_or(&text),
        author,
        command,
        exposed: is_exposed.then_some(mode),
    };
    reader.read().map(Some)
}

/// Returns whether the file does not exist. The home of a service can be `/dev/null`.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A file that is being read.
struct Reader<'f> {
    path: &'f Path,
    text: &'f str,
    author: Author,
    command: &'f Command,
    /// The mode of the file, if other users may read it.
    exposed: Option<u32>,
}

impl Reader<'_> {
    fn read(&self) -> Result<Loaded, Box<FileError>> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = self.place(&error.span().unwrap_or_default());
            // The parser's message can have several lines.
            at.wrong(error.message().replace('\n', "; "))
        })?;
        let mut loaded = Loaded {
            path: self.path.to_owned(),
            entries: Vec::new(),
            hosts: Vec::new(),
        };
        for (key, value) in table.get_ref() {
            let at = self.place(&key.span());
            let key = key.get_ref().as_ref();
            if key == HOST {
                self.allow(HOST, &at)?;
                loaded.hosts = self.hosts(value)?;
                continue;
            }
            let Some(arg) = keys::option(self.command, key) else {
                return Err(at.wrong(keys::unknown(self.command, key)));
            };
            self.allow(key, &at)?;
            loaded.entries.push(self.entry(arg, key, &at, value)?);
        }
        // Sorted by place, so that of two conflicting options, the second is reported.
        loaded
            .entries
            .sort_by_key(|entry| (entry.at.line, entry.at.column));
        Ok(loaded)
    }

    /// Fails if the author of the file must not set `key`.
    fn allow(&self, key: &str, at: &Place) -> Result<(), Box<FileError>> {
        if self.author != Author::Anybody || FROM_ANYBODY.contains(&key) {
            return Ok(());
        }
        let file = self.path.display();
        Err(at.wrong(format!(
            "{key} is not taken from a file that was found beside a list, which anybody may have \
             made; if you trust it, name it (--config {file}), and if not, ignore it (--no-config)"
        )))
    }

    fn entry(
        &self,
        arg: &Arg,
        key: &str,
        at: &Place,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Entry, Box<FileError>> {
        let values = self.values(arg, key, value)?;
        let word = |value: &Value| match value {
            Value::On => format!("--{key}"),
            Value::Text(text) => format!("--{key}={text}"),
        };
        let words: Vec<OsString> = values.iter().map(|value| word(value).into()).collect();
        let secret =
            |value: &&Value| matches!(value, Value::Text(text) if keys::is_secret(key, text));
        if let Some(mode) = self.exposed
            && values.iter().any(|value| secret(&value))
        {
            return Err(at.wrong(format!(
                "{key} is a secret, and the mode of the file is {mode:o}, so that others may read \
                 it; run chmod 600 on it"
            )));
        }
        let depends = self.check(key, at, &words)?;
        let shown: Vec<String> = values
            .iter()
            .map(|value| match value {
                Value::On => "true".to_owned(),
                Value::Text(text) => keys::shown(key, text),
            })
            .collect();
        Ok(Entry {
            key: key.to_owned(),
            at: at.clone(),
            words,
            shown: match shown.is_empty() {
                true => "false".to_owned(),
                false => shown.join(", "),
            },
            depends,
        })
    }

    /// Returns the values for the command line.
    fn values(
        &self,
        arg: &Arg,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<Value>, Box<FileError>> {
        let at = self.place(&value.span());
        let wrong = |expected: &str| at.wrong(format!("{key} takes {expected}"));
        let value = value.get_ref();
        let is_count = matches!(arg.get_action(), ArgAction::Count);
        let can_be_bare = is_count || keys::is_switch(arg) || keys::is_optional(arg);
        if let DeValue::Boolean(on) = value
            && can_be_bare
        {
            return Ok(on.then_some(Value::On).into_iter().collect());
        }
        if is_count {
            let count = text_of(value).and_then(|text| text.parse().ok());
            let count = count.filter(|&count| count <= MOST_TIMES);
            let count = count.ok_or_else(|| wrong("true, false or a number from 0 to 9"))?;
            return Ok(std::iter::repeat_n(Value::On, count).collect());
        }
        if keys::is_switch(arg) {
            return Err(wrong("true or false, without quotes"));
        }
        if let DeValue::Array(items) = value
            && keys::is_list(arg)
        {
            let item = |item: &Spanned<DeValue<'_>>| {
                text_of(item.get_ref()).map(Value::Text).ok_or_else(|| {
                    let at = self.place(&item.span());
                    at.wrong(format!("{key} takes texts in quotes, or numbers"))
                })
            };
            return items.iter().map(item).collect();
        }
        match text_of(value) {
            Some(text) => Ok(vec![Value::Text(text)]),
            None if keys::is_list(arg) => Err(wrong(
                "a text in quotes or a number, or several of them in [ ]",
            )),
            None if keys::is_optional(arg) => Err(wrong("true, false or a text in quotes")),
            None => Err(wrong("one value: a text in quotes, or a number")),
        }
    }

    /// Checks that the option accepts the words. Returns whether it requires another option.
    fn check(&self, key: &str, at: &Place, words: &[OsString]) -> Result<bool, Box<FileError>> {
        let program = std::iter::once(OsString::from("coordinator"));
        let typed = program.chain(words.iter().cloned());
        match self.command.clone().try_get_matches_from(typed) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(true),
            Err(error) => Err(at.wrong(format!("{key}: {}", reason(&error)))),
        }
    }

    fn hosts(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<HostArgs>, Box<FileError>> {
        let at = self.place(&value.span());
        let DeValue::Table(tables) = value.get_ref() else {
            return Err(at.wrong("host takes tables: [host.\"data.example\"]"));
        };
        let mut hosts = Vec::new();
        for (name, table) in tables {
            let at = self.place(&name.span());
            let name = name.get_ref().as_ref();
            let host = url::Host::parse(name).map_err(|error| {
                at.wrong(format!(
                    "{}: {error}; expected a name or an address, without a port, in quotes",
                    name.escape_debug()
                ))
            })?;
            let DeValue::Table(table) = table.get_ref() else {
                return Err(at.wrong(
                    "a host has a table of its own: [host.\"data.example\"], and cert and key below it",
                ));
            };
            hosts.push(self.host(host.to_string(), &at, table)?);
        }
        Ok(hosts)
    }

    fn host(
        &self,
        host: String,
        at: &Place,
        table: &DeTable<'_>,
    ) -> Result<HostArgs, Box<FileError>> {
        let [mut cert, mut key] = [None, None];
        for (name, value) in table {
            let at = self.place(&name.span());
            let place = match name.get_ref().as_ref() {
                "cert" => &mut cert,
                "key" => &mut key,
                other => {
                    let told = format!(
                        "a host takes cert and key, and not {}",
                        other.escape_debug()
                    );
                    return Err(at.wrong(match hints::nearest(other, &OF_HOST) {
                        Some(meant) => format!("{told}; did you mean {meant}?"),
                        None => told,
                    }));
                }
            };
            let text = text_of(value.get_ref()).filter(|text| !text.is_empty());
            let wrong = || {
                at.wrong(format!(
                    "{} takes the name of a file, in quotes",
                    name.get_ref()
                ))
            };
            *place = Some(PathBuf::from(text.ok_or_else(wrong)?));
        }
        match cert {
            Some(cert) => Ok(HostArgs { host, cert, key }),
            None => Err(at.wrong(format!("the table of {host} has no cert"))),
        }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

/// The command-line form of an option.
#[derive(Clone)]
enum Value {
    /// The option alone.
    On,
    /// The option with a value.
    Text(String),
}

/// Returns a string or a number as it would be typed.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Returns clap's reason why a value is wrong, without the text around it.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(choices)) if !choices.is_empty() => {
            format!("expected one of {}", choices.join(", "))
        }
        Some(_) | None if error.kind() == ErrorKind::InvalidValue => "it has no value".to_owned(),
        Some(_) | None => error.kind().to_string(),
    }
}
