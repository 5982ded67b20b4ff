//! What a worker needs to log in at a host: user name and password, and cookies.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Identity;

/// Longest text of one cookie, in bytes: what RFC 6265 section 6.1 asks clients to keep.
pub const MAX_COOKIE: usize = 4096;

/// Most text of the cookies for one host, and of those that one attempt reports, in bytes. More is
/// refused by most servers.
pub const MAX_COOKIES: usize = 8 * 1024;

/// Most hosts that [`LoginHosts`] holds: it is a part of the setup, which has to fit a frame.
pub const MAX_LOGIN_HOSTS: usize = 6000;

/// A user name and its password.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Credentials are not for logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is there for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The host as a URL writes it, in lower case and without a port.
    pub host: String,
    /// For its challenges.
    pub credentials: Option<Credentials>,
    /// The cookies that requests to it may carry: at most [`MAX_COOKIES`] bytes.
    pub cookies: Vec<Cookie>,
    /// The client certificate that it is shown, if it asks for one.
    pub identity: Option<Identity>,
}

impl Login {
    /// How much text it holds, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let credentials = self.credentials.as_ref();
        let credentials = credentials.map_or(0, |pair| pair.user.len() + pair.password.len());
        let cookies: usize = self.cookies.iter().map(Cookie::text_bytes).sum();
        let identity = self.identity.as_ref().map_or(0, Identity::text_bytes);
        self.host.len() + credentials + cookies + identity
    }
}

/// One cookie (RFC 6265 section 5.3).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookie {
    /// The host or domain that it is for, in lower case and without a leading dot.
    pub domain: String,
    /// Only that host, and none below it.
    pub host_only: bool,
    /// The path below which it is sent.
    pub path: String,
    /// Only over TLS.
    pub secure: bool,
    /// Not for scripts; kept for those who read the file.
    pub http_only: bool,
    /// When it ends, in seconds since 1970; nothing for the end of the session.
    pub expires: Option<i64>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Cookie {
    /// How much text it holds, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.domain.len() + self.path.len() + self.name.len() + self.value.len()
    }

    /// Whether it can be written into a header and into a file: no part holds what separates
    /// parts there, and none is too long.
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

    /// Whether requests to `host` may carry it, as far as the host decides that.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        host == self.domain || (!self.host_only && is_below(host, &self.domain))
    }
}

/// Cookies are credentials, which are not for logs.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie")
            .field("domain", &self.domain)
            .field("path", &self.path)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Whether `host` is a name below `domain`. An address has nothing below it.
fn is_below(host: &str, domain: &str) -> bool {
    let above = host.strip_suffix(domain);
    above.is_some_and(|above| above.ends_with('.'))
        && host.parse::<std::net::IpAddr>().is_err()
        && !host.starts_with('[')
}

/// For which hosts there may be a [`Login`]: a worker asks for that of such a host, and of no other.
///
/// It holds the first 32 bits of the SHA-256 of each name, so that a setup with thousands of them
/// fits a frame. One host in some hundred thousand is asked for in vain, which costs one message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginHosts {
    /// In order.
    marks: Vec<[u8; 4]>,
    /// There is one for the host of any task.
    any: bool,
}

impl LoginHosts {
    /// Those of `names`, hosts or domains in lower case; with `any` also the host of each task.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>, any: bool) -> Self {
        let mut marks: Vec<_> = names.map(mark).collect();
        marks.sort_unstable();
        marks.dedup();
        Self { marks, any }
    }

    /// How many names it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there is nothing for anybody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty() && !self.any
    }

    /// Whether there may be something for `host`; `is_home` if it is that of the task.
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
