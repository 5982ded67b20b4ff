//! Checks for any bytes that a server sends as its robots.txt.

use protocol::robots::{MAX_CRAWL_DELAY, MAX_ROBOTS, ROBOTS_PATH, RobotsRules};

/// Product tokens to look up. A group may name any of them, or none.
const TOKENS: [&str; 3] = ["coordinator", "x", ""];

/// Uses the first line of `data` as a path and the rest as a robots.txt, and checks the rule found.
///
/// # Panics
///
/// Panics if a promise about rules does not hold.
pub fn check(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n');
    let (path, text) = data.split_at(end.map_or(0, |at| at + 1));
    let path = plain(path);
    for token in TOKENS {
        let rules = RobotsRules::parse(text, token);
        assert!(rules.crawl_delay() <= MAX_CRAWL_DELAY);
        assert!(
            rules.weight() <= 256 + 64 * text.len(),
            "memory follows size"
        );
        assert_eq!(rules.forbids(ROBOTS_PATH), None, "never forbidden");
        match rules.forbids(&path) {
            Some(rule) => {
                assert!(!rules.allow_all());
                assert!(matches(rule.as_bytes(), path.as_bytes()), "{rule} {path}");
                let fragment = format!("{path}#x");
                assert_eq!(rules.forbids(&fragment), Some(rule), "nobody sends that");
            }
            None if rules.allow_all() => {
                assert_eq!(rules.forbids("/"), None);
                assert_eq!(rules.forbids("/a?b=%FF"), None);
            }
            None => {}
        }
        check_what_is_read(text, token, &rules);
    }
}

/// Checks that bytes beyond the limit, and lines that are not rules, have no effect.
fn check_what_is_read(text: &[u8], token: &str, rules: &RobotsRules) {
    let limit = usize::try_from(MAX_ROBOTS).expect("small");
    let cut = &text[..text.len().min(limit)];
    assert_eq!(&RobotsRules::parse(cut, token), rules);
    if text.len() + 40 < limit {
        let more = [text, b"\n# Disallow: /\nno such line\n\xff\xfe: /"].concat();
        assert_eq!(&RobotsRules::parse(&more, token), rules);
    }
}

/// Returns a path of characters that have one meaning in every encoding.
fn plain(bytes: &[u8]) -> String {
    let kept = bytes.iter().filter(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'?' | b'=' | b'&')
    });
    // Long enough for every rule to have an effect, and short enough for the matcher below.
    let kept = kept.take(60).map(|&byte| char::from(byte));
    std::iter::once('/').chain(kept).collect()
}

/// Matches by RFC 9309 section 2.2.3, with a table of the prefixes of `path` that each prefix of
/// `rule` matches.
fn matches(rule: &[u8], path: &[u8]) -> bool {
    let (rule, whole) = match rule.strip_suffix(b"$") {
        Some(rule) => (rule, true),
        None => (rule, false),
    };
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for &byte in rule {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            next[at] = match byte {
                b'*' => reached[..=at].contains(&true),
                _ => at > 0 && reached[at - 1] && path[at - 1] == byte,
            };
        }
        reached = next;
    }
    if whole {
        reached[path.len()]
    } else {
        reached.contains(&true)
    }
}
