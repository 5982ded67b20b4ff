//! robots.txt (RFC 9309): its location, how much of it is read, and its rules for a URL.
//!
//! Both sides use this module: the coordinator before it hands out a URL, a worker before it
//! follows a redirect. `robotxt` reads and matches, in time proportional to the pattern and the
//! URL, whatever the pattern. This module must not fetch or store anything.

use std::ffi::OsString;
use std::time::Duration;

use data_encoding::BASE32_DNSSEC;
use robotxt::{Robots, Rule};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Maximum number of bytes of a robots.txt that are stored: one more than is read (RFC 9309 section
/// 2.5), so that a file that was cut is recognised and its incomplete last line is ignored.
pub const MAX_ROBOTS: u64 = robotxt::BYTE_LIMIT as u64 + 1;

/// Minimum number of redirects that are followed for robots.txt (RFC 9309 section 2.3.1.2), even if
/// `--max-redirs` is lower.
pub const MIN_ROBOTS_REDIRECTS: u32 = 5;

/// Time limit for fetching a robots.txt. One that takes longer counts as unreachable.
pub const ROBOTS_WITHIN: Duration = Duration::from_secs(60);

/// Longest `Crawl-delay` that is applied, so that none can block a host for the rest of the run.
pub const MAX_CRAWL_DELAY: Duration = Duration::from_secs(60);

/// Path of robots.txt (RFC 9309 section 2.3).
pub const ROBOTS_PATH: &str = "/robots.txt";

/// Maximum length of a quoted rule, in bytes.
const MAX_QUOTED: usize = 200;

/// How robots.txt is obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObeyRobots {
    /// Absolute path of the folder with the files of this run, under the names that [`robots_file`]
    /// returns. There is a file only if it forbids something.
    pub folder: OsString,
    /// Product token whose rules are obeyed (RFC 9309 section 2.2.1). If it is empty, the rules for
    /// all crawlers are obeyed.
    pub token: String,
}

/// Returns the product token of a `User-Agent` (RFC 9110 section 10.1.5), or an empty string.
#[must_use]
pub fn product_token(user_agent: &str) -> &str {
    let end = user_agent.find(|c: char| c == '/' || c.is_whitespace());
    &user_agent[..end.unwrap_or(user_agent.len())]
}

/// Splits a normalised http or https URL without credentials into its origin (scheme, host and
/// port), which has one robots.txt, and the path and query that are checked against its rules.
#[must_use]
pub fn split_url(url: &str) -> (&str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']);
    url.split_at(end.map_or(url.len(), |at| start + at))
}

/// Returns the name of the file for the robots.txt of `origin`, as returned by [`split_url`].
#[must_use]
pub fn robots_file(origin: &str) -> String {
    BASE32_DNSSEC.encode(&Sha256::digest(origin))
}

/// The rules of a robots.txt for a product token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobotsRules(Robots);

impl RobotsRules {
    /// Parses any `text`. What is not a rule is ignored (RFC 9309 section 2.3.1.5).
    #[must_use]
    pub fn parse(text: &[u8], token: &str) -> Self {
        Self(Robots::parse(text, token))
    }

    /// Returns the rule that forbids `path` (path and query of a URL), if there is one.
    #[must_use]
    pub fn forbids(&self, path: &str) -> Option<&str> {
        if self.0.is_allowed(path) {
            return None;
        }
        Some(self.0.matching_rule(path).map_or("/", Rule::pattern))
    }

    /// Returns whether nothing is forbidden.
    #[must_use]
    pub fn allow_all(&self) -> bool {
        self.0.always() == Some(true)
    }

    /// Returns the time to wait between two downloads, at most [`MAX_CRAWL_DELAY`]. It is zero if
    /// robots.txt specifies none.
    #[must_use]
    pub fn crawl_delay(&self) -> Duration {
        self.0
            .crawl_delay()
            .unwrap_or_default()
            .min(MAX_CRAWL_DELAY)
    }

    /// Returns the approximate memory use of the rules, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let rules = self.0.rules();
        let text: usize = rules.iter().map(|rule| rule.pattern().len()).sum();
        size_of::<Self>() + text + size_of_val(rules)
    }
}

