//! The logins that the user gave, by host: a netrc file and cookies.
//!
//! Only the coordinator reads these files. This module returns the login for a host, and stores the
//! cookies that workers report. It must not decide which worker gets which login: the run does.

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

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A problem with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is larger than any valid file.
    #[error("it is larger than {} MiB", MAX_FILE / 1024 / 1024)]
    TooLarge,
    /// Other users can read it.
    #[error(
        "its mode is {mode:o}, so that others may read what is secret in it; run chmod 600 on it"
    )]
    Exposed {
        /// The permissions in its mode.
        mode: u32,
    },
    /// A line does not fit the format.
    #[error("line {line}: {problem}")]
    Line {
        /// Line number, counted from 1.
        line: usize,
        /// The problem, without text of the line, which may be a secret.
        problem: &'static str,
    },
    /// It names more hosts than workers can be given.
    #[error(
        "with the other files it names {0} hosts, and workers can be given at most {MAX_LOGIN_HOSTS}; leave out those \
         that the list does not need"
    )]
    TooMany(usize),
}

/// The logins that the user gave.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// User names and passwords.
    pub netrc: Netrc,
    /// Cookies.
    pub jar: Jar,
    /// Client certificates, by host.
    pub identities: HashMap<String, Identity>,
    /// Whether cookies that servers set are used for all tasks.
    pub shared: bool,
}

impl Logins {
    /// Returns whether no host has a login or can get one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.netrc.is_empty() && self.jar.is_empty() && self.identities.is_empty() && !self.shared
    }

    /// Returns the hosts that have a login now.
    ///
    /// # Errors
    ///
    /// Fails if there are too many.
    pub fn hosts(&self) -> Result<LoginHosts, FileError> {
        let shown = self.identities.keys().map(String::as_str);
        let names = self.netrc.hosts().chain(self.jar.domains()).chain(shown);
        let hosts = LoginHosts::new(names, self.netrc.has_default());
        match hosts.len() {
            0..=MAX_LOGIN_HOSTS => Ok(hosts),
            count => Err(FileError::TooMany(count)),
        }
    }

    /// Returns the login for `host` at `now`, in seconds since 1970. The default entry of a netrc
    /// file applies only to hosts in the list (`is_listed`), not to hosts that servers name.
    #[must_use]
    pub fn of(&self, host: &str, is_listed: bool, now: i64) -> Login {
        Login {
            host: host.to_owned(),
            credentials: self.netrc.of(host, is_listed).cloned(),
            cookies: self.jar.of(host, now),
            identity: self.identities.get(host).cloned(),
        }
    }

    /// Stores cookies that servers have set, as reported by a worker, for tasks that involved
    /// `hosts`. The worker may lie, so cookies for other hosts are dropped.
    pub fn take_in(&mut self, cookies: Vec<Cookie>, hosts: &[&str], now: i64) {
        for cookie in cookies {
            if let Some(cookie) = cookies::allowed(cookie, hosts) {
                self.jar.put(cookie, now);
            }
        }
    }
}

/// Returns the text of the file at `path`.
///
/// # Errors
///
/// Fails if it cannot be read.
pub fn read(path: &Path) -> Result<String, FileError> {
    text_of(path, false)
}

/// Like [`read`], for a file that contains a secret.
///
/// # Errors
///
/// Also fails if other users can read it.
pub fn read_private(path: &Path) -> Result<String, FileError> {
    text_of(path, true)
}

fn text_of(path: &Path, private: bool) -> Result<String, FileError> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    // A pipe can be read only by a process that has it open.
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

/// Returns a host as URLs write it, if it is valid.
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

/// Returns an error with the number of the line.
fn line(line: usize, problem: &'static str) -> FileError {
    FileError::Line { line, problem }
}

/// The number of entries, printed instead of their contents.
struct Counted(usize);

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.0)
    }
}
