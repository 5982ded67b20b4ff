//! Config files: which ones are read, and how they are combined with the command line.
//!
//! A value from a file becomes an option in front of the typed options, so that the same code
//! parses both. A file overrides nothing that was typed. This module must not decide what an option
//! means.
//!
//! A file that the user has not named may be found beside a list. The author of the list may have
//! written it, so only the keys in [`FROM_ANYBODY`] are allowed in it.

mod error;
mod file;
mod keys;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Id};

use crate::cli::Cli;
use crate::cli::file::{FileArgs, HostArgs};
use crate::input::Source;

pub use error::FileError;
use file::{Entry, Loaded};
pub use keys::{FROM_ANYBODY, keys};

/// The name of a file beside a list.
const BESIDE: &str = "coordinator.toml";

/// The name of the user's own file, in the user's configuration folder.
const OWN: &str = "coordinator/config.toml";

/// The possible author of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// Trusted by the user, who has named the file.
    Named,
    /// The user.
    User,
    /// Anybody, such as the author of the list.
    Anybody,
}

/// Why there is no command to run.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The command line is wrong.
    #[error(transparent)]
    Typed(#[from] clap::Error),
    /// A config file is wrong.
    #[error(transparent)]
    File(#[from] Box<FileError>),
}

/// Parses the command line, and adds the options from config files.
///
/// # Errors
///
/// Fails if the command line or a file cannot be used.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Refused> {
    let given: Vec<OsString> = arguments.into_iter().collect();
    let strict = Cli::command();
    #[cfg(feature = "fleet")]
    if given.len() > 2 && given[1] == "fleet" && (given[2] == "join" || given[2] == "feed") {
        return fleet(&strict, &given);
    }
    // Other commands, such as the one that starts a worker, use no config file.
    let first = given.get(1).and_then(|word| word.to_str());
    if first.is_some_and(|word| strict.find_subcommand(word).is_some()) {
        return Ok(Cli::from_arg_matches(&strict.try_get_matches_from(given)?)?);
    }
    let (words, files) = with_files(&strict, &strict, &given, beside)?;
    let mut cli = Cli::from_arg_matches(&strict.try_get_matches_from(words)?)?;
    cli.run.file = files;
    Ok(cli)
}

/// Does the same as [`parse`] for `fleet join`, a run without a list and so without a file beside
/// it, and for `fleet feed`, which has only the options for how lists are read.
#[cfg(feature = "fleet")]
fn fleet(strict: &Command, given: &[OsString]) -> Result<Cli, Refused> {
    use crate::cli::Command as Typed;
    use crate::cli::fleet::FleetCommand;

    let mut whole = strict.clone();
    whole.build();
    let own = whole.find_subcommand("fleet");
    let own = own.and_then(|fleet| fleet.find_subcommand(&given[2]));
    let own = own.unwrap_or(&whole);
    let beside = |typed: &ArgMatches| match given[2] == "feed" {
        true => beside(typed),
        false => None,
    };
    let (words, files) = with_files(strict, own, &given[2..], beside)?;
    let words = given[..2].iter().cloned().chain(words);
    let mut cli = Cli::from_arg_matches(&strict.clone().try_get_matches_from(words)?)?;
    if let Some(Typed::Fleet(fleet)) = &mut cli.command {
        match &mut fleet.command {
            FleetCommand::Join(args) => args.own.file = files,
            FleetCommand::Feed(args) => args.file = files,
            FleetCommand::Results(_) | FleetCommand::Status(_) | FleetCommand::Drain(_) => {}
        }
    }
    Ok(cli)
}

/// Returns the words of a command that has options of a run, with those of config files. Settings
/// in the files for options that the command does not have are left out.
fn with_files(
    run: &Command,
    strict: &Command,
    given: &[OsString],
    beside: impl Fn(&ArgMatches) -> Option<PathBuf>,
) -> Result<(Vec<OsString>, FileArgs), Refused> {
    let (arguments, off) = without_opposites(strict, given);
    // A required option may come from a file.
    let lenient = strict
        .clone()
        .mut_args(|arg| arg.requires(Resettable::<Id>::Reset));
    let typed = lenient.try_get_matches_from(&arguments)?;
    if typed.subcommand_name().is_some() {
        return Ok((given.to_vec(), FileArgs::default()));
    }
    let is_set = |id: &str| matches!(typed.try_get_one(id), Ok(Some(true)));
    if is_set("help_all") {
        return Ok((given.to_vec(), FileArgs::default()));
    }
    if let Some(both) = off.iter().find(|switch| is_typed(&typed, &id_of(switch))) {
        let problem = format!("--{both} and --{} cannot be combined", opposite(both));
        return Err(strict
            .clone()
            .error(ErrorKind::ArgumentConflict, problem)
            .into());
    }
    let mut files = FileArgs::default();
    let mut loaded = if is_set("no_config") {
        Vec::new()
    } else {
        load(&typed, beside(&typed), run, &mut files)?
    };
    let mut command = strict.clone();
    command.build();
    let has = |key: &str| {
        let is_key = |long: &str| long == key || opposite(long) == key;
        let mut longs = command.get_arguments().filter_map(Arg::get_long);
        longs.any(is_key)
    };
    for file in &mut loaded {
        file.entries.retain(|entry| has(&entry.key));
    }
    let chosen = Choice::of(&command, &typed, &off, loaded, &arguments, &mut files)?;
    files.hosts = chosen.hosts;
    tell_origins(&command, &typed, &chosen.entries, &mut files);
    Ok((with_words(&arguments, &chosen.words), files))
}