/// Returns the message for the record of a URL of `origin` that is not requested.
#[must_use]
pub fn forbidden_by(origin: &str, rule: &str) -> String {
    let quoted = &rule[..rule.floor_char_boundary(MAX_QUOTED)];
    let more = if quoted.len() < rule.len() {
        "\u{2026}"
    } else {
        ""
    };
    format!("{origin}{ROBOTS_PATH} forbids it (disallow: {quoted}{more})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbids(text: &str, path: &str) -> bool {
        RobotsRules::parse(text.as_bytes(), "coordinator")
            .forbids(path)
            .is_some()
    }

    #[test]
    fn the_product_token_is_what_the_user_agent_begins_with() {
        for (user_agent, token) in [
            ("coordinator/0.1.0", "coordinator"),
            ("Mozilla/5.0 (compatible; foo/1)", "Mozilla"),
            ("foo", "foo"),
            ("foo bar/2", "foo"),
            ("", ""),
            (" x", ""),
        ] {
            assert_eq!(product_token(user_agent), token);
        }
    }

    #[test]
    fn a_url_is_split_into_its_authority_and_what_that_is_asked_for() {
        for (url, origin, path) in [
            ("http://h/", "http://h", "/"),
            ("https://h:8443/a?b=c://d/", "https://h:8443", "/a?b=c://d/"),
            ("http://[::1]:80/a", "http://[::1]:80", "/a"),
            ("http://h", "http://h", ""),
        ] {
            assert_eq!(split_url(url), (origin, path));
        }
        assert_ne!(robots_file("http://h"), robots_file("https://h"));
        let name = robots_file("http://h");
        assert!(name.len() == 52 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn the_longest_rule_counts_and_of_equals_the_one_that_allows() {
        let text =
            "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c\nAllow: /x\nDisallow: /x\n";
        assert!(forbids(text, "/a"));
        assert!(!forbids(text, "/a/b"));
        assert!(forbids(text, "/a/b/cd?e"));
        assert!(!forbids(text, "/x") && !forbids(text, "/y"));
    }

    #[test]
    fn stars_and_the_dollar_mean_what_the_rfc_says() {
        let text = "User-agent: *\nDisallow: /*.gif$\nDisallow: /a*z\nDisallow: /q?*id=\n";
        assert!(forbids(text, "/b/c.gif") && !forbids(text, "/b/c.gif?x"));
        assert!(forbids(text, "/a-to-z/more") && !forbids(text, "/a-to-y"));
        assert!(forbids(text, "/q?x=1&id=7") && !forbids(text, "/q?x=1"));
        // Percent-encoded, they are ordinary characters.
        assert!(forbids("User-agent: *\nDisallow: /%2A%24\n", "/%2a%24"));
        assert!(!forbids("User-agent: *\nDisallow: /%2A\n", "/anything"));
    }

    #[test]
    fn percent_encoding_makes_no_difference_where_it_means_none() {
        for (rule, path) in [
            ("/\u{e4}", "/%C3%A4"),
            ("/%c3%a4", "/%C3%A4"),
            ("/%7Euser/%61", "/~user/a"),
            ("/a b", "/a%20b"),
        ] {
            let text = format!("User-agent: *\nDisallow: {rule}\n");
            assert!(forbids(&text, path), "{rule}");
        }
        // An encoded slash is another character (RFC 3986 section 2.2).
        assert!(!forbids("User-agent: *\nDisallow: /a%2Fb\n", "/a/b"));
    }

    #[test]
    fn the_groups_of_our_token_count_together_and_otherwise_those_for_all() {
        let ours = "User-agent: *\nDisallow: /all\n\nUser-agent: other\nUser-agent: COORDINATOR\n\
                    Disallow: /one\n\nSitemap: http://h/s\nUser-agent: x\nDisallow: /x\n\n\
                    User-agent: Coordinator\nDisallow: /two\n";
        assert!(forbids(ours, "/one") && forbids(ours, "/two"));
        assert!(!forbids(ours, "/all") && !forbids(ours, "/x"));
        let others = "User-agent: coordinator-images\nDisallow: /\nUser-agent: *\nDisallow: /all\n";
        assert!(forbids(others, "/all") && !forbids(others, "/one"));
        assert!(!forbids("User-agent: other\nDisallow: /\n", "/"));
        assert!(!forbids("Disallow: /\n", "/"));
    }

    #[test]
    fn robots_txt_itself_is_never_forbidden() {
        let text = "User-agent: *\nDisallow: /\n";
        assert!(forbids(text, "/") && forbids(text, "/robots.txt?x"));
        assert!(!forbids(text, ROBOTS_PATH));
    }

    #[test]
    fn what_is_not_a_rule_is_no_rule() {
        for text in [
            "",
            "<html><body>Not found</body></html>",
            "\u{feff}",
            "User-agent: *\nDisallow:\n",
            "\0\u{1}\r\r\n:::\nallow",
        ] {
            let rules = RobotsRules::parse(text.as_bytes(), "coordinator");
            assert!(
                rules.allow_all() && rules.forbids("/").is_none(),
                "{text:?}"
            );
        }
        let rules = RobotsRules::parse(b"\xff\xfe\nuser-agent: *\r\xff: /\rdisallow: /\xff\r", "x");
        assert!(rules.forbids("/%FF").is_some() && rules.forbids("/").is_none());
    }

    #[test]
    fn of_one_that_is_too_long_the_line_that_is_cut_counts_for_nothing() {
        let mut text = b"User-agent: *\nDisallow: /first\n".to_vec();
        text.resize(robotxt::BYTE_LIMIT - 11, b'\n');
        text.extend_from_slice(b"\nDisallow: /second-and-more\n");
        let size = usize::try_from(MAX_ROBOTS).expect("small");
        assert!(text.len() > size);
        text.truncate(size);
        assert!(text.ends_with(b"\nDisallow: /"));
        let rules = RobotsRules::parse(&text, "coordinator");
        assert!(rules.forbids("/first").is_some());
        assert_eq!(rules.forbids("/other"), None, "not all of it");
    }

    #[test]
    fn a_crawl_delay_is_bounded_and_nonsense_is_none() {
        let delay = |text: &str| {
            let text = format!("User-agent: *\nCrawl-delay: {text}\n");
            RobotsRules::parse(text.as_bytes(), "coordinator").crawl_delay()
        };
        assert_eq!(delay("1.5"), Duration::from_millis(1500));
        assert_eq!(delay("86400"), MAX_CRAWL_DELAY);
        for text in ["", "-1", "nan", "inf", "soon", "1e400"] {
            assert_eq!(delay(text), Duration::ZERO, "{text}");
        }
    }

    #[test]
    fn a_long_rule_is_quoted_in_part() {
        let text = forbidden_by("http://h", &format!("/{}", "a".repeat(500)));
        assert!(text.starts_with("http://h/robots.txt forbids it (disallow: /aaa"));
        assert!(text.len() < 300 && text.ends_with("\u{2026})"), "{text}");
    }
}
