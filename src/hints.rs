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
        "--workers N (-w) sets the number of worker processes, and --concurrency N (-c) the downloads at once in each",
    ),
    (
        &["--max-connection-per-server", "--max-connections"],
        "--split N sets the connections for one large file, and --parallel-max-host N the \
         downloads at once from one host",
    ),
    (
        &["-P", "-d", "--dir", "--directory-prefix"],
        "--output DIR sets the folder for files, and --workers N the number of worker processes",
    ),
    (
        &[
            "-O",
            "--remote-name",
            "--remote-name-all",
            "--output-document",
            "--out",
        ],
        "-o FILE names the file of one URL, and --naming the files of a list",
    ),
    (
        &["--content-disposition"],
        "--remote-header-name (-J) uses the names that servers suggest",
    ),
    (
        &["--retries", "--tries", "-t", "--max-tries"],
        "--retry N sets the number of attempts after the first",
    ),
    (
        &["--wait-retry", "--waitretry", "--retry-wait"],
        "--retry-delay TIME sets the time before each retry",
    ),
    (
        &["--timeout", "-T", "--read-timeout"],
        "--max-time TIME (-m) limits one attempt, and --speed-time TIME the time without data",
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
        "only --force replaces a file that was not created by a run",
    ),
    (
        &["--wait", "--delay", "--random-wait"],
        "--host-delay TIME sets the time between two downloads from one host",
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
        "--insecure (-k) does not check certificates",
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
        "--cacert FILE names a file of trusted certificates",
    ),
    (
        &[
            "--http-user",
            "--http-password",
            "--http-passwd",
            "--password",
            "--ask-password",
        ],
        "give name and password as --user NAME:PASSWORD, or in a netrc file (--netrc-file FILE)",
    ),
    (
        &["--load-cookies", "--save-cookies", "--keep-session-cookies"],
        "--cookie FILE reads cookies, and --cookie-jar FILE writes them",
    ),
    (
        &["--certificate", "--private-key"],
        "--cert FILE names a client certificate, and --key FILE its key",
    ),
    (
        &["--anyauth", "--basic", "--auth-no-challenge"],
        "Basic is sent with the first request, and Digest if a server asks for it; --digest never sends Basic",
    ),
    (
        &["--ntlm", "--negotiate"],
        "NTLM and Negotiate are not supported; curl has them",
    ),
    (&["-U"], "--user-agent TEXT (-A) sets the user agent"),
    (
        &["-e", "--referer"],
        "give it as a header: -H 'Referer: URL'",
    ),
    (
        &["-s", "--silent", "-S", "--show-error"],
        "--quiet (-q) prints errors only",
    ),
    (
        &["-#", "--progress-bar", "--show-progress", "--bar", "--eta"],
        "progress is shown on a terminal without an option; --quiet (-q) hides it",
    ),
    (
        &["-L", "--location", "-f", "--fail"],
        "redirects are followed, and a status of 400 or above is a failure, without an option",
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
        "only GET is supported; for other methods use curl",
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
        "links are not followed; use wget2 for that",
    ),
    (
        &["--checksum"],
        "a list can contain the hash: {\"url\": \"...\", \"sha256\": \"...\"} on a line of JSONL",
    ),
    (
        &["--halt"],
        "--max-failures N ends the run after N failures",
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
        "coordinator URL, or coordinator LIST: downloading needs no command",
    ),
    (
        &["resume", "continue", "retry", "restart"],
        "repeat the command of the run: it continues where it stopped",
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
            "-c expects a number (downloads at once in each worker, --concurrency), not '{}'; to \
             continue a run that stopped, repeat its command",
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
    fn hints_never_cover_existing_options() {
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
    fn options_named_in_hints_exist() {
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
    fn misspelt_commands_are_recognised_and_list_names_are_not() {
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
