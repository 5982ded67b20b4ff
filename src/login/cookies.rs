//! Cookies in Netscape's file format, which curl, wget, yt-dlp and browser extensions write: seven
//! fields separated by tabs. `#HttpOnly_` before the domain does not begin a comment.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use protocol::{Cookie, MAX_COOKIES};
use public_suffix::DEFAULT_PROVIDER;

use super::{Counted, FileError, line, normalised, read};
use crate::whole_file::WholeFile;

/// Maximum number of cookies of one domain, and of all domains. Others are dropped.
const MOST_OF_DOMAIN: usize = 100;
const MOST: usize = 20_000;

const HTTP_ONLY: &str = "#HttpOnly_";

/// Cookies by domain.
#[derive(Clone, Default)]
pub struct Jar {
    domains: BTreeMap<String, Vec<Cookie>>,
    count: usize,
}

impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Counted(self.count).fmt(f)
    }
}

impl Jar {
    /// Reads the file at `path`. Drops cookies that have expired by `now`, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or has another format.
    pub fn load(path: &Path, now: i64) -> Result<Self, FileError> {
        Self::parse(&read(path)?, now)
    }

    fn parse(text: &str, now: i64) -> Result<Self, FileError> {
        let mut jar = Self::default();
        for (index, text) in text.lines().enumerate() {
            let (text, http_only) = match text.strip_prefix(HTTP_ONLY) {
                Some(rest) => (rest, true),
                None => (text, false),
            };
            if text.trim().is_empty() || (text.starts_with('#') && !http_only) {
                continue;
            }
            let cookie = cookie(text, http_only).map_err(|problem| line(index + 1, problem))?;
            jar.put(cookie, now);
        }
        Ok(jar)
    }

    /// Returns whether it has no cookies.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(String::as_str)
    }

    /// Returns the cookies that requests to `host` may carry at `now`. If they are too long
    /// together, keeps those with the longest paths.
    pub(super) fn of(&self, host: &str, now: i64) -> Vec<Cookie> {
        let parents = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
        let domains = std::iter::once(host).chain(parents);
        let cookies = domains.filter_map(|domain| self.domains.get(domain));
        let mut found: Vec<_> = cookies
            .flatten()
            .filter(|cookie| cookie.is_for(host) && !is_over(cookie, now))
            .cloned()
            .collect();
        found.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let mut text = 0;
        found.retain(|cookie| {
            text += cookie.text_bytes();
            text <= MAX_COOKIES
        });
        found
    }

    /// Stores a cookie, in place of the one with the same domain, path and name. A cookie that has
    /// expired by `now` is removed.
    pub(super) fn put(&mut self, cookie: Cookie, now: i64) {
        let known = self.domains.entry(cookie.domain.clone()).or_default();
        let before = known.len();
        known.retain(|other| other.path != cookie.path || other.name != cookie.name);
        self.count -= before - known.len();
        if !is_over(&cookie, now) && known.len() < MOST_OF_DOMAIN && self.count < MOST {
            self.count += 1;
            known.push(cookie);
        } else if known.is_empty() {
            self.domains.remove(&cookie.domain);
        }
    }

    /// Writes the cookies to the file at `path`, which only its owner may read.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let mut file = WholeFile::create_private(path)?;
        writeln!(file, "# Netscape HTTP Cookie File")?;
        writeln!(file)?;
        for cookie in self.domains.values().flatten() {
            let flag = |is: bool| if is { "TRUE" } else { "FALSE" };
            let mark = if cookie.http_only { HTTP_ONLY } else { "" };
            let dot = if cookie.host_only { "" } else { "." };
            writeln!(
                file,
                "{mark}{dot}{}\t{}\t{}\t{}\t{}\t{}\t{}",
                cookie.domain,
                flag(!cookie.host_only),
                cookie.path,
                flag(cookie.secure),
                cookie.expires.unwrap_or(0),
                cookie.name,
                cookie.value
            )?;
        }
        file.finish()
    }
}

fn is_over(cookie: &Cookie, now: i64) -> bool {
    cookie.expires.is_some_and(|at| at <= now)
}

/// Parses the cookie of a line.
fn cookie(text: &str, http_only: bool) -> Result<Cookie, &'static str> {
    let mut fields = text.splitn(7, '\t');
    let mut field = || fields.next().ok_or("fewer than 7 fields with tabs between");
    let is_true = |text: &str| text.eq_ignore_ascii_case("TRUE");
    let (domain, below, path, secure) = (field()?, field()?, field()?, field()?);
    let (expires, name) = (field()?, field()?);
    // Some programs leave out the tab before an empty value.
    let value = field().unwrap_or_default();
    // Some browser extensions write fractions.
    let (seconds, _) = expires.split_once('.').unwrap_or((expires, ""));
    let expires: i64 = seconds
        .parse()
        .map_err(|_| "the fifth field is not a time in seconds")?;
    let cookie = Cookie {
        domain: normalised(domain.trim_start_matches('.')).ok_or("no domain")?,
        host_only: !is_true(below),
        path: path.to_owned(),
        secure: is_true(secure),
        http_only,
        expires: (expires > 0).then_some(expires),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    match cookie.is_sound() {
        true => Ok(cookie),
        false => Err("not a cookie that can be sent"),
    }
}

/// Returns the cookie in the form in which it may be stored, if servers of `hosts` may set it. A
/// cookie for a whole public suffix (`co.uk`) would also be sent to unrelated hosts. It is stored
/// only for the suffix itself, if that is a host (RFC 6265 section 5.3, number 5).
pub(super) fn allowed(mut cookie: Cookie, hosts: &[&str]) -> Option<Cookie> {
    if !cookie.host_only && is_public(&cookie.domain) {
        cookie.host_only = true;
    }
    let mut hosts = hosts.iter();
    hosts.any(|host| cookie.is_for(host)).then_some(cookie)
}

