//! Hints for mistyped commands, and for the options of curl, wget, aria2, xargs and GNU parallel.
//!
//! A hint must not change what is done: the user reads it and types a new command.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options of other programs, and their equivalents here. Each equivalent ends a sentence.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["-i", "--input-file", "-a", "--arg-file"],
        "the list is an argument: coordinator LIST",
    ),
    (
        &[
            "-j",
            "--jobs",
            "--max-procs",
            "--threads",
            "--max-threads",
            "--max-concurrent-downloads",
            "-Z",
            "--parallel",
            "--parallel-max",
        ],
        "the number of worker processes is --workers N (-w), and of the downloads in each --concurrency N (-c)",
    ),
    (
        &["--max-connection-per-server", "--max-connections"],
        "the connections for one large file are --split N, and the downloads from one host \
         --parallel-max-host N",
    ),
    (
        &["-P", "-d", "--dir", "--directory-prefix"],
        "the folder for files is --output DIR, and the number of worker processes --workers N",
    ),
    (
        &[
            "-O",
            "--remote-name",
            "--remote-name-all",
            "--output-document",
            "--out",
        ],
        "the file of one URL is named by -o FILE, and those of a list by --naming",
    ),
    (
        &["--content-disposition"],
        "--remote-header-name (-J) uses the names that servers suggest",
    ),
    (
        &["--retries", "--tries", "-t", "--max-tries"],
        "attempts after the first are --retry N",
    ),
    (
        &["--wait-retry", "--waitretry", "--retry-wait"],
        "the time before each retry is --retry-delay TIME",
    ),
    (
        &["--timeout", "-T", "--read-timeout"],
        "--max-time TIME (-m) limits one attempt, and --speed-time TIME the time without a byte",
    ),
    (
        &[
            "-C",
            "--continue",
            "--continue-at",
            "--resume",
            "--save-session",
        ],
        "repeat the command of the run: it continues where it stopped",
    ),
    (
        &[
            "-N",
            "--timestamping",
            "-z",
            "--time-cond",
            "--conditional-get",
        ],
        "--refresh asks servers what has changed",
    ),
    (
        &["--no-clobber", "--auto-file-renaming", "--allow-overwrite"],
        "a file that no run has made is replaced only with --force",
    ),
    (
        &["--wait", "--delay", "--random-wait"],
        "the time between two downloads from one host is --host-delay TIME",
    ),
    (
        &[
            "--max-overall-download-limit",
            "--max-download-limit",
            "--bwlimit",
        ],
        "--limit-rate SPEED limits the bytes per second of all workers",
    ),
    (
        &["--no-check-certificate", "--check-certificate"],
        "--insecure (-k) checks no certificate",
    ),
    (
        &["--inet4-only", "--disable-ipv6"],
        "--ipv4 (-4) uses only the IPv4 addresses of host names",
    ),
    (
        &["--inet6-only"],
        "--ipv6 (-6) uses only the IPv6 addresses of host names",
    ),
    (
        &["--ca-certificate"],
        "a file of trusted certificates is --cacert FILE",
    ),
    (
        &[
            "--http-user",
            "--http-password",
            "--http-passwd",
            "--password",
            "--ask-password",
        ],
        "name and password are --user NAME:PASSWORD, or in a netrc file (--netrc-file FILE)",
    ),
    (
        &["--load-cookies", "--save-cookies", "--keep-session-cookies"],
        "--cookie FILE reads cookies, and --cookie-jar FILE writes them",
    ),
    (
        &["--certificate", "--private-key"],
        "a client certificate is --cert FILE, and its key --key FILE",
    ),
    (
        &["--anyauth", "--basic", "--auth-no-challenge"],
        "Basic is sent at once, and Digest if a server asks for it; --digest never sends Basic",
    ),
    (
        &["--ntlm", "--negotiate"],
        "NTLM and Negotiate are not supported; curl has them",
    ),
    (&["-U"], "the user agent is --user-agent TEXT (-A)"),
    (&["-e", "--referer"], "it is a header: -H 'Referer: URL'"),
    (
        &["-s", "--silent", "-S", "--show-error"],
        "--quiet (-q) prints errors only",
    ),
    (
        &["-#", "--progress-bar", "--show-progress", "--bar", "--eta"],
        "a terminal shows progress without an option; --quiet (-q) hides it",
    ),
    (
        &["-L", "--location", "-f", "--fail"],
        "redirects are followed and a status from 400 on is a failure, without an option",
    ),
    (
        &[
            "-X",
            "--request",
            "--data",
            "-F",
            "--form",
            "-I",
            "--head",
            "--post-data",
        ],
        "only GET is sent; for other methods use curl",
    ),
    (
        &[
            "-r",
            "--recursive",
            "-l",
            "--level",
            "--mirror",
            "-p",
            "--page-requisites",
        ],
        "links are not followed; for that use wget2",
    ),
    (
        &["--checksum"],
        "a list can give the hash: {\"url\": \"...\", \"sha256\": \"...\"} on a line of JSONL",
    ),
    (
        &["--halt"],
        "--max-failures N ends the run after so many failures",
    ),
    (
        &["--joblog", "--log", "--output-log"],
        "every run keeps a log, .coordinator/results.jsonl in its output folder",
    ),
];

