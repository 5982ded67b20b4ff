//! What a worker needs to log in at a host: user name, password and cookies.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Identity;

/// Maximum text of a cookie, in bytes: what RFC 6265 section 6.1 requires clients to support.
pub const MAX_COOKIE: usize = 4096;

/// Maximum text of a host's cookies, or of those in a report, in bytes. Most servers refuse more.
pub const MAX_COOKIES: usize = 8 * 1024;

/// Maximum number of hosts in [`LoginHosts`], which is a part of the setup and has to fit a frame.
pub const MAX_LOGIN_HOSTS: usize = 6000;

/// A user name and a password.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Hides credentials from logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Login data for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The host as in a URL, in lower case and without a port.
    pub host: String,
    /// Credentials to answer challenges of the host.
    pub credentials: Option<Credentials>,
    /// Cookies that requests to the host may carry, at most [`MAX_COOKIES`] bytes.
    pub cookies: Vec<Cookie>,
    /// Client certificate, sent if the host requests one.
    pub identity: Option<Identity>,
}

impl Login {
    /// Returns the length of all texts, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let credentials = self.credentials.as_ref();
        let credentials = credentials.map_or(0, |pair| pair.user.len() + pair.password.len());
        let cookies: usize = self.cookies.iter().map(Cookie::text_bytes).sum();
        let identity = self.identity.as_ref().map_or(0, Identity::text_bytes);
        self.host.len() + credentials + cookies + identity
    }
}

/// A cookie (RFC 6265 section 5.3).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookie {
    /// Host or domain of the cookie, in lower case and without a leading dot.
    pub domain: String,
    /// Whether it is only for that host, and not for hosts below it.
    pub host_only: bool,
    /// Path below which it is sent.
    pub path: String,
    /// Whether it is sent only over TLS.
    pub secure: bool,
    /// Whether it is hidden from scripts. Kept for other readers of the file.
    pub http_only: bool,
    /// When it expires, in seconds since 1970. `None` for the end of the session.
    pub expires: Option<i64>,
    /// Name of the cookie.
    pub name: String,
    /// Value of the cookie.
    pub value: String,
}

impl Cookie {
    /// Returns the length of all texts, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.domain.len() + self.path.len() + self.name.len() + self.value.len()
    }

    /// Returns whether the cookie can be written to a header and to a file: no part contains a
    /// separator used there, and the text is not too long.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte >= b' ' && byte != 0x7f && byte != b';')
        };
        let parts = [&self.domain, &self.path, &self.name, &self.value];
        parts.into_iter().all(|part| plain(part))
            && self.path.starts_with('/')
            && !self.domain.is_empty()
            && !self.domain.contains(['/', ' ', '='])
            && !self.name.is_empty()
            && !self.name.contains(['=', ' '])
            && self.text_bytes() <= MAX_COOKIE
    }

    /// Returns whether requests to `host` may carry it, as far as this depends on the host.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        host == self.domain || (!self.host_only && is_below(host, &self.domain))
    }
}

/// Hides the value from logs, because cookies are credentials.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie")
            .field("domain", &self.domain)
            .field("path", &self.path)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Returns whether `host` is a name below `domain`. Nothing is below an address.
fn is_below(host: &str, domain: &str) -> bool {
    let above = host.strip_suffix(domain);
    above.is_some_and(|above| above.ends_with('.'))
        && host.parse::<std::net::IpAddr>().is_err()
        && !host.starts_with('[')
}

/// Hosts for which there may be a [`Login`]. A worker requests it for these hosts only.
///
/// The first 32 bits of the SHA-256 of each name are stored, so that thousands of names fit a
/// frame. About one other host in some hundred thousand matches by chance, which costs a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginHosts {
    /// Sorted.
    marks: Vec<[u8; 4]>,
    /// Whether there is a login for the host of any task.
    any: bool,
}

impl LoginHosts {
    /// Creates the set of `names`, which are hosts or domains in lower case. With `any`, it also
    /// contains the host of each task.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>, any: bool) -> Self {
        let mut marks: Vec<_> = names.map(mark).collect();
        marks.sort_unstable();
        marks.dedup();
        Self { marks, any }
    }

    /// Returns the number of names.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.marks.len()
    }

    /// Returns whether there is no login for any host.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty() && !self.any
    }

    /// Returns whether there may be a login for `host`; `is_home` if it is the host of the task.
    #[must_use]
    pub fn may_know(&self, host: &str, is_home: bool) -> bool {
        if self.any && is_home {
            return true;
        }
        if self.marks.is_empty() {
            return false;
        }
        let parents = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
        let mut names = std::iter::once(host).chain(parents);
        names.any(|name| self.marks.binary_search(&mark(name)).is_ok())
    }
}

fn mark(name: &str) -> [u8; 4] {
    let digest = Sha256::digest(name.as_bytes());
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(domain: &str, host_only: bool) -> Cookie {
        Cookie {
            domain: domain.to_owned(),
            host_only,
            path: "/".to_owned(),
            secure: false,
            http_only: false,
            expires: None,
            name: "a".to_owned(),
            value: "b".to_owned(),
        }
    }

    #[test]
    fn a_cookie_is_for_its_host_and_if_it_says_so_for_those_below() {
        for (host, host_only, expected) in [
            ("a.test", false, true),
            ("b.a.test", false, true),
            ("ba.test", false, false),
            ("test", false, false),
            ("a.test", true, true),
            ("b.a.test", true, false),
        ] {
            let cookie = cookie("a.test", host_only);
            assert_eq!(cookie.is_for(host), expected, "{host} {host_only}");
        }
        assert!(!cookie("0.0.1", false).is_for("127.0.0.1"));
    }

    #[test]
    fn a_cookie_that_would_break_a_line_or_a_header_is_not_sound() {
        let good = cookie("a.test", false);
        assert!(good.is_sound());
        let broken: [fn(&mut Cookie); 7] = [
            |cookie| cookie.value.push('\n'),
            |cookie| cookie.value.push('\t'),
            |cookie| cookie.value.push(';'),
            |cookie| cookie.name.clear(),
            |cookie| cookie.domain.push('/'),
            |cookie| cookie.path.clear(),
            |cookie| cookie.value = "x".repeat(MAX_COOKIE),
        ];
        for breaks in broken {
            let mut cookie = good.clone();
            breaks(&mut cookie);
            assert!(!cookie.is_sound(), "{cookie:?}");
        }
    }

    #[test]
    fn a_worker_may_ask_for_hosts_that_are_known_and_for_those_below_a_domain() {
        let hosts = LoginHosts::new(["login.test", "b.test"].into_iter(), false);
        for (host, expected) in [
            ("login.test", true),
            ("a.b.test", true),
            ("other.test", false),
            ("test", false),
        ] {
            assert_eq!(hosts.may_know(host, true), expected, "{host}");
        }
        let any = LoginHosts::new(std::iter::empty(), true);
        assert!(any.may_know("x.test", true) && !any.may_know("x.test", false));
        assert!(!any.is_empty());
    }

    #[test]
    fn nothing_secret_is_in_what_is_logged() {
        let login = Login {
            host: "a.test".to_owned(),
            credentials: Some(Credentials {
                user: "u53r".to_owned(),
                password: "s3cret".to_owned(),
            }),
            cookies: vec![Cookie {
                value: "v4lue".to_owned(),
                ..cookie("a.test", true)
            }],
            identity: Some(Identity {
                certificates: "publ1c".to_owned(),
                key: "k3y".to_owned(),
            }),
        };
        let text = format!("{login:?}");
        assert!(!text.contains("u53r") && !text.contains("s3cret") && !text.contains("v4lue"));
    }
}