/// Splits off `--no-NAME` for each switch NAME that has no such option. Returns the other words,
/// and the switches that are turned off this time although a file may set them.
fn without_opposites(command: &Command, given: &[OsString]) -> (Vec<OsString>, Vec<String>) {
    let longs = || command.get_arguments().filter_map(Arg::get_long);
    let switches = command.get_arguments().filter(|arg| keys::is_switch(arg));
    let switches: Vec<&str> = switches
        .filter_map(Arg::get_long)
        .filter(|switch| !longs().any(|long| long == opposite(switch)))
        .collect();
    let end = given.iter().position(|word| word == "--");
    let mut off = Vec::new();
    let words = given.iter().enumerate().filter(|&(place, word)| {
        let name = word.to_str().and_then(|word| word.strip_prefix("--"));
        let switch = switches
            .iter()
            .find(|switch| name.is_some_and(|name| name == opposite(switch)));
        match switch {
            Some(switch) if end.is_none_or(|end| place < end) => {
                off.push((*switch).to_owned());
                false
            }
            Some(_) | None => true,
        }
    });
    (words.map(|(_, word)| word.clone()).collect(), off)
}

/// Returns the opposite of a switch: `robots` and `no-robots` are opposites.
fn opposite(switch: &str) -> String {
    match switch.strip_prefix("no-") {
        Some(positive) => positive.to_owned(),
        None => format!("no-{switch}"),
    }
}

/// Returns the id that clap's derive gives an option.
fn id_of(long: &str) -> String {
    long.replace('-', "_")
}

/// Returns whether an option was typed.
fn is_typed(typed: &ArgMatches, id: &str) -> bool {
    // clap must not be asked for the source of an id that it does not know.
    typed.try_contains_id(id).is_ok() && typed.value_source(id) == Some(ValueSource::CommandLine)
}

/// Reads the config files, in order of precedence.
fn load(
    typed: &ArgMatches,
    beside: Option<PathBuf>,
    command: &Command,
    files: &mut FileArgs,
) -> Result<Vec<Loaded>, Box<FileError>> {
    if let Some(named) = typed.get_one::<PathBuf>("config") {
        let named = file::read(named, Author::Named, command)?;
        let named = named.into_iter();
        return Ok(named
            .inspect(|file| files.files.push(file.path.display().to_string()))
            .collect());
    }
    let found = beside.map(|path| (path, Author::Anybody));
    let own = own(|name| env::var_os(name)).map(|path| (path, Author::User));
    let mut loaded = Vec::new();
    for (path, author) in found.into_iter().chain(own) {
        let Some(file) = file::read(&path, author, command)? else {
            files.files.push(format!("no {}", path.display()));
            continue;
        };
        if author == Author::Anybody {
            files.note = Some(format!("settings are read from {}", path.display()));
        }
        files.files.push(path.display().to_string());
        loaded.push(file);
    }
    Ok(loaded)
}

/// Returns the path of a config file beside the first list.
fn beside(typed: &ArgMatches) -> Option<PathBuf> {
    let arguments = typed.get_many::<PathBuf>("urls");
    let list = match arguments {
        None => Source::unnamed(false).path()?.to_owned(),
        Some(arguments) => {
            // A URL that cannot be used is reported later.
            let sources = Source::from_arguments(arguments.cloned()).ok()?;
            sources.iter().find_map(Source::path)?.to_owned()
        }
    };
    Some(list.with_file_name(BESIDE))
}

/// Returns the path of the user's own file (XDG Base Directory Specification).
fn own(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join(OWN))
}

/// Inserts `words` after the name of the program.
fn with_words(arguments: &[OsString], words: &[OsString]) -> Vec<OsString> {
    let (program, typed) = match arguments.split_first() {
        Some((program, typed)) => (program.as_os_str(), typed),
        None => (OsStr::new("coordinator"), [].as_slice()),
    };
    let program = std::iter::once(program.to_owned());
    program
        .chain(words.iter().cloned())
        .chain(typed.iter().cloned())
        .collect()
}