/// Command words of other programs, and the equivalent here.
const WORDS: &[(&[&str], &str)] = &[
    (&["version"], "coordinator --version"),
    (&["options", "usage"], "coordinator --help"),
    (
        &["run", "download", "get", "fetch", "start", "add"],
        "coordinator URL, or coordinator LIST: downloading takes no command",
    ),
    (
        &["resume", "continue", "retry", "restart"],
        "the command of the run again: it continues where it stopped",
    ),
    (
        &[
            "status", "report", "stats", "summary", "log", "logs", "show", "failed",
        ],
        "coordinator results",
    ),
    (
        &["bench", "benchmark", "compare", "race"],
        "coordinator shootout",
    ),
    (&["serve", "server"], "coordinator origin"),
    (&["completion"], "coordinator completions"),
];

/// Least similarity of a mistyped word to a name, from 0 to 1 (Damerau-Levenshtein).
const ALIKE: f64 = 0.7;

/// Returns a message that replaces clap's for a command line error, if there is a better one.
/// `commands` are the commands of this program.
#[must_use]
pub fn of_error(error: &clap::Error, first: Option<&str>, commands: &[&str]) -> Option<String> {
    // The hints are for the main command only.
    if first.is_some_and(|first| commands.contains(&first)) {
        return None;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let option = text(ContextKind::InvalidArg)?;
    if error.kind() == ErrorKind::UnknownArgument {
        let hint = of_option(option)?;
        return Some(format!("there is no option {option}: {hint}"));
    }
    // In other programs, -c is an option without a value, so the next word is not meant as a value.
    let value = text(ContextKind::InvalidValue)?;
    (error.kind() == ErrorKind::ValueValidation && option.starts_with("--concurrency")).then(|| {
        format!(
            "-c takes a number, the downloads at once in each worker (--concurrency), and not \
             '{}'; to continue a run that stopped, repeat its command",
            value.escape_debug()
        )
    })
}

/// Returns the equivalent here of an option of another program.
#[must_use]
pub fn of_option(option: &str) -> Option<&'static str> {
    let name = option.split('=').next().unwrap_or(option);
    let mut entries = OPTIONS.iter();
    let (_, hint) = entries.find(|(names, _)| names.contains(&name))?;
    Some(hint)
}

/// Returns the likely meaning of a word that is neither a file nor one of `commands`.
#[must_use]
pub fn of_word(word: &str, commands: &[&str]) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    let mut words = WORDS.iter();
    if let Some((_, meant)) = words.find(|(words, _)| words.contains(&&*lower)) {
        return Some((*meant).to_owned());
    }
    nearest(&lower, commands).map(|command| format!("coordinator {command}"))
}

/// Returns the name that is most similar to a word, if one is similar enough.
#[must_use]
pub fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let alike = |name: &&'a str| (strsim::normalized_damerau_levenshtein(word, name), *name);
    let scores = names.iter().map(alike);
    let best = scores.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= ALIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn no_hint_is_about_an_option_that_there_is() {
        let command = Cli::command();
        for name in OPTIONS.iter().flat_map(|(names, _)| names.iter()) {
            let is_ours = command.get_arguments().any(|argument| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                let long = argument.get_long().into_iter().chain(aliases);
                let short = argument.get_short().map(|short| format!("-{short}"));
                long.map(|long| format!("--{long}"))
                    .chain(short)
                    .any(|own| own == *name)
            });
            assert!(!is_ours, "{name} is an option of this program");
        }
    }

    #[test]
    fn options_that_hints_name_are_there() {
        let command = Cli::command();
        for (_, hint) in OPTIONS {
            for word in hint.split_whitespace() {
                let Some(name) = word
                    .trim_matches(|c: char| "(),;".contains(c))
                    .strip_prefix("--")
                else {
                    continue;
                };
                let mut all = command.get_arguments();
                assert!(
                    all.any(|own| own.get_long() == Some(name)),
                    "{hint}: {name}"
                );
            }
        }
    }

    #[test]
    fn misspelt_commands_are_known_and_names_of_lists_are_not() {
        let commands = ["results", "shootout", "chaos", "origin", "help", "man"];
        for (word, meant) in [
            ("resutls", "coordinator results"),
            ("result", "coordinator results"),
            ("shotout", "coordinator shootout"),
            ("choas", "coordinator chaos"),
            ("version", "coordinator --version"),
            ("Status", "coordinator results"),
        ] {
            assert_eq!(of_word(word, &commands).as_deref(), Some(meant), "{word}");
        }
        for word in ["urls", "list", "books", "x", "images", "mainz"] {
            assert_eq!(of_word(word, &commands), None, "{word}");
        }
    }
}
