//! The netrc file: user names and passwords by host, as ftp(1) and curl read it.
//!
//! Words are separated by white space. A word in double quotes may contain white space, and a
//! backslash before any character. A `#` in place of a keyword begins a comment. `account` and
//! `macdef` are parsed and ignored.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use protocol::Credentials;

use super::{Counted, FileError, line, normalised, read_private};

/// Maximum length of a word, in bytes.
const MAX_WORD: usize = 4096;

/// The entries of a netrc file. The first entry of each host counts.
#[derive(Clone, Default)]
pub struct Netrc {
    hosts: HashMap<String, Credentials>,
    /// The entry for all other hosts.
    default: Option<Credentials>,
}

impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Counted(self.hosts.len()).fmt(f)
    }
}

impl Netrc {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, if other users can read it, or if it is not a netrc file.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::parse(&read_private(path)?)
    }

    /// Returns whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.default.is_none()
    }

    pub(super) const fn has_default(&self) -> bool {
        self.default.is_some()
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    pub(super) fn of(&self, host: &str, is_listed: bool) -> Option<&Credentials> {
        let default = || self.default.as_ref().filter(|_| is_listed);
        self.hosts.get(host).or_else(default)
    }

    fn parse(text: &str) -> Result<Self, FileError> {
        let mut words = Words {
            rest: text,
            line: 1,
        };
        let mut netrc = Self::default();
        // The current entry and its host, which is `None` in the default entry.
        let mut entry: Option<(Option<String>, Credentials)> = None;
        while let Some(word) = words.next()? {
            if word.starts_with('#') {
                words.skip_line();
                continue;
            }
            match word.as_str() {
                "machine" => {
                    netrc.keep(entry.take());
                    let host = normalised(&words.value()?);
                    let host = host.ok_or_else(|| line(words.line, "no host after 'machine'"))?;
                    entry = Some((Some(host), nobody()));
                }
                "default" => {
                    netrc.keep(entry.take());
                    entry = Some((None, nobody()));
                }
                "login" | "user" | "password" | "passwd" | "account" => {
                    let value = words.value()?;
                    let Some((_, credentials)) = &mut entry else {
                        return Err(line(words.line, "no 'machine' or 'default' before it"));
                    };
                    match word.as_str() {
                        "account" => {}
                        "login" | "user" => credentials.user = value,
                        _ => credentials.password = value,
                    }
                }
                "macdef" => words.skip_macro(),
                _ => {
                    return Err(line(
                        words.line,
                        "a word that netrc files do not have there",
                    ));
                }
            }
        }
        netrc.keep(entry);
        Ok(netrc)
    }

    /// Stores an entry that is not empty, unless its host has one.
    fn keep(&mut self, entry: Option<(Option<String>, Credentials)>) {
        let Some((host, credentials)) = entry else {
            return;
        };
        if credentials.user.is_empty() && credentials.password.is_empty() {
            return;
        }
        match host {
            Some(host) => {
                self.hosts.entry(host).or_insert(credentials);
            }
            None => {
                self.default.get_or_insert(credentials);
            }
        }
    }
}

const fn nobody() -> Credentials {
    Credentials {
        user: String::new(),
        password: String::new(),
    }
}