/// Returns whether anyone can register names below `domain`.
fn is_public(domain: &str) -> bool {
    DEFAULT_PROVIDER.is_effective_tld(domain)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn jar(text: &str) -> Jar {
        Jar::parse(text, 1000).expect("a file of cookies")
    }

    fn names(jar: &Jar, host: &str) -> Vec<String> {
        let found = jar.of(host, 1000).into_iter();
        found.map(|cookie| cookie.name).collect()
    }

    #[test]
    fn files_of_others_are_read() {
        let jar = jar(
            "# Netscape HTTP Cookie File\n# https://curl.se/docs/http-cookies.html\n\n\
             #HttpOnly_.a.test\tTRUE\t/\tTRUE\t2000\tall\t1\n\
             a.test\tFALSE\t/deep\tFALSE\t0\tsession\ta=b c\n\
             .a.test\tTRUE\t/\tFALSE\t999\tover\tx\n\
             A.TEST\tfalse\t/\tfalse\t2000.5\tempty\r\n",
        );
        assert_eq!(names(&jar, "a.test"), ["session", "all", "empty"]);
        assert_eq!(names(&jar, "x.a.test"), ["all"]);
        assert!(names(&jar, "ba.test").is_empty());
        let all = &jar.of("x.a.test", 1000)[0];
        assert!(all.secure && all.http_only && all.expires == Some(2000));
    }

    #[test]
    fn a_line_that_is_no_cookie_is_named() {
        for text in [
            "a=b",
            "a.test\tFALSE\t/\tFALSE\tsoon\tn\tv",
            "a.test\tFALSE\tdeep\tFALSE\t0\tn\tv",
            "\tFALSE\t/\tFALSE\t0\tn\tv",
            "a.test\tFALSE\t/\tFALSE\t0\t\tv",
            "a.test\tFALSE\t/\tFALSE\t0\tn\tv\tw",
        ] {
            let read = Jar::parse(&format!("\n{text}\n"), 0);
            assert!(
                matches!(read, Err(FileError::Line { line: 2, .. })),
                "{text:?}: {read:?}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_only_by_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jar");
        fs::write(&path, "before").expect("write");
        let jar = jar(
            "#HttpOnly_.a.test\tTRUE\t/\tTRUE\t2000\tall\t1\nb.test\tFALSE\t/x\tFALSE\t0\tn\tv\n",
        );
        jar.store(&path).expect("written");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Jar::load(&path, 1000).expect("read");
        assert_eq!(again.domains, jar.domains);
    }

    #[test]
    fn the_last_word_on_a_cookie_counts_and_one_that_is_over_is_forgotten() {
        let mut jar = jar("a.test\tFALSE\t/\tFALSE\t0\tn\t1\n");
        let mut cookie = jar.of("a.test", 1000).remove(0);
        cookie.value = "2".to_owned();
        jar.put(cookie.clone(), 1000);
        assert_eq!(jar.of("a.test", 1000), [cookie.clone()]);
        cookie.expires = Some(1000);
        jar.put(cookie, 1000);
        assert!(jar.is_empty() && jar.domains.is_empty());
    }

    #[test]
    fn no_worker_sets_a_cookie_for_strangers() {
        let cookie = |domain: &str, host_only| Cookie {
            domain: domain.to_owned(),
            host_only,
            path: "/".to_owned(),
            secure: false,
            http_only: false,
            expires: None,
            name: "n".to_owned(),
            value: "v".to_owned(),
        };
        let verdict = |domain, host_only| {
            let hosts = ["www.shop.co.uk", "login.example.org", "me.github.io"];
            allowed(cookie(domain, host_only), &hosts).map(|cookie| cookie.host_only)
        };
        assert_eq!(verdict("www.shop.co.uk", true), Some(true));
        assert_eq!(verdict("shop.co.uk", false), Some(false));
        assert_eq!(verdict("co.uk", false), None, "a public suffix");
        assert_eq!(verdict("github.io", false), None, "a private one");
        assert_eq!(verdict("me.github.io", false), Some(false));
        assert_eq!(verdict("uk", false), None);
        assert_eq!(verdict("bank.test", true), None, "no host of the task");
        assert_eq!(verdict("example.org", false), Some(false));
        assert_eq!(verdict("other.example.org", false), None, "beside it");
    }

    #[test]
    fn what_a_host_is_told_fits_a_request_and_a_jar_does_not_grow_without_end() {
        let mut jar = Jar::default();
        let one = jar_of_one();
        for number in 0..1000 {
            let name = format!("n{number}");
            jar.put(
                Cookie {
                    name,
                    value: "v".repeat(200),
                    ..one.clone()
                },
                0,
            );
        }
        assert_eq!(jar.count, MOST_OF_DOMAIN);
        let text: usize = jar.of("a.test", 0).iter().map(Cookie::text_bytes).sum();
        assert!(text <= MAX_COOKIES && text > MAX_COOKIES / 2, "{text}");
    }

    fn jar_of_one() -> Cookie {
        jar("a.test\tFALSE\t/\tFALSE\t0\tn\tv\n")
            .of("a.test", 0)
            .remove(0)
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(#HttpOnly_|TRUE|FALSE|[\\t\\n/.a-c0-9\u{e4};]){0,40}") {
            if let Ok(jar) = Jar::parse(&text, 5) {
                prop_assert_eq!(jar.count, jar.domains.values().map(Vec::len).sum::<usize>());
            }
        }
    }
}