/// The settings of the files that take effect.
struct Choice {
    entries: Vec<Entry>,
    words: Vec<OsString>,
    hosts: Vec<HostArgs>,
}

impl Choice {
    fn of(
        command: &Command,
        typed: &ArgMatches,
        off: &[String],
        loaded: Vec<Loaded>,
        arguments: &[OsString],
        files: &mut FileArgs,
    ) -> Result<Self, Box<FileError>> {
        let is_typed = |long: &str| is_typed(typed, &id_of(long));
        let conflicts = |one: &str, other: &str| {
            let find = |long: &str| {
                command
                    .get_arguments()
                    .find(|arg| arg.get_long() == Some(long))
            };
            let against = |one, other| {
                find(one).is_some_and(|arg| {
                    let all = command.get_arg_conflicts_with(arg);
                    all.iter().any(|arg| arg.get_long() == Some(other))
                })
            };
            against(one, other) || against(other, one)
        };
        let typed_longs: Vec<&str> = command
            .get_arguments()
            .filter_map(Arg::get_long)
            .filter(|long| is_typed(long))
            .collect();
        let mut chosen: Vec<Entry> = Vec::new();
        let mut hosts: Vec<HostArgs> = Vec::new();
        for file in loaded {
            let mut of_this: Vec<Entry> = Vec::new();
            for entry in file.entries {
                let key = entry.key.as_str();
                let is_decided = is_typed(key)
                    || is_typed(&opposite(key))
                    || off.contains(&entry.key)
                    || chosen.iter().any(|other| other.key == key)
                    // A key belongs to its certificate, and is useless with another one.
                    || (key == "key" && is_typed("cert"));
                let has = |other: &str| conflicts(key, other);
                let is_beaten = entry.is_set()
                    && (typed_longs.iter().any(|other| has(other))
                        || chosen.iter().any(|other| other.is_set() && has(&other.key)));
                if is_decided || is_beaten {
                    continue;
                }
                if entry.is_set()
                    && let Some(other) = of_this
                        .iter()
                        .find(|other| other.is_set() && has(&other.key))
                {
                    return Err(entry.at.wrong(format!(
                        "{key} cannot be combined with {} (line {})",
                        other.key, other.at.line
                    )));
                }
                of_this.push(entry);
            }
            chosen.extend(of_this);
            for host in file.hosts {
                if !hosts.iter().any(|other| other.host == host.host) {
                    files.origins.push([
                        format!("host.\"{}\".cert", host.host),
                        host.cert.display().to_string(),
                        file.path.display().to_string(),
                    ]);
                    hosts.push(host);
                }
            }
        }
        let plain: Vec<OsString> = words(chosen.iter().filter(|entry| !entry.depends));
        // An option that requires another is dropped if that one is not set.
        chosen.retain(|entry| {
            !entry.depends || {
                let words: Vec<_> = plain.iter().chain(&entry.words).cloned().collect();
                let tried = command
                    .clone()
                    .try_get_matches_from(with_words(arguments, &words));
                !matches!(tried, Err(error) if error.kind() == ErrorKind::MissingRequiredArgument)
            }
        });
        Ok(Self {
            words: words(chosen.iter()),
            entries: chosen,
            hosts,
        })
    }
}

fn words<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<OsString> {
    entries.flat_map(|entry| entry.words.clone()).collect()
}

/// Records the source of each value that is not the default, in the order of the help.
fn tell_origins(command: &Command, typed: &ArgMatches, entries: &[Entry], files: &mut FileArgs) {
    let mut origins = Vec::new();
    for arg in command.get_arguments() {
        // The user can see that this is a dry run.
        let Some(long) = arg.get_long().filter(|long| *long != "dry-run") else {
            continue;
        };
        if is_typed(typed, arg.get_id().as_str()) {
            let raw = typed.get_raw(arg.get_id().as_str());
            let values: Vec<String> = raw
                .into_iter()
                .flatten()
                .map(|value| keys::shown(long, &value.to_string_lossy()))
                .collect();
            let value = match arg.get_action().takes_values() {
                true => values.join(", "),
                false => "true".to_owned(),
            };
            origins.push([long.to_owned(), value, "command line".to_owned()]);
        } else if let Some(entry) = entries.iter().find(|entry| entry.key == long) {
            origins.push([long.to_owned(), entry.shown.clone(), entry.at.to_string()]);
        }
    }
    origins.append(&mut files.origins);
    files.origins = origins;
}

#[cfg(test)]
mod tests;