/// The words of a file.
struct Words<'t> {
    rest: &'t str,
    /// Line of the last word, counted from 1.
    line: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Result<Option<String>, FileError> {
        let trimmed = self.rest.trim_ascii_start();
        self.advance(self.rest.len() - trimmed.len());
        if self.rest.is_empty() {
            return Ok(None);
        }
        let quoted = self.rest.starts_with('"');
        let mut word = String::new();
        let mut end = self.rest.len();
        let mut is_closed = !quoted;
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(usize::from(quoted)) {
            match c {
                _ if escaped => {
                    word.push(match c {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        other => other,
                    });
                    escaped = false;
                }
                '\\' if quoted => escaped = true,
                '"' if quoted => {
                    end = at + 1;
                    is_closed = true;
                    break;
                }
                c if !quoted && c.is_ascii_whitespace() => {
                    end = at;
                    break;
                }
                c => word.push(c),
            }
        }
        if !is_closed {
            return Err(line(self.line, "a quote is not closed"));
        }
        if word.len() > MAX_WORD {
            return Err(line(self.line, "a word is longer than 4096 bytes"));
        }
        self.advance(end);
        Ok(Some(word))
    }

    fn value(&mut self) -> Result<String, FileError> {
        let keyword = self.line;
        self.next()?
            .ok_or_else(|| line(keyword, "nothing after a keyword"))
    }

    fn skip_line(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.advance(end);
    }

    /// Skips to the first empty line.
    fn skip_macro(&mut self) {
        let end = self.rest.find("\n\n").unwrap_or(self.rest.len());
        self.advance(end);
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn of(text: &str, host: &str) -> Option<(String, String)> {
        let netrc = Netrc::parse(text).expect("a netrc file");
        let found = netrc.of(host, true)?;
        Some((found.user.clone(), found.password.clone()))
    }

    #[test]
    fn entries_are_found_however_they_are_written() {
        let found = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, expected) in [
            ("machine a.test login u password p", found("u", "p")),
            ("machine a.test\n\tlogin u\n\tpassword p\n", found("u", "p")),
            ("machine A.Test. password p login u", found("u", "p")),
            ("machine b.test login x password y", None),
            (
                "machine a.test login u password p machine a.test login v",
                found("u", "p"),
            ),
            (
                "# machine a.test\nmachine a.test login u # x\npassword p",
                found("u", "p"),
            ),
            ("machine a.test login u password #p", found("u", "#p")),
            (
                "machine a.test login \"u v\" password \"p\\\"\\\\\"",
                found("u v", "p\"\\"),
            ),
            (
                "machine a.test login machine password default",
                found("machine", "default"),
            ),
            (
                "machine a.test login u account x password p",
                found("u", "p"),
            ),
            (
                "macdef m\nmachine a.test\n\nmachine a.test login u",
                found("u", ""),
            ),
            ("default login d password e", found("d", "e")),
            ("machine b.test login x default login d", found("d", "")),
            ("machine a.test", None),
            ("", None),
        ] {
            assert_eq!(of(text, "a.test"), expected, "{text:?}");
        }
        assert_eq!(of("machine ::1 login u", "[::1]"), found("u", ""));
        let default = Netrc::parse("default login d").expect("a netrc file");
        assert_eq!(
            default.of("a.test", false),
            None,
            "not for whom servers name"
        );
    }

    #[test]
    fn what_is_no_netrc_file_is_refused_with_its_line_and_without_its_words() {
        for (text, expected) in [
            ("machine a.test\nlogin", 2),
            ("login u", 1),
            ("machine a.test login u\npassword s3cret word", 2),
            ("\n\nmachine", 3),
            ("machine \"a.test", 1),
            ("machine a..b:x login u", 1),
        ] {
            match Netrc::parse(text) {
                Err(error @ FileError::Line { line, .. }) => {
                    assert_eq!(line, expected, "{text:?}: {error}");
                    assert!(!error.to_string().contains("s3cret"), "{error}");
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("netrc");
        fs::write(&path, "machine a.test login u password p").expect("write");
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let loaded = Netrc::load(&path);
            let exposed = matches!(loaded, Err(FileError::Exposed { .. }));
            assert_eq!(exposed, refused, "{mode:o}: {loaded:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(machine|login|password|default|macdef|[ \\n\"\\\\#a-c.\u{e4}]){0,30}") {
            let _ = Netrc::parse(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(user in ".{0,20}", password in ".{1,20}") {
            let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let text = format!("machine a.test login {} password {}", quote(&user), quote(&password));
            prop_assert_eq!(of(&text, "a.test"), Some((user, password)));
        }
    }
}
