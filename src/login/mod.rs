//! What the user has to log in with, host by host: a netrc file, and cookies.
//!
//! The coordinator alone reads these files. It says of each host what there is for it, and takes in
//! the cookies that workers report. It must not decide which worker is told what: that is the run's.

mod cookies;
mod netrc;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use protocol::{Cookie, Identity, Login, LoginHosts, MAX_LOGIN_HOSTS};

pub use cookies::Jar;
pub use netrc::Netrc;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is larger than any that is meant.
    #[error("it is larger than {} MiB", MAX_FILE / 1024 / 1024)]
    TooLarge,
    /// Others may read it.
    #[error(
        "its mode is {mode:o}, so that others may read what is secret in it; run chmod 600 on it"
    )]
    Exposed {
        /// The rights in its mode.
        mode: u32,
    },
    /// A line is not of its format.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong; nothing of the line itself, which may be a secret.
        problem: &'static str,
    },
    /// More hosts than workers can be told of.
    #[error(
        "with the other files it names {0} hosts, and workers can be given at most {MAX_LOGIN_HOSTS}; leave out those \
         that the list does not need"
    )]
    TooMany(usize),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// Names and passwords.
    pub netrc: Netrc,
    /// Cookies.
    pub jar: Jar,
    /// Client certificates, by host.
    pub identities: HashMap<String, Identity>,
    /// Cookies that servers set are for all tasks.
    pub shared: bool,
}

impl Logins {
    /// Whether there is nothing for any host, and never will be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.netrc.is_empty() && self.jar.is_empty() && self.identities.is_empty() && !self.shared
    }

    /// For which hosts there is something now.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn hosts(&self) -> Result<LoginHosts, FileError> {
        let shown = self.identities.keys().map(String::as_str);
        let names = self.netrc.hosts().chain(self.jar.domains()).chain(shown);
        let hosts = LoginHosts::new(names, self.netrc.has_default());
        match hosts.len() {
            0..=MAX_LOGIN_HOSTS => Ok(hosts),
            count => Err(FileError::TooMany(count)),
        }
    }

    /// What there is for `host`, at `now` in seconds since 1970. What a netrc file says of all
    /// hosts is only for those that the list names (`is_listed`), and not for those that servers do.
    #[must_use]
    pub fn of(&self, host: &str, is_listed: bool, now: i64) -> Login {
        Login {
            host: host.to_owned(),
            credentials: self.netrc.of(host, is_listed).cloned(),
            cookies: self.jar.of(host, now),
            identity: self.identities.get(host).cloned(),
        }
    }

    /// Takes in what a worker says servers have set, for tasks that had to do with `hosts`. It may
    /// lie: so it sets none for others.
    pub fn take_in(&mut self, cookies: Vec<Cookie>, hosts: &[&str], now: i64) {
        for cookie in cookies {
            if let Some(cookie) = cookies::allowed(cookie, hosts) {
                self.jar.put(cookie, now);
            }
        }
    }
}

/// The text of the file at `path`.
///
/// # Errors
///
/// If it cannot be read.
pub fn read(path: &Path) -> Result<String, FileError> {
    text_of(path, false)
}

/// As [`read`], for a file with a secret.
///
/// # Errors
///
/// Also if others can read it.
pub fn read_private(path: &Path) -> Result<String, FileError> {
    text_of(path, true)
}

fn text_of(path: &Path, private: bool) -> Result<String, FileError> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    // Of a pipe, only who has it open can read.
    if private && metadata.is_file() && mode & 0o077 != 0 {
        return Err(FileError::Exposed { mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(FileError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| FileError::Line {
        line: error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1,
        problem: "not UTF-8",
    })
}

/// A host as URLs write it, if it can be one.
fn normalised(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.');
    // An IPv6 address has brackets in a URL, and may have none in a file.
    let bracketed = format!("[{host}]");
    let text = if host.contains(':') && !host.starts_with('[') {
        &bracketed
    } else {
        host
    };
    url::Host::parse(text).ok().map(|host| host.to_string())
}

/// The number of a line, for messages.
fn line(line: usize, problem: &'static str) -> FileError {
    FileError::Line { line, problem }
}

/// How many there are, and nothing of what they are.
struct Counted(usize);

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.0)
    }
}
