//! The keys of config files: the long names of options, and the values that each accepts.

use clap::{Arg, ArgAction, Command};

use super::opposite;
use crate::hints;

/// Options that choose the config file, or that do something other than a run.
const NOT_IN_FILES: [&str; 5] = ["config", "no-config", "help", "help-all", "version"];

/// The key of the tables for single hosts.
pub(super) const HOST: &str = "host";

/// Keys that are allowed in a file found beside a list. The author of the list may have written
/// that file. The file can therefore set how the list is read, how servers are asked and when a run
/// ends early. It cannot start a program, name another file or server, or remove a protection.
pub const FROM_ANYBODY: [&str; 28] = [
    "compressed",
    "concurrency",
    "connect-timeout",
    "fsync",
    "host-delay",
    "input-format",
    "ipv4",
    "ipv6",
    "limit-rate",
    "max-failures",
    "max-filesize",
    "max-redirs",
    "max-time",
    "naming",
    "parallel-max-host",
    "rate",
    "remote-time",
    "retry",
    "retry-all-errors",
    "retry-delay",
    "retry-max-time",
    "robots",
    "run-time",
    "speed-limit",
    "speed-time",
    "split",
    "url-column",
    "workers",
];

/// Returns the options that can be keys.
pub fn keys(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        let is_key = |long| !NOT_IN_FILES.contains(&long);
        !arg.is_hide_set() && arg.get_long().is_some_and(is_key)
    })
}

/// Returns the option that a key names.
pub(super) fn option<'c>(command: &'c Command, key: &str) -> Option<&'c Arg> {
    keys(command).find(|arg| arg.get_long() == Some(key))
}

/// Describes what is wrong with a key that names no option.
pub(super) fn unknown(command: &Command, key: &str) -> String {
    let told = format!("there is no option {}", key.escape_debug());
    let is_alias = |arg: &&Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        let letter = arg.get_short().map(String::from);
        aliases.contains(&key) || letter.as_deref() == Some(key)
    };
    if NOT_IN_FILES.contains(&key) {
        return format!("{key} cannot be in a config file; it is for the command line");
    }
    let renamed = keys(command).find(is_alias).and_then(Arg::get_long);
    if let Some(long) = renamed {
        return format!("{told}; write {long}");
    }
    let positive = opposite(key);
    if key.starts_with("no-") && option(command, &positive).is_some() {
        return format!("{told}; write {positive} = false");
    }
    if let Some(hint) = hints::of_option(&format!("--{key}")) {
        return format!("{told}: {hint}");
    }
    let names: Vec<&str> = keys(command)
        .filter_map(Arg::get_long)
        .chain([HOST])
        .collect();
    match hints::nearest(&key.replace('_', "-"), &names) {
        Some(name) => format!("{told}; did you mean {name}?"),
        None => format!("{told}; coordinator --help-all names all"),
    }
}

/// Returns whether an option takes no value.
pub(super) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Returns whether an option can be given several times.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Returns whether the value of an option can be left out.
pub(super) fn is_optional(arg: &Arg) -> bool {
    arg.get_num_args()
        .is_some_and(|count| count.min_values() == 0)
        && !is_switch(arg)
}

/// Returns whether the value of an option must be hidden from other users.
pub(super) fn is_secret(key: &str, value: &str) -> bool {
    let names_file = value.starts_with('@');
    match key {
        "user" => true,
        "oauth2-bearer" => !names_file,
        "proxy" => value.contains('@'),
        "header" => {
            let name = value.split(':').next().unwrap_or_default().trim();
            ["authorization", "proxy-authorization", "cookie"]
                .iter()
                .any(|secret| name.eq_ignore_ascii_case(secret))
        }
        _ => false,
    }
}

/// Returns a value in the form in which it may be shown.
pub(super) fn shown(key: &str, value: &str) -> String {
    match key {
        // The value of any header can be a secret. Its name shows what it is for.
        "header" => format!("{}: (hidden)", value.split(':').next().unwrap_or_default()),
        _ if is_secret(key, value) => "(hidden)".to_owned(),
        _ => value.escape_debug().to_string(),
    }
}
